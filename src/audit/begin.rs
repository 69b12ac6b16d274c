//! How the ledger's writer starts: lock, scan, comparison with the last checkpoint, repair of a torn tail, and the threads. A ledger
//! that was tampered with is refused for ever, one whose disk does not answer is tried again. Never writes an event itself.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc as threads};

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::chain::Head;
use super::checkpoint::{self, Checkpoint, CheckpointSink, Signer};
use super::disk::{self, Disk};
use super::event::Event;
use super::keep;
use super::log::Log;
use super::recorder::{LedgerUnavailable, Queue};
use super::reserve::Reserve;
use super::scan::{self, Found, ScanFault};
use super::state::Shared;
use super::strangers::Strangers;
use super::writer::{Order, TICK, Writer};
use crate::base::clock::SharedClock;
use crate::base::fault::{Fault, Verb};
use crate::config::settings::Audit;

/// What the writer works with, as long as it lives.
pub struct Parts {
    /// The directory `audit`.
    pub dir: PathBuf,
    /// How the ledger is kept.
    pub settings: Audit,
    /// Sets `ts`.
    pub clock: SharedClock,
    /// Signs checkpoints and tombstones.
    pub signer: Signer,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Counts of refused strangers.
    pub strangers: Arc<Strangers>,
    /// What others see.
    pub shared: Arc<Shared>,
    packer: threads::Sender<u64>,
    tellers: Vec<threads::SyncSender<Checkpoint>>,
}

// Checkpoints that may wait for a sink that is stuck; what it misses stands in the file.
const UNTOLD: usize = 64;

impl Parts {
    /// Starts the background threads: one packs closed segments, and one for each sink tells it.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(dir: &Path, sinks: Vec<CheckpointSink>, rest: (Audit, SharedClock, Signer, Arc<dyn Disk>)) -> io::Result<Self> {
        let (settings, clock, signer, disk) = rest;
        // A sink may block (a full pipe): it has a thread of its own, so that neither the writer nor another sink waits.
        let tellers = sinks.into_iter().map(teller).collect::<io::Result<_>>()?;
        let packer = keep::start_packer(dir.to_owned())?;
        let (strangers, shared) = (Arc::default(), Arc::new(Shared::new(0, None)));
        Ok(Self { dir: dir.to_owned(), settings, clock, signer, disk, strangers, shared, packer, tellers })
    }

    /// Hands a closed segment to the packer.
    pub fn pack(&self, number: u64) {
        if self.packer.send(number).is_err() {
            tracing::warn!(segment = number, "the packer has ended; the segment stays as it is");
        }
    }

    /// Hands a checkpoint to the sinks. One that takes none misses it.
    pub fn tell(&self, checkpoint: &Checkpoint) {
        for teller in &self.tellers {
            if teller.try_send(checkpoint.clone()).is_err() {
                metrics::counter!("lifeboat_checkpoints_untold_total").increment(1);
                tracing::warn!(seq = checkpoint.seq, "a checkpoint was not told: whoever takes them is stuck");
            }
        }
    }
}

fn teller(sink: CheckpointSink) -> io::Result<threads::SyncSender<Checkpoint>> {
    let (teller, queue) = threads::sync_channel::<Checkpoint>(UNTOLD);
    std::thread::Builder::new().name("audit-teller".into()).spawn(move || queue.iter().for_each(|checkpoint| sink(&checkpoint)))?;
    Ok(teller)
}

/// What a successful start found.
pub struct Begun {
    /// The open segment.
    pub log: Log,
    /// Where the chain ends.
    pub head: Head,
    /// The reserve, not yet held.
    pub reserve: Reserve,
    /// Events the start has to tell.
    pub notes: Vec<Event>,
}

/// Why the writer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BeginFault {
    /// The ledger does not fit itself or its checkpoints: it is evidence now, and is not written to.
    #[error("the ledger was tampered with: {why}")]
    Tampered {
        /// What does not fit.
        why: String,
        /// The last event that fits.
        last: u64,
    },
    /// The disk does not answer; it may later.
    #[error("the ledger cannot be opened: {0}")]
    Io(#[from] io::Error),
}

