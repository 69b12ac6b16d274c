//! The admin plane: one folder per noun, each with its verbs, model, SQL, routes and pages. Never names the proxy; what it
//! wants of it goes through `policy::feed`.

pub mod activity;
pub mod actor;
pub mod again;
pub mod alerts;
pub mod api;
pub mod clients;
pub mod command;
pub mod credentials;
pub mod doctor;
pub mod drills;
pub mod health;
pub mod kill;
pub mod names;
pub mod operators;
pub mod overview;
pub mod policy;
pub mod publish;
pub mod revisions;
pub mod roles;
pub mod routes;
pub mod schedule;
pub mod servers;
pub mod shell;
pub mod tokens;
pub mod tools;
mod tree;
pub mod vaults;

#[cfg(test)]
mod tests_ask;
#[cfg(test)]
mod tests_door;
#[cfg(test)]
mod tests_gate;
#[cfg(test)]
mod tests_house;
#[cfg(test)]
mod tests_matrix;
#[cfg(test)]
mod tests_meanwhile;
#[cfg(test)]
mod tests_second;
#[cfg(test)]
mod tests_second_rebuilt;
#[cfg(test)]
mod tests_sudo;

use std::sync::Arc;

pub use actor::{Actor, OperatorRole, Via};

use crate::audit::{Durability, Event, Ledger, Recorder, Signer};
use crate::base::clock::{SharedClock, Timestamp};
use crate::base::fault::{Fault, Verb};
use crate::base::ids::SharedEntropy;
use crate::config::paths::DataDir;
use crate::config::repo::Repository;
use crate::crypto::seal::InstanceKey;
use crate::db::Db;
use crate::policy::feed::Feed;

/// What the admin plane is made of; `app` opens the parts.
pub struct Parts {
    /// `state.db`.
    pub db: Db,
    /// `config/`.
    pub repository: Repository,
    /// The door to the proxy plane, holding the first snapshot and the kill state of `kill::load`.
    pub feed: Arc<Feed>,
    /// Where verbs record.
    pub recorder: Recorder,
    /// What the recorder writes.
    pub ledger: Ledger,
    /// The time.
    pub clock: SharedClock,
    /// Chance.
    pub entropy: SharedEntropy,
    /// The data directory.
    pub data: DataDir,
    /// Seals what this host keeps secret.
    pub sealer: Arc<InstanceKey>,
    /// What `publish::first` refused, if it did.
    pub refused: Option<publish::Refused>,
    /// Signs what leaves this instance.
    pub signer: Signer,
}

/// Everything a verb may use. One per process.
pub struct Admin {
    /// `state.db`.
    pub db: Db,
    /// `config/`.
    pub repository: Repository,
    /// The door to the proxy plane.
    pub feed: Arc<Feed>,
    /// Where verbs record.
    pub recorder: Recorder,
    /// What the recorder writes.
    pub ledger: Ledger,
    /// The time.
    pub clock: SharedClock,
    /// Chance.
    pub entropy: SharedEntropy,
    /// The data directory.
    pub data: DataDir,
    /// Seals what this host keeps secret.
    pub sealer: Arc<InstanceKey>,
    /// The kill switch's memory.
    pub kill: kill::Control,
    /// Operators, sessions and keys.
    pub operators: operators::Operators,
    /// Names of servers and clients that are being added.
    pub names: names::Names,
    /// The reconciler's memory.
    pub publisher: publish::Publisher,
    /// What the verbs of archives remember.
    pub vaults: vaults::Vaults,
    /// What the verbs of alerts remember.
    pub alerts: alerts::Alerts,
    /// What the verbs of credentials remember.
    pub credentials: credentials::Credentials,
    /// What the verbs of drills remember.
    pub drills: drills::Drills,
    /// When this process began to serve.
    pub started_at: Timestamp,
}

impl Admin {
    /// Puts the parts together. The tasks `kill::keep`, `kill::watch`, `kill::keep_warm` and `publish::watch` are the caller's to start.
    pub async fn open(parts: Parts) -> Arc<Self> {
        let last = kill::last_proof(&parts.db).await;
        tokens::recall(&parts.db, &parts.feed, parts.clock.now()).await;
        Arc::new(Self {
            operators: operators::load(&parts.db).await,
            kill: kill::Control::new(last),
            names: names::Names::default(),
            publisher: publish::Publisher::new(parts.refused),
            alerts: alerts::Alerts::default(),
            credentials: credentials::Credentials::default(),
            drills: drills::Drills::default(),
            vaults: vaults::Vaults::new(parts.signer),
            started_at: parts.clock.now(),
            db: parts.db,
            repository: parts.repository,
            feed: parts.feed,
            recorder: parts.recorder,
            ledger: parts.ledger,
            clock: parts.clock,
            entropy: parts.entropy,
            data: parts.data,
            sealer: parts.sealer,
        })
    }

    /// Refuses before anything is done that could not be written down: a key that is shown once must not be lost to a full disk.
    ///
    /// # Errors
    /// `Unavailable`, saying why the ledger cannot be written.
    pub fn need_ledger(&self, verb: &str) -> Verb<()> {
        match self.recorder.trouble() {
            None => Ok(()),
            Some(why) => Err(Fault::unavailable(format!("{verb} is refused while the ledger cannot be written: {why}"))),
        }
    }

    /// Records what a verb did, on disk before it returns.
    ///
    /// # Errors
    /// `Unavailable` when the ledger cannot be written: the verb is done, and says that nobody wrote it down.
    pub async fn record(&self, event: Event) -> Verb<()> {
        let what = event.action.clone().unwrap_or_default();
        let told = self.recorder.record(event, Durability::Synced).await;
        told.map(|_| ()).map_err(|e| Fault::unavailable(format!("{what} is done, but the ledger could not be written")).because(e))
    }

    /// Where browsers reach the dashboard: its public URL, or `https://` and the host that this request named.
    pub fn dashboard_base(&self, host: &str) -> String {
        let settings = &self.feed.snapshot().settings;
        settings.dashboard_url.as_ref().map_or_else(|| format!("https://{host}"), |url| url.as_str().to_owned())
    }

    /// Signs the ledger's head now.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be written.
    pub async fn checkpoint(&self, why: &str) -> Verb<()> {
        self.ledger.checkpoint(why).await.map(|_| ())
    }
}
