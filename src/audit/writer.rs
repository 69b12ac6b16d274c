//! The one thread that writes the ledger: gathers entries into groups, seals them into the chain, commits them, answers. Survives a
//! full or failing disk by refusing, and recovers by itself. Never answers `Ok` for a line that is not where it must be.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use super::begin::{Begun, Parts};
use super::bound::bound;
use super::chain::{self, Head};
use super::checkpoint::Checkpoint;
use super::disk;
use super::event::Event;
use super::log::{Log, Sync};
use super::recorder::{Durability, Entry, LedgerUnavailable, Queue, Recorded};
use super::reserve::Reserve;
use super::state::Shared;
use crate::base::fault::Verb;

/// Most entries in one group.
pub const GROUP: usize = 256;
const GATHER: Duration = Duration::from_millis(2);
/// How often housekeeping looks, and a failed disk is tried again.
pub const TICK: Duration = Duration::from_millis(500);
/// Why a full disk refuses.
pub(super) const DISK_FULL: &str = "the disk is full";

/// What the facade asks of the writer.
#[derive(Debug)]
pub enum Order {
    /// Make a checkpoint.
    Checkpoint {
        /// Why.
        why: String,
        /// The answer.
        done: oneshot::Sender<Verb<Checkpoint>>,
    },
    /// Write what is queued, sync, make a last checkpoint and end.
    Stop,
}

/// What the writer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    // Everything is written.
    Open,
    // The disk is full: only what completes what has begun is still written.
    Last,
    // The disk fails: nothing is written.
    Broken,
}

/// The state of the writer's thread.
pub struct Writer {
    pub(super) parts: Arc<Parts>,
    pub(super) log: Log,
    pub(super) head: Head,
    pub(super) reserve: Reserve,
    pub(super) mode: Mode,
    pub(super) lines: Vec<u8>,
    pub(super) closed_bytes: u64,
    busy: bool,
    pub(super) strangers_at: Instant,
    pub(super) synced_at: Instant,
    pub(super) checkpoint_at: Instant,
    pub(super) keep_at: Instant,
    pub(super) refused: u64,
}

impl Writer {
    /// A writer that goes on where the scan ended. Writes what the start has to tell: a repaired tail, unknown outcomes.
    pub fn new(parts: Arc<Parts>, begun: Begun) -> Self {
        let Begun { log, head, reserve, notes } = begun;
        let held = reserve.hold();
        let now = Instant::now();
        let mut writer = Self {
            parts,
            log,
            head,
            reserve,
            mode: if held.is_ok() { Mode::Open } else { Mode::Last },
            lines: Vec::new(),
            closed_bytes: 0,
            busy: false,
            strangers_at: now,
            synced_at: now,
            checkpoint_at: now,
            keep_at: now,
            refused: 0,
        };
        writer.shared().set_last_seq(writer.head.seq);
        writer.shared().set_health(held.err().map(|_| DISK_FULL.to_owned()));
        for note in notes {
            writer.own(note);
        }
        writer.count_closed();
        writer
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.parts.shared
    }

    /// Serves until it is told to stop, or until nobody can ask any more.
    pub async fn run(mut self, mut queue: Queue, mut orders: mpsc::Receiver<Order>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut group = Vec::with_capacity(GROUP);
        loop {
            tokio::select! {
                biased;
                Some(order) = orders.recv() => if self.obey(order).is_break() { break },
                _ = ticks.tick() => self.tick(),
                taken = queue.recv_many(&mut group, GROUP) => {
                    if taken == 0 {
                        break;
                    }
                    self.gather(&mut queue, &mut group).await;
                    self.commit(&mut group);
                }
            }
        }
        self.finish(&mut queue, &mut group);
    }

    fn obey(&mut self, order: Order) -> ControlFlow<()> {
        match order {
            Order::Checkpoint { why, done } => {
                // Who asked may be gone; the checkpoint stands all the same.
                let _ = done.send(self.checkpoint(&why));
                ControlFlow::Continue(())
            }
            Order::Stop => ControlFlow::Break(()),
        }
    }

    fn finish(&mut self, queue: &mut Queue, group: &mut Vec<Entry>) {
        queue.close();
        loop {
            while group.len() < GROUP
                && let Some(entry) = queue.try_recv()
            {
                group.push(entry);
            }
            if group.is_empty() {
                break;
            }
            self.commit(group);
        }
        self.flush_strangers();
        if let Err(fault) = self.checkpoint("stop") {
            tracing::warn!(%fault, "the ledger ends without its last checkpoint");
        }
    }

