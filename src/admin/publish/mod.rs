//! The one reconciler: HEAD of `config/` and the credentials of state.db become the snapshot the proxy decides from. An invalid HEAD is
//! refused with every fault; the last applied revision keeps running. Never edits either source.

mod store;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use store::STATEMENTS;

use super::tree;
use super::{Admin, clients, credentials, servers, tokens};
use crate::audit::{Durability, Event};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::config::repo::{Files, Head, Repository};
use crate::config::{ConfigFault, Desired};
use crate::crypto::seal::InstanceKey;
use crate::db::Db;
use crate::policy::Snapshot;
use crate::policy::snapshot::Revision;
use crate::policy::tokens::Cuts;

const LOOK: Duration = Duration::from_secs(2);

/// A commit that could not become the running policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its id.
    pub commit: String,
    /// Everything that is wrong with it, `file:line: message`.
    pub faults: Vec<String>,
}

/// What the reconciler remembers.
pub struct Publisher {
    turn: tokio::sync::Mutex<()>,
    refused: Mutex<Option<Refused>>,
    /// Credentials that were revoked, also while the database did not answer: no snapshot of this process holds them again.
    denied: Mutex<HashSet<String>>,
}

/// Why no snapshot could be made.
enum Hindrance {
    /// The configuration is wrong.
    Invalid(Vec<ConfigFault>),
    /// A source did not answer.
    Fault(Fault),
}

impl From<Fault> for Hindrance {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Publisher {
    /// A reconciler; `refused` is what `first` could not apply.
    pub fn new(refused: Option<Refused>) -> Self {
        Self { turn: tokio::sync::Mutex::default(), refused: Mutex::new(refused), denied: Mutex::default() }
    }

    /// Credentials that no snapshot of this process holds again.
    pub fn denied(&self) -> Vec<String> {
        locked(&self.denied).iter().cloned().collect()
    }

