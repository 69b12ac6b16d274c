//! The outbox: what is to be told to receivers, from the transaction in which it came about until it is delivered or given up. Never holds up
//! whoever put something into it, and never sends without a signature.

mod plan;
pub(super) mod store;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use plan::retry_after;
pub use store::STATEMENTS;

use super::memory::{locked, running};
use super::notice::{Kind, body};
use super::post::{self, Answered, Letter};
use super::{Alert, receivers, tell};
use crate::admin::Admin;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::base::ids;
use crate::config::alerts::{Alerting, ReceiverConfig};

/// What may wait at once.
pub(super) const MOST: u32 = 10_000;
/// What is kept of each receiver when it has ended.
pub(super) const KEPT: u32 = 20;
/// Taken in one turn of a receiver.
const TURN: u32 = 20;
/// Receivers that are told at the same time.
const AT_ONCE: usize = 8;
const IDLE: Duration = Duration::from_secs(30);
const SOONEST: Duration = Duration::from_millis(200);
const AFTER_FAULT: Duration = Duration::from_secs(5);
const DAY_MS: i64 = 86_400_000;
const GONE: u16 = 410;

/// A notice for one receiver.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    /// `msg_…`.
    pub id: String,
    /// Who is told.
    pub receiver: String,
    /// `alert.open` and so on.
    pub kind: &'static str,
    /// Of which alert.
    pub alert: String,
    /// JSON.
    pub body: String,
}

/// A notice that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub id: String,
    pub receiver: String,
    pub kind: String,
    pub alert: String,
    pub body: String,
    pub attempts: u32,
}

/// What did not fit any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drops {
    /// How many were dropped.
    pub count: u64,
    /// Whether others were dropped not long before, so that the ledger knows.
    pub told: bool,
}

/// How a notice that was sent at once has ended.
pub(super) struct Ended<'a> {
    pub notice: &'a Notice,
    pub delivered: bool,
    pub status: Option<u16>,
    pub why: Option<&'a str>,
    pub ms: i64,
    pub at: Timestamp,
}

/// What comes after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Delivered,
    Again(Timestamp),
    GivenUp,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub waiting: Waiting,
    pub url: String,
    pub attempts: u32,
    pub step: Step,
    pub status: Option<u16>,
    pub why: Option<String>,
    pub ms: i64,
    pub at: Timestamp,
}

/// A receiver that failed a moment ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// How often in a row.
    pub failures: u32,
    /// Until when it is left alone.
    pub until: Timestamp,
}

/// The notices of an alert: one for each receiver that takes its rule.
pub(super) fn notices(admin: &Admin, config: &Alerting, kind: Kind, alert: &Alert, now: Timestamp) -> Vec<Notice> {
    let told = config.receivers.iter().filter(|receiver| receiver.takes(&alert.rule));
    told.map(|receiver| notice(admin, &receiver.name, kind, alert, now)).collect()
}

/// A notice for one receiver.
pub(super) fn notice(admin: &Admin, receiver: &str, kind: Kind, alert: &Alert, now: Timestamp) -> Notice {
    Notice {
        id: ids::mint("msg", now, admin.entropy.as_ref()),
        receiver: receiver.to_owned(),
        kind: kind.word(),
        alert: alert.id.clone(),
        body: body(kind, alert, now),
    }
}

/// Since when a drop counts as told.
pub(super) fn told_since(now: Timestamp) -> Timestamp {
    now.plus_ms(-DAY_MS)
}

/// After something was put: wakes the task, and says once what did not fit.
pub(super) async fn was_put(admin: &Admin, drops: Drops) {
    admin.alerts.wake.notify_one();
    if drops.count > 0 && !drops.told {
        tracing::error!("the outbox of alerts is full; the oldest notices are dropped");
        tell(admin, "alert.drop", "outbox", json!({ "dropped": drops.count, "most": MOST })).await;
    }
}

