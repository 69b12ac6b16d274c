//! What the ledger says of itself: usable or why not, how far it is, how its groups went. Read by readiness, pages and metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::watch;

/// The state of the ledger at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerState {
    /// Whether new calls may be recorded.
    pub ok: bool,
    /// Why not, for people.
    pub why: Option<String>,
    /// Position of the last event.
    pub last_seq: u64,
    /// Bytes of all segments on disk.
    pub bytes: u64,
    /// Number of the open segment.
    pub segment: u64,
}

/// What the writer did since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupStats {
    /// Groups written, each with one write.
    pub groups: u64,
    /// Events written.
    pub events: u64,
    /// Syncs asked of the disk.
    pub syncs: u64,
    /// Entries refused because the ledger could not be written.
    pub refused: u64,
    /// Largest group.
    pub largest: u64,
}

/// The counters and signals that the writer sets and everybody else reads.
#[derive(Debug)]
pub struct Shared {
    last_seq: watch::Sender<u64>,
    health: watch::Sender<Option<String>>,
    ended: watch::Sender<bool>,
    bytes: AtomicU64,
    segment: AtomicU64,
    groups: AtomicU64,
    events: AtomicU64,
    syncs: AtomicU64,
    refused: AtomicU64,
    largest: AtomicU64,
}

impl Shared {
    /// At the given last event, usable unless `why` says otherwise.
    pub fn new(last_seq: u64, why: Option<String>) -> Self {
        Self {
            last_seq: watch::Sender::new(last_seq),
            health: watch::Sender::new(why),
            ended: watch::Sender::new(false),
            bytes: AtomicU64::new(0),
            segment: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            events: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            largest: AtomicU64::new(0),
        }
    }

    /// Position of the last event that counts.
    pub fn last_seq(&self) -> u64 {
        *self.last_seq.borrow()
    }

    /// Follows the position of the last event.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.last_seq.subscribe()
    }

    /// Follows why the ledger is unusable; `None` while it is usable.
    pub fn follow_health(&self) -> watch::Receiver<Option<String>> {
        self.health.subscribe()
    }

    /// Follows whether the writer has ended.
    pub fn follow_end(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    /// A group is in the ledger.
    pub fn advance(&self, last_seq: u64, events: usize) {
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(events, Ordering::Relaxed);
        self.largest.fetch_max(events, Ordering::Relaxed);
        self.last_seq.send_replace(last_seq);
    }

    /// The last event that was found at the start.
    pub fn set_last_seq(&self, last_seq: u64) {
        self.last_seq.send_replace(last_seq);
    }

    /// Entries were refused.
    pub fn count_refused(&self, entries: usize) {
        self.refused.fetch_add(u64::try_from(entries).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Sizes and syncs as they stand.
    pub fn measure(&self, segment: u64, bytes: u64, syncs: u64) {
        self.segment.store(segment, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.syncs.store(syncs, Ordering::Relaxed);
    }

    /// Usable (`None`) or why not.
    pub fn set_health(&self, why: Option<String>) {
        self.health.send_if_modified(|old| {
            let changed = *old != why;
            *old = why;
            changed
        });
    }

    /// The writer has ended: nothing can be recorded any more.
    pub fn end(&self) {
        self.set_health(Some("the ledger's writer has stopped".into()));
        self.ended.send_replace(true);
    }

    /// The state now.
    pub fn state(&self) -> LedgerState {
        let why = self.health.borrow().clone();
        LedgerState {
            ok: why.is_none(),
            why,
            last_seq: self.last_seq(),
            bytes: self.bytes.load(Ordering::Relaxed),
            segment: self.segment.load(Ordering::Relaxed),
        }
    }

    /// The counters now.
    pub fn stats(&self) -> GroupStats {
        GroupStats {
            groups: self.groups.load(Ordering::Relaxed),
            events: self.events.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            largest: self.largest.load(Ordering::Relaxed),
        }
    }
}
