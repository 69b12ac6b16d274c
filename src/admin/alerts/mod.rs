//! Alerts: what should have happened and did not, from the moment it is found until it is no longer so. Looks once a minute; tells the ledger and
//! the receivers of each change. Never stops anything by itself.

mod memory;
mod notice;
pub mod outbox;
pub mod pages;
pub(in crate::admin) mod post;
pub mod receivers;
pub mod routes;
pub mod rules;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_delivery;
#[cfg(test)]
pub(super) mod tests_receiver;
#[cfg(test)]
mod tests_secrets;
mod trial;
pub mod watchdog;

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use memory::Alerts;
pub use store::STATEMENTS;
pub use trial::test;
pub(in crate::admin) use trial::{Signing, trial};

use super::actor::Right;
use super::{Actor, Admin, credentials, drills, health, schedule, vaults};
use crate::audit::{Durability, Event};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids;
use crate::jobs;
use memory::{locked, running};
use notice::Kind;
use rules::{Facts, Finding};

const LOOK: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(30);

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Its id.
    pub id: String,
    /// `backup.late`, `drill.late`, `drill.failed`, `proof.late`, `archives.strange`, `copy.late`, `restore.open`, `config.refused`, `certificate.ends`, `ledger.silent`,
    /// `watchdog.silent`, `receiver.paused`, `outbox.full`, `credential.due`, `credential.fetch`, `credential.stuck` or
    /// `credential.retire_failed`.
    pub rule: String,
    /// What it is about.
    pub object: String,
    /// `open`, `acknowledged` or `resolved`.
    pub state: String,
    /// In one sentence.
    pub text: String,
    /// What to do.
    pub mend: String,
    /// Since when.
    pub opened_at: Timestamp,
    /// When somebody said that they have seen it.
    pub acked_at: Option<Timestamp>,
    /// Who.
    pub acked_by: Option<String>,
    /// When it was no longer so.
    pub resolved_at: Option<Timestamp>,
}

/// Alerts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AlertList {
    /// Open ones first, then newest first.
    pub alerts: Vec<Alert>,
}

/// Open alerts and the newest resolved ones.
///
/// # Errors
/// When the database does not answer.
pub async fn list(admin: &Admin, actor: &Actor, limit: u32) -> Verb<AlertList> {
    actor.need(Right::Read, "alert.list")?;
    Ok(AlertList { alerts: store::list(&admin.db, false, limit).await? })
}

/// What is open now, a sentence each; nothing while the database does not answer, which is an alert of its own.
pub async fn sentences(admin: &Admin) -> Vec<String> {
    let open = store::list(&admin.db, true, 100).await.unwrap_or_default();
    open.into_iter().map(|alert| format!("{}: {}", alert.rule, alert.text)).collect()
}

/// How many are open and not seen yet; from the last look, so that every page may ask.
pub fn unseen(admin: &Admin) -> usize {
    admin.alerts.unseen.load(std::sync::atomic::Ordering::Relaxed)
}

/// Somebody has seen an alert. It stays until what it says is no longer so.
///
/// # Errors
/// `NotFound` when there is none of this id that nobody has seen.
pub async fn ack(admin: &Admin, actor: &Actor, id: &str) -> Verb<AlertList> {
    actor.need(Right::Operate, "alert.ack")?;
    let (config, now) = (running(admin).await, admin.clock.now());
    let told = |alert: &Alert| outbox::notices(admin, &config, Kind::Ack, alert, now);
    let Some(drops) = store::ack(&admin.db, id, (now, &actor.name), told).await? else {
        return Err(Fault::not_found(format!("there is no alert {id} that nobody has seen")));
    };
    outbox::was_put(admin, drops).await;
    admin.record(Event::action(&actor.name, "alert.ack", id)).await?;
    count(admin).await?;
    list(admin, actor, 50).await
}

