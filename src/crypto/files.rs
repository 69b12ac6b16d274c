//! Key files: written whole or not at all, with their mode from the first byte on. Never follows a link when writing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::base::fault::{Fault, Verb};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner: mode 0600.
    Owner,
    /// Everybody: mode 0644.
    Everybody,
}

/// Writes a file and its directory entry to the disk, in place of what was there.
///
/// # Errors
/// `Unavailable` when it cannot be written; what was there stays then.
pub fn write(path: &Path, bytes: &[u8], readers: Readers) -> Verb<()> {
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Everybody => 0o644,
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let beside = path.with_file_name(format!(".{name}.new"));
    let put = || -> std::io::Result<()> {
        let _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    put().map_err(|e| Fault::unavailable(format!("cannot write {}", path.display())).because(e))
}

/// Reads a whole file; `None` when it does not exist.
///
/// # Errors
/// `Unavailable` when it exists and cannot be read.
pub fn read(path: &Path) -> Verb<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Fault::unavailable(format!("cannot read {}", path.display())).because(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_have_their_mode_and_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        assert_eq!(read(&path).unwrap(), None);
        for (text, readers, mode) in [("one", Readers::Everybody, 0o644), ("two", Readers::Owner, 0o600)] {
            write(&path, text.as_bytes(), readers).unwrap();
            assert_eq!(read(&path).unwrap().unwrap(), text.as_bytes());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert!(write(&dir.path().join("no/a.key"), b"x", Readers::Owner).is_err());
    }
}
