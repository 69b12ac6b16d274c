//! The client that exists for a proof alone: in memory, with a key and a secret of its own that are taken away again. Never in the configuration.

use std::sync::{MutexGuard, PoisonError};

use super::traffic::Shown;
use crate::admin::clients::single::{self as held, Form};
use crate::admin::credentials::kinds::Kind;
use crate::admin::credentials::machine::State;
use crate::admin::credentials::model::Rotation;
use crate::admin::credentials::{canary, store, watch, work};
use crate::admin::publish::publish;
use crate::admin::{Actor, Admin};
use crate::base::fault::{Fault, Verb};
use crate::crypto::keys;
use crate::policy::snapshot::ClientEntry;

/// The client that exists for proofs alone: in memory, never in the configuration.
pub const SHADOW: &str = "lifeboat-proof";

/// The clients that exist for a proof, as the policy is to have them: with the grants of the client they are like, and no limits.
pub(in crate::admin) fn shadows(admin: &Admin, of: impl Fn(&str) -> Option<std::sync::Arc<ClientEntry>>) -> Vec<ClientEntry> {
    let entry = |(name, like): (&String, &String)| {
        let like = of(like)?;
        let grants = like.grants.clone();
        Some(ClientEntry { name: name.as_str().into(), grants, rate: 0, burst: 1, concurrency: 0, self_rotation: false })
    };
    locked(admin).iter().filter_map(entry).collect()
}

fn locked(admin: &Admin) -> MutexGuard<'_, std::collections::BTreeMap<String, String>> {
    admin.credentials.shadows.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From the next policy on the client exists, with the grants of another one.
pub(super) fn admit(admin: &Admin, like: String) {
    locked(admin).insert(SHADOW.to_owned(), like);
}

/// A client that reaches a server, best one with a tool that reads; and what to call as it.
pub(super) fn model_client(admin: &Admin) -> Verb<(String, canary::Target)> {
    let snapshot = admin.feed.snapshot();
    let mut names: Vec<_> = snapshot.clients.keys().collect();
    names.sort();
    let mut found: Option<(String, canary::Target)> = None;
    for name in names {
        let Some(entry) = snapshot.clients.get(name) else { continue };
        for target in canary::targets(&snapshot, entry, None) {
            if target.tool.is_some() {
                return Ok((name.to_string(), target));
            }
            found.get_or_insert((name.to_string(), target));
        }
    }
    found.ok_or_else(|| {
        Fault::conflict("no client reaches a server, so there is no traffic to prove a rotation under: add both first")
    })
}

pub(super) async fn issue(admin: &Admin, actor: &Actor, form: Form) -> Verb<Shown> {
    let minted = keys::mint(form.prefix(), admin.entropy.as_ref());
    let fresh = held::Fresh {
        kid: minted.kid.clone(),
        client: SHADOW.to_owned(),
        hash: minted.hash,
        created_at: admin.clock.now(),
        created_by: actor.name.clone(),
        expires_at: Some(admin.clock.now().plus_ms(3_600_000)),
    };
    held::install(admin, form, &fresh).await?;
    Ok(Shown { kid: minted.kid, text: minted.text })
}

pub(super) fn shadow_of(form: Form) -> String {
    let kind = if form == Form::Key { Kind::ClientKey } else { Kind::ClientSecret };
    format!("{}/{SHADOW}", kind.word())
}

/// Nothing of a shadow stays: no client, no key, no secret, no open rotation.
pub(super) async fn clean(admin: &Admin) -> Verb<()> {
    for form in [Form::Key, Form::Secret] {
        if let Some(open) = store::open_of(&admin.db, &shadow_of(form)).await? {
            abandon(admin, &open).await?;
        }
        for one in held::of(admin, form, SHADOW).await? {
            held::take_back(admin, form, &one.kid).await?;
        }
    }
    locked(admin).clear();
    publish(admin).await.map(|_| ())
}

/// Ends a rotation of the shadow wherever it is.
async fn abandon(admin: &Admin, open: &Rotation) -> Verb<()> {
    let mut held = work::hold(admin, &open.id).await?;
    (held.row.state, held.row.ended_at, held.row.sealed) = (State::RolledBack, Some(admin.clock.now()), None);
    let row = held.end(Ok(("abandon", serde_json::json!({ "said": "the client of a proof is no more" })))).await?;
    watch::leave(admin, &row);
    Ok(())
}

/// At the start: what a process that died has left of a proof is removed.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::credentials) async fn sweep(admin: &Admin) -> Verb<()> {
    for form in [Form::Key, Form::Secret] {
        if !held::of(admin, form, SHADOW).await?.is_empty() {
            return clean(admin).await;
        }
    }
    Ok(())
}