    /// The commit at HEAD, when it could not be applied.
    pub fn refused(&self) -> Option<Refused> {
        locked(&self.refused).clone()
    }
}

/// The first snapshot of a process: HEAD, or the last applied commit with what is wrong with HEAD.
///
/// # Errors
/// `Invalid` when HEAD is wrong and nothing was ever applied; `Unavailable` when database or repository do not answer.
pub async fn first(db: &Db, repository: &Repository, sealer: &InstanceKey) -> Verb<(Snapshot, Option<Refused>)> {
    let head = tree::head(repository).await?;
    let faults = match compose(db, sealer, &head).await {
        Ok(snapshot) => return Ok((snapshot, None)),
        Err(Hindrance::Fault(fault)) => return Err(fault),
        Err(Hindrance::Invalid(faults)) => faults,
    };
    let Some(applied) = store::applied(db).await? else { return Err(ConfigFault::join(&faults)) };
    let last = tree::at(repository, &applied).await?;
    match compose(db, sealer, &last).await {
        Ok(snapshot) => Ok((snapshot, Some(refusal(&head.commit, &faults)))),
        Err(Hindrance::Fault(fault)) => Err(fault),
        Err(Hindrance::Invalid(_)) => Err(ConfigFault::join(&faults)),
    }
}

/// Makes HEAD and the credentials the running policy. When it returns, the feed holds them.
///
/// # Errors
/// `Invalid` with every fault when HEAD is wrong: the last applied revision keeps running. `Unavailable` when a source does not answer.
pub async fn publish(admin: &Admin) -> Verb<Revision> {
    let _turn = admin.publisher.turn.lock().await;
    let head = tree::head(&admin.repository).await?;
    match compose(&admin.db, &admin.sealer, &head).await {
        Ok(snapshot) => {
            let revision = put(admin, snapshot);
            *locked(&admin.publisher.refused) = None;
            if let Err(fault) = store::set_applied(&admin.db, &head.commit, admin.clock.now()).await {
                tracing::warn!(%fault, "a restart with an invalid HEAD would go back further than this revision");
            }
            Ok(revision)
        }
        Err(Hindrance::Fault(fault)) => Err(fault),
        Err(Hindrance::Invalid(faults)) => {
            refuse(admin, refusal(&head.commit, &faults)).await;
            Err(ConfigFault::join(&faults))
        }
    }
}

/// Takes credentials out of the running policy at once, waiting for nothing.
pub fn deny(admin: &Admin, kids: &[String]) {
    let mut denied = locked(&admin.publisher.denied);
    denied.extend(kids.iter().cloned());
    let mut snapshot = Snapshot::clone(&admin.feed.snapshot());
    snapshot.without(|kid| denied.contains(kid));
    snapshot.revision.epoch += 1;
    admin.feed.publish(snapshot);
}

/// Ends the tokens of a client, or of everybody, that were issued until now, at once and waiting for nothing; gives the moment. It is later than every
/// cut before it, since a token that is given right after a cut is dated right after it.
pub fn cut(admin: &Admin, client: Option<&str>) -> Timestamp {
    let _denied = locked(&admin.publisher.denied);
    let mut snapshot = Snapshot::clone(&admin.feed.snapshot());
    let cuts = &mut Arc::make_mut(&mut snapshot.tokens).cuts;
    let before = cuts.next(client, admin.clock.now());
    cuts.and(&Cuts::one(client, before));
    snapshot.revision.epoch += 1;
    admin.feed.publish(snapshot);
    before
}

fn put(admin: &Admin, mut snapshot: Snapshot) -> Revision {
    let denied = locked(&admin.publisher.denied);
    snapshot.without(|kid| denied.contains(kid));
    for shadow in credentials::proof::shadows(admin, |name| snapshot.clients.get(name).cloned()) {
        snapshot.clients.insert(shadow.name.clone(), Arc::new(shadow));
    }
    let now = admin.feed.snapshot();
    if now.tokens.cuts != snapshot.tokens.cuts {
        Arc::make_mut(&mut snapshot.tokens).cuts.and(&now.tokens.cuts);
    }
    snapshot.revision.epoch = snapshot.revision.epoch.max(now.revision.epoch);
    let gone: Vec<String> = now.servers.keys().filter(|name| !snapshot.servers.contains_key(*name)).cloned().collect();
    let revision = snapshot.revision.clone();
    admin.feed.publish(snapshot);
    for name in gone {
        admin.feed.forget_server(&name);
    }
    revision
}

async fn refuse(admin: &Admin, refusal: Refused) {
    let known = locked(&admin.publisher.refused).replace(refusal.clone()).is_some_and(|before| before == refusal);
    if known {
        return;
    }
    tracing::error!(commit = refusal.commit, faults = refusal.faults.join("; "), "HEAD is invalid; the last applied revision runs");
    let mut event = Event::system("config.refused", refusal.commit);
    event.params = Some(serde_json::json!({ "faults": refusal.faults }));
    if admin.recorder.record(event, Durability::Synced).await.is_err() {
        tracing::error!("the refused revision could not be written to the ledger");
    }
}

async fn compose(db: &Db, sealer: &InstanceKey, tree: &Head) -> Result<Snapshot, Hindrance> {
    let desired = Desired::read(&tree.files).map_err(Hindrance::Invalid)?;
    // The epoch is read before the keys: a key that changes in between makes the policy newer than its name, never older.
    let epoch = store::epoch(db).await?;
    let keys = clients::running_keys(db).await?;
    let (tokens, denied) = (tokens::running(db, sealer).await?, clients::denied_jwks(db).await?);
    let secrets = servers::running_secrets(db, sealer, &desired).await?;
    let revision = Revision { commit: tree.commit.clone(), epoch };
    let mut snapshot = Snapshot::build(revision, &desired, keys, secrets).map_err(Hindrance::Invalid)?;
    snapshot.tokens = Arc::new(tokens);
    snapshot.without(|kid| denied.contains(kid));
    Ok(snapshot)
}

/// Every fault of a tree, also those only a whole snapshot shows.
pub(super) fn faults_of(files: &Files) -> Vec<ConfigFault> {
    let built = Desired::read(files)
        .and_then(|desired| Snapshot::build(Revision::default(), &desired, Vec::new(), std::collections::HashMap::new()));
    built.err().unwrap_or_default()
}

fn refusal(commit: &str, faults: &[ConfigFault]) -> Refused {
    Refused { commit: commit.to_owned(), faults: faults.iter().map(ToString::to_string).collect() }
}

/// The task that sees a HEAD moved by hand. Runs until `stop`.
pub async fn watch(admin: Arc<Admin>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let head = match tree::head(&admin.repository).await {
            Ok(head) => head.commit,
            Err(fault) => {
                tracing::warn!(%fault, "config/ cannot be read; the last applied revision runs");
                continue;
            }
        };
        let refused = admin.publisher.refused().is_some_and(|refused| refused.commit == head);
        if refused || head == admin.feed.snapshot().revision.commit {
            continue;
        }
        // What is wrong has been told by `publish`; nobody waits for this answer.
        if publish(&admin).await.is_ok() {
            tracing::info!(commit = head, "HEAD moved; its revision runs");
        }
    }
}
