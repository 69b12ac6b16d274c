//! The verifier: reads every segment and every checkpoint and says where the first fault is. Works on the stored bytes alone and
//! changes nothing.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::Path;

use serde::Serialize;

use super::chain::{self, GENESIS, Head};
use super::checkpoint::{self, Checkpoint, PublicKey};
use super::keep;
use super::segment::{self, Got};
use crate::base::fault::{Fault, Verb};

/// What a check found (docs/CONTRACT.md, `audit verify`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether everything fits.
    pub ok: bool,
    /// Segments read.
    pub segments: u64,
    /// Events that fit.
    pub events: u64,
    /// Position of the first event that does not fit, or is missing.
    pub first_bad: Option<u64>,
    /// What is wrong there, for people.
    #[serde(skip)]
    pub detail: Option<String>,
}

/// How far a check must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A ledger at rest: to the last line.
    All,
    /// A ledger in use: exactly to this event; later lines are not looked at.
    Upto(u64),
}

// Where the packer renames a segment under the reader, a second look finds it.
const LOOKS: usize = 3;

/// Checks the ledger in `dir`. `elsewhere` are checkpoints that were kept outside the directory. A torn last line is no fault.
///
/// # Errors
/// `unavailable` when files cannot be read at all.
pub fn verify(dir: &Path, key: &PublicKey, extent: Extent, elsewhere: &[Checkpoint]) -> Verb<Report> {
    let mut looks = 0;
    loop {
        looks += 1;
        match Check::run(dir, key, extent, elsewhere) {
            Ok(report) => return Ok(report),
            Err(error) if error.kind() == ErrorKind::NotFound && looks < LOOKS => {}
            Err(error) => return Err(Fault::unavailable(format!("the ledger cannot be read: {error}")).because(error)),
        }
    }
}

struct Check<'a> {
    key: &'a PublicKey,
    extent: Extent,
    head: Option<Head>,
    // The event before the first one there, when retention removed it: position and hash, and whether a tombstone says so.
    removed: Option<(u64, String)>,
    buried: bool,
    anchors: HashMap<u64, String>,
    must_reach: u64,
    events: u64,
    bad: Option<(u64, String)>,
}

impl<'a> Check<'a> {
    fn run(dir: &Path, key: &'a PublicKey, extent: Extent, elsewhere: &[Checkpoint]) -> io::Result<Report> {
        let mut check = Self {
            key,
            extent,
            head: None,
            removed: None,
            buried: false,
            anchors: HashMap::new(),
            must_reach: 0,
            events: 0,
            bad: None,
        };
        let stored = checkpoint::load(dir)?;
        let here = check.take_anchors(&stored.checkpoints);
        let there = check.take_anchors(elsewhere);
        // A ledger in use makes checkpoints while it is read; it must reach what it had before, and what others hold.
        check.must_reach = match extent {
            Extent::All => here.max(there),
            Extent::Upto(last) => there.max(last),
        };
        let segments = segment::list(dir)?;
        let last = segments.last().map(|s| s.number);
        for segment in &segments {
            if !check.segment(dir, segment.number, last == Some(segment.number))? {
                break;
            }
        }
        check.end(stored.damaged);
        let (first_bad, detail) = check.bad.map_or((None, None), |(seq, what)| (Some(seq), Some(what)));
        let segments = u64::try_from(segments.len()).unwrap_or(u64::MAX);
        Ok(Report { ok: first_bad.is_none(), segments, events: check.events, first_bad, detail })
    }

    // Returns the furthest position they speak of.
    fn take_anchors(&mut self, checkpoints: &[Checkpoint]) -> u64 {
        let mut furthest = 0;
        for checkpoint in checkpoints {
            if !checkpoint.is_signed_by(self.key) {
                self.fault(checkpoint.seq, "a checkpoint's signature is bad");
                continue;
            }
            let hash = self.anchors.entry(checkpoint.seq).or_insert_with(|| checkpoint.hash.clone());
            if *hash != checkpoint.hash {
                self.fault(checkpoint.seq, "two checkpoints contradict each other");
            }
            furthest = furthest.max(checkpoint.seq);
        }
        furthest
    }

    // Keeps the earliest fault.
    fn fault(&mut self, seq: u64, what: impl Into<String>) {
        if self.bad.as_ref().is_none_or(|(bad, _)| seq < *bad) {
            self.bad = Some((seq, what.into()));
        }
    }

    fn next(&self) -> u64 {
        self.head.as_ref().map_or(1, |head| head.seq + 1)
    }

    // Says whether to go on.
    fn segment(&mut self, dir: &Path, number: u64, is_last: bool) -> io::Result<bool> {
        let mut reader = segment::open(dir, number, 0)?;
        let mut line = Vec::new();
        loop {
            let got = match segment::read_line(&mut *reader, &mut line) {
                Ok(got) => got,
                // A packed segment whose bytes were changed does not unpack.
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
                Err(error) => {
                    self.fault(self.next(), format!("segment {number:08} cannot be read: {error}"));
                    return Ok(false);
                }
            };
            match got {
                Got::End => return Ok(true),
                Got::Torn if is_last => return Ok(true),
                Got::Torn => {
                    self.fault(self.next(), format!("segment {number:08} ends within a line"));
                    return Ok(false);
                }
                Got::Line => {}
            }
            if matches!(self.extent, Extent::Upto(last) if self.next() > last && self.head.is_some()) {
                return Ok(false);
            }
            if let Err(what) = self.line(&line) {
                self.fault(self.next(), format!("segment {number:08}: {what}"));
                return Ok(false);
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), chain::Broken> {
        let link = match &self.head {
            Some(head) => chain::follow(line, head)?,
            None => chain::check(line)?,
        };
        if self.head.is_none() {
            match link.seq {
                1 if link.prev == GENESIS => {}
                1 => return Err(chain::Broken::Order),
                seq => self.removed = Some((seq - 1, link.prev.to_owned())),
            }
        }
        if self.anchors.get(&link.seq).is_some_and(|hash| hash != link.hash) {
            self.fault(link.seq, "the event differs from a signed checkpoint");
        }
        if self.removed.is_some() && !self.buried && is_system(line) {
            self.buried = keep::read_tombstone(line, self.key) == self.removed;
        }
        self.head = Some(link.head());
        self.events += 1;
        Ok(())
    }

    fn end(&mut self, damaged: bool) {
        if let Some((last, _)) = self.removed.clone().filter(|_| !self.buried) {
            self.fault(last.max(1), "the events up to here are missing and no tombstone stands for them");
        }
        if self.bad.is_some() {
            return;
        }
        if self.next() <= self.must_reach {
            self.fault(self.next(), format!("the ledger was cut: it should reach event {}", self.must_reach));
        } else if damaged {
            self.fault(self.next(), "the checkpoint file holds a line that is no checkpoint");
        }
    }
}

// The kind is the third field, so it stands within the first bytes.
fn is_system(line: &[u8]) -> bool {
    line.get(..line.len().min(100)).unwrap_or_default().windows(15).any(|part| part == b"\"kind\":\"system\"")
}
