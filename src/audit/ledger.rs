//! The ledger as the rest of Lifeboat sees it: open, state, checkpoint, verify, query, tail, export, shutdown. Decides nothing itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::begin::{self, Parts};
use super::checkpoint::{Checkpoint, CheckpointSink, PublicKey, Signer};
use super::disk::{Disk, SystemDisk};
use super::event::Event;
use super::index::Index;
use super::query::{self, Bucket, Filter, Page, ReasonCount, Totals};
use super::recorder::Recorder;
use super::state::{GroupStats, LedgerState, Shared};
use super::tail::Tail;
use super::verify::{self, Extent, Report};
use super::writer::Order;
use crate::base::clock::{SharedClock, Timestamp};
use crate::base::fault::{Fault, Verb};
use crate::config::settings::Audit;

/// What opening a ledger needs.
pub struct Opening {
    dir: PathBuf,
    settings: Audit,
    clock: SharedClock,
    signer: Signer,
    sinks: Vec<CheckpointSink>,
    disk: Arc<dyn Disk>,
}

impl Opening {
    /// The ledger in `dir` (the data directory's `audit`), kept as `settings` say.
    pub fn new(dir: impl Into<PathBuf>, settings: Audit, clock: SharedClock, signer: Signer) -> Self {
        Self { dir: dir.into(), settings, clock, signer, sinks: Vec::new(), disk: Arc::new(SystemDisk) }
    }

    /// Tells every checkpoint to `sink` too. A sink may block without harm to the ledger.
    #[must_use]
    pub fn sink(mut self, sink: CheckpointSink) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Another disk, for tests of its failures.
    #[must_use]
    pub fn on(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }
}

/// The open ledger. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    dir: Arc<Path>,
    key: PublicKey,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    index: Arc<Index>,
}

impl Ledger {
    /// Opens the ledger and starts its writer. A ledger that cannot be written or was tampered with opens too: it refuses every
    /// entry, says why in its state, and recovers by itself when the cause was the disk. Blocks while the newest segment is read.
    ///
    /// # Errors
    /// `conflict` when another process has it open, `unavailable` when the directory or a thread cannot be made.
    pub fn open(opening: Opening) -> Verb<(Self, Recorder)> {
        let Opening { dir, settings, clock, signer, sinks, disk } = opening;
        let lock = begin::lock(&dir)?;
        let key = signer.public().clone();
        let fault = |error| Fault::unavailable("the ledger's threads cannot be started").because(error);
        let parts = Arc::new(Parts::start(&dir, sinks, (settings, clock, signer, disk)).map_err(fault)?);
        let (recorder, queue) = Recorder::new(parts.strangers.clone(), parts.shared.follow_health());
        let (orders, receiver) = mpsc::channel(16);
        let shared = parts.shared.clone();
        begin::start(parts, lock, queue, receiver).map_err(fault)?;
        let index = Arc::new(Index::new(&dir, shared.clone()));
        Ok((Self { dir: dir.into(), key, shared, orders, index }, recorder))
    }

    /// The state now.
    pub fn state(&self) -> LedgerState {
        self.shared.state()
    }

    /// What the writer did since it started.
    pub fn stats(&self) -> GroupStats {
        self.shared.stats()
    }

    /// Follows why the ledger is unusable; `None` while it is usable.
    pub fn follow_health(&self) -> watch::Receiver<Option<String>> {
        self.shared.follow_health()
    }

    /// The key that checkpoints are signed with.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// Returns when the writer has ended, however it ended. Its death is fatal for the process.
    pub async fn ended(&self) {
        // The sender lives as long as `self`, so the wait ends only with the writer.
        let _ = self.shared.follow_end().wait_for(|ended| *ended).await;
    }

    /// Makes a checkpoint now: at start, kill, rotation, drill.
    ///
    /// # Errors
    /// `unavailable` when the ledger cannot be written.
    pub async fn checkpoint(&self, why: &str) -> Verb<Checkpoint> {
        let gone = || Fault::unavailable("the ledger's writer has stopped");
        let (done, answer) = oneshot::channel();
        self.orders.send(Order::Checkpoint { why: why.to_owned(), done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Checks everything up to the last event. `elsewhere` are checkpoints kept outside the data directory, read before this call.
    ///
    /// # Errors
    /// `unavailable` when files cannot be read.
    pub async fn verify(&self, elsewhere: Vec<Checkpoint>) -> Verb<Report> {
        let (dir, key) = (self.dir.clone(), self.key.clone());
        // A ledger that stopped at a fault is read to its end, so that the report names the fault.
        let state = self.shared.state();
        let extent = if state.ok { Extent::Upto(state.last_seq) } else { Extent::All };
        blocking(move || verify::verify(&dir, &key, extent, &elsewhere)).await
    }

    /// A page, newest first. Sees every event that was recorded before the call.
    ///
    /// # Errors
    /// `invalid` for a bad cursor, `unavailable` while the index is more than 2 s behind.
    pub async fn query(&self, filter: &Filter) -> Verb<Page> {
        self.index.query(filter).await
    }

    /// One event by its position; `None` when it is not in the ledger (any more).
    ///
    /// # Errors
    /// `unavailable` when the ledger cannot be read.
    pub async fn event(&self, seq: u64) -> Verb<Option<Event>> {
        let (dir, last) = (self.dir.clone(), self.shared.last_seq());
        if seq == 0 || seq > last {
            return Ok(None);
        }
        blocking(move || query::find(&dir, seq)).await
    }

    /// Calls per stretch of time (whole minutes) since a moment, without gaps, from the index as far as it is.
    ///
    /// # Errors
    /// `unavailable` when the index cannot be read.
    pub async fn counts(&self, since: Timestamp, until: Timestamp, bucket_ms: i64) -> Verb<Vec<Bucket>> {
        self.index.counts(since, until, bucket_ms).await
    }

    /// Refusals by reason since a moment, most frequent first.
    ///
    /// # Errors
    /// `unavailable` when the index cannot be read.
    pub async fn refusals_by_reason(&self, since: Timestamp) -> Verb<Vec<ReasonCount>> {
        self.index.refusals_by_reason(since).await
    }

    /// All calls since a moment.
    ///
    /// # Errors
    /// `unavailable` when the index cannot be read.
    pub async fn totals(&self, since: Timestamp) -> Verb<Totals> {
        self.index.totals(since).await
    }

    /// Follows the ledger from after the event `since`, or from now.
    pub fn tail(&self, since: Option<u64>) -> Tail {
        Tail::new(self.dir.to_path_buf(), since.unwrap_or_else(|| self.shared.last_seq()), self.shared.follow())
    }

    /// Writes every stored line that fits to `out`, oldest first, byte for byte. Returns how many. Blocks: call it from a thread
    /// that may.
    ///
    /// # Errors
    /// `unavailable` when the ledger cannot be read or `out` not be written.
    pub fn export(&self, out: &mut dyn Write, filter: &Filter) -> Verb<u64> {
        query::export(&self.dir, out, filter, self.shared.last_seq())
    }

    /// Keeps the index up with the ledger until `stop`. The long-lived task `audit-index`, for the runtime of the admin plane.
    pub async fn run_index(self, stop: CancellationToken) {
        self.index.run(stop).await;
    }

    /// Writes what is queued, syncs, makes a last checkpoint and ends the writer. Returns when the files are at rest.
    pub async fn shutdown(&self) {
        // An error means that the writer has ended already.
        let _ = self.orders.send(Order::Stop).await;
        self.ended().await;
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Verb<T> + Send + 'static) -> Verb<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::bug("a reader of the ledger ended").because(error))?
}
