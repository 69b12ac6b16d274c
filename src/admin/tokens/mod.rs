//! Access tokens: the keys that sign them, and ending tokens at once. A signing key is staged (published), then activated, then retired when its
//! last token has expired; each verb can be repeated and gives the same end. Never shows a private key.

mod model;
pub(super) mod single;
mod store;
pub mod task;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

pub use model::{CutOrder, TokenCut, TokenKey, TokenKeys};
pub(super) use store::EVERYBODY;
use store::KeyRow;
pub use store::STATEMENTS;

use super::actor::Right;
use super::publish::{self, publish};
use super::{Actor, Admin, clients};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, FaultKind, Verb};
use crate::base::ids::Entropy;
use crate::config::IssuerConfig;
use crate::crypto::jwt::SigningKey;
use crate::crypto::seal::InstanceKey;
use crate::db::Db;
use crate::policy::Tokens;
use crate::policy::feed::Feed;
use crate::policy::tokens::{Cuts, JWKS_AGE, LIFE_MS, Published, Signer};

const KID: usize = 8;
/// How long whoever keeps the published keys may not know of a new one, in milliseconds.
const SEEN_MS: i64 = JWKS_AGE * 1_000;

/// Whether a step waits until it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// It does; before that it is a conflict.
    Due,
    /// It does not: tokens may be refused by whoever checks them and does not know the key yet.
    Forced,
}

/// Makes the first key where there is none, so that tokens can be had from the first start on. With a key from an earlier run it is noted that
/// its tokens may last for the life of one from now: nobody knows what that run gave last.
///
/// # Errors
/// When the database does not answer.
pub async fn ensure(db: &Db, sealer: &InstanceKey, entropy: &dyn Entropy, now: Timestamp) -> Verb<()> {
    if let Some(current) = store::keys(db).await?.iter().find(|key| key.state == "current") {
        return store::set_expiry(db, &current.kid, now.plus_ms(LIFE_MS)).await;
    }
    let mut row = row_of(sealer, entropy, &single::mint(entropy)?, now)?;
    (row.state, row.activated_at) = ("current".to_owned(), Some(now));
    store::add_key(db, &row).await
}

/// What tokens are given and checked with, for the snapshot.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn running(db: &Db, sealer: &InstanceKey) -> Verb<Tokens> {
    let mut tokens = Tokens::default();
    for row in store::keys(db).await?.into_iter().filter(|row| row.state != "retired") {
        let kid: Arc<str> = row.kid.as_str().into();
        let key = row.public.verifying().map_err(|why| Fault::bug(format!("token-signing key {kid}: {why}")))?;
        if row.state == "current" {
            // A key that does not open gives no tokens; what it signed before counts all the same.
            match opened(sealer, &row) {
                Ok(key) => tokens.signer = Some(Signer { kid: kid.clone(), key }),
                Err(fault) => tracing::error!(%fault, "no token can be signed"),
            }
        }
        tokens.verifiers.insert(kid, Published { key, jwk: row.public });
    }
    tokens.secrets = clients::running_secrets(db).await?.into_iter().map(|secret| (secret.kid.clone(), secret)).collect();
    tokens.cuts = cuts_of(store::cuts(db).await?);
    Ok(tokens)
}

/// What an earlier run knew: tokens that were ended, and when credentials were last used.
pub(super) async fn recall(db: &Db, feed: &Feed, now: Timestamp) {
    match store::ended(db, now).await {
        Ok(ended) => feed.ended().recall(ended),
        Err(fault) => tracing::error!(%fault, "tokens that were ended may count until they expire"),
    }
    match store::uses(db).await {
        Ok(uses) => uses.iter().for_each(|(kid, at)| feed.uses().mark(kid, *at)),
        Err(fault) => tracing::warn!(%fault, "nobody knows when credentials were last used"),
    }
}

/// Every key, newest first, and what was cut.
///
/// # Errors
/// `Unavailable` when the database does not answer.
pub async fn list(admin: &Admin, actor: &Actor) -> Verb<TokenKeys> {
    actor.need(Right::Read, "token.list")?;
    let keys = store::keys(&admin.db).await?.into_iter().map(|row| told(&admin.feed, row)).collect();
    let cuts = store::cuts(&admin.db).await?.into_iter();
    let cuts = cuts.map(|(client, before)| TokenCut { client: Some(client).filter(|client| client != EVERYBODY), before });
    Ok(TokenKeys { keys, cuts: cuts.collect() })
}

/// Publishes a new key, which does not sign yet. With one published already that one is given.
///
/// # Errors
/// `Denied` below role operator; `Unavailable`.
pub async fn stage(admin: &Admin, actor: &Actor) -> Verb<TokenKey> {
    actor.need(Right::Operate, "token.stage")?;
    admin.need_ledger("token.stage")?;
    match store::keys(&admin.db).await?.into_iter().find(|row| row.state == "next") {
        Some(row) => {
            publish(admin).await?;
            Ok(told(&admin.feed, row))
        }
        None => single::install(admin, actor, &single::mint(admin.entropy.as_ref())?).await,
    }
}

