//! Clients: add, list, show, revoke. A key is shown once and kept as a hash. Revoking takes effect before anything is written.

mod model;
pub mod pages;
pub mod routes;
pub(super) mod single;
mod snippets;
mod store;
#[cfg(test)]
mod tests;
pub mod texts;

use std::collections::BTreeMap;

pub use model::{AddClient, Client, ClientAdded, ClientKey, ClientList, ClientRevoked};
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
use crate::policy::Snapshot;

const DAY_MS: i64 = 86_400_000;

/// Adds a client with its roles and a new key.
///
/// # Errors
/// `Denied` without role admin; `Invalid` for a bad name or role; `Conflict` when it exists.
pub async fn add(admin: &Admin, actor: &Actor, input: AddClient) -> Verb<ClientAdded> {
    actor.need(Right::Administer, "client.add")?;
    admin.need_ledger("client.add")?;
    check(&input)?;
    let name = input.name.as_str();
    let now = admin.clock.now();
    let expires_at = input.expires_days.map(|days| now.plus_ms(i64::from(days) * DAY_MS));
    let minted = keys::mint(KeyPrefix::Client, admin.entropy.as_ref());
    let (kid, created_by) = (minted.kid.as_str(), actor.name.as_str());
    let row = store::NewKey { kid, client: name, hash: minted.hash, created_at: now, created_by, expires_at };
    let file = ClientConfig { roles: input.roles.clone(), rate: input.rate, burst: None, concurrency: None };
    // Found before a key is stored, so that an answer "exists" costs nothing; the commit below checks again.
    absent(&tree::desired(admin).await?, name)?;
    // A key without its client is refused, so it is stored first: the client never runs without a key.
    store::add(&admin.db, &row).await?;
    let made = tree::edit(admin, actor, &format!("clients: add {name}"), |desired, _| {
        absent(desired, name)?;
        Ok(vec![tree::write(ClientConfig::path(name), file.to_toml()?)])
    })
    .await;
    if let Err(fault) = made {
        store::take_back(&admin.db, kid).await?;
        return Err(fault);
    }
    let mut event = Event::action(&actor.name, "client.add", name);
    event.params = Some(serde_json::json!({ "kid": kid, "roles": input.roles, "expires_at": expires_at }));
    admin.record(event).await?;
    let key = minted.text.reveal().clone();
    Ok(ClientAdded { client: input.name, kid: minted.kid, key, roles: input.roles, expires_at })
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

/// Revokes every key of a client and takes the client out of the configuration. No call with its keys is accepted from the first line on,
/// whatever fails later.
///
/// # Errors
/// `Denied` without role operator; `NotFound`; `Unavailable`, saying what holds, when database or repository do not answer.
pub async fn revoke(admin: &Admin, actor: &Actor, name: &str) -> Verb<ClientRevoked> {
    actor.need(Right::Operate, "client.revoke")?;
    let snapshot = admin.feed.snapshot();
    let running = kids_of(&snapshot, name);
    if running.is_empty() && !snapshot.clients.contains_key(name) {
        return Err(missing(name));
    }
    deny(admin, &running);
    let now = admin.clock.now();
    let kids = store::revoke(&admin.db, name, now, &actor.name).await.map_err(|fault| Fault {
        message: format!(
            "The keys of {name} are refused now, but this is not stored and a restart would forget it: {}",
            fault.message
        ),
        ..fault
    })?;
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

fn kids_of(snapshot: &Snapshot, client: &str) -> Vec<String> {
    snapshot.keys.values().filter(|key| key.client.as_ref() == client).map(|key| key.kid.to_string()).collect()
}

async fn all(admin: &Admin) -> Verb<Vec<Client>> {
    let now: Timestamp = admin.clock.now();
    let mut keys: BTreeMap<String, Vec<ClientKey>> = BTreeMap::new();
    for key in store::all(&admin.db, now).await? {
        keys.entry(key.client.clone()).or_default().push(key);
    }
    let snapshot = admin.feed.snapshot();
    let desired = tree::desired(admin).await.unwrap_or_default();
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    for (name, entry) in &snapshot.clients {
        let keys = keys.remove(name.as_ref()).unwrap_or_default();
        let state = if keys.iter().any(|key| key.state == "active") { "active" } else { "no_key" };
        let roles = desired.clients.get(name.as_ref()).map(|client| client.roles.clone()).unwrap_or_default();
        let (rate, burst, concurrency) = (entry.rate, entry.burst, entry.concurrency);
        let client = Client { name: name.to_string(), state: state.into(), roles, rate, burst, concurrency, keys };
        clients.insert(name.to_string(), client);
    }
    for (name, keys) in keys {
        let state = "revoked".to_owned();
        let gone = Client { name: name.clone(), state, roles: Vec::new(), rate: 0, burst: 0, concurrency: 0, keys };
        clients.insert(name, gone);
    }
    Ok(clients.into_values().collect())
}