    // A lone caller is not made to wait: while its sync runs, others queue up and form the next group anyway.
    async fn gather(&mut self, queue: &mut Queue, group: &mut Vec<Entry>) {
        let crowd = group.len() > 1 || self.busy;
        self.busy = group.len() > 1;
        if !crowd || !group.iter().any(|entry| entry.durability == Durability::Synced) {
            return;
        }
        let end = tokio::time::Instant::now() + GATHER;
        while group.len() < GROUP {
            let room = GROUP - group.len();
            match timeout_at(end, queue.recv_many(group, room)).await {
                Ok(taken) if taken > 0 => {}
                _ => break,
            }
        }
        self.busy = group.len() > 1;
    }

    /// Writes a group with one write and at most one sync, and answers each entry. Leaves `group` empty.
    fn commit(&mut self, group: &mut Vec<Entry>) {
        self.turn_away(group);
        if group.is_empty() {
            return;
        }
        let sync = if group.iter().any(|entry| entry.durability == Durability::Synced) { Sync::Now } else { Sync::Later };
        self.lines.clear();
        let mut head = self.head.clone();
        let (mut sealed, mut unfit) = (Vec::with_capacity(group.len()), Vec::new());
        for mut entry in group.drain(..) {
            match self.seal(&mut entry.event, &head) {
                Ok(next) => {
                    head = next;
                    sealed.push((head.seq, entry.done));
                }
                Err(error) => unfit.push((entry.done, error.to_string())),
            }
        }
        let written = self.write(sync, &head, sealed.len());
        for (seq, done) in sealed {
            done.send(written.clone().map(|()| Recorded { seq }).map_err(|why| LedgerUnavailable { why }));
        }
        for (done, why) in unfit {
            done.send(Err(LedgerUnavailable { why }));
        }
    }

    pub(super) fn seal(&mut self, event: &mut Event, head: &Head) -> Result<Head, serde_json::Error> {
        bound(event);
        event.ts = self.parts.clock.now();
        chain::seal(event, head, &mut self.lines)
    }

    // Refuses the entries that the mode does not take.
    fn turn_away(&mut self, group: &mut Vec<Entry>) {
        let why = match self.mode {
            Mode::Open => return,
            Mode::Last => DISK_FULL.to_owned(),
            Mode::Broken => self.shared().state().why.unwrap_or_else(|| "the disk fails".into()),
        };
        let all = self.mode == Mode::Broken;
        let turned: Vec<Entry> = group.extract_if(.., |entry| all || !completes(&entry.event)).collect();
        self.refuse(turned.len());
        for entry in turned {
            entry.done.send(Err(LedgerUnavailable { why: why.clone() }));
        }
    }

    fn refuse(&mut self, entries: usize) {
        self.shared().count_refused(entries);
        self.refused += u64::try_from(entries).unwrap_or(u64::MAX);
    }

    // Commits `self.lines`; `head` is the chain's end after them.
    pub(super) fn write(&mut self, sync: Sync, head: &Head, events: usize) -> Result<(), String> {
        if events == 0 {
            return Ok(());
        }
        let mut result = self.log.commit(&self.lines, sync);
        if matches!(&result, Err(error) if disk::is_full(error)) && self.reserve.give_up() {
            self.enter(Mode::Last, DISK_FULL);
            if !self.log.is_broken() {
                result = self.log.commit(&self.lines, sync);
            }
        }
        if let Err(error) = result {
            self.refuse(events);
            return Err(self.fail(&error));
        }
        self.head.clone_from(head);
        if sync == Sync::Now {
            self.synced_at = Instant::now();
        }
        self.shared().advance(self.head.seq, events);
        if self.log.is_due() {
            self.roll();
        }
        self.measure();
        Ok(())
    }

    pub(super) fn fail(&mut self, error: &std::io::Error) -> String {
        let why = if disk::is_full(error) { DISK_FULL.to_owned() } else { format!("the disk fails: {error}") };
        let mode = if self.log.is_broken() { Mode::Broken } else { Mode::Last };
        self.enter(mode, &why);
        why
    }

    pub(super) fn enter(&mut self, mode: Mode, why: &str) {
        if self.mode != mode {
            tracing::error!(why, ?mode, "the ledger refuses");
        }
        self.mode = mode;
        self.shared().set_health(Some(why.to_owned()));
    }

    fn roll(&mut self) {
        match self.log.roll() {
            Ok(closed) => {
                self.parts.pack(closed);
                self.count_closed();
                self.keep();
            }
            Err(error) if self.log.is_broken() => {
                self.fail(&error);
            }
            // The next group tries again.
            Err(error) => tracing::warn!(%error, "the next ledger segment could not be started"),
        }
    }

    // Writes an event of the ledger itself. Says whether it is on disk.
    pub(super) fn own(&mut self, mut event: Event) -> bool {
        self.lines.clear();
        let head = self.head.clone();
        self.seal(&mut event, &head).is_ok_and(|next| self.write(Sync::Now, &next, 1).is_ok())
    }
}

// Whether an event completes what has begun or stops it: those are the last to be refused.
fn completes(event: &Event) -> bool {
    matches!(event.kind.as_str(), "call.outcome" | "operator.action" | "system")
}
