//! Rebuilding a deployment from its archives, and the drills that rehearse it: in a process of its own, in an empty directory, timed, and with a
//! signed report. Production is looked at before and after, and never touched.

pub mod adapt;
mod child;
pub mod chosen;
mod fit;
mod judge;
mod model;
pub mod order;
pub mod pages;
pub mod rebuild;
mod report;
pub mod report_page;
pub mod routes;
mod stage;
pub mod steps;
mod store;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use model::{Drill, DrillLine, DrillList, DrillOrder, Signed, Targets};
pub use report::{check as check_report, show};
pub use store::STATEMENTS;

use super::actor::Right;
use super::{Actor, Admin, vaults};
use crate::audit::{Event, Filter};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids;
use crate::base::secret::Secret;
use crate::crypto::archive::Ephemeral;
use child::Heard;
use judge::{Case, TEARDOWN, UNTOUCHED};
use order::{Instructions, Scenario};
use stage::Sandbox;
use steps::Step;

/// What the verbs of drills remember.
#[derive(Default)]
pub struct Drills {
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
    live: Mutex<Option<Live>>,
}

/// A drill that is under way.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its id.
    pub id: String,
    /// What is lost.
    pub scenario: Scenario,
    /// When it began.
    pub since: Instant,
    /// Steps that have ended.
    pub steps: Vec<Step>,
}