/// The task that delivers. Runs until `stop`.
pub async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    loop {
        let Some(done) = stop.run_until_cancelled(round(&admin)).await else { return };
        let pause = match done {
            Ok(next) => next.map_or(IDLE, |at| {
                let ms = at.since_ms(admin.clock.now()).max(0);
                Duration::from_millis(u64::try_from(ms).unwrap_or(0)).clamp(SOONEST, IDLE)
            }),
            Err(fault) => {
                tracing::warn!(%fault, "alerts cannot be delivered");
                AFTER_FAULT
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = admin.alerts.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Delivers what is due now; when something is due next.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn round(admin: &Admin) -> Verb<Option<Timestamp>> {
    save(admin).await?;
    let now = admin.clock.now();
    let config = running(admin).await;
    let due = due(admin, now).await?;
    let rests = locked(&admin.alerts.rests).clone();
    let resting = |name: &String| rests.get(name).map(|rest| rest.until).filter(|until| *until > now);
    let mut next = due.iter().filter_map(resting).min();
    let ready: Vec<String> = due.into_iter().filter(|name| resting(name).is_none()).collect();
    let any = !ready.is_empty();
    let turns = stream::iter(ready).map(|name| turn(admin, &config, name)).buffer_unordered(AT_ONCE);
    // One that the database did not answer must not end the turns of the others.
    let ended: Vec<Verb<()>> = turns.collect().await;
    ended.into_iter().collect::<Verb<Vec<()>>>()?;
    if any {
        store::prune(&admin.db, KEPT).await?;
        next = Some(now);
    }
    let later = store::next(&admin.db, now).await?;
    Ok([next, later].into_iter().flatten().min())
}

/// Receivers for which something is due. What is too old is told to nobody: a deployment that was brought back would tell of another time.
async fn due(admin: &Admin, now: Timestamp) -> Verb<Vec<String>> {
    let oldest = now.plus_ms(-plan::OLDEST_MS);
    if store::is_old(&admin.db, oldest).await? {
        let expired = store::expire(&admin.db, oldest, now).await?;
        tell(admin, "alert.give_up", "outbox", json!({ "notices": expired, "why": "older than a week" })).await;
    }
    store::due(&admin.db, now).await
}

/// One turn of one receiver: oldest first, up to the first that fails.
async fn turn(admin: &Admin, config: &Alerting, name: String) -> Verb<()> {
    let now = admin.clock.now();
    let Some(receiver) = config.receivers.iter().find(|receiver| receiver.name == name) else {
        return store::give_up(&admin.db, &name, "the receiver is no longer there", now).await.map(|_| ());
    };
    let keys = receivers::keys(admin, &name).await?;
    if keys.as_ref().is_some_and(|keys| keys.is_paused(&receiver.url)) {
        return store::give_up(&admin.db, &name, "the receiver is paused", now).await.map(|_| ());
    }
    for waiting in store::due_of(&admin.db, &name, now, TURN).await? {
        let unsaved = locked(&admin.alerts.unsaved).iter().any(|settled| settled.waiting.id == waiting.id);
        if unsaved {
            continue;
        }
        let answered = match &keys {
            Some(keys) => attempt(admin, receiver, keys, &Letter { id: &waiting.id, body: &waiting.body }).await,
            None => Answered::failed(format!("it has no secret yet: lifeboat alert receiver secret {name}")),
        };
        if !settle(admin, receiver, &waiting, answered).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends a letter with the signatures that count now.
pub(super) async fn attempt(admin: &Admin, receiver: &ReceiverConfig, keys: &receivers::Keys, letter: &Letter<'_>) -> Answered {
    let target = match receiver.target() {
        Ok(target) => target,
        Err(wrong) => return Answered::failed(format!("{}: {}", wrong.key, wrong.message)),
    };
    let now = admin.clock.now();
    match keys.sign(letter, now) {
        Some(signed) => post::send(&target, &admin.alerts.lookup, letter, &signed).await,
        None => {
            let mend = format!("its secret does not open here; mint another: lifeboat alert receiver secret {}", receiver.name);
            Answered::failed(mend)
        }
    }
}

/// Writes down how an attempt ended; whether it was delivered.
async fn settle(admin: &Admin, receiver: &ReceiverConfig, waiting: &Waiting, answered: Answered) -> Verb<bool> {
    let (now, attempts) = (admin.clock.now(), waiting.attempts + 1);
    let delivered = answered.is_ok();
    let gone = answered.status == Some(GONE);
    let asked = answered.retry_after.as_deref().and_then(|text| retry_after(text, now));
    let mut chance = [0u8; 1];
    admin.entropy.fill(&mut chance);
    let step = match plan::next(attempts, asked, now, chance[0]).filter(|_| !gone) {
        _ if delivered => Step::Delivered,
        Some(at) => Step::Again(at),
        None => Step::GivenUp,
    };
    rest(admin, &receiver.name, delivered, now);
    let why = (!delivered).then_some(answered.why);
    let (waiting, url) = (waiting.clone(), receiver.url.clone());
    let settled = Settled { waiting, url, attempts, step, status: answered.status, why, ms: answered.ms, at: now };
    if let Err(fault) = write_down(admin, &settled).await {
        // Kept until the database takes it: what was delivered must not be sent again for this.
        locked(&admin.alerts.unsaved).push(settled);
        return Err(fault);
    }
    Ok(delivered)
}

async fn write_down(admin: &Admin, settled: &Settled) -> Verb<()> {
    store::settle(&admin.db, settled).await?;
    let Waiting { id, receiver, kind, alert, .. } = &settled.waiting;
    if settled.status == Some(GONE) {
        pause(admin, receiver, &settled.url, settled.at).await?;
    }
    if settled.step == Step::GivenUp {
        tracing::error!(alert.receiver = receiver, alert.why = settled.why, "a notice is given up");
        let told = json!({ "receiver": receiver, "alert": alert, "type": kind, "attempts": settled.attempts, "why": settled.why });
        tell(admin, "alert.give_up", id, told).await;
    }
    Ok(())
}

fn rest(admin: &Admin, receiver: &str, delivered: bool, now: Timestamp) {
    let mut rests = locked(&admin.alerts.rests);
    if delivered {
        rests.remove(receiver);
        return;
    }
    let failures = rests.get(receiver).map_or(0, |rest| rest.failures).saturating_add(1);
    rests.insert(receiver.to_owned(), Rest { failures, until: plan::rest(failures, now) });
}

/// It said that it is gone: nothing more is sent to this URL until a test arrives there.
async fn pause(admin: &Admin, receiver: &str, url: &str, now: Timestamp) -> Verb<()> {
    receivers::set_paused(admin, receiver, Some((now, url))).await?;
    let given_up = store::give_up(&admin.db, receiver, "the receiver said 410 Gone", now).await?;
    tracing::error!(alert.receiver = receiver, "a receiver of alerts said 410 Gone and is paused");
    tell(admin, "alert.pause", receiver, json!({ "status": GONE, "given_up": given_up })).await;
    Ok(())
}

/// Writes what the database did not take before.
async fn save(admin: &Admin) -> Verb<()> {
    loop {
        let Some(settled) = locked(&admin.alerts.unsaved).first().cloned() else { return Ok(()) };
        write_down(admin, &settled).await?;
        locked(&admin.alerts.unsaved).retain(|one| one.waiting.id != settled.waiting.id);
    }
}

/// How many were dropped lately.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn dropped(admin: &Admin) -> Verb<u64> {
    store::dropped(&admin.db, told_since(admin.clock.now())).await
}
