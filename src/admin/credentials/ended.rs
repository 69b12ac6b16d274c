//! Rotations of what was revoked meanwhile: each goes no further than the step that is under way, and what it made ends as well. Never brings an old version
//! back.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::kinds::{self, Kind};
use super::machine::State;
use super::model::Rotation;
use super::{drivers, store, systems, watch, work};
use crate::admin::clients::single as held;
use crate::admin::servers::one;
use crate::admin::{Actor, Admin, tokens, tree};
use crate::base::fault::{Fault, Verb};

/// How far the end goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The rotation has nothing left to replace; what it made goes on.
    Old = 1,
    /// What it made ends as well.
    Whole = 2,
}

/// Says that something is being revoked: a rotation that begins in this moment looks again at what it is about to replace.
pub(super) fn tell(admin: &Admin) {
    admin.credentials.revocations.fetch_add(1, Ordering::SeqCst);
}

/// How often something was revoked since the start.
pub(super) fn told(admin: &Admin) -> u64 {
    admin.credentials.revocations.load(Ordering::SeqCst)
}

/// Marks open rotations, whoever is at work on them: none of them takes another step.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn mark(admin: &Admin, which: impl Fn(&Rotation) -> Option<Reach>) -> Verb<Vec<Rotation>> {
    let mut marked = Vec::new();
    for mut row in store::open(&admin.db).await? {
        if let Some(reach) = which(&row) {
            row.revoked = reach as i64;
            store::revoke(&admin.db, &row.id, row.revoked).await?;
            marked.push(row);
        }
    }
    Ok(marked)
}

/// Ends every rotation that is marked, and what it made. Gives what does not hold yet, a sentence each: the task tries those again.
pub(super) async fn put_away(admin: &Admin, marked: &[Rotation]) -> Vec<String> {
    let mut open = Vec::new();
    for row in marked {
        if let Err(fault) = end(admin, &row.id).await {
            tracing::warn!(%fault, rotation = row.id, "the rotation of a revoked credential is not over yet");
            open.push(format!("the rotation of {}: {}", row.credential, fault.message));
        }
    }
    open
}

async fn end(admin: &Admin, id: &str) -> Verb<()> {
    let mut held = work::hold(admin, id).await?;
    if held.row.state.is_over() {
        return held.release().await;
    }
    if held.row.revoked == Reach::Whole as i64
        && let Err(fault) = made(admin, &held.row).await
    {
        return held.end(Err(fault)).await.map(drop);
    }
    (held.row.state, held.row.ended_at, held.row.sealed) = (State::RolledBack, Some(admin.clock.now()), None);
    (held.row.hold, held.row.why) = (None, None);
    let row = held.end(Ok(("revoke", json!({ "said": "the credential was revoked meanwhile" })))).await?;
    watch::leave(admin, &row);
    Ok(())
}

/// What a rotation made, ended wherever it may have got to. For another system that is all of the credential: a step that was under way may have opened it
/// again after it had been ended.
async fn made(admin: &Admin, row: &Rotation) -> Verb<()> {
    let (kind, name) = kinds::parse(&row.credential)?;
    let actor = Actor::system("revocation");
    match (kind, &row.new) {
        (Kind::ClientKey | Kind::ClientSecret, Some(kid)) => held::cut(admin, std::slice::from_ref(kid), &actor.name).await,
        (Kind::TokenKey, Some(kid)) if admin.feed.snapshot().tokens.verifiers.contains_key(kid.as_str()) => {
            tokens::remove(admin, &actor, kid).await.map(drop)
        }
        (Kind::Postgres | Kind::Http | Kind::Command, _) => drivers::end(admin, kind, name).await.map(drop),
        (Kind::Upstream, _) => one::forget_all(admin, server_of(name)).await.map(drop),
        _ => Ok(()),
    }
}

/// The server of `SERVER:HEADER`.
pub(super) fn server_of(name: &str) -> &str {
    name.split_once(':').map_or(name, |(server, _)| server)
}

/// What else sends a server something, by credential: database roles in its variables, tokens of issuers.
pub(super) async fn towards(admin: &Admin, server: &str) -> Vec<String> {
    let said = tree::standing(admin).await.unwrap_or_default().credentials;
    systems::towards(&said, server)
}

/// For other nouns: keys or secrets of clients ended for good, and their rotations with them.
pub async fn of_client(admin: &Admin, client: &str) -> Vec<String> {
    tell(admin);
    let names = [Kind::ClientKey, Kind::ClientSecret].map(|kind| format!("{}/{client}", kind.word()));
    match mark(admin, |row| names.contains(&row.credential).then_some(Reach::Whole)).await {
        Ok(marked) => put_away(admin, &marked).await,
        Err(fault) => vec![format!("rotations of {client}: {}", fault.message)],
    }
}

/// For the rotation that began while something was revoked: whether what it is about to replace is what it was.
///
/// # Errors
/// `Conflict` when it is not; the row is over then.
pub(super) async fn look_again(admin: &Admin, row: &Rotation, before: u64) -> Verb<()> {
    if told(admin) == before {
        return Ok(());
    }
    let (kind, name) = kinds::parse(&row.credential)?;
    let now = match drivers::of(kind) {
        Some(driver) => driver.current(admin, name).await.ok(),
        None => None,
    };
    if now.as_ref() == Some(&row.old) {
        return Ok(());
    }
    let marked = mark(admin, |open| (open.id == row.id).then_some(Reach::Whole)).await?;
    put_away(admin, &marked).await;
    Err(Fault::conflict(format!("{} was revoked in this very moment; look at it, then rotate it anew", row.credential)))
}
