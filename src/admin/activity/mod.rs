//! The ledger as operators read it: query, one event, tail, verify, export, checkpoint. Never writes an event of its own but for an export.

pub mod model;
pub mod pages;
pub mod routes;
mod rows;

use std::io::{self, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

pub use model::{Checked, Signed};

use super::actor::Right;
use super::{Actor, Admin, tree};
use crate::audit::{Checkpoint, Event, Filter, Page, Tail};
use crate::base::fault::{Fault, Verb};

/// Where checkpoints are kept in the configuration's repository, beside HEAD.
pub const CHECKPOINTS: &str = "refs/lifeboat/checkpoints";

const CHUNK: usize = 64 * 1024;

/// A page of events, newest first. Sees every answered call.
///
/// # Errors
/// `Invalid` for a bad cursor; `Unavailable` while the index cannot be read.
pub async fn query(admin: &Admin, actor: &Actor, filter: &Filter) -> Verb<Page> {
    actor.need(Right::Read, "audit.query")?;
    admin.ledger.query(filter).await
}

/// One event by its position.
///
/// # Errors
/// `NotFound` when the ledger does not have it.
pub async fn event(admin: &Admin, actor: &Actor, seq: u64) -> Verb<Event> {
    actor.need(Right::Read, "audit.query")?;
    admin.ledger.event(seq).await?.ok_or_else(|| Fault::not_found(format!("there is no event {seq}")))
}

/// Follows the ledger from after the event `since`, or from now.
///
/// # Errors
/// None but `Denied`.
pub fn tail(admin: &Admin, actor: &Actor, since: Option<u64>) -> Verb<Tail> {
    actor.need(Right::Read, "audit.tail")?;
    Ok(admin.ledger.tail(since))
}

/// Checks the whole chain, and the checkpoints kept here and in the configuration's repository against it.
///
/// # Errors
/// `Unavailable` when files cannot be read; what is wrong with the ledger is an answer, not a fault.
pub async fn verify(admin: &Admin, actor: &Actor) -> Verb<Checked> {
    actor.need(Right::Read, "audit.verify")?;
    let kept = tree::blocking(&admin.repository, |repository| repository.read_ref(CHECKPOINTS)).await?;
    // The text in git is one checkpoint a line; a line that is none is somebody's edit and proves nothing.
    let lines = kept.unwrap_or_default();
    let elsewhere: Vec<Checkpoint> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let report = admin.ledger.verify(elsewhere).await?;
    Ok(Checked {
        ok: report.ok,
        segments: report.segments,
        events: report.events,
        first_bad: report.first_bad,
        detail: report.detail,
    })
}

/// Signs the head of the ledger now.
///
/// # Errors
/// `Denied` without role operator; `Unavailable` when the ledger cannot be written.
pub async fn checkpoint(admin: &Admin, actor: &Actor) -> Verb<Signed> {
    actor.need(Right::Operate, "audit.checkpoint")?;
    let made = admin.ledger.checkpoint("operator").await?;
    Ok(Signed::of(&made))
}

/// Every stored line that fits, oldest first, byte for byte, as chunks. The export itself is recorded first.
///
/// # Errors
/// `Denied` without role auditor or admin; `Unavailable` when the ledger cannot be written.
pub async fn export(admin: &Admin, actor: &Actor, filter: Filter) -> Verb<mpsc::Receiver<io::Result<Bytes>>> {
    actor.need(Right::Export, "audit.export")?;
    let mut event = Event::action(&actor.name, "audit.export", "ledger");
    event.params = serde_json::to_value(&filter).ok();
    admin.record(event).await?;
    let (chunks, stream) = mpsc::channel(4);
    let ledger = admin.ledger.clone();
    // Reading a large ledger takes a thread, not the runtime; it ends when nobody takes the chunks any more.
    tokio::task::spawn_blocking(move || {
        let mut out = Chunks { held: Vec::with_capacity(CHUNK), chunks };
        let done = ledger.export(&mut out, &filter).map_err(io::Error::other).and_then(|_| out.flush());
        if let Err(fault) = done {
            tracing::warn!(%fault, "an export ended early");
            // The reader sees a broken stream; when it is gone there is nobody to tell.
            let _ = out.chunks.blocking_send(Err(fault));
        }
    });
    Ok(stream)
}

struct Chunks {
    held: Vec<u8>,
    chunks: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.held));
        self.chunks.blocking_send(Ok(chunk)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
