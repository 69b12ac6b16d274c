//! The look at the newest segment when the ledger opens: where the chain ends, whether its tail is torn, which intents have no
//! outcome. Tells a crash from tampering: a line without line feed at the very end is a crash; a whole line that does not fit is not.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::chain::{self, Head};
use super::disk;
use super::event::Event;
use super::segment::{self, Form, Got};

/// What the newest segments hold.
#[derive(Debug)]
pub struct Found {
    /// Where the chain ends.
    pub head: Head,
    /// Number of the segment to append to.
    pub number: u64,
    /// Its length without a torn tail.
    pub length: u64,
    /// Bytes of a torn last line.
    pub torn: Vec<u8>,
    /// Intents of the newest segment without outcome, in order.
    pub orphans: Vec<Event>,
    holds_lines: bool,
}

/// Why the ledger cannot be continued.
#[derive(Debug, thiserror::Error)]
pub enum ScanFault {
    /// A whole line does not fit the chain.
    #[error("segment {number:08}: {what} (after event {after})")]
    Tampered {
        /// The segment.
        number: u64,
        /// The last event that fits.
        after: u64,
        /// What is wrong.
        what: chain::Broken,
    },
    /// The disk did not answer.
    #[error("the ledger cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads the newest segment that holds a line, whole.
///
/// # Errors
/// `Tampered` when a whole line does not fit the chain, `Io` when a file cannot be read.
pub fn scan(dir: &Path) -> Result<Found, ScanFault> {
    let segments = segment::list(dir)?;
    let Some(newest) = segments.last() else { return Ok(Found::empty(1)) };
    let mut found = scan_segment(dir, newest.number)?;
    if newest.form == Form::Packed {
        (found.number, found.length) = (newest.number + 1, 0);
    }
    if found.holds_lines {
        return Ok(found);
    }
    // A segment that was just begun: the chain ends in one before it.
    for earlier in segments.iter().rev().skip(1) {
        let ended = scan_segment(dir, earlier.number)?;
        if ended.holds_lines {
            (found.head, found.orphans) = (ended.head, ended.orphans);
            break;
        }
    }
    Ok(found)
}

impl Found {
    fn empty(number: u64) -> Self {
        Self { head: Head::genesis(), number, length: 0, torn: Vec::new(), orphans: Vec::new(), holds_lines: false }
    }
}

fn scan_segment(dir: &Path, number: u64) -> Result<Found, ScanFault> {
    let mut found = Found::empty(number);
    let mut reader = segment::open(dir, number, 0)?;
    let mut line = Vec::new();
    let mut open = BTreeMap::new();
    loop {
        match segment::read_line(&mut *reader, &mut line)? {
            Got::End => break,
            Got::Torn => {
                found.torn = std::mem::take(&mut line);
                break;
            }
            Got::Line => {}
        }
        // What came before the first line of a segment is for the verifier, which reads everything.
        let checked = if found.holds_lines { chain::follow(&line, &found.head) } else { chain::check(&line) };
        let link = checked.map_err(|what| ScanFault::Tampered { number, after: found.head.seq, what })?;
        found.holds_lines = true;
        found.head = link.head();
        found.length += u64::try_from(line.len()).unwrap_or(u64::MAX) + 1;
        note_intent(&line, &mut open);
    }
    found.orphans = open.into_values().collect();
    found.orphans.sort_by_key(|event| event.seq);
    Ok(found)
}

fn note_intent(line: &[u8], open: &mut BTreeMap<String, Event>) {
    // The kind stands within the first fields; most lines need no closer look.
    let start = line.get(..line.len().min(120)).unwrap_or_default();
    if !start.windows(13).any(|part| part == b"\"kind\":\"call.") {
        return;
    }
    let Ok(event) = serde_json::from_slice::<Event>(line) else { return };
    let Some(id) = event.request_id.clone() else { return };
    match event.kind.as_str() {
        "call.intent" => {
            open.insert(id, event);
        }
        _ => {
            open.remove(&id);
        }
    }
}

/// The outcome of an intent whose process ended before it knew: unknown.
pub fn settle(intent: Event) -> Event {
    Event {
        kind: "call.outcome".into(),
        status: Some("unknown".into()),
        executed: Some("unknown".into()),
        params: None,
        params_sha256: None,
        bytes_in: None,
        findings: Vec::new(),
        ..intent
    }
}

/// Moves a torn tail to `NNNNNNNN.torn` and cuts the segment to its whole lines.
///
/// # Errors
/// When a file cannot be written; the tail is then still where it was.
pub fn repair(dir: &Path, found: &Found) -> io::Result<String> {
    let name = format!("{:08}.torn", found.number);
    let mut side = disk::open_append(&dir.join(&name))?;
    side.write_all(&found.torn)?;
    side.write_all(b"\n")?;
    side.sync_all()?;
    let segment = OpenOptions::new().write(true).open(segment::plain_path(dir, found.number))?;
    segment.set_len(found.length)?;
    segment.sync_all()?;
    Ok(name)
}

/// Removes what a crash left half made: packings that were not finished.
pub fn clear_half_made(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "tmp") {
            // What stays is overwritten by the next attempt.
            let _ = fs::remove_file(entry.path());
        }
    }
}
