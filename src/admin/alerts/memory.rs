//! What the verbs and tasks of alerts remember while the process runs. Nothing here must outlive it.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::outbox::{Rest, Settled};
use super::post::{self, Lookup};
use super::watchdog::Watch;
use crate::admin::{Admin, tree};
use crate::base::clock::Timestamp;
use crate::config::alerts::Alerting;

/// What the verbs of alerts remember.
pub struct Alerts {
    /// Open alerts that nobody has seen.
    pub(super) unseen: AtomicUsize,
    /// When the last look ended well; `None` when it did not.
    pub(super) looked: Mutex<Option<Timestamp>>,
    /// Told when the outbox has something new.
    pub(super) wake: Notify,
    /// Receivers that failed a moment ago.
    pub(super) rests: Mutex<HashMap<String, Rest>>,
    /// How attempts ended that the database did not take yet: they must not be made again.
    pub(super) unsaved: Mutex<Vec<Settled>>,
    /// What the watchdog saw.
    pub(super) watch: Mutex<Watch>,
    /// Resolves names.
    pub(in crate::admin) lookup: Lookup,
    /// The running `alerts.toml`, with its commit.
    known: Mutex<Option<(String, Arc<Alerting>)>>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            unseen: AtomicUsize::default(),
            looked: Mutex::default(),
            wake: Notify::new(),
            rests: Mutex::default(),
            unsaved: Mutex::default(),
            watch: Mutex::default(),
            lookup: post::system_lookup(),
            known: Mutex::default(),
        }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running `alerts.toml`: of the revision that runs, not of a HEAD that was refused. While the repository cannot be read it is the last one
/// known: an alert must be written down also then.
pub(super) async fn running(admin: &Admin) -> Arc<Alerting> {
    let commit = admin.feed.snapshot().revision.commit.clone();
    let known = locked(&admin.alerts.known).clone();
    if let Some((of, config)) = &known
        && *of == commit
    {
        return config.clone();
    }
    let read = async || tree::read(&tree::at(&admin.repository, &commit).await?.files);
    match read().await {
        Ok(desired) => {
            let config = Arc::new(desired.alerts);
            *locked(&admin.alerts.known) = Some((commit, config.clone()));
            config
        }
        Err(fault) => {
            tracing::error!(%fault, "alerts.toml cannot be read; what was known of it counts");
            known.map(|(_, config)| config).unwrap_or_default()
        }
    }
}
