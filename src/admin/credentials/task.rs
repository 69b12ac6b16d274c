//! The task that goes on with every open rotation: after the start, when it is told, and when one has something to do. One that fails holds up no other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::machine::{self, Todo};
use super::observer::Unobserved;
use super::model::Rotation;
use super::{ended, proof, store, watch, work};
use crate::admin::Admin;
use crate::base::fault::Verb;

const BUSY: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(30);
/// Until the listeners stand that keys are seen at work through.
const AT_START: Duration = Duration::from_millis(200);
const AT_ONCE: usize = 4;

/// At the start, before anybody can ask for anything: leases of a process that died end, and its rotations are watched again.
///
/// # Errors
/// When the database does not answer.
pub async fn resume(admin: &Admin) -> Verb<()> {
    // Whoever holds the data directory is the only one at work in it.
    store::release_all(&admin.db).await?;
    proof::sweep(admin).await?;
    watch::resume(admin).await
}

/// Goes on with what is due; how many rotations are open.
async fn look(admin: &Admin) -> Verb<usize> {
    watch::keep(admin).await?;
    let open = store::open(&admin.db).await?;
    let (revoked, open): (Vec<Rotation>, Vec<Rotation>) = open.into_iter().partition(|row| row.revoked > 0);
    ended::put_away(admin, &revoked).await;
    let now = admin.clock.now();
    let due: Vec<String> =
        open.iter().filter(|row| matches!(machine::todo(row, now), Todo::Look(_))).map(|row| row.id.clone()).collect();
    for some in due.chunks(AT_ONCE) {
        join_all(some.iter().map(|id| go_on(admin, id))).await;
    }
    Ok(open.len() + revoked.len())
}

async fn go_on(admin: &Admin, id: &str) {
    if let Err(fault) = work::drive(admin, id, &Unobserved).await {
        tracing::warn!(%fault, rotation = id, "a rotation could not go on");
    }
}

/// The task. Runs until `stop`.
pub async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    let mut pause = AT_START;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = admin.credentials.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        if admin.feed.listeners().is_empty() || admin.feed.is_draining() {
            continue;
        }
        pause = match look(&admin).await {
            Ok(0) => IDLE,
            Ok(_) => BUSY,
            Err(fault) => {
                tracing::warn!(%fault, "the rotations cannot be looked at");
                BUSY
            }
        };
    }
}
