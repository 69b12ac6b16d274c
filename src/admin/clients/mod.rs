//! Clients: add, list, show, revoke. A key is shown once and kept as a hash. Revoking takes effect before anything is written.

mod model;
pub mod oauth;
pub mod pages;
pub mod routes;
pub(super) mod single;
mod snippets;
mod store;
#[cfg(test)]
mod tests;
pub mod texts;

use std::collections::{BTreeMap, BTreeSet};

pub use model::{AddClient, Client, ClientAdded, ClientKey, ClientList, ClientRevoked};
pub use oauth::{
    AddJwk, AddSecret, ClientPublicKey, ClientSecret, JwkRemoved, RemoveJwk, STATEMENTS as OAUTH_STATEMENTS, SecretAdded,
    SecretList, SecretRevoked, jwk_add, jwk_remove, secret_add, secret_list, secret_revoke,
};
pub(super) use oauth::{denied as denied_jwks, running as running_secrets};
pub use single::STATEMENTS as KEY_STATEMENTS;
pub(super) use snippets::proxy_address;
pub use store::STATEMENTS;
pub(super) use store::running as running_keys;

use super::actor::Right;
use super::credentials::proof::SHADOW;
use super::kill::CANARY;
use super::publish::{deny, publish};
use super::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::check_name;
use crate::config::{ClientConfig, Desired};
use crate::crypto::keys::{self, KeyPrefix};

const DAY_MS: i64 = 86_400_000;

/// Adds a client with its roles and a new key.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Invalid` for a bad name or role; `Conflict` when it exists.
pub async fn add(admin: &Admin, actor: &Actor, input: AddClient) -> Verb<ClientAdded> {
    actor.need(Right::Administer, "client.add")?;
    actor.need_fresh_login(admin.clock.now())?;
    admin.need_ledger("client.add")?;
    check(&input)?;
    let name = input.name.as_str();
    let _held = admin.names.hold("client", name)?;
    let now = admin.clock.now();
    let expires_at = input.expires_days.map(|days| now.plus_ms(i64::from(days) * DAY_MS));
    let file = ClientConfig { roles: input.roles.clone(), rate: input.rate, ..ClientConfig::default() };
    // Found before a key is stored, so that an answer "exists" costs nothing; the commit below checks again.
    absent(&tree::desired(admin).await?, name)?;
    let ended = end_left(admin, actor, name).await?;
    // A credential without its client is refused, so it is stored first: the client never runs without one.
    let minted = mint(admin, actor, &input, expires_at).await?;
    let kid = minted.kid.as_str();
    let made = tree::edit(admin, actor, &format!("clients: add {name}"), |desired, _| {
        absent(desired, name)?;
        Ok(vec![tree::write(ClientConfig::path(name), file.to_toml()?)])
    })
    .await;
    if let Err(fault) = made {
        store::take_back(&admin.db, kid).await?;
        oauth::take_back(admin, kid).await?;
        return Err(fault);
    }
    let mut event = Event::action(&actor.name, "client.add", name);
    event.params = Some(serde_json::json!({ "kid": kid, "roles": input.roles, "expires_at": expires_at, "ended": ended }));
    admin.record(event).await?;
    let text = minted.text.reveal().clone();
    let (key, secret) = if input.oauth { (None, Some(text)) } else { (Some(text), None) };
    let client_id = input.oauth.then(|| input.name.clone());
    let (issuer, resource) = if input.oauth { addresses(admin) } else { (None, None) };
    let (client, kid, roles) = (input.name, minted.kid, input.roles);
    Ok(ClientAdded { client, kid, key, client_id, secret, issuer, resource, roles, expires_at })
}

/// Who gives tokens, and what one can be asked for.
fn addresses(admin: &Admin) -> (Option<String>, Option<String>) {
    let snapshot = admin.feed.snapshot();
    let host = snapshot.settings.listen.hosts.first().cloned().unwrap_or_default();
    let issuer = proxy_address(admin, &host);
    let resource = snapshot.servers.keys().next().map(|server| format!("{issuer}/mcp/{server}"));
    (Some(issuer), resource)
}

/// Ends what an earlier client of that name has left: where its file went without `revoke`, its keys and secrets would open the new one.
async fn end_left(admin: &Admin, actor: &Actor, name: &str) -> Verb<Vec<String>> {
    let mut left = single::of(admin, single::Form::Key, name).await?;
    left.extend(single::of(admin, single::Form::Secret, name).await?);
    let left: Vec<String> = left.into_iter().filter(|one| one.state != "revoked").map(|one| one.kid).collect();
    if !left.is_empty() {
        single::cut(admin, &left, &actor.name).await?;
        super::vaults::tell_revoked(admin);
    }
    Ok(left)
}

/// Mints and stores what the new client will show.
async fn mint(admin: &Admin, actor: &Actor, input: &AddClient, expires_at: Option<Timestamp>) -> Verb<oauth::Stored> {
    if input.oauth {
        return oauth::mint(admin, actor, &input.name, expires_at).await;
    }
    let minted = keys::mint(KeyPrefix::Client, admin.entropy.as_ref());
    let (created_at, created_by) = (admin.clock.now(), actor.name.as_str());
    let row = store::NewKey { kid: &minted.kid, client: &input.name, hash: minted.hash, created_at, created_by, expires_at };
    store::add(&admin.db, &row).await?;
    Ok(oauth::Stored { text: minted.text, kid: minted.kid })
}

/// Every client, by name; revoked ones too, for as long as their keys are remembered.
///
/// # Errors
/// `Unavailable` when the database does not answer.
pub async fn list(admin: &Admin, actor: &Actor) -> Verb<ClientList> {
    actor.need(Right::Read, "client.list")?;
    Ok(ClientList { clients: all(admin).await? })
}

