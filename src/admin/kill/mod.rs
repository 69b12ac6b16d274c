//! The kill switch (docs/ARCHITECTURE.md): engage, release, status, drill. Stopping waits for nothing: memory first, then the file, the proof, and
//! the database when it answers. Releasing waits for everything: what cannot be cleared stays engaged.

mod control;
mod dial;
pub mod file;
mod keeper;
mod line;
mod load;
mod model;
mod offline;
pub mod pages;
mod proof;
mod rebuilt;
pub mod routes;
mod store;
#[cfg(test)]
mod tests;
mod watch;

use std::time::{Duration, Instant};

pub use control::Control;
pub(in crate::admin) use dial::certificate_shown;
pub use keeper::keep;
pub use line::keep_warm;
pub(in crate::admin) use line::{Line, authority, manner};
pub use load::load;
pub use model::{CANARY, Engaged, Kind, Order, OrderBody, Past, Proof, ProofAt, Release, Released, State, Status};
pub use offline::{Running, engage_offline};
pub(in crate::admin) use proof::header_name;
pub use rebuilt::engage_rebuilt;
pub use store::STATEMENTS;
pub use watch::watch;

use super::actor::Right;
use super::{Actor, Admin};
use crate::audit::{Durability, Event};
use crate::base::fault::{Fault, Verb};
use crate::base::ids;
use crate::policy::{KillEntry, Mode, Scope};
use control::{meant, practised};

// How long the answer waits for the database before it says "file"; the kill itself waits for nothing.
const DATABASE_WAIT: Duration = Duration::from_millis(150);
const FILE_WAIT: Duration = Duration::from_secs(1);
const LEDGER_WAIT: Duration = Duration::from_millis(300);
const RELEASE_WAIT: Duration = Duration::from_secs(2);
const REASON_LENGTH: usize = 500;

/// Stops: memory at once, then file, proof and database side by side.
///
/// # Errors
/// `Denied` without role operator; `NotFound` for a server, tool or client that is not in the running policy: nothing is stopped then.
pub async fn engage(admin: &Admin, actor: &Actor, order: Order) -> Verb<Engaged> {
    let started = Instant::now();
    actor.need(Right::Operate, "kill.engage")?;
    check_scope(admin, &order.scope)?;
    let (entry, mut past) = stop(admin, actor, &order, Kind::Order);
    let sequence = admin.kill.owe(past.clone());
    let event = engage_event(actor, &entry, &past);
    let (proofs, in_file, in_database, ()) = tokio::join!(
        proof::prove(admin, &entry, started),
        keep_file(admin),
        admin.kill.kept_within(sequence, DATABASE_WAIT),
        record(admin, event),
    );
    settle(admin, &mut past, proofs, in_database).await;
    admin.kill.owe_checkpoint("kill.engage");
    Ok(Engaged {
        decision_id: past.decision_id,
        scope: past.scope.text(),
        mode: past.mode.word().to_owned(),
        effective: past.effective == Some(true),
        effective_ms: past.effective_ms,
        cut_in_flight: past.cut_in_flight,
        proofs: past.proofs,
        persisted: if in_database {
            "db"
        } else if in_file {
            "file"
        } else {
            "memory"
        }
        .to_owned(),
        at: past.engaged_at,
        by: past.by,
    })
}

/// Stops everything for SIGUSR2.
///
/// # Errors
/// None of its own; see `engage`.
pub async fn engage_by_signal(admin: &Admin) -> Verb<Engaged> {
    let order = Order { scope: Scope::Everything, mode: Mode::Full, reason: "signal SIGUSR2".into() };
    engage(admin, &Actor::system("signal"), order).await
}

/// Starts again, in the order database, ledger, file, memory; whatever does not answer leaves it engaged.
///
/// # Errors
/// `Denied` without role admin or a fresh login; `Invalid` without a reason; `NotFound` when the scope is not engaged; `Conflict` when it is
/// read-only already or somebody stopped something meanwhile; `Unavailable` when database, ledger or file do not answer.
pub async fn release(admin: &Admin, actor: &Actor, order: Release) -> Verb<Released> {
    release_of(admin, actor, order, None).await
}

