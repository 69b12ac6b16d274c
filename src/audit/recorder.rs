//! The handle that every plane records events with: a bounded queue to the one writer. Never drops an event in silence: what
//! cannot be queued or written is an error that the caller must refuse on.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::courier::{Courier, Done};
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

/// What is said to whoever recorded an event.
pub type Answer = Result<Recorded, LedgerUnavailable>;

/// One event and where its answer goes.
#[derive(Debug)]
pub struct Entry {
    /// The event, without seq, ts, prev and hash.
    pub event: Box<Event>,
    /// When to answer.
    pub durability: Durability,
    /// The answer.
    pub done: Done,
    // Its place in the queue; given back when the writer takes it.
    place: Option<OwnedSemaphorePermit>,
}

/// The writer's end of the queue. Bounded in events, not in what they come in: who records waits for a place.
#[derive(Debug)]
pub struct Queue {
    bundles: mpsc::UnboundedReceiver<Vec<Entry>>,
    taken: VecDeque<Entry>,
}

impl Queue {
    /// The next event; none when nobody can record any more. Nothing is lost when it is not waited for to the end.
    pub async fn recv(&mut self) -> Option<Entry> {
        while self.taken.is_empty() {
            self.taken.extend(self.bundles.recv().await?);
        }
        self.pop()
    }

    /// Adds up to `limit` events to `group`, waiting for the first; gives how many, 0 when nobody can record any more.
    pub async fn recv_many(&mut self, group: &mut Vec<Entry>, limit: usize) -> usize {
        let Some(first) = self.recv().await else { return 0 };
        let before = group.len();
        group.push(first);
        while group.len() - before < limit
            && let Some(entry) = self.try_recv()
        {
            group.push(entry);
        }
        group.len() - before
    }

    /// An event that waits already.
    pub fn try_recv(&mut self) -> Option<Entry> {
        while self.taken.is_empty() {
            self.taken.extend(self.bundles.try_recv().ok()?);
        }
        self.pop()
    }

    /// Takes nothing more in; what waits can still be taken.
    pub fn close(&mut self) {
        self.bundles.close();
    }

    fn pop(&mut self) -> Option<Entry> {
        let mut entry = self.taken.pop_front()?;
        entry.place = None;
        Some(entry)
    }
}

/// Records events. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::UnboundedSender<Vec<Entry>>,
    places: Arc<Semaphore>,
    courier: Option<Courier>,
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
    pub fn new(strangers: Arc<Strangers>, health: watch::Receiver<Option<String>>) -> (Self, Queue) {
        let (queue, bundles) = mpsc::unbounded_channel();
        let places = Arc::new(Semaphore::new(QUEUE));
        (Self { queue, places, courier: None, strangers, health }, Queue { bundles, taken: VecDeque::new() })
    }

    /// The same, for the many tasks of the runtime that this is called in: what they record at one time goes to the writer together.
    pub fn for_many(&self) -> Self {
        Self { courier: Some(Courier::new(self.queue.clone())), ..self.clone() }
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
    pub async fn record(&self, event: Event, durability: Durability) -> Answer {
        let gone = || LedgerUnavailable { why: "the writer has stopped".into() };
        let place = Some(self.place().await?);
        let (done, answer) = oneshot::channel();
        let event = Box::new(event);
        match &self.courier {
            Some(courier) => courier.take(Entry { event, durability, done: Done::alone(done), place }),
            None => self.queue.send(vec![Entry { event, durability, done: Done::alone(done), place }]).map_err(|_| gone())?,
        }
        match timeout(ANSWER_WAIT, answer).await {
            Err(_) => Err(LedgerUnavailable { why: "the disk does not answer".into() }),
            Ok(answered) => answered.map_err(|_| gone())?,
        }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, LedgerUnavailable> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        match timeout(FULL_QUEUE_WAIT, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(LedgerUnavailable { why: "the queue is full".into() }),
        }
    }

    /// Counts a refusal before authentication. Never waits, never grows: counts are written once a second, at most 8 rows and
    /// the rest as `other`.
    pub fn stranger(&self, source: IpAddr, reason: &'static str) {
        self.strangers.count(source, reason);
    }
}
