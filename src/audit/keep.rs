//! Keeping closed segments: packing them in the background and naming those that are too old or too many. Removes a segment only
//! after its tombstone is in the ledger.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use serde_json::json;

use super::chain;
use super::checkpoint::{PublicKey, Signer};
use super::disk;
use super::event::Event;
use super::segment::{self, Form, Got, SegmentFile};
use crate::base::clock::Timestamp;
use crate::config::settings::Audit;

const MS_PER_DAY: i64 = 86_400_000;
const LEVEL: i32 = 3;
// Each is read once more before it goes, on the writer's time.
const AT_ONCE: usize = 2;

/// The action of the event that stands for removed segments.
pub const TOMBSTONE: &str = "ledger.tombstone";

/// Starts the thread that packs closed segments; it ends when the sender is dropped.
///
/// # Errors
/// When the thread cannot be started.
pub fn start_packer(dir: PathBuf) -> io::Result<mpsc::Sender<u64>> {
    let (closed, queue) = mpsc::channel::<u64>();
    std::thread::Builder::new().name("audit-packer".into()).spawn(move || {
        for number in queue {
            if let Err(error) = pack(&dir, number) {
                // The plain segment stays and is packed at the next start.
                tracing::warn!(segment = number, %error, "a closed ledger segment could not be packed");
            }
        }
    })?;
    Ok(closed)
}

/// Packs one closed segment: `NNNNNNNN.jsonl` becomes `NNNNNNNN.jsonl.zst`.
///
/// # Errors
/// When a file cannot be read or written; the plain segment is then untouched.
pub fn pack(dir: &Path, number: u64) -> io::Result<()> {
    let temporary = compress(dir, number)?;
    exchange(dir, number, &temporary)
}

fn compress(dir: &Path, number: u64) -> io::Result<PathBuf> {
    let temporary = dir.join(format!("{number:08}.jsonl.zst.tmp"));
    let mut source = BufReader::new(File::open(segment::plain_path(dir, number))?);
    let result = disk::create(&temporary).and_then(|file| {
        let mut encoder = zstd::stream::write::Encoder::new(file, LEVEL)?;
        encoder.include_checksum(true)?;
        io::copy(&mut source, &mut encoder)?;
        encoder.finish()?.sync_all()
    });
    if let Err(error) = result {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    Ok(temporary)
}

fn exchange(dir: &Path, number: u64, temporary: &Path) -> io::Result<()> {
    let (plain, packed) = (segment::plain_path(dir, number), segment::packed_path(dir, number));
    fs::rename(temporary, &packed)?;
    disk::sync_dir(dir)?;
    match fs::remove_file(&plain) {
        // It aged out while it was packed: with its tombstone in the ledger it must not come back, or what stood before it looks cut off.
        Err(error) if error.kind() == io::ErrorKind::NotFound => remove(dir, &[number]),
        removed => removed?,
    }
    disk::sync_dir(dir)
}

/// Closed segments that are not packed yet, for the packer at start.
///
/// # Errors
/// When the directory cannot be read.
pub fn unpacked(dir: &Path, open: u64) -> io::Result<Vec<u64>> {
    let plain = segment::list(dir)?.into_iter().filter(|s| s.number < open && s.form == Form::Plain);
    Ok(plain.map(|s| s.number).collect())
}

/// Segments to remove and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Their numbers, oldest first, without a gap.
    pub numbers: Vec<u64>,
    /// Position of their first event.
    pub first_seq: u64,
    /// Position of their last event.
    pub last_seq: u64,
    /// Hash of their last event, which commits to all before it.
    pub root: String,
    /// `age` or `size`.
    pub why: &'static str,
}

/// Names the closed segments that the settings no longer keep.
///
/// # Errors
/// When a segment cannot be read.
pub fn due(dir: &Path, open: u64, settings: &Audit, now: Timestamp) -> io::Result<Option<Removal>> {
    let segments = segment::list(dir)?;
    let closed = segments.iter().filter(|s| s.number < open).count();
    let aged = aged(dir, &segments, settings, now)?.min(closed);
    let oversized = oversized(&segments, settings).min(closed);
    let count = aged.max(oversized).min(AT_ONCE);
    if count == 0 {
        return Ok(None);
    }
    let numbers: Vec<u64> = segments.iter().take(count).map(|s| s.number).collect();
    let why = if aged >= oversized { "age" } else { "size" };
    span(dir, &numbers).map(|span| span.map(|(first_seq, last_seq, root)| Removal { numbers, first_seq, last_seq, root, why }))
}