async fn count(admin: &Admin) -> Verb<()> {
    let open = store::list(&admin.db, true, 1_000).await?;
    let unseen = open.iter().filter(|alert| alert.acked_at.is_none()).count();
    admin.alerts.unseen.store(unseen, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// Looks once: opens what is new, resolves what is over.
///
/// # Errors
/// When the database does not answer.
pub async fn look(admin: &Admin) -> Verb<()> {
    let looked = look_once(admin).await;
    // The watchdog speaks only while this goes well.
    *locked(&admin.alerts.looked) = looked.is_ok().then(|| admin.clock.now());
    looked
}

async fn look_once(admin: &Admin) -> Verb<()> {
    let now = admin.clock.now();
    let found = rules::findings(&facts(admin).await?, now);
    for finding in &found {
        let id = ids::mint("al", now, admin.entropy.as_ref());
        if open(admin, id.clone(), finding, now).await? {
            tracing::warn!(alert.rule = finding.rule, alert.text = finding.text, "an alert is open");
            tell(admin, "alert.open", &id, serde_json::json!({ "rule": finding.rule, "text": finding.text })).await;
        }
    }
    for open in store::list(&admin.db, true, 1_000).await? {
        if !found.iter().any(|finding| finding.rule == open.rule && finding.object == open.object) {
            resolve(admin, &open, now).await?;
            tell(admin, "alert.resolve", &open.id, serde_json::json!({ "rule": open.rule })).await;
        }
    }
    count(admin).await
}

/// Opens an alert, together with the notices of it; whether it is new.
async fn open(admin: &Admin, id: String, finding: &Finding, now: Timestamp) -> Verb<bool> {
    let alert = Alert {
        id,
        rule: finding.rule.to_owned(),
        object: finding.object.clone(),
        state: "open".to_owned(),
        text: finding.text.clone(),
        mend: finding.mend.to_owned(),
        opened_at: now,
        acked_at: None,
        acked_by: None,
        resolved_at: None,
    };
    let config = running(admin).await;
    let drops = store::open(&admin.db, &alert, || outbox::notices(admin, &config, Kind::Open, &alert, now)).await?;
    if let Some(drops) = drops {
        outbox::was_put(admin, drops).await;
    }
    Ok(drops.is_some())
}

async fn resolve(admin: &Admin, alert: &Alert, now: Timestamp) -> Verb<()> {
    let over = Alert { state: "resolved".to_owned(), resolved_at: Some(now), ..alert.clone() };
    let config = running(admin).await;
    let told = || outbox::notices(admin, &config, Kind::Resolve, &over, now);
    let drops = store::resolve(&admin.db, &alert.id, now, told).await?;
    outbox::was_put(admin, drops).await;
    Ok(())
}

async fn tell(admin: &Admin, action: &str, id: &str, params: serde_json::Value) {
    let mut event = Event::system(action, id);
    event.params = Some(params);
    if admin.recorder.record(event, Durability::Synced).await.is_err() {
        tracing::error!(action, "an alert could not be written to the ledger");
    }
}

async fn facts(admin: &Admin) -> Verb<Facts> {
    let actor = Actor::system("alerts");
    let begun = jobs::begun(&admin.db, "backup").await?.unwrap_or_else(|| admin.clock.now());
    let archives = vaults::list(admin, &actor).await;
    let newest = |vault: &str| {
        let found = archives.as_ref().ok()?;
        found.archives.iter().filter(|one| one.vault == vault && one.verified && !one.safety).map(|one| one.started_at).max()
    };
    let all = vaults::vaults(admin, &actor).await.map(|list| list.vaults).unwrap_or_default();
    let drills = drills::list(admin, &actor, 40).await?.drills;
    let whole = |drill: &&drills::DrillLine| drill.scenario == drills::order::Scenario::HostLost.word() && drill.passed.is_some();
    let last = drills.iter().find(whole);
    let paused = schedule::list(admin, &actor).await.map(|list| list.schedules).unwrap_or_default();
    let now = admin.clock.now();
    let mut credentials = credentials::list(admin, &actor).await.map(|list| list.credentials).unwrap_or_default();
    // What the schedule is about to do needs nobody yet.
    credentials.retain(|one| !matches!(one.state.as_str(), "due" | "overdue") || !one.is_left_to_schedule(now));
    let is_paused = |job: &str| paused.iter().any(|view| view.job == job && view.paused);
    Ok(Facts {
        begun,
        rpo_ms: i64::try_from(drills::targets(admin).rpo_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX),
        vaults: all.iter().map(|vault| (vault.name.clone(), newest(&vault.name))).collect(),
        backup_paused: is_paused("backup"),
        drilled: drills.iter().filter(whole).find(|drill| drill.passed == Some(true)).map(|drill| drill.started_at),
        drill_failed: last.filter(|drill| drill.passed == Some(false)).map(|drill| (drill.id.clone(), "see its report".to_owned())),
        drill_paused: is_paused("drill"),
        recipients: recipients(admin, &actor).await,
        destination: match &archives {
            Ok(found) => {
                let faults = found.faults.iter().map(|fault| (fault.clone(), fault.clone()));
                faults.chain(found.archives.iter().filter_map(damage)).collect()
            }
            Err(fault) => vec![("archives".to_owned(), fault.to_string())],
        },
        copies: copies(admin).await,
        restores: vaults::unsettled(admin).into_iter().map(|told| (told.clone(), told)).collect(),
        refused: admin.publisher.refused().map(|refused| refused.commit),
        certificate_ends: health::certificate_ends(admin),
        checkpoint: checkpoint(admin).await,
        silent: silent(admin),
        gone: receivers::paused(admin, &*running(admin).await).await?,
        due: needing(&credentials, &["due", "overdue"]),
        unfetched: credentials.iter().filter(|one| one.to_fetch).map(|one| (one.name.clone(), one.note.clone())).collect(),
        stuck: needing(&credentials, &["stuck"]),
        unretired: needing(&credentials, &["retire_failed"]),
        dropped: outbox::dropped(admin).await?,
    })
}

/// Credentials in one of these states, and why.
fn needing(all: &[credentials::Credential], states: &[&str]) -> Vec<(String, String)> {
    let these = all.iter().filter(|one| states.contains(&one.state.as_str()));
    these.map(|one| (one.name.clone(), one.note.clone())).collect()
}

fn damage(archive: &vaults::Archive) -> Option<(String, String)> {
    archive.fault.as_ref().map(|fault| (archive.id.clone(), format!("{}: {fault}", archive.id)))
}

/// Why nobody answers the watchdog, when nobody does.
fn silent(admin: &Admin) -> Option<String> {
    let watch = locked(&admin.alerts.watch);
    (watch.failures >= watchdog::SILENT).then(|| watch.why.clone().unwrap_or_default())
}

/// A place that answers and never ends holds up nothing else.
async fn copies(admin: &Admin) -> Vec<(String, String)> {
    let late = || vec![("copies".to_owned(), format!("the copies did not answer in {} s", PATIENCE.as_secs()))];
    tokio::time::timeout(PATIENCE, vaults::copies_behind(admin)).await.unwrap_or_else(|_| late())
}

/// When the ledger last signed its head.
async fn checkpoint(admin: &Admin) -> Option<Timestamp> {
    let dir = admin.data.audit();
    let stored = tokio::task::spawn_blocking(move || crate::audit::checkpoint::load(&dir)).await.ok()?.ok()?;
    stored.checkpoints.last().map(|checkpoint| checkpoint.ts)
}

async fn recipients(admin: &Admin, actor: &Actor) -> Vec<(String, Option<Timestamp>)> {
    let found = vaults::list_recipients(admin, actor).await.map(|list| list.recipients).unwrap_or_default();
    found.into_iter().map(|one| (one.name, one.proved_at)).collect()
}

/// The task that looks once a minute. Runs until `stop`.
pub async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    // The schedules begin with the same start; before that there is nothing to be late for.
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        if let Err(fault) = look(&admin).await {
            tracing::warn!(%fault, "the alerts cannot be looked at");
        }
    }
}