/// As `release`, and only while the scope is stopped by this decision: whoever stopped it again meanwhile meant it.
///
/// # Errors
/// As `release`; `Conflict` when another order stopped it.
pub async fn release_own(admin: &Admin, actor: &Actor, order: Release, decision_id: &str) -> Verb<Released> {
    release_of(admin, actor, order, Some(decision_id)).await
}

async fn release_of(admin: &Admin, actor: &Actor, order: Release, decision_id: Option<&str>) -> Verb<Released> {
    actor.need(Right::Administer, "kill.release")?;
    let now = admin.clock.now();
    actor.need_fresh_login(now)?;
    let reason = trimmed(&order.reason);
    if reason.is_empty() {
        return Err(Fault::invalid("reason", "a release needs a reason"));
    }
    let slow = || Fault::unavailable("Not released: the database does not answer. Everything stays as it is");
    let _database = tokio::time::timeout(RELEASE_WAIT, admin.kill.database.lock()).await.map_err(|_| slow())?;
    let seen = *admin.kill.changing();
    let before = meant(&admin.feed.kill());
    check_release(&before.entries, &order, decision_id)?;
    let after = before.release(&order.scope, order.to);
    let ending =
        store::Ending { scope: order.scope.clone(), at: now, by: actor.name.clone(), reason: reason.clone(), to: order.to };
    let _resync = Resync(admin);
    let cleared = tokio::time::timeout(RELEASE_WAIT, store::release(&admin.db, &after, &ending)).await;
    match cleared {
        Err(_) => return Err(slow()),
        Ok(Err(fault)) => return Err(Fault { message: format!("Not released: {}", fault.message), ..fault }),
        Ok(Ok(())) => finish_release(admin, actor, &order, &reason, seen).await?,
    }
    admin.kill.owe_checkpoint("kill.release");
    Ok(Released {
        scope: order.scope.text(),
        to: order.to.map(|mode| mode.word().to_owned()),
        at: now,
        by: actor.name.clone(),
        states: states(admin),
    })
}

/// Has the database follow memory once a release is over, also one that failed or whose caller went away half way: the database may say
/// released by then, and a restart must find what memory says.
struct Resync<'a>(&'a Admin);

impl Drop for Resync<'_> {
    fn drop(&mut self) {
        self.0.kill.resync();
    }
}

/// What is stopped, and the last proof. Answers from memory.
///
/// # Errors
/// None today; every role may ask.
pub fn status(admin: &Admin, actor: &Actor) -> Verb<Status> {
    actor.need(Right::Read, "kill.status")?;
    let states = states(admin);
    Ok(Status { engaged: !states.is_empty(), states, last_proof: admin.kill.last_proof() })
}

/// Every entry that is engaged, in the order they came.
pub fn states(admin: &Admin) -> Vec<State> {
    meant(&admin.feed.kill()).entries.iter().map(State::of).collect()
}

/// The newest orders and drills, also those the database does not have yet.
///
/// # Errors
/// `Unavailable` when the database does not answer.
pub async fn history(admin: &Admin, actor: &Actor, limit: u32) -> Verb<Vec<Past>> {
    actor.need(Right::Read, "kill.history")?;
    let mut rows = store::history(&admin.db, limit).await?;
    for (id, past) in &admin.kill.owed().past {
        match rows.iter_mut().find(|row| &row.decision_id == id) {
            Some(row) => {
                let end = (row.released_at, row.released_by.take(), row.release_reason.take());
                *row = past.clone();
                (row.released_at, row.released_by, row.release_reason) = end;
            }
            None => rows.push(past.clone()),
        }
    }
    rows.sort_by(|a, b| (b.engaged_at, &b.decision_id).cmp(&(a.engaged_at, &a.decision_id)));
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(rows)
}

