//! What the kill switch keeps in memory between its verbs: locks, what database and ledger still lack, the last proof. Never holds the
//! kill state itself: that is in the feed, where the proxy reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::file::Mark;
use super::line::Line;
use super::model::{CANARY, Past, Proof};
use crate::audit::Event;
use crate::policy::{KillEntry, KillOverlay, Scope};

/// The kill switch's memory. One per process, in `Admin`.
pub struct Control {
    /// How many orders to stop there were; held while the overlay changes, so that a release sees an order that came meanwhile.
    orders: Mutex<u64>,
    /// How the file looked when Lifeboat last wrote or read it; held while the file is written, read or removed.
    pub(super) file: Arc<tokio::sync::Mutex<Option<Mark>>>,
    /// Held while the database's copy changes. Stopping never takes it.
    pub(super) database: tokio::sync::Mutex<()>,
    /// Held by a running drill.
    pub(super) drill: tokio::sync::Mutex<()>,
    /// The connection canaries go through.
    pub(super) line: Line,
    owed: Mutex<Owed>,
    wake: Notify,
    kept: watch::Sender<u64>,
    proved: Mutex<Option<Proof>>,
}

/// What database and ledger still lack.
#[derive(Default)]
pub(super) struct Owed {
    /// Rises with each change.
    pub sequence: u64,
    /// Orders by decision id.
    pub past: BTreeMap<String, Past>,
    /// Events in their order.
    pub events: Vec<Event>,
    /// Why a checkpoint is due.
    pub checkpoint: Option<&'static str>,
}

// A poisoned lock only means that another thread panicked between two assignments; stopping must go on.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The overlay without what a drill stops: the canary's client is nobody's.
pub(super) fn meant(overlay: &KillOverlay) -> KillOverlay {
    let entries = overlay.entries.iter().filter(|entry| !practised(&entry.scope)).cloned().collect();
    KillOverlay { epoch: overlay.epoch, entries }
}

/// Whether a scope is the drill's.
pub(super) fn practised(scope: &Scope) -> bool {
    matches!(scope, Scope::Client { client } if client == CANARY)
}

/// Whether memory stops at least as much as an entry asks for.
pub(super) fn covered(overlay: &KillOverlay, entry: &KillEntry) -> bool {
    overlay.entries.iter().any(|have| have.scope == entry.scope && have.mode >= entry.mode)
}

impl Control {
    /// The memory of a kill switch.
    pub fn new(last: Option<Proof>) -> Self {
        // The first round of the keeper brings database and file in line with what was found at start.
        let owed = Owed { sequence: 1, ..Owed::default() };
        Self {
            orders: Mutex::default(),
            file: Arc::default(),
            database: tokio::sync::Mutex::default(),
            drill: tokio::sync::Mutex::default(),
            line: Line::default(),
            owed: Mutex::new(owed),
            wake: Notify::new(),
            kept: watch::Sender::new(0),
            proved: Mutex::new(last),
        }
    }

    /// Takes the right to change the overlay.
    pub(super) fn changing(&self) -> MutexGuard<'_, u64> {
        locked(&self.orders)
    }

    /// The last proof.
    pub fn last_proof(&self) -> Option<Proof> {
        locked(&self.proved).clone()
    }

    /// Remembers an order for database and history; gives the number to wait for.
    pub(super) fn owe(&self, past: Past) -> u64 {
        if let Some(proof) = past.proof() {
            *locked(&self.proved) = Some(proof);
        }
        let mut owed = locked(&self.owed);
        owed.sequence += 1;
        owed.past.insert(past.decision_id.clone(), past);
        let sequence = owed.sequence;
        drop(owed);
        self.wake.notify_one();
        sequence
    }

    /// Remembers an event that the ledger did not take.
    pub(super) fn owe_event(&self, event: Event) {
        locked(&self.owed).events.push(event);
        self.wake.notify_one();
    }

    /// Whether the database knows everything that is stopped.
    pub fn settled(&self) -> bool {
        locked(&self.owed).sequence == self.kept()
    }

    /// Asks for a checkpoint soon.
    pub(super) fn owe_checkpoint(&self, why: &'static str) {
        locked(&self.owed).checkpoint = Some(why);
        self.wake.notify_one();
    }

    /// Has the keeper bring the database in line with memory.
    pub(super) fn resync(&self) {
        locked(&self.owed).sequence += 1;
        self.wake.notify_one();
    }

    /// What is owed now.
    pub(super) fn owed(&self) -> MutexGuard<'_, Owed> {
        locked(&self.owed)
    }

    /// Returns when something is owed.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Tells that everything up to a number is in the database.
    pub(super) fn keep(&self, sequence: u64) {
        self.kept.send_replace(sequence);
    }

    /// The number up to which the database has everything.
    pub(super) fn kept(&self) -> u64 {
        *self.kept.borrow()
    }

    /// Whether everything up to a number is in the database within the time.
    pub(super) async fn kept_within(&self, sequence: u64, time: Duration) -> bool {
        let mut kept = self.kept.subscribe();
        let done = tokio::time::timeout(time, kept.wait_for(|at| *at >= sequence)).await;
        matches!(done, Ok(Ok(_)))
    }
}
