//! The task that brings database and ledger in line with what was stopped while they did not answer, or while Lifeboat was not running. Never
//! changes what is stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::Admin;
use super::control::meant;
use super::model::{Kind, Past};
use super::{file, store};
use crate::audit::{Durability, Event};
use crate::policy::KillEntry;

const RETRY: Duration = Duration::from_millis(500);
const ATTEMPT: Duration = Duration::from_secs(3);

/// Runs until `stop`; then once more, for what the last moment left.
pub async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    if let Err(fault) = file::set_aside(admin.data.root()) {
        tracing::warn!(%fault, "no blocks could be set aside for the file KILL");
    }
    let mut is_told = false;
    loop {
        let behind = !round(&admin, &mut is_told).await;
        tokio::select! {
            () = stop.cancelled() => break,
            () = admin.kill.woken() => {}
            () = tokio::time::sleep(RETRY), if behind => {}
        }
    }
    round(&admin, &mut is_told).await;
}

/// What was stopped while Lifeboat was not running: the file says it, the database has never heard of it. Gives whether that is known.
async fn tell_found(admin: &Admin) -> bool {
    let Ok(Ok(known)) = tokio::time::timeout(ATTEMPT, store::read(&admin.db)).await else { return false };
    let found = meant(&admin.feed.kill()).entries;
    let is_known = |entry: &KillEntry| known.entries.iter().any(|old| old.decision_id == entry.decision_id);
    for entry in found.iter().filter(|entry| entry.since <= admin.started_at && !is_known(entry)) {
        let past = Past::of(entry, Kind::Order);
        let mut event = Event::action(&entry.by, "kill.engage", entry.scope.text());
        event.params = Some(serde_json::json!({
            "decision_id": entry.decision_id, "mode": entry.mode.word(), "reason": entry.reason, "cut_in_flight": 0,
            "engaged_at": entry.since, "found": "at start",
        }));
        admin.kill.owe_event(event);
        admin.kill.owe(past);
    }
    true
}

/// One attempt at everything that is owed; `true` when nothing is left.
async fn round(admin: &Admin, is_told: &mut bool) -> bool {
    // Before the database is brought in line: it is what tells a new stop from an old one. The ledger does not wait for that.
    *is_told = *is_told || tell_found(admin).await;
    let stored = *is_told && store_state(admin).await;
    let recorded = record_events(admin).await;
    stored && recorded
}

async fn store_state(admin: &Admin) -> bool {
    let _database = admin.kill.database.lock().await;
    let (sequence, missed) = {
        let owed = admin.kill.owed();
        (owed.sequence, owed.past.values().cloned().collect::<Vec<_>>())
    };
    if sequence == admin.kill.kept() {
        return true;
    }
    let overlay = meant(&admin.feed.kill());
    match tokio::time::timeout(ATTEMPT, store::keep(&admin.db, &overlay, &missed)).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => {
            tracing::warn!(fault = %fault, "the database does not know yet what is stopped");
            return false;
        }
        Err(_) => return false,
    }
    let mut owed = admin.kill.owed();
    for past in &missed {
        if owed.past.get(&past.decision_id) == Some(past) {
            owed.past.remove(&past.decision_id);
        }
    }
    let all = owed.sequence == sequence;
    drop(owed);
    admin.kill.keep(sequence);
    all
}

async fn record_events(admin: &Admin) -> bool {
    let (events, checkpoint) = {
        let mut owed = admin.kill.owed();
        (std::mem::take(&mut owed.events), owed.checkpoint.take())
    };
    let mut events = events.into_iter();
    while let Some(event) = events.next() {
        if admin.recorder.record(event.clone(), Durability::Synced).await.is_err() {
            let mut owed = admin.kill.owed();
            let later = std::mem::take(&mut owed.events);
            owed.events = std::iter::once(event).chain(events).chain(later).collect();
            owed.checkpoint = owed.checkpoint.or(checkpoint);
            return false;
        }
    }
    if let Some(why) = checkpoint
        && let Err(fault) = admin.checkpoint(why).await
    {
        // The next one of the minute covers the same events; it is not worth trying again before.
        tracing::warn!(fault = %fault, "no checkpoint after the kill");
    }
    true
}
