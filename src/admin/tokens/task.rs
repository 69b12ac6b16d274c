//! The task that keeps what the proxy knows of tokens: stores those that were ended, at once, and every few seconds when credentials were last
//! used. Never decides anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::store;
use crate::admin::{Admin, vaults};
use crate::base::clock::Timestamp;

const PACE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);

/// Runs until `stop`, and stores once more before it ends.
pub async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    let mut ended = admin.feed.ended().watch();
    let mut kept = HashMap::new();
    let mut ticks = tokio::time::interval(PACE);
    loop {
        ended.mark_unchanged();
        if !store_ended(&admin).await {
            tokio::time::sleep(AGAIN).await;
            ended.mark_changed();
        }
        tokio::select! {
            () = stop.cancelled() => {
                store_ended(&admin).await;
                store_uses(&admin, &mut kept).await;
                return;
            }
            changed = ended.changed() => if changed.is_err() { return },
            _ = ticks.tick() => {
                store_uses(&admin, &mut kept).await;
                admin.feed.ended().sweep(admin.clock.now());
            }
        }
    }
}

/// Stores tokens that were ended since; false when it must be tried again.
async fn store_ended(admin: &Admin) -> bool {
    let unstored = admin.feed.ended().unstored();
    if unstored.is_empty() {
        return true;
    }
    match store::end(&admin.db, &unstored, admin.clock.now()).await {
        Ok(()) => {
            admin.feed.ended().stored(&unstored);
            vaults::tell_revoked(admin);
            true
        }
        Err(fault) => {
            tracing::error!(%fault, "ended tokens are refused, but a restart would forget them");
            false
        }
    }
}

/// Stores uses that are newer than what is stored.
pub(super) async fn store_uses(admin: &Admin, kept: &mut HashMap<Arc<str>, Timestamp>) {
    let uses = admin.feed.uses().all();
    let newer: Vec<_> = uses.into_iter().filter(|(kid, at)| kept.get(kid).is_none_or(|known| known < at)).collect();
    if newer.is_empty() {
        return;
    }
    match store::set_uses(&admin.db, &newer).await {
        Ok(()) => kept.extend(newer),
        Err(fault) => tracing::warn!(%fault, "when credentials were last used is not stored"),
    }
}