/// Has the published key sign from now on. The one before signs no more; its tokens count until they expire.
///
/// # Errors
/// `Denied` below role operator; `NotFound`; `Conflict` before it is due (`activates_at`), or when it has been retired.
pub async fn activate(admin: &Admin, actor: &Actor, kid: &str, timing: Timing) -> Verb<TokenKey> {
    actor.need(Right::Operate, "token.activate")?;
    admin.need_ledger("token.activate")?;
    let rows = store::keys(&admin.db).await?;
    let row = found(&rows, kid)?;
    let now = admin.clock.now();
    match row.state.as_str() {
        "current" | "previous" => {}
        "next" if timing == Timing::Due && now < due(row) => {
            return Err(Fault::conflict(format!("key {kid} may sign from {}: until then some do not know it", due(row))));
        }
        "next" => {
            let before = rows.iter().find(|row| row.state == "current");
            // Nothing it signs from here on can last longer; how long exactly is known once it cannot sign any more.
            if !store::activate(&admin.db, kid, now, now.plus_ms(LIFE_MS)).await? {
                return Err(Fault::conflict(format!("key {kid} was retired meanwhile")));
            }
            let mut event = Event::action(&actor.name, "token.activate", kid);
            event.params = Some(serde_json::json!({"before": before.map(|row| &row.kid), "forced": timing == Timing::Forced}));
            let recorded = admin.record(event).await;
            publish(admin).await?;
            if let Some(before) = before {
                let last = before.last_expiry.max(admin.feed.issued().last(&before.kid));
                store::lower_expiry(&admin.db, &before.kid, last.unwrap_or(now)).await?;
            }
            recorded?;
        }
        _ => return Err(Fault::conflict(format!("key {kid} is retired"))),
    }
    publish(admin).await?;
    one(admin, kid).await
}

/// Ends a key that another one has replaced, once its last token has expired.
///
/// # Errors
/// `Denied` below role operator; `NotFound`; `Conflict` while it signs, will sign, or a token of it may count.
pub async fn retire(admin: &Admin, actor: &Actor, kid: &str) -> Verb<TokenKey> {
    actor.need(Right::Operate, "token.retire")?;
    let rows = store::keys(&admin.db).await?;
    let row = found(&rows, kid)?;
    match row.state.as_str() {
        "retired" => return Ok(told(&admin.feed, row.clone())),
        "previous" => {}
        state => return Err(Fault::conflict(format!("key {kid} is the {state} one; activate another one first"))),
    }
    let last = row.last_expiry.max(admin.feed.issued().last(kid)).filter(|last| *last > admin.clock.now());
    if let Some(last) = last {
        return Err(Fault::conflict(format!("a token of key {kid} may count until {last}")));
    }
    store::retire(&admin.db, &[kid.to_owned()], admin.clock.now()).await?;
    let recorded = admin.record(Event::action(&actor.name, "token.retire", kid)).await;
    publish(admin).await?;
    recorded?;
    one(admin, kid).await
}

/// Ends a key now, in an emergency: every token of it is refused from the first line on, whatever fails later. When it was the one that signs,
/// another one does: the published one, or a new one.
///
/// # Errors
/// `Denied` below role operator; `NotFound`; `Unavailable`, saying what holds.
pub async fn remove(admin: &Admin, actor: &Actor, kid: &str) -> Verb<TokenKey> {
    actor.need(Right::Operate, "token.remove")?;
    if admin.feed.snapshot().tokens.verifiers.contains_key(kid) {
        publish::deny(admin, &[kid.to_owned()]);
    }
    let rows = store::keys(&admin.db).await?;
    let row = found(&rows, kid)?;
    let now = admin.clock.now();
    if row.state != "retired" {
        store::retire(&admin.db, &[kid.to_owned()], now).await?;
        let recorded = admin.record(Event::action(&actor.name, "token.remove", kid)).await;
        replace(admin, now).await?;
        publish(admin).await?;
        super::vaults::tell_revoked(admin);
        recorded?;
    }
    one(admin, kid).await
}

/// Sees to it that a key signs: the published one where there is one, else a new one. Looks anew, since others may be removed at the same moment.
async fn replace(admin: &Admin, now: Timestamp) -> Verb<()> {
    let rows = store::keys(&admin.db).await?;
    if rows.iter().any(|row| row.state == "current") {
        return Ok(());
    }
    if let Some(next) = rows.iter().find(|row| row.state == "next")
        && store::activate(&admin.db, &next.kid, now, now).await?
    {
        return Ok(());
    }
    match ensure(&admin.db, &admin.sealer, admin.entropy.as_ref(), now).await {
        // Somebody else was faster.
        Err(fault) if fault.kind == FaultKind::Conflict => Ok(()),
        done => done,
    }
}