/// A kill drill: stops the canary's own client, proves it at every listener, and ends. No real client notices.
///
/// # Errors
/// `Denied` without role operator; `Conflict` while another drill runs.
pub async fn prove(admin: &Admin, actor: &Actor) -> Verb<Proof> {
    let started = Instant::now();
    actor.need(Right::Operate, "kill.prove")?;
    let _alone = admin.kill.drill.try_lock().map_err(|_| Fault::conflict("a kill drill is running"))?;
    let scope = Scope::Client { client: CANARY.to_owned() };
    let order = Order { scope: scope.clone(), mode: Mode::Full, reason: "kill drill".into() };
    let (entry, mut past) = stop(admin, actor, &order, Kind::Drill);
    let proofs = proof::prove(admin, &entry, started).await;
    {
        let _change = admin.kill.changing();
        admin.feed.set_kill(admin.feed.kill().release(&scope, None));
    }
    past.released_at = Some(admin.clock.now());
    past.released_by = Some(actor.name.clone());
    past.release_reason = Some("the drill is over".into());
    record(admin, Event::action(&actor.name, "kill.prove", past.decision_id.clone())).await;
    settle(admin, &mut past, proofs, true).await;
    past.proof().ok_or_else(|| Fault::bug("a drill ended without a proof"))
}

/// Changes memory: from here on no call of the scope begins.
fn stop(admin: &Admin, actor: &Actor, order: &Order, kind: Kind) -> (KillEntry, Past) {
    let now = admin.clock.now();
    let reason = match trimmed(&order.reason) {
        empty if empty.is_empty() => "Not known yet".to_owned(),
        reason => reason,
    };
    let entry = KillEntry {
        decision_id: ids::mint("kd", now, admin.entropy.as_ref()),
        scope: order.scope.clone(),
        mode: order.mode,
        since: now,
        by: actor.name.clone(),
        reason,
    };
    let mut orders = admin.kill.changing();
    let cut_in_flight = admin.feed.in_flight(Some(&entry));
    let overlay = admin.feed.kill().engage(entry.clone());
    // An order that is milder than what is engaged changes nothing; its answer names what holds.
    let mode = overlay.entries.iter().find(|e| e.scope == entry.scope).map_or(entry.mode, |e| e.mode);
    admin.feed.set_kill(overlay);
    if kind == Kind::Order {
        *orders += 1;
    }
    let past = Past { mode, cut_in_flight, ..Past::of(&entry, kind) };
    (KillEntry { mode, ..entry }, past)
}

/// Keeps the outcome of a proof: history, ledger, last proof.
async fn settle(admin: &Admin, past: &mut Past, proofs: Vec<ProofAt>, wait: bool) {
    let effective = !proofs.is_empty() && proofs.iter().all(|proof| proof.refused);
    past.effective = Some(effective);
    past.effective_ms = effective.then(|| proofs.iter().map(|proof| proof.ms).max().unwrap_or(0));
    past.proofs = proofs;
    let sequence = admin.kill.owe(past.clone());
    let mut event = Event::system("kill.proof", past.decision_id.clone());
    event.params = past.proof().and_then(|proof| serde_json::to_value(proof).ok());
    record(admin, event).await;
    if wait {
        admin.kill.kept_within(sequence, DATABASE_WAIT).await;
    }
}

/// After the database: ledger, file, memory. The file's lock is held to the end, so that the watcher sees no half-way state.
async fn finish_release(admin: &Admin, actor: &Actor, order: &Release, reason: &str, seen: u64) -> Verb<()> {
    let mut event = Event::action(&actor.name, "kill.release", order.scope.text());
    event.params = Some(serde_json::json!({ "reason": reason, "to": order.to.map(Mode::word) }));
    let recorded = tokio::time::timeout(RELEASE_WAIT, admin.recorder.record(event, Durability::Synced)).await;
    if !matches!(recorded, Ok(Ok(_))) {
        return Err(Fault::unavailable("Not released: the ledger cannot be written. Everything stays as it is"));
    }
    let mut mark = admin.kill.file.lock().await;
    let after = meant(&admin.feed.kill()).release(&order.scope, order.to);
    let root = admin.data.root();
    let written = if after.engaged() { file::write(root, &after).map(Some) } else { file::remove(root).map(|()| None) };
    *mark = written
        .map_err(|e| Fault::unavailable("Not released: the file KILL cannot be changed. Everything stays as it is").because(e))?;
    let orders = admin.kill.changing();
    let again = *orders != seen;
    if !again {
        admin.feed.set_kill(admin.feed.kill().release(&order.scope, order.to));
    }
    drop(orders);
    if again {
        let written = file::write(root, &meant(&admin.feed.kill()));
        *mark = Some(written.map_err(|e| Fault::unavailable("the file KILL cannot be written").because(e))?);
    }
    match again {
        true => Err(Fault::conflict("Not released: somebody stopped something in this moment. Look again")),
        false => Ok(()),
    }
}

