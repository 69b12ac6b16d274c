//! Room on the disk that holds a path: bytes and inodes. Only asks the system.

use std::path::Path;

use crate::base::fault::{Fault, Verb};

/// Room for this account, and the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can be written.
    pub free: u64,
    /// Bytes of the file system.
    pub total: u64,
    /// Files that can be made; with `total_files` 0 the file system does not count them.
    pub free_files: u64,
    /// Files there can be.
    pub total_files: u64,
}

/// The room where `path` lies.
///
/// # Errors
/// `Unavailable` when the system does not say.
pub fn space(path: &Path) -> Verb<Space> {
    let found = nix::sys::statvfs::statvfs(path)
        .map_err(|cause| Fault::unavailable(format!("the room on the disk of {} is not known", path.display())).because(cause))?;
    let unit = found.fragment_size();
    Ok(Space {
        free: found.blocks_available().saturating_mul(unit),
        total: found.blocks().saturating_mul(unit),
        free_files: found.files_available(),
        total_files: found.files(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_disk_has_room_and_a_missing_path_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let space = super::space(dir.path()).expect("known");
        assert!(space.free <= space.total && space.total > 0);
        assert!(super::space(&dir.path().join("missing")).is_err());
    }
}