/// One client.
///
/// # Errors
/// `NotFound` when there never was one of that name.
pub async fn show(admin: &Admin, actor: &Actor, name: &str) -> Verb<Client> {
    actor.need(Right::Read, "client.show")?;
    let found = all(admin).await?.into_iter().find(|client| client.name == name);
    found.ok_or_else(|| missing(name))
}

/// Revokes every key, secret and public key of a client, with every token they got, and takes the client out of the configuration. No call of
/// it is accepted from the first line on, whatever fails later.
///
/// # Errors
/// `Denied` without role operator; `NotFound`; `Unavailable`, saying what holds, when database or repository do not answer.
pub async fn revoke(admin: &Admin, actor: &Actor, name: &str) -> Verb<ClientRevoked> {
    actor.need(Right::Operate, "client.revoke")?;
    let snapshot = admin.feed.snapshot();
    let running = snapshot.kids_of(name);
    if running.is_empty() && !snapshot.clients.contains_key(name) {
        return Err(missing(name));
    }
    deny(admin, &running);
    let now = admin.clock.now();
    let not_stored = |fault: Fault| Fault {
        message: format!(
            "The keys of {name} are refused now, but this is not stored and a restart would forget it: {}",
            fault.message
        ),
        ..fault
    };
    let mut kids = store::revoke(&admin.db, name, now, &actor.name).await.map_err(not_stored)?;
    kids.extend(oauth::revoke_client(admin, actor, name, &running).await.map_err(not_stored)?);
    let mut event = Event::action(&actor.name, "client.revoke", name);
    event.params = Some(serde_json::json!({ "kids": kids }));
    let recorded = admin.record(event).await;
    let removed = tree::edit(admin, actor, &format!("clients: revoke {name}"), |desired, _| {
        let there = desired.clients.contains_key(name);
        Ok(if there { vec![tree::remove(ClientConfig::path(name))] } else { Vec::new() })
    })
    .await;
    let revision = match removed {
        Ok(revision) => revision,
        // The keys are gone for good; a file that stays gives nobody access.
        Err(fault) => {
            tracing::error!(%fault, client = name, "the client's file stays in config/");
            publish(admin).await.unwrap_or_else(|_| admin.feed.snapshot().revision.clone())
        }
    };
    for open in super::credentials::of_client(admin, name).await {
        tracing::warn!(open, "a rotation of a client that is no more");
    }
    recorded?;
    Ok(ClientRevoked { client: name.to_owned(), kids, revoked_at: now, revision: revision.to_string() })
}

fn check(input: &AddClient) -> Verb<()> {
    check_name(&input.name).map_err(|why| Fault::invalid("name", why))?;
    if input.name == CANARY {
        return Err(Fault::invalid("name", "\"canary\" is the name that kill drills use"));
    }
    if input.name == SHADOW {
        return Err(Fault::invalid("name", "\"lifeboat-proof\" is the name that proofs of rotations use"));
    }
    if input.roles.is_empty() {
        return Err(Fault::invalid("roles", "a client needs a role"));
    }
    if input.expires_days == Some(0) {
        return Err(Fault::invalid("expires", "a key lives one day at least"));
    }
    Ok(())
}

fn absent(desired: &Desired, name: &str) -> Verb<()> {
    match desired.clients.contains_key(name) {
        true => Err(Fault::conflict(format!("client {name} exists already"))),
        false => Ok(()),
    }
}

fn missing(name: &str) -> Fault {
    Fault::not_found(format!("there is no client {name}"))
}

async fn all(admin: &Admin) -> Verb<Vec<Client>> {
    let now: Timestamp = admin.clock.now();
    let mut keys: BTreeMap<String, Vec<ClientKey>> = BTreeMap::new();
    for mut key in store::all(&admin.db, now).await? {
        key.last_used_at = admin.feed.uses().last(&key.kid);
        keys.entry(key.client.clone()).or_default().push(key);
    }
    let mut secrets: BTreeMap<String, Vec<ClientSecret>> = BTreeMap::new();
    for mut secret in oauth::all(&admin.db, now).await? {
        secret.last_used_at = admin.feed.uses().last(&secret.kid);
        secrets.entry(secret.client.clone()).or_default().push(secret);
    }
    let snapshot = admin.feed.snapshot();
    let desired = tree::desired(admin).await.unwrap_or_default();
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    for (name, entry) in &snapshot.clients {
        let keys = keys.remove(name.as_ref()).unwrap_or_default();
        let secrets = secrets.remove(name.as_ref()).unwrap_or_default();
        let jwks = oauth::jwks(admin, &desired, name);
        let counts = keys.iter().any(|key| key.state == "active")
            || secrets.iter().any(|secret| secret.state == "active")
            || !jwks.is_empty();
        let state = if counts { "active" } else { "no_key" };
        let roles = desired.clients.get(name.as_ref()).map(|client| client.roles.clone()).unwrap_or_default();
        let (rate, burst, concurrency) = (entry.rate, entry.burst, entry.concurrency);
        let client = Client { name: name.to_string(), state: state.into(), roles, rate, burst, concurrency, keys, secrets, jwks };
        clients.insert(name.to_string(), client);
    }
    let gone: BTreeSet<String> = keys.keys().chain(secrets.keys()).cloned().collect();
    for name in gone {
        let (keys, secrets) = (keys.remove(&name).unwrap_or_default(), secrets.remove(&name).unwrap_or_default());
        let (state, roles, jwks) = ("revoked".to_owned(), Vec::new(), Vec::new());
        let client = Client { name: name.clone(), state, roles, rate: 0, burst: 0, concurrency: 0, keys, secrets, jwks };
        clients.insert(name, client);
    }
    Ok(clients.into_values().collect())
}
