//! The writer's housekeeping: recovery after a failed disk, counts of strangers, checkpoints, retention. Runs between groups, on the
//! writer's own thread.

use std::time::{Duration, Instant};

use serde_json::json;

use super::checkpoint::{self, Checkpoint};
use super::event::Event;
use super::keep;
use super::log::Sync;
use super::segment;
use super::writer::{DISK_FULL, Mode, Writer};
use crate::base::fault::{Fault, Verb};

const SECOND: Duration = Duration::from_secs(1);
const KEEP: Duration = Duration::from_secs(600);

impl Writer {
    pub(super) fn tick(&mut self) {
        if self.mode != Mode::Open {
            self.recover();
        }
        let now = Instant::now();
        if self.mode != Mode::Open {
            return;
        }
        if now - self.strangers_at >= SECOND {
            self.strangers_at = now;
            self.flush_strangers();
        }
        if now - self.synced_at >= SECOND {
            self.synced_at = now;
            if let Err(error) = self.log.sync() {
                self.fail(&error);
                return;
            }
        }
        if now - self.checkpoint_at >= Duration::from_secs(self.parts.settings.checkpoint_seconds.max(1)) {
            self.checkpoint_at = now;
            if let Err(fault) = self.checkpoint("interval") {
                tracing::warn!(%fault, "no checkpoint could be made");
            }
        }
        if now - self.keep_at >= KEEP {
            self.keep();
        }
        self.measure();
    }

    fn recover(&mut self) {
        if self.log.is_broken() {
            match self.log.heal() {
                Ok(closed) => self.parts.pack(closed),
                Err(error) => {
                    self.fail(&error);
                    return;
                }
            }
            self.mode = Mode::Last;
        }
        if self.reserve.hold().is_err() {
            self.enter(Mode::Last, DISK_FULL);
            return;
        }
        let mut event = Event::system("ledger.recovered", "audit");
        event.params = Some(json!({ "refused": self.refused }));
        if self.own(event) && !self.log.is_broken() {
            self.mode = Mode::Open;
            self.refused = 0;
            self.shared().set_health(None);
            tracing::info!("the ledger records again");
        }
    }

    pub(super) fn flush_strangers(&mut self) {
        if self.mode != Mode::Open {
            return;
        }
        let rows = self.parts.strangers.flush();
        if rows.is_empty() {
            return;
        }
        self.lines.clear();
        let (mut head, mut events) = (self.head.clone(), 0);
        for row in rows {
            let mut event = Event::of("auth.refused");
            event.remote = Some(row.source.map_or_else(|| "other".to_owned(), |source| source.to_string()));
            event.decision = Some("refuse".into());
            event.status = Some("refused".into());
            event.executed = Some("no".into());
            event.reason = Some(row.reason.to_owned());
            event.params = Some(json!({ "count": row.count }));
            if let Ok(next) = self.seal(&mut event, &head) {
                (head, events) = (next, events + 1);
            }
        }
        if let Err(why) = self.write(Sync::Later, &head, events) {
            tracing::warn!(why, "counts of refused strangers were lost");
        }
    }

    pub(super) fn checkpoint(&mut self, why: &str) -> Verb<Checkpoint> {
        if self.mode == Mode::Broken {
            return Err(Fault::unavailable("the ledger cannot be written, so it makes no checkpoint"));
        }
        if let Err(error) = self.log.sync() {
            let why = self.fail(&error);
            return Err(Fault::unavailable(why).because(error));
        }
        let made = Checkpoint::sign(&self.head, self.parts.clock.now(), why, &self.parts.signer);
        // What is told elsewhere proves as much as the file here.
        self.parts.tell(&made);
        checkpoint::append(&self.parts.dir, &made)
            .map_err(|error| Fault::unavailable("the checkpoint file cannot be written").because(error))?;
        Ok(made)
    }

    pub(super) fn keep(&mut self) {
        self.keep_at = Instant::now();
        let due = keep::due(&self.parts.dir, self.log.number(), &self.parts.settings, self.parts.clock.now());
        match due {
            Ok(Some(removal)) if self.own(keep::tombstone(&removal, &self.parts.signer)) => {
                keep::remove(&self.parts.dir, &removal.numbers);
                self.count_closed();
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "old ledger segments could not be looked at"),
        }
    }

    pub(super) fn count_closed(&mut self) {
        let open = self.log.number();
        let segments = segment::list(&self.parts.dir).unwrap_or_default();
        self.closed_bytes = segments.iter().filter(|s| s.number < open).map(|s| s.bytes).sum();
        self.measure();
    }

    pub(super) fn measure(&self) {
        self.shared().measure(self.log.number(), self.closed_bytes + self.log.length(), self.log.syncs());
    }
}