// A segment is as old as the first event of the one after it: all of its own are older.
fn aged(dir: &Path, segments: &[SegmentFile], settings: &Audit, now: Timestamp) -> io::Result<usize> {
    if settings.keep_days == 0 {
        return Ok(0);
    }
    let oldest = now.plus_ms(-i64::from(settings.keep_days) * MS_PER_DAY);
    let mut count = 0;
    for next in segments.iter().skip(1) {
        let Some(line) = segment::first_line(dir, next.number)? else { break };
        let Ok(event) = serde_json::from_slice::<Event>(&line) else { break };
        if event.ts >= oldest {
            break;
        }
        count += 1;
    }
    Ok(count)
}

fn oversized(segments: &[SegmentFile], settings: &Audit) -> usize {
    let mut total: u64 = segments.iter().map(|s| s.bytes).sum();
    let cap = settings.keep_size.0;
    segments
        .iter()
        .take_while(|s| {
            let over = cap > 0 && total > cap;
            total = total.saturating_sub(s.bytes);
            over
        })
        .count()
}

fn span(dir: &Path, numbers: &[u64]) -> io::Result<Option<(u64, u64, String)>> {
    let mut span: Option<(u64, u64, String)> = None;
    let mut line = Vec::new();
    for number in numbers {
        let mut reader = segment::open(dir, *number, 0)?;
        while segment::read_line(&mut *reader, &mut line)? == Got::Line {
            let Some(link) = chain::link(&line) else { continue };
            let first = span.as_ref().map_or(link.seq, |(first, ..)| *first);
            span = Some((first, link.seq, link.hash.to_owned()));
        }
    }
    Ok(span)
}

fn signed_text(first_seq: u64, last_seq: u64, root: &str, why: &str) -> String {
    format!("lifeboat-tombstone-v1\n{first_seq}\n{last_seq}\n{root}\n{why}\n")
}

/// The event that stands for removed segments.
pub fn tombstone(removal: &Removal, signer: &Signer) -> Event {
    let Removal { numbers, first_seq, last_seq, root, why } = removal;
    let (first, last) = (numbers.first().copied().unwrap_or(0), numbers.last().copied().unwrap_or(0));
    let mut event = Event::system(TOMBSTONE, format!("{first:08}..{last:08}"));
    event.params = Some(json!({
        "first_seq": first_seq, "last_seq": last_seq, "root": root, "why": why, "who": "retention",
        "key": signer.public().id(), "signature": signer.sign(&signed_text(*first_seq, *last_seq, root, why)),
    }));
    event
}

/// Reads a tombstone off a ledger line: the last removed event and its hash. `None` when it is none, or its signature is bad.
pub fn read_tombstone(line: &[u8], key: &PublicKey) -> Option<(u64, String)> {
    let event: Event = serde_json::from_slice(line).ok()?;
    if event.kind != "system" || event.action.as_deref() != Some(TOMBSTONE) {
        return None;
    }
    let params = event.params?;
    let (first, last) = (params.get("first_seq")?.as_u64()?, params.get("last_seq")?.as_u64()?);
    let (root, why) = (params.get("root")?.as_str()?, params.get("why")?.as_str()?);
    key.verify(&signed_text(first, last, root, why), params.get("signature")?.as_str()?).then(|| (last, root.to_owned()))
}

/// Removes segments whose tombstone is on disk.
pub fn remove(dir: &Path, numbers: &[u64]) {
    for number in numbers {
        for path in [segment::plain_path(dir, *number), segment::packed_path(dir, *number)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(segment = number, %error, "an aged ledger segment could not be removed");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_ages_out_while_it_is_packed_does_not_come_back() {
        let dir = tempfile::TempDir::new().unwrap();
        let (plain, packed) = (segment::plain_path(dir.path(), 1), segment::packed_path(dir.path(), 1));
        let left = || fs::read_dir(dir.path()).unwrap().count();
        fs::write(&plain, "one\n").unwrap();
        let temporary = compress(dir.path(), 1).unwrap();
        remove(dir.path(), &[1]);
        exchange(dir.path(), 1, &temporary).unwrap();
        assert_eq!(left(), 0);
        fs::write(&plain, "one\n").unwrap();
        pack(dir.path(), 1).unwrap();
        assert!(packed.exists() && left() == 1, "one that is kept is there, packed");
    }
}
