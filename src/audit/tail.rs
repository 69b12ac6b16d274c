//! The live tail: follows the ledger from its files, so that a slow reader costs no memory. Never shows an event that does not count.

use std::collections::VecDeque;
use std::path::PathBuf;

use tokio::sync::watch;

use super::event::Event;
use super::query;
use super::segment::Cursor;
use crate::base::fault::{Fault, Verb};

const BATCH: usize = 256;
// A reader further behind than this is moved on and told so.
const BEHIND: u64 = 10_000;

/// What a tail gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Tailed {
    /// The next event.
    Event(Box<Event>),
    /// So many events were left out, because the reader was too slow or they are no longer kept.
    Skipped(u64),
}

/// A place in the ledger that moves with it.
pub struct Tail {
    dir: PathBuf,
    cursor: Cursor,
    follow: watch::Receiver<u64>,
    ready: VecDeque<Tailed>,
}

impl Tail {
    /// A tail that begins after the event `since`.
    pub fn new(dir: PathBuf, since: u64, follow: watch::Receiver<u64>) -> Self {
        Self { dir, cursor: Cursor::before(since.saturating_add(1)), follow, ready: VecDeque::new() }
    }

    /// Waits for the next event. `None` when the ledger is gone. Loses nothing when it is cancelled.
    ///
    /// # Errors
    /// `unavailable` when the ledger cannot be read.
    pub async fn next(&mut self) -> Verb<Option<Tailed>> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Ok(Some(next));
            }
            let wanted = self.cursor.next_seq();
            let Ok(upto) = self.follow.wait_for(|last| *last >= wanted).await.map(|last| *last) else { return Ok(None) };
            self.fill(upto).await?;
        }
    }

    async fn fill(&mut self, upto: u64) -> Verb<()> {
        let wanted = self.cursor.next_seq();
        let start = if upto - wanted >= BEHIND { Cursor::before(upto - BEHIND / 2) } else { self.cursor.clone() };
        let dir = self.dir.clone();
        let (cursor, lines) = tokio::task::spawn_blocking(move || {
            let mut cursor = start;
            cursor.read(&dir, upto, BATCH).map(|lines| (cursor, lines))
        })
        .await
        .map_err(|error| Fault::bug("the tail's reader ended").because(error))?
        .map_err(|error| Fault::unavailable("the ledger cannot be read").because(error))?;
        let Some((first, _)) = lines.first() else {
            // What was waited for is gone from the disk.
            return Err(Fault::unavailable("the ledger's newest lines cannot be read"));
        };
        if *first > wanted {
            self.ready.push_back(Tailed::Skipped(first - wanted));
        }
        for (_, line) in &lines {
            self.ready.push_back(Tailed::Event(Box::new(query::parse(line)?)));
        }
        self.cursor = cursor;
        Ok(())
    }
}
