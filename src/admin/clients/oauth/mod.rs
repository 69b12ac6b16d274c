//! What a client shows at the token endpoint: secrets, several at once so that one can take another's place, and public keys in its file. A
//! secret is shown once and kept as a hash; what is revoked takes its tokens with it, before anything is written.

mod model;
pub mod pages;
mod store;
#[cfg(test)]
mod tests;
pub mod texts;

pub use model::{AddJwk, AddSecret, ClientPublicKey, ClientSecret, JwkRemoved, RemoveJwk, SecretAdded, SecretList, SecretRevoked};
pub use store::STATEMENTS;
pub(super) use store::all;
pub(in crate::admin) use store::{denied, running};

use super::store::NewKey;
use super::{DAY_MS, missing};
use crate::admin::actor::Right;
use crate::admin::publish::{deny, publish};
use crate::admin::{Actor, Admin, tree, vaults};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::config::{ClientConfig, ClientJwk, Desired};
use crate::crypto::jwt::Alg;
use crate::crypto::keys::{self, KeyPrefix};
use crate::policy::tokens::{jwk_id, public_jwk};

/// A minted secret that is stored but not yet anybody's.
pub(super) struct Stored {
    /// Its text, shown once.
    pub text: crate::base::secret::Secret<String>,
    /// Its public name.
    pub kid: String,
}

/// Mints and stores a secret.
pub(super) async fn mint(admin: &Admin, actor: &Actor, client: &str, expires_at: Option<Timestamp>) -> Verb<Stored> {
    let minted = keys::mint(KeyPrefix::Secret, admin.entropy.as_ref());
    let (created_at, created_by) = (admin.clock.now(), actor.name.as_str());
    let row = NewKey { kid: &minted.kid, client, hash: minted.hash, created_at, created_by, expires_at };
    store::add(&admin.db, &row).await?;
    Ok(Stored { text: minted.text, kid: minted.kid })
}

/// Takes back a secret that nobody ever saw.
pub(super) async fn take_back(admin: &Admin, kid: &str) -> Verb<()> {
    store::take_back(&admin.db, kid).await
}

/// Revokes everything that a client shows at the token endpoint; gives the names of its secrets.
pub(super) async fn revoke_client(admin: &Admin, actor: &Actor, client: &str, kids: &[String]) -> Verb<Vec<String>> {
    let jwks: Vec<String> = kids.iter().filter(|kid| kid.starts_with("jwk-")).cloned().collect();
    store::revoke_client(&admin.db, (client, &jwks), admin.clock.now(), &actor.name).await
}

/// Adds a secret to a client; those it has count on.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound`; `Invalid` for a life of no days.
pub async fn secret_add(admin: &Admin, actor: &Actor, client: &str, input: &AddSecret) -> Verb<SecretAdded> {
    actor.need(Right::Administer, "client.secret.add")?;
    actor.need_fresh_login(admin.clock.now())?;
    admin.need_ledger("client.secret.add")?;
    if input.expires_days == Some(0) {
        return Err(Fault::invalid("expires", "a secret lives one day at least"));
    }
    if !admin.feed.snapshot().clients.contains_key(client) {
        return Err(missing(client));
    }
    let expires_at = input.expires_days.map(|days| admin.clock.now().plus_ms(i64::from(days) * DAY_MS));
    let stored = mint(admin, actor, client, expires_at).await?;
    publish(admin).await?;
    let mut event = Event::action(&actor.name, "client.secret.add", client);
    event.params = Some(serde_json::json!({ "kid": stored.kid, "expires_at": expires_at }));
    admin.record(event).await?;
    let (secret, client) = (stored.text.reveal().clone(), client.to_owned());
    Ok(SecretAdded { client_id: client.clone(), client, kid: stored.kid, secret, expires_at })
}

/// Secrets of every client, or of one.
///
/// # Errors
/// `Unavailable` when the database does not answer.
pub async fn secret_list(admin: &Admin, actor: &Actor, client: Option<&str>) -> Verb<SecretList> {
    actor.need(Right::Read, "client.secret.list")?;
    let mut secrets = store::all(&admin.db, admin.clock.now()).await?;
    secrets.retain(|secret| client.is_none_or(|client| client == secret.client));
    secrets.iter_mut().for_each(|secret| secret.last_used_at = admin.feed.uses().last(&secret.kid));
    Ok(SecretList { secrets })
}

/// Revokes a secret. No call with a token it got is accepted from the first line on, whatever fails later.
///
/// # Errors
/// `Denied` without role operator; `NotFound`; `Unavailable`, saying what holds.
pub async fn secret_revoke(admin: &Admin, actor: &Actor, kid: &str) -> Verb<SecretRevoked> {
    actor.need(Right::Operate, "client.secret.revoke")?;
    let running = admin.feed.snapshot().tokens.secrets.get(kid).map(|secret| secret.client.to_string());
    let client = running.ok_or_else(|| Fault::not_found(format!("there is no secret {kid} that counts")))?;
    deny(admin, &[kid.to_owned()]);
    let now = admin.clock.now();
    store::revoke(&admin.db, kid, now, &actor.name).await.map_err(|fault| not_stored(fault, kid))?;
    let mut event = Event::action(&actor.name, "client.secret.revoke", &client);
    event.params = Some(serde_json::json!({ "kid": kid }));
    let recorded = admin.record(event).await;
    vaults::tell_revoked(admin);
    let revision = publish(admin).await?;
    recorded?;
    Ok(SecretRevoked { client, kid: kid.to_owned(), revoked_at: now, revision: revision.to_string() })
}

