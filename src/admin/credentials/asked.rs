//! Clients that ask for the successor of their own key: the same rotation as an operator's, with the new key handed to the client and to nobody else. A key
//! that nobody waits for any more is never handed over: its rotation is given up instead.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::kinds::Kind;
use super::machine::State;
use super::model::{RotateOrder, Rotation};
use super::orders::give_up;
use super::{hand_over, rotate, store, work};
use crate::admin::{Actor, Admin};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::config::Class;
use crate::config::credentials::overlap_ms;
use crate::policy::asks::{NotRotated, RotationAsked, Successor};

/// How many are answered at once: each has calls of its own made through the proxy.
const AT_ONCE: usize = 4;
/// The longest overlap that a client may ask for: a week.
const LONGEST_MS: i64 = 7 * 86_400_000;

/// The task that answers. Runs until `stop`.
pub async fn answer(admin: Arc<Admin>, stop: CancellationToken) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(Ok(turn)) = stop.run_until_cancelled(turns.clone().acquire_owned()).await {
        let Some(Some(asked)) = stop.run_until_cancelled(admin.feed.asks().next()).await else { return };
        let admin = admin.clone();
        // In a task of its own: what was begun is ended or given up, whoever stops waiting.
        tokio::spawn(async move {
            serve(&admin, asked).await;
            drop(turn);
        });
    }
}

async fn serve(admin: &Admin, asked: RotationAsked) {
    let row = match begin(admin, &asked).await {
        Ok(row) => row,
        Err(why) => {
            let _ = asked.answer.send(Err(why));
            return;
        }
    };
    let actor = Actor::client(&asked.client);
    let given =
        if asked.answer.is_closed() { Err(Fault::unavailable("nobody waits for it")) } else { give(admin, &actor, &row).await };
    let undelivered = match given {
        Ok(successor) => asked.answer.send(Ok(successor)).is_err(),
        Err(fault) => {
            tracing::warn!(%fault, client = %asked.client, "a client's new key was not handed over");
            let _ = asked.answer.send(Err(NotRotated::Unavailable));
            true
        }
    };
    if undelivered {
        // The new key is with nobody, so nobody may be waited for; the client asks again.
        if let Err(fault) = back_out(admin, &actor, &row.id).await {
            tracing::error!(%fault, client = %asked.client, "a rotation whose key nobody has is still open");
        }
    }
}

/// Has the rotation begun, as far as the new key was seen at work.
async fn begin(admin: &Admin, asked: &RotationAsked) -> Result<Rotation, NotRotated> {
    may(admin, asked)?;
    let name = format!("{}/{}", Kind::ClientKey.word(), asked.client);
    let unavailable = |fault: Fault| {
        tracing::warn!(%fault, client = %asked.client, "a client's own rotation cannot begin");
        NotRotated::Unavailable
    };
    if store::open_of(&admin.db, &name).await.map_err(unavailable)?.is_some() {
        return Err(NotRotated::Open);
    }
    let actor = Actor::client(&asked.client);
    let note = format!("asked by the client itself, in {} with lbk_{}", asked.request, asked.kid);
    let order = RotateOrder { overlap: asked.overlap.clone(), note, ..RotateOrder::default() };
    let row = match rotate(admin, &actor, &name, order).await {
        Ok(rotated) => rotated.rotation,
        // Somebody was faster.
        Err(_) if store::open_of(&admin.db, &name).await.is_ok_and(|open| open.is_some()) => return Err(NotRotated::Open),
        Err(fault) => return Err(unavailable(fault)),
    };
    if row.state == State::Draining {
        return Ok(row);
    }
    tracing::warn!(rotation = row.id, why = row.why, "a client's own rotation does not go on");
    back_out(admin, &actor, &row.id).await.map_err(unavailable)?;
    Err(NotRotated::Unavailable)
}

/// By the policy of this moment: the proxy asked by the one of a moment ago.
fn may(admin: &Admin, asked: &RotationAsked) -> Result<(), NotRotated> {
    let snapshot = admin.feed.snapshot();
    let allowed = snapshot.clients.get(&asked.client).is_some_and(|client| client.self_rotation);
    let counts = snapshot.keys.get(&asked.kid).is_some_and(|key| key.client == asked.client);
    let stopped = admin.feed.kill().stops("", None, &asked.client, Class::Write).is_some();
    if !allowed || !counts || stopped {
        return Err(NotRotated::Denied);
    }
    match asked.overlap.as_deref().map(overlap_ms) {
        None => Ok(()),
        Some(Ok(ms)) if (1..=LONGEST_MS).contains(&ms) => Ok(()),
        // Who shows a key may be one of several that hold it, or a thief: the others keep theirs for a while.
        Some(_) => Err(NotRotated::Overlap("write a number with m, h or d, such as 1h; 7d at most, and never now".to_owned())),
    }
}

async fn give(admin: &Admin, actor: &Actor, row: &Rotation) -> Verb<Successor> {
    let fetched = hand_over(admin, actor, row).await?;
    let expires_at = row.facts["expires_at"].as_str().and_then(Timestamp::parse);
    Ok(Successor { kid: fetched.version, key: Secret::new(fetched.secret), expires_at, old_valid_until: fetched.overlap_until })
}

/// Takes the new key back: the old one is the current one.
async fn back_out(admin: &Admin, actor: &Actor, id: &str) -> Verb<()> {
    let row = work::read(admin, id).await?;
    if row.state.is_over() { Ok(()) } else { give_up(admin, actor, &row).await }
}