/// Takes the lock that keeps a second process off the ledger. It holds as long as the file is open.
///
/// # Errors
/// `conflict` when another process has it.
pub fn lock(dir: &Path) -> Verb<File> {
    let made = disk::create_dir(dir).and_then(|()| disk::open_append(&dir.join("lock")));
    let file = made.map_err(|error| Fault::unavailable(format!("{} cannot be used", dir.display())).because(error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(Fault::conflict("another Lifeboat has this ledger open")),
    }
}

/// Finds the end of the chain and makes the ledger ready to go on.
///
/// # Errors
/// `Tampered` or `Io`.
pub fn begin(parts: &Parts) -> Result<Begun, BeginFault> {
    let dir = &parts.dir;
    scan::clear_half_made(dir);
    let found = scan::scan(dir).map_err(|fault| match fault {
        ScanFault::Io(error) => BeginFault::Io(error),
        ScanFault::Tampered { after, .. } => BeginFault::Tampered { why: fault.to_string(), last: after },
    })?;
    compare(parts, &found.head)?;
    let mut notes = Vec::new();
    if !found.torn.is_empty() {
        notes.push(repaired(dir, &found)?);
    }
    notes.extend(found.orphans.into_iter().map(scan::settle));
    let log = Log::open(dir, parts.disk.clone(), (found.number, found.length), parts.settings.segment.0.max(4_096))?;
    let reserve = Reserve::new(dir, parts.settings.reserve.0, parts.disk.clone());
    for closed in keep::unpacked(dir, found.number)? {
        parts.pack(closed);
    }
    Ok(Begun { log, head: found.head, reserve, notes })
}

fn repaired(dir: &Path, found: &Found) -> io::Result<Event> {
    let side = scan::repair(dir, found)?;
    tracing::warn!(bytes = found.torn.len(), side, "the ledger's last line was torn by a crash; it is set aside");
    let mut event = Event::system("ledger.repaired", format!("{:08}.jsonl", found.number));
    event.params = Some(json!({ "bytes": found.torn.len(), "kept_in": side }));
    Ok(event)
}

// The newest checkpoint of our key must be in the ledger. Older ones, and those of other keys, are for the verifier.
fn compare(parts: &Parts, head: &Head) -> Result<(), BeginFault> {
    let key = parts.signer.public();
    let stored = checkpoint::load(&parts.dir)?;
    let Some(newest) = stored.checkpoints.iter().rev().find(|checkpoint| checkpoint.is_signed_by(key)) else { return Ok(()) };
    if newest.seq > head.seq {
        let why = format!("it ends at event {}, but a checkpoint has event {}", head.seq, newest.seq);
        return Err(BeginFault::Tampered { why, last: head.seq });
    }
    if newest.seq == head.seq && newest.hash != head.hash {
        let why = format!("event {} differs from its checkpoint", head.seq);
        return Err(BeginFault::Tampered { why, last: head.seq });
    }
    Ok(())
}

// Says that the writer has ended however it ends, so that nobody believes in a dead ledger.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Starts the writer's thread. It ends when told to, or when nobody can ask any more.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(parts: Arc<Parts>, lock: File, queue: Queue, orders: mpsc::Receiver<Order>) -> io::Result<()> {
    // In the caller's thread, so that who opens the ledger knows its state and its last event at once.
    let first = attempt(&parts);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("audit-writer".into()).spawn(move || {
        let _end = EndGuard(parts.shared.clone());
        let _lock = lock;
        runtime.block_on(serve(parts, first, queue, orders));
    })?;
    Ok(())
}

fn attempt(parts: &Arc<Parts>) -> Result<Writer, BeginFault> {
    let begun = begin(parts).inspect_err(|fault| {
        tracing::error!(%fault, "the ledger refuses");
        parts.shared.set_health(Some(fault.to_string()));
        if let BeginFault::Tampered { last, .. } = fault {
            parts.shared.set_last_seq(*last);
        }
    })?;
    Ok(Writer::new(parts.clone(), begun))
}

async fn serve(parts: Arc<Parts>, first: Result<Writer, BeginFault>, mut queue: Queue, mut orders: mpsc::Receiver<Order>) {
    let mut outcome = first;
    loop {
        let fault = match outcome {
            Ok(writer) => return writer.run(queue, orders).await,
            Err(fault) => fault,
        };
        if !refuse_for_a_while(&parts, &fault, &mut queue, &mut orders).await {
            return;
        }
        outcome = match fault {
            tampered @ BeginFault::Tampered { .. } => Err(tampered),
            BeginFault::Io(_) => attempt(&parts),
        };
    }
}

// Answers every entry with a refusal until the next try. Says whether anybody can still ask.
async fn refuse_for_a_while(parts: &Parts, fault: &BeginFault, queue: &mut Queue, orders: &mut mpsc::Receiver<Order>) -> bool {
    let end = Instant::now() + TICK;
    loop {
        let next = async {
            tokio::select! {
                Some(order) = orders.recv() => Err(order),
                entry = queue.recv() => Ok(entry),
            }
        };
        match timeout_at(end, next).await {
            Err(_) => return true,
            Ok(Ok(None)) | Ok(Err(Order::Stop)) => return false,
            Ok(Ok(Some(entry))) => {
                parts.shared.count_refused(1);
                entry.done.send(Err(LedgerUnavailable { why: fault.to_string() }));
            }
            Ok(Err(Order::Checkpoint { done, .. })) => {
                let _ = done.send(Err(Fault::unavailable(fault.to_string())));
            }
        }
    }
}
