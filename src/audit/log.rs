//! The open segment: appends groups of lines, syncs them, starts the next segment. A failed sync is never repeated as if it could
//! succeed: what was not synced is written anew to a new segment. Knows no event and no chain.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, Disk};
use super::segment;

// Unsynced lines are kept in memory to be written anew; more than this forces a sync.
const UNSYNCED: usize = 4 * 1024 * 1024;
const UNSYNCED_KEPT: usize = 256 * 1024;

/// Whether a group must outlive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// No: written is enough.
    Later,
    /// Yes.
    Now,
}

/// The segment that is written to.
pub struct Log {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    number: u64,
    file: File,
    length: u64,
    unsynced: Vec<u8>,
    limit: u64,
    broken: bool,
    syncs: u64,
}

impl Log {
    /// Opens segment `number`, whose whole lines are `length` bytes, for appending. `limit` is the size at which it is closed.
    ///
    /// # Errors
    /// When the file cannot be made or opened.
    pub fn open(dir: &Path, disk: Arc<dyn Disk>, place: (u64, u64), limit: u64) -> io::Result<Self> {
        let (number, length) = place;
        let file = disk::open_append(&segment::plain_path(dir, number))?;
        disk::sync_dir(dir)?;
        let log = Self { dir: dir.to_owned(), disk, number, file, length, unsynced: Vec::new(), limit, broken: false, syncs: 0 };
        Ok(log)
    }

    /// Number of the open segment.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes in the open segment.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How many times it was synced.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Whether nothing can be written until `heal` succeeds.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Appends whole lines with one write and, when asked, one sync. All or nothing: after a failure none of them counts.
    ///
    /// # Errors
    /// When the disk is full (the log is usable) or fails (it is broken).
    pub fn commit(&mut self, lines: &[u8], sync: Sync) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the segment is broken"));
        }
        if let Err(error) = self.disk.append(&mut self.file, lines) {
            // Part of the lines may stand there already.
            let undone = self.file.set_len(self.length);
            self.broken = undone.is_err() || !disk::is_full(&error);
            return Err(error);
        }
        let (length, kept) = (self.length, self.unsynced.len());
        self.length += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.unsynced.extend_from_slice(lines);
        let now = sync == Sync::Now || self.unsynced.len() > UNSYNCED;
        if now && let Err(error) = self.sync() {
            self.unsynced.truncate(kept);
            self.length = length;
            // Readers stop at the last event that counts, so a failure here only delays the removal to `heal`.
            let _ = self.file.set_len(length);
            return Err(error);
        }
        Ok(())
    }

    /// Syncs what was written.
    ///
    /// # Errors
    /// When the disk fails; the log is then broken, and its unsynced lines are written anew by `heal`.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the segment is broken"));
        }
        if self.unsynced.is_empty() {
            return Ok(());
        }
        self.syncs += 1;
        if let Err(error) = self.disk.sync(&self.file) {
            self.broken = true;
            return Err(error);
        }
        self.unsynced.clear();
        // A busy second is no reason to hold the room for one for ever.
        self.unsynced.shrink_to(UNSYNCED_KEPT);
        Ok(())
    }

    /// Whether the segment has reached its size.
    pub fn is_due(&self) -> bool {
        self.length >= self.limit && !self.broken
    }

    /// Closes the segment and starts the next one. Returns the number of the closed one.
    ///
    /// # Errors
    /// When the segment cannot be synced or the next one not be made; the log then goes on in the old one if it can.
    pub fn roll(&mut self) -> io::Result<u64> {
        self.sync()?;
        let file = disk::open_append(&segment::plain_path(&self.dir, self.number + 1))?;
        disk::sync_dir(&self.dir)?;
        let closed = self.number;
        self.file = file;
        (self.number, self.length) = (closed + 1, 0);
        Ok(closed)
    }

    /// After a failure: writes every line that counts but was not synced to a new segment, and goes on there. Returns the number
    /// of the closed segment.
    ///
    /// # Errors
    /// When the disk still fails; the log stays broken.
    pub fn heal(&mut self) -> io::Result<u64> {
        let next = self.number + 1;
        let path = segment::plain_path(&self.dir, next);
        let temporary = path.with_extension("jsonl.tmp");
        // A half-made file from the attempt before.
        let _ = fs::remove_file(&temporary);
        let mut file = disk::open_append(&temporary)?;
        self.disk.append(&mut file, &self.unsynced)?;
        self.syncs += 1;
        self.disk.sync(&file)?;
        let carried = u64::try_from(self.unsynced.len()).unwrap_or(u64::MAX);
        self.file.set_len(self.length.saturating_sub(carried))?;
        fs::rename(&temporary, &path)?;
        disk::sync_dir(&self.dir)?;
        let closed = self.number;
        self.file = file;
        (self.number, self.length) = (next, carried);
        self.unsynced.clear();
        self.broken = false;
        Ok(closed)
    }
}