/// Registers a public key of a client, in its file.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound`; `Invalid` for what is no public key; `Conflict` when it is there, or was removed for good.
pub async fn jwk_add(admin: &Admin, actor: &Actor, client: &str, input: &AddJwk) -> Verb<ClientPublicKey> {
    actor.need(Right::Administer, "client.jwk.add")?;
    actor.need_fresh_login(admin.clock.now())?;
    admin.need_ledger("client.jwk.add")?;
    let jwk = read_jwk(&input.jwk)?;
    let public = public_jwk(&jwk);
    let id = jwk_id(&public);
    if store::denied(&admin.db).await?.contains(&id) {
        return Err(Fault::conflict("this key was removed for good; make a new one"));
    }
    tree::edit(admin, actor, &format!("clients: add a public key to {client}"), |desired, _| {
        let mut config = config_of(desired, client)?;
        let known = config.jwks.iter().any(|known| known.kid == jwk.kid || jwk_id(&public_jwk(known)) == id);
        if known {
            return Err(Fault::conflict(format!("{client} has that key, or one of that name, already")));
        }
        config.jwks.push(jwk.clone());
        Ok(vec![tree::write(ClientConfig::path(client), config.to_toml()?)])
    })
    .await?;
    let mut event = Event::action(&actor.name, "client.jwk.add", client);
    event.params = Some(serde_json::json!({ "kid": jwk.kid, "id": id }));
    admin.record(event).await?;
    Ok(told(admin, client, &jwk))
}

/// Removes a public key of a client for good: no configuration brings it back. No call with a token it got is accepted from the first line on.
///
/// # Errors
/// `Denied` without role operator; `NotFound`; `Unavailable`, saying what holds.
pub async fn jwk_remove(admin: &Admin, actor: &Actor, client: &str, kid: &str) -> Verb<JwkRemoved> {
    actor.need(Right::Operate, "client.jwk.remove")?;
    let desired = tree::desired(admin).await?;
    let config = config_of(&desired, client)?;
    let none = || Fault::not_found(format!("{client} has no public key {kid}"));
    let id = config.jwks.iter().find(|jwk| jwk.kid == kid).map(|jwk| jwk_id(&public_jwk(jwk))).ok_or_else(none)?;
    let gone = [id.clone()];
    deny(admin, &gone);
    let now = admin.clock.now();
    store::deny(&admin.db, (client, &gone), now, &actor.name).await.map_err(|fault| not_stored(fault, kid))?;
    let mut event = Event::action(&actor.name, "client.jwk.remove", client);
    event.params = Some(serde_json::json!({ "kid": kid, "id": id }));
    let recorded = admin.record(event).await;
    vaults::tell_revoked(admin);
    let revision = tree::edit(admin, actor, &format!("clients: remove a public key of {client}"), |desired, _| {
        let mut config = config_of(desired, client)?;
        config.jwks.retain(|jwk| jwk.kid != kid);
        Ok(vec![tree::write(ClientConfig::path(client), config.to_toml()?)])
    })
    .await?;
    recorded?;
    Ok(JwkRemoved { client: client.to_owned(), kid: kid.to_owned(), id, revision: revision.to_string() })
}

/// The public keys of a client that count.
pub(super) fn jwks(admin: &Admin, desired: &Desired, client: &str) -> Vec<ClientPublicKey> {
    let snapshot = admin.feed.snapshot();
    let counts = |id: &str| snapshot.assertions.get(client).is_some_and(|keys| keys.iter().any(|key| key.id.as_ref() == id));
    let configured = desired.clients.get(client).map_or(&[][..], |config| config.jwks.as_slice());
    configured.iter().map(|jwk| told(admin, client, jwk)).filter(|key| counts(&key.id)).collect()
}

fn told(admin: &Admin, client: &str, jwk: &ClientJwk) -> ClientPublicKey {
    let public = public_jwk(jwk);
    let id = jwk_id(&public);
    let algs = Alg::ALL.into_iter().filter(|alg| public.verifying().is_ok_and(|key| key.takes(*alg)));
    ClientPublicKey {
        client: client.to_owned(),
        kid: jwk.kid.clone(),
        algorithms: algs.map(|alg| alg.name().to_owned()).collect(),
        last_used_at: admin.feed.uses().last(&id),
        id,
    }
}

/// A public key as somebody pasted it. Members that say nothing about the key itself are left out.
fn read_jwk(text: &str) -> Verb<ClientJwk> {
    let wrong = |why: String| Fault::invalid("jwk", why);
    let mut members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|e| wrong(format!("is no JSON Web Key: {e}")))?;
    let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].into_iter().find(|name| members.contains_key(*name));
    if let Some(name) = private {
        return Err(wrong(format!("holds a private member, \"{name}\": keep that key yourself and give its public half only")));
    }
    for name in ["key_ops", "x5c", "x5t", "x5t#S256", "x5u", "ext", "iat", "exp", "nbf"] {
        members.remove(name);
    }
    let named = members.contains_key("kid");
    if !named {
        members.insert("kid".to_owned(), serde_json::json!(""));
    }
    let mut jwk: ClientJwk = serde_json::from_value(members.into()).map_err(|e| wrong(format!("is no JSON Web Key: {e}")))?;
    public_jwk(&jwk).verifying().map_err(wrong)?;
    if !named {
        jwk.kid = public_jwk(&jwk).thumbprint();
    }
    Ok(jwk)
}

fn config_of(desired: &Desired, client: &str) -> Verb<ClientConfig> {
    desired.clients.get(client).cloned().ok_or_else(|| missing(client))
}

fn not_stored(fault: Fault, kid: &str) -> Fault {
    Fault {
        message: format!("{kid} is refused now, but this is not stored and a restart would forget it: {}", fault.message),
        ..fault
    }
}