impl Drills {
    fn state(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The drill that is under way.
    pub fn live(&self) -> Option<Live> {
        self.state().clone()
    }
}

/// Beyond the promised time a drill is not waited for.
const GRACE: Duration = Duration::from_secs(60);
/// How much older than promised the backup of a stale one is.
const STALE_SECONDS: u64 = 3_600;

/// Rebuilds the deployment from its archives in a place of its own, and times it.
///
/// # Errors
/// `Conflict` while another drill is not over; `NotFound` without archives; `Invalid` for an unknown scenario. A drill that fails is an answer.
pub async fn run(admin: &Admin, actor: &Actor, order: DrillOrder) -> Verb<Drill> {
    actor.need(Right::Operate, "drill.run")?;
    admin.need_ledger("drill.run")?;
    let scenario: Scenario = order.scenario.as_deref().unwrap_or(Scenario::HostLost.word()).parse()?;
    let Ok(_turn) = admin.drills.turn.try_lock() else {
        return Err(Fault::conflict("another drill is not over yet"));
    };
    let started_at = admin.clock.now();
    let id = ids::mint("dr", started_at, admin.entropy.as_ref());
    store::begin(&admin.db, &id, scenario.word(), started_at, &actor.name).await?;
    *admin.drills.state() = Some(Live { id: id.clone(), scenario, since: Instant::now(), steps: Vec::new() });
    let done = perform(admin, actor, (&id, scenario, started_at), order.identity).await;
    *admin.drills.state() = None;
    if done.is_err() {
        store::give_up(&admin.db, &id, admin.clock.now()).await?;
    }
    done
}

async fn perform(
    admin: &Admin,
    actor: &Actor,
    (id, scenario, started_at): (&str, Scenario, Timestamp),
    identity: Option<Secret<String>>,
) -> Verb<Drill> {
    let targets = targets(admin);
    let sandbox = Sandbox::new(admin.data.root(), id)?;
    let recovery = identity.is_some();
    let told = instructions(admin, &sandbox, scenario, identity).await?;
    let before = tripwire(admin).await?;
    let budget = Duration::from_secs(targets.rto_seconds) + GRACE;
    let hear = |step: &Step| {
        if let Some(live) = admin.drills.state().as_mut() {
            live.steps.push(step.clone());
        }
    };
    let mut heard = child::perform(&told, budget, hear).await?;
    drop(told);
    log_of(&sandbox, &heard);
    let begun = Instant::now();
    let removed = sandbox.remove();
    let detail = removed.as_ref().map_or_else(ToString::to_string, |()| "nothing of it is left".to_owned());
    heard.steps.push(around(TEARDOWN, begun, removed.is_ok(), detail));
    let (begun, after) = (Instant::now(), tripwire(admin).await?);
    let others = others(admin, started_at).await?;
    let (same, detail) = compare(&before, &after, &others);
    heard.steps.push(around(UNTOUCHED, begun, same, detail));
    let drill = drill_of(admin, (id, scenario, started_at), heard, (&actor.name, recovery, targets));
    report::keep(admin, &drill).await?;
    let mut event = Event::action(&actor.name, "drill.run", id);
    event.params = Some(serde_json::json!({
        "scenario": drill.scenario, "passed": drill.passed, "verdict": drill.verdict, "rto_seconds": drill.rto_seconds,
        "rpo_seconds": drill.rpo_seconds, "sha256": report::digest(&drill)?,
    }));
    admin.record(event).await?;
    admin.checkpoint("drill").await?;
    Ok(drill)
}

/// What was promised.
pub fn targets(admin: &Admin) -> Targets {
    let settings = &admin.feed.snapshot().settings.recovery;
    Targets { rto_seconds: settings.rto_seconds, rpo_seconds: settings.rpo_seconds }
}

async fn instructions(
    admin: &Admin,
    sandbox: &Sandbox,
    scenario: Scenario,
    identity: Option<Secret<String>>,
) -> Verb<Instructions> {
    let (folder, found) = vaults::destination(admin).await?;
    if found.archives.is_empty() {
        return Err(Fault::not_found("there is no archive to rebuild from; make one with lifeboat backup run"));
    }
    let identities = match (scenario, identity) {
        (Scenario::KeyLost, _) => vec![Ephemeral::generate().text().reveal().clone()],
        (_, Some(identity)) => vec![identity.reveal().clone()],
        (_, None) => vaults::rolling(admin).await?,
    };
    let (mut from, mut bundle, mut state) = (folder.root().to_owned(), None, None);
    match scenario {
        Scenario::ArchiveCorrupt => {
            from = sandbox.path().join("archives");
            stage::corrupted(&folder, &found, &from)?;
        }
        Scenario::StateLost => bundle = Some(running_bundle(admin, sandbox).await?),
        Scenario::ConfigLost => {
            let copy = sandbox.path().join("running-state.db");
            vaults::copy_state(admin, &copy).await?;
            state = Some(copy);
        }
        _ => {}
    }
    let root = std::path::absolute(admin.data.root()).map_err(|e| Fault::bug("a data directory without a path").because(e))?;
    let (trust, sandbox) = (vaults::trust(admin), sandbox.path().to_owned());
    Ok(Instructions { from, identities, trust, sandbox, root, scenario, bundle, state })
}

async fn running_bundle(admin: &Admin, sandbox: &Sandbox) -> Verb<PathBuf> {
    let path = sandbox.path().join("running.bundle");
    let bytes = super::tree::blocking(&admin.repository, crate::config::repo::Repository::bundle).await?;
    std::fs::write(&path, bytes).map_err(|e| Fault::unavailable("the configuration cannot be copied").because(e))?;
    Ok(path)
}

fn around(name: &str, begun: Instant, passed: bool, detail: String) -> Step {
    Step { name: name.to_owned(), seconds: begun.elapsed().as_secs_f64(), passed, detail }
}

/// What the process wrote besides its steps, when it did not end well.
fn log_of(sandbox: &Sandbox, heard: &Heard) {
    if heard.outcome.as_ref().is_some_and(|outcome| outcome.recovered) {
        return;
    }
    let text = std::fs::read_to_string(sandbox.path().join(child::LOG)).unwrap_or_default();
    let tail = text.get(text.floor_char_boundary(text.len().saturating_sub(2_000))..).unwrap_or_default();
    tracing::warn!(drill.log = tail, "a drill did not recover");
}

/// What a drill must not change.
#[derive(Debug, PartialEq, Eq)]
struct Tripwire {
    head: String,
    kill_epoch: u64,
    keys: usize,
    servers: usize,
    archives: Vec<(String, u64)>,
}

async fn tripwire(admin: &Admin) -> Verb<Tripwire> {
    let (snapshot, (_, found)) = (admin.feed.snapshot(), vaults::destination(admin).await?);
    Ok(Tripwire {
        head: super::tree::head(&admin.repository).await?.commit,
        kill_epoch: admin.feed.kill().epoch,
        keys: snapshot.keys.len(),
        servers: snapshot.servers.len(),
        archives: found.archives.into_iter().map(|note| (note.sha256, note.bytes)).collect(),
    })
}

/// What others did since, by the ledger: a drill itself does nothing there.
async fn others(admin: &Admin, since: Timestamp) -> Verb<Vec<String>> {
    let filter = Filter { since: Some(since), limit: Some(1_000), ..Filter::default() };
    let events = admin.ledger.query(&filter).await?.events;
    let own = |action: &str| action.starts_with("drill.") || action.starts_with("alert.");
    let said = events.into_iter().filter_map(|event| {
        let action = event.action.filter(|action| !own(action))?;
        Some(format!("{action} by {}", event.operator.as_deref().unwrap_or("Lifeboat")))
    });
    let mut said: Vec<String> = said.collect();
    said.sort_unstable();
    said.dedup();
    Ok(said)
}

fn compare(before: &Tripwire, after: &Tripwire, others: &[String]) -> (bool, String) {
    if before == after {
        let said = "configuration, kill state, keys, servers and archives are as they were before";
        return (true, format!("{said} ({}, {} archives)", after.head.get(..12).unwrap_or_default(), after.archives.len()));
    }
    let parts = [
        ("configuration", before.head == after.head),
        ("kill state", before.kill_epoch == after.kill_epoch),
        ("keys", before.keys == after.keys),
        ("servers", before.servers == after.servers),
        ("archives", before.archives == after.archives),
    ];
    let changed: Vec<&str> = parts.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
    let changed = changed.join(", ");
    if others.is_empty() {
        return (false, format!("changed while the drill ran, and nobody else did anything: {changed}"));
    }
    (true, format!("changed while the drill ran: {changed}. The ledger says by whom: {}", others.join(", ")))
}

fn drill_of(
    admin: &Admin,
    (id, scenario, started_at): (&str, Scenario, Timestamp),
    heard: Heard,
    (by, recovery, targets): (&str, bool, Targets),
) -> Drill {
    let outcome = heard.outcome.as_ref();
    let known: f64 = heard.steps.iter().map(|step| step.seconds).sum();
    let rto = outcome.map_or(known, |outcome| outcome.seconds);
    let mut declared = started_at;
    if scenario == Scenario::StaleBackup {
        // The disaster comes so much later than the backup that the promise cannot be kept.
        declared = declared.plus_ms(i64::try_from((targets.rpo_seconds + STALE_SECONDS) * 1_000).unwrap_or(i64::MAX));
    }
    let lost_ms = outcome.and_then(|outcome| outcome.oldest).map_or(0, |oldest| declared.since_ms(oldest).max(0));
    let rpo = Duration::from_millis(u64::try_from(lost_ms).unwrap_or(0)).as_secs_f64();
    let case = Case { scenario, outcome, timed_out: heard.timed_out, steps: &heard.steps, rto, rpo, targets };
    let judged = judge::judge(&case);
    let outcome = heard.outcome.unwrap_or_default();
    Drill {
        id: id.to_owned(),
        scenario: scenario.word().to_owned(),
        expected: scenario.expected().to_owned(),
        passed: judged.passed,
        verdict: judged.verdict.to_owned(),
        summary: judged.summary,
        rto_seconds: (rto * 1e3).round() / 1e3,
        rpo_seconds: rpo,
        targets,
        key: if recovery { "recovery" } else { "rolling" }.to_owned(),
        steps: heard.steps,
        servers: outcome.servers,
        warnings: outcome.warnings,
        head: outcome.head,
        started_at,
        ended_at: admin.clock.now(),
        by: by.to_owned(),
        program: format!("lifeboat {}", env!("CARGO_PKG_VERSION")),
    }
}

/// The newest drills.
///
/// # Errors
/// When the database does not answer.
pub async fn list(admin: &Admin, actor: &Actor, limit: u32) -> Verb<DrillList> {
    actor.need(Right::Read, "drill.list")?;
    Ok(DrillList { drills: store::list(&admin.db, limit).await? })
}

/// At the start: what a process that died has left of drills is removed, and said to be interrupted.
///
/// # Errors
/// When the database does not answer.
pub async fn sweep(admin: &Admin) -> Verb<()> {
    stage::sweep(admin.data.root());
    let interrupted = store::interrupt(&admin.db, admin.clock.now()).await?;
    if interrupted > 0 {
        admin.record(Event::system("drill.interrupted", interrupted.to_string())).await?;
    }
    Ok(())
}
