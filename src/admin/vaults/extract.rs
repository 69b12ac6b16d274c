//! Writes an archive's content into an empty directory that counts for nothing until the whole archive has passed. Never replaces a file and
//! never follows a link: nothing but its own plain files and directories is ever there.

use std::collections::BTreeMap;
use std::fs::{self, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::folder::sync_disk;
use crate::crypto::archive::{PIECE, Sink, pour};

/// Whether a path is the one that is asked for, or stands below it; everything when nothing is.
pub(super) fn within(only: Option<&str>, path: &str) -> bool {
    only.is_none_or(|only| path == only || path.strip_prefix(only).is_some_and(|rest| rest.starts_with('/')))
}

/// The directory that is filled.
#[derive(Debug)]
pub struct Extract {
    root: PathBuf,
    /// Only this path, or what stands below it.
    only: Option<String>,
    dirs: BTreeMap<PathBuf, u32>,
    /// How many files were written.
    pub files: u64,
    /// And their bytes.
    pub bytes: u64,
    scratch: Vec<u8>,
}

impl Extract {
    /// Into a directory that is empty.
    pub fn new(root: &Path, only: Option<String>) -> Self {
        Self { root: root.to_owned(), only, dirs: BTreeMap::new(), files: 0, bytes: 0, scratch: vec![0; PIECE] }
    }

    fn wanted(&self, path: &str) -> bool {
        within(self.only.as_deref(), path)
    }

    /// Sets the modes of the directories, which had to be writable until now, and brings everything to the disk.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn settle(&self) -> io::Result<()> {
        for (path, mode) in self.dirs.iter().rev() {
            fs::set_permissions(path, Permissions::from_mode(*mode))?;
        }
        sync_disk(&self.root)
    }
}

impl Sink for Extract {
    fn dir(&mut self, path: &str, mode: u32, _: u64) -> io::Result<()> {
        if !self.wanted(path) {
            return Ok(());
        }
        let target = self.root.join(path);
        fs::DirBuilder::new().recursive(self.only.is_some()).mode(0o700).create(&target)?;
        self.dirs.insert(target, mode);
        Ok(())
    }

    fn file(&mut self, path: &str, _: u64, (mode, mtime): (u32, u64), content: &mut dyn Read) -> io::Result<()> {
        if !self.wanted(path) {
            return Ok(());
        }
        let target = self.root.join(path);
        if let (Some(_), Some(folder)) = (&self.only, target.parent()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
        self.bytes += pour(content, &mut file, &mut self.scratch)?;
        self.files += 1;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(mtime)))
    }
}
