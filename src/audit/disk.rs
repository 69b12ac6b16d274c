//! What the ledger asks of a disk, as a seam that a test can let fail. Never decides what a failure means.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The operations whose failure the ledger must survive.
pub trait Disk: Send + Sync {
    /// Writes all bytes at the end of the file.
    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;
    /// Brings the file's data to stable storage.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Sets `bytes` aside for the file, really allocated.
    fn set_aside(&self, file: &File, bytes: u64) -> io::Result<()>;
}

/// The machine's own disk.
#[derive(Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn set_aside(&self, file: &File, bytes: u64) -> io::Result<()> {
        let length = i64::try_from(bytes).unwrap_or(i64::MAX);
        nix::fcntl::posix_fallocate(file, 0, length).map_err(io::Error::from)
    }
}

/// Whether a failure means that there is no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Opens a file for appending, makes it (0600) when it is not there.
pub fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Makes an empty file (0600), in place of one that is there.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes a directory (0700) with its parents.
pub fn create_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes renames and new files in a directory outlive a power cut.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
