//! The handle that every plane records events with: a bounded queue to the one writer. Never drops an event in silence: what
//! cannot be queued or written is an error that the caller must refuse on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::event::Event;
use super::strangers::Strangers;

/// What must be true before `record` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The line is written to the segment (it outlives this process, not a power cut).
    Written,
    /// The line is synced to disk, together with its group.
    Synced,
}

/// What the ledger says of a recorded event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its position.
    pub seq: u64,
}

/// The ledger took the event not: the queue is full or the segment cannot be written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the ledger cannot be written: {why}")]
pub struct LedgerUnavailable {
    /// A cause for people: `disk full`, `queue full`.
    pub why: String,
}

/// One queued event and where its answer goes.
#[derive(Debug)]
pub struct Entry {
    /// The event, without seq, ts, prev and hash.
    pub event: Box<Event>,
    /// When to answer.
    pub durability: Durability,
    /// The answer.
    pub done: oneshot::Sender<Result<Recorded, LedgerUnavailable>>,
}

/// Records events. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Entry>,
    strangers: Arc<Strangers>,
    health: watch::Receiver<Option<String>>,
}

/// How many events may wait for the writer.
pub const QUEUE: usize = 8_192;

const FULL_QUEUE_WAIT: Duration = Duration::from_millis(250);

// A disk that hangs must not hold a call for ever.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

impl Recorder {
    /// A recorder and the receiving end for the writer; `health` holds why the ledger cannot be written, while it cannot.
    pub fn new(strangers: Arc<Strangers>, health: watch::Receiver<Option<String>>) -> (Self, mpsc::Receiver<Entry>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Self { queue, strangers, health }, receiver)
    }

    /// Why the ledger cannot be written now, so that nothing is begun that could not be written down.
    pub fn trouble(&self) -> Option<String> {
        self.health.borrow().clone()
    }

    /// Records one event and returns once `durability` holds.
    ///
    /// # Errors
    /// When the queue stays full for 250 ms or the segment cannot be written: the event is then not in the ledger. Also when the disk
    /// does not answer for 10 s: the event may then still appear.
    pub async fn record(&self, event: Event, durability: Durability) -> Result<Recorded, LedgerUnavailable> {
        let gone = || LedgerUnavailable { why: "the writer has stopped".into() };
        let (done, answer) = oneshot::channel();
        let entry = Entry { event: Box::new(event), durability, done };
        match tokio::time::timeout(FULL_QUEUE_WAIT, self.queue.send(entry)).await {
            Err(_) => return Err(LedgerUnavailable { why: "the queue is full".into() }),
            Ok(Err(_)) => return Err(gone()),
            Ok(Ok(())) => {}
        }
        match tokio::time::timeout(ANSWER_WAIT, answer).await {
            Err(_) => Err(LedgerUnavailable { why: "the disk does not answer".into() }),
            Ok(answered) => answered.map_err(|_| gone())?,
        }
    }

    /// Counts a refusal before authentication. Never waits, never grows: counts are written once a second, at most 8 rows and
    /// the rest as `other`.
    pub fn stranger(&self, source: IpAddr, reason: &'static str) {
        self.strangers.count(source, reason);
    }
}
