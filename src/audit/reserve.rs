//! The disk reserve: bytes set aside so that the last events fit when the disk is full. Never used for anything else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, Disk};

/// The file `audit/reserve`.
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
    disk: Arc<dyn Disk>,
}

impl Reserve {
    /// The reserve of a ledger directory; nothing is set aside yet.
    pub fn new(dir: &Path, bytes: u64, disk: Arc<dyn Disk>) -> Self {
        Self { path: dir.join("reserve"), bytes, disk }
    }

    /// Sets the bytes aside, when they are not already.
    ///
    /// # Errors
    /// When there is no room; nothing is then held.
    pub fn hold(&self) -> io::Result<()> {
        if self.bytes == 0 || fs::metadata(&self.path).is_ok_and(|meta| meta.len() == self.bytes) {
            return Ok(());
        }
        let made = disk::create(&self.path).and_then(|file| self.disk.set_aside(&file, self.bytes));
        if made.is_err() {
            // A half-made reserve would take the very room the events need.
            let _ = fs::remove_file(&self.path);
        }
        made
    }

    /// Gives the bytes up. Says whether there were any.
    pub fn give_up(&self) -> bool {
        self.bytes > 0 && fs::remove_file(&self.path).is_ok()
    }
}
