//! The segment files of a ledger: their names, and reading lines from them, open (`.jsonl`) or closed (`.jsonl.zst`). Never writes.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::chain;

/// Whether a segment is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `NNNNNNNN.jsonl`.
    Plain,
    /// `NNNNNNNN.jsonl.zst`.
    Packed,
}

/// One segment on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its number, from 1.
    pub number: u64,
    /// Plain or packed.
    pub form: Form,
    /// Size of the file.
    pub bytes: u64,
}

/// `NNNNNNNN.jsonl`.
pub fn plain_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.jsonl"))
}

/// `NNNNNNNN.jsonl.zst`.
pub fn packed_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.jsonl.zst"))
}

fn parse_name(name: &str) -> Option<(u64, Form)> {
    let (stem, form) = match name.strip_suffix(".jsonl") {
        Some(stem) => (stem, Form::Plain),
        None => (name.strip_suffix(".jsonl.zst")?, Form::Packed),
    };
    let fits = stem.len() >= 8 && stem.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| stem.parse().ok().map(|number| (number, form))).flatten()
}

/// All segments in order. Where a segment is there in both forms (a crash while it was packed) the plain one counts.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut found: Vec<SegmentFile> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some((number, form)) = entry.file_name().to_str().and_then(parse_name) else { continue };
        // A segment may be packed or removed between the listing and this look.
        let Ok(meta) = entry.metadata() else { continue };
        found.push(SegmentFile { number, form, bytes: meta.len() });
    }
    found.sort_by_key(|segment| (segment.number, segment.form == Form::Packed));
    found.dedup_by_key(|segment| segment.number);
    Ok(found)
}

/// Opens a segment for reading in whichever form it is there, from byte `offset` of its plain text.
///
/// # Errors
/// `NotFound` when it is there in neither form.
pub fn open(dir: &Path, number: u64, offset: u64) -> io::Result<Box<dyn BufRead + Send>> {
    // Twice, because the segment may be packed between the two looks.
    for _ in 0..2 {
        match File::open(plain_path(dir, number)) {
            Ok(mut file) => {
                io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
                return Ok(Box::new(BufReader::with_capacity(128 * 1024, file)));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match File::open(packed_path(dir, number)) {
            Ok(file) => {
                let mut reader = BufReader::with_capacity(128 * 1024, zstd::stream::read::Decoder::new(file)?);
                io::copy(&mut reader.by_ref().take(offset), &mut io::sink())?;
                return Ok(Box::new(reader));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::NotFound, format!("segment {number:08} is not there")))
}

/// What reading one line gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// A whole line; the buffer holds it without its line feed.
    Line,
    /// Bytes without a line feed at the end of the segment; the buffer holds them.
    Torn,
    /// The end.
    End,
}

/// Reads the next line into `buffer`.
///
/// # Errors
/// When the file cannot be read or its packing is damaged.
pub fn read_line(reader: &mut dyn BufRead, buffer: &mut Vec<u8>) -> io::Result<Got> {
    buffer.clear();
    if reader.read_until(b'\n', buffer)? == 0 {
        return Ok(Got::End);
    }
    if buffer.last() == Some(&b'\n') {
        buffer.pop();
        return Ok(Got::Line);
    }
    Ok(Got::Torn)
}

/// The first whole line of a segment; `None` when it has none.
///
/// # Errors
/// When the segment cannot be read.
pub fn first_line(dir: &Path, number: u64) -> io::Result<Option<Vec<u8>>> {
    let mut reader = open(dir, number, 0)?;
    let mut buffer = Vec::new();
    Ok((read_line(&mut *reader, &mut buffer)? == Got::Line).then_some(buffer))
}

/// A place in the ledger to read on from. Survives packing, rotation and removal of segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    next: u64,
    number: u64,
    offset: u64,
}

/// Some lines, each with its position.
pub type Lines = Vec<(u64, Vec<u8>)>;

impl Cursor {
    /// A place before the event `seq`.
    pub fn before(seq: u64) -> Self {
        Self { next: seq.max(1), number: 0, offset: 0 }
    }

    /// The position of the next line this cursor gives.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Reads up to `most` lines, none later than `upto`. Lines that retention removed are left out.
    ///
    /// # Errors
    /// When a segment cannot be read, or a whole line in it is no ledger line.
    pub fn read(&mut self, dir: &Path, upto: u64, most: usize) -> io::Result<Lines> {
        let mut lines = Lines::new();
        while self.next <= upto && lines.len() < most {
            if self.number == 0 && !self.find(dir)? {
                break;
            }
            let before = lines.len();
            self.read_segment(dir, upto, most, &mut lines)?;
            if lines.len() >= most || self.next > upto {
                break;
            }
            // The segment is exhausted: look where the next line stands now.
            let was = self.number;
            self.number = 0;
            if !self.find(dir)? || (self.number == was && lines.len() == before) {
                break;
            }
        }
        Ok(lines)
    }

    // Finds the last segment that begins at or before the next line, or else the first one after it.
    fn find(&mut self, dir: &Path) -> io::Result<bool> {
        let mut later = None;
        for segment in list(dir)?.iter().rev() {
            let Some(line) = first_line(dir, segment.number)? else { continue };
            let Some(link) = chain::link(&line) else { return Err(bad_line(segment.number)) };
            if link.seq <= self.next {
                (self.number, self.offset) = (segment.number, 0);
                return Ok(true);
            }
            later = Some((segment.number, link.seq));
        }
        let Some((number, seq)) = later else { return Ok(false) };
        *self = Self { next: seq, number, offset: 0 };
        Ok(true)
    }

    fn read_segment(&mut self, dir: &Path, upto: u64, most: usize, lines: &mut Lines) -> io::Result<()> {
        let mut reader = match open(dir, self.number, self.offset) {
            Ok(reader) => reader,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut buffer = Vec::new();
        while lines.len() < most && self.next <= upto && read_line(&mut *reader, &mut buffer)? == Got::Line {
            let seq = chain::link(&buffer).ok_or_else(|| bad_line(self.number))?.seq;
            if seq > upto {
                break;
            }
            self.offset += u64::try_from(buffer.len()).unwrap_or(u64::MAX) + 1;
            if seq < self.next {
                continue;
            }
            self.next = seq + 1;
            lines.push((seq, std::mem::take(&mut buffer)));
        }
        Ok(())
    }
}

fn bad_line(number: u64) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("segment {number:08} holds a line that is no ledger line"))
}