/// When the last token of a key expires; none when it signed none.
///
/// # Errors
/// `NotFound`; `Unavailable` when the database does not answer.
pub async fn last_expiry(admin: &Admin, kid: &str) -> Verb<Option<Timestamp>> {
    Ok(one(admin, kid).await?.last_expiry)
}

/// Ends every token that was issued until now: of one client, or of everybody. Clients get new ones with what they have. It counts from the
/// first line on, whatever fails later.
///
/// # Errors
/// `Denied` below role operator; `NotFound` for a client there is none of; `Unavailable`, saying what holds.
pub async fn cut(admin: &Admin, actor: &Actor, order: &CutOrder) -> Verb<TokenCut> {
    actor.need(Right::Operate, "token.cut")?;
    if let Some(client) = &order.client {
        crate::base::ids::check_name(client).map_err(|why| Fault::invalid("client", why))?;
        if !may_have_tokens(admin, client) {
            return Err(Fault::not_found(format!("there is no client {client}, so nothing was cut")));
        }
    }
    let before = publish::cut(admin, order.client.as_deref());
    let client = order.client.as_deref().unwrap_or(EVERYBODY);
    store::cut(&admin.db, client, before, &actor.name).await.map_err(|fault| Fault {
        message: format!(
            "Tokens issued before {before} are refused now, but this is not stored and a restart would forget it: {}",
            fault.message
        ),
        ..fault
    })?;
    let mut event = Event::action(&actor.name, "token.cut", client);
    event.params = Some(serde_json::json!({"before": before, "reason": order.reason}));
    let recorded = admin.record(event).await;
    publish(admin).await?;
    recorded?;
    Ok(TokenCut { client: order.client.clone(), before })
}

/// Whether tokens of that name may count, now or when its file comes back: it is a client, has credentials, or is what an issuer elsewhere calls one.
fn may_have_tokens(admin: &Admin, client: &str) -> bool {
    let snapshot = admin.feed.snapshot();
    let mapped = |issuer: &IssuerConfig| issuer.clients.values().any(|name| name == client);
    snapshot.clients.contains_key(client) || !snapshot.kids_of(client).is_empty() || snapshot.settings.issuers.iter().any(mapped)
}

fn cuts_of(rows: Vec<(String, Timestamp)>) -> Cuts {
    let everyone = rows.iter().find(|(client, _)| client == EVERYBODY).map(|(_, before)| *before);
    let clients: HashMap<Arc<str>, Timestamp> =
        rows.into_iter().filter(|(client, _)| client != EVERYBODY).map(|(client, before)| (client.into(), before)).collect();
    Cuts { everyone, clients }
}

/// A new key as it is stored: to be published, with its private half sealed.
fn row_of(sealer: &InstanceKey, entropy: &dyn Entropy, fresh: &single::Fresh, now: Timestamp) -> Verb<KeyRow> {
    Ok(KeyRow {
        kid: fresh.kid.clone(),
        state: "next".to_owned(),
        public: fresh.public.clone(),
        sealed: Some(sealer.seal(&label(&fresh.kid), fresh.private.reveal(), entropy)?),
        created_at: now,
        activated_at: None,
        replaced_at: None,
        retired_at: None,
        last_expiry: None,
    })
}

fn opened(sealer: &InstanceKey, row: &KeyRow) -> Verb<SigningKey> {
    let sealed = row.sealed.as_deref().ok_or_else(|| Fault::bug("a token-signing key without its private half"))?;
    SigningKey::of(sealer.open(&label(&row.kid), sealed)?.reveal())
}

fn label(kid: &str) -> String {
    format!("token.key/{kid}")
}

fn due(row: &KeyRow) -> Timestamp {
    row.created_at.plus_ms(SEEN_MS)
}

fn found<'a>(rows: &'a [KeyRow], kid: &str) -> Verb<&'a KeyRow> {
    rows.iter().find(|row| row.kid == kid).ok_or_else(|| Fault::not_found(format!("there is no token-signing key {kid}")))
}

async fn one(admin: &Admin, kid: &str) -> Verb<TokenKey> {
    let rows = store::keys(&admin.db).await?;
    found(&rows, kid).map(|row| told(&admin.feed, row.clone()))
}

fn told(feed: &Feed, row: KeyRow) -> TokenKey {
    TokenKey {
        activates_at: due(&row),
        last_expiry: row.last_expiry.max(feed.issued().last(&row.kid)),
        kid: row.kid,
        state: row.state,
        created_at: row.created_at,
        activated_at: row.activated_at,
        replaced_at: row.replaced_at,
        retired_at: row.retired_at,
    }
}