/// Writes the file from memory. `true` when it is on the disk in time.
async fn keep_file(admin: &Admin) -> bool {
    let (lock, feed, root) = (admin.kill.file.clone(), admin.feed.clone(), admin.data.root().to_owned());
    let work = async {
        let mut mark = lock.lock_owned().await;
        // The lock goes with the work: a disk that answers late must not look like somebody else's touch.
        let write = move || {
            let written = file::write(&root, &meant(&feed.kill()))?;
            *mark = Some(written);
            std::io::Result::Ok(())
        };
        matches!(tokio::task::spawn_blocking(write).await, Ok(Ok(())))
    };
    tokio::time::timeout(FILE_WAIT, work).await.unwrap_or(false)
}

/// Records, or leaves it to the keeper. The kill never fails for the ledger.
async fn record(admin: &Admin, event: Event) {
    let recorded = tokio::time::timeout(LEDGER_WAIT, admin.recorder.record(event.clone(), Durability::Synced)).await;
    if let Ok(Err(_)) = recorded {
        admin.kill.owe_event(event);
    }
}

fn engage_event(actor: &Actor, entry: &KillEntry, past: &Past) -> Event {
    let mut event = Event::action(&actor.name, "kill.engage", entry.scope.text());
    event.params = Some(serde_json::json!({
        "decision_id": past.decision_id, "mode": past.mode.word(), "reason": past.reason, "cut_in_flight": past.cut_in_flight,
    }));
    event
}

fn trimmed(reason: &str) -> String {
    reason.trim().chars().filter(|c| !c.is_control()).take(REASON_LENGTH).collect()
}

/// A name nobody has would stop nothing and read as if it had.
fn check_scope(admin: &Admin, scope: &Scope) -> Verb<()> {
    let snapshot = admin.feed.snapshot();
    let known = match scope {
        Scope::Everything => true,
        Scope::Server { server } => snapshot.servers.contains_key(server),
        Scope::Tool { server, tool } => snapshot.servers.get(server).is_some_and(|entry| entry.config.tools.contains_key(tool)),
        Scope::Client { client } => snapshot.clients.contains_key(client.as_str()) && !practised(scope),
    };
    if known { Ok(()) } else { Err(Fault::not_found(format!("Nothing stopped: there is no {}", scope.text()))) }
}

fn check_release(entries: &[KillEntry], order: &Release, decision_id: Option<&str>) -> Verb<()> {
    let text = order.scope.text();
    let Some(entry) = entries.iter().find(|entry| entry.scope == order.scope) else {
        let engaged: Vec<String> = entries.iter().map(|entry| entry.scope.text()).collect();
        if engaged.is_empty() {
            return Err(Fault::not_found("there is nothing to release: nothing is stopped"));
        }
        return Err(Fault::not_found(format!("{text} is not stopped; what is: {}", engaged.join(", "))));
    };
    if decision_id.is_some_and(|id| id != entry.decision_id) {
        return Err(Fault::conflict(format!("{text} was stopped again by {}: {}", entry.by, entry.reason)));
    }
    if order.to == Some(Mode::ReadOnly) && entry.mode == Mode::ReadOnly {
        return Err(Fault::conflict(format!("{text} is read-only already")));
    }
    Ok(())
}

/// The last proof the database has, for the start of a process.
pub(super) async fn last_proof(db: &crate::db::Db) -> Option<Proof> {
    match store::last_proved(db).await {
        Ok(past) => past.and_then(|past| past.proof()),
        Err(fault) => {
            tracing::warn!(%fault, "the last kill proof is not known");
            None
        }
    }
}
