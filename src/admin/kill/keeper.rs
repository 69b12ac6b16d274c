//! The task that brings database and ledger in line with what was stopped while they did not answer. Never changes what is stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::Admin;
use super::control::meant;
use super::{file, store};
use crate::audit::Durability;

const RETRY: Duration = Duration::from_millis(500);
const ATTEMPT: Duration = Duration::from_secs(3);

/// Runs until `stop`; then once more, for what the last moment left.
pub async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    if let Err(fault) = file::set_aside(admin.data.root()) {
        tracing::warn!(%fault, "no blocks could be set aside for the file KILL");
    }
    loop {
        let behind = !round(&admin).await;
        tokio::select! {
            () = stop.cancelled() => break,
            () = admin.kill.woken() => {}
            () = tokio::time::sleep(RETRY), if behind => {}
        }
    }
    round(&admin).await;
}

/// One attempt at everything that is owed; `true` when nothing is left.
async fn round(admin: &Admin) -> bool {
    let stored = store_state(admin).await;
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
