//! Makes `vaults/NAME` ready for its server: the folder, its modes and its owner. Runs while no process of the server lives,
//! so that nothing can be swapped under it. Never follows a link.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

/// The vault of server `name` under `data`, made where it is missing; with `uid` (as root) it and what restore or an operator
/// put into it belong to that user, and the folders above let it pass.
///
/// # Errors
/// A sentence that names the folder.
pub fn prepare_vault(data: &Path, name: &str, uid: Option<u32>) -> Result<PathBuf, String> {
    let told = |path: &Path, fault: io::Error| format!("{}: {fault}", path.display());
    let vaults = data.join("vaults");
    let vault = vaults.join(name);
    for (path, mode) in [(data, 0o711), (&vaults, 0o711), (&vault, 0o700), (&vault.join("tmp"), 0o700)] {
        let mode = if uid.is_some() { mode } else { 0o700 };
        folder(path, mode).map_err(|fault| told(path, fault))?;
    }
    if let Some(uid) = uid {
        give(&vault, uid).map_err(|fault| told(&vault, fault))?;
    }
    Ok(vault)
}

fn folder(path: &Path, mode: u32) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_dir() => Err(io::Error::new(io::ErrorKind::NotADirectory, "is no directory")),
        Ok(found) if found.mode() & 0o777 == mode => Ok(()),
        Ok(_) => std::fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().mode(mode).create(path)?;
            // The umask may have taken bits away.
            std::fs::set_permissions(path, Permissions::from_mode(mode))
        }
        Err(fault) => Err(fault),
    }
}

// A file with a second name may be somebody else's: its owner stays.
fn give(path: &Path, uid: u32) -> io::Result<()> {
    let found = path.symlink_metadata()?;
    if found.uid() != uid && (found.is_dir() || found.nlink() == 1) {
        lchown(path, Some(uid), Some(uid))?;
    }
    if found.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), uid)?;
        }
    }
    Ok(())
}
