//! What a drill finds: the archives as they are, or a copy of them in which something is broken on purpose. The originals are only read.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::admin::vaults::catalogue::Catalogue;
use crate::admin::vaults::folder::Folder;
use crate::admin::vaults::sidecar::Sidecar;
use crate::admin::vaults::{CHECKPOINT, deny};
use crate::base::fault::{Fault, Verb};
use crate::config::paths;

fn io(what: &Path) -> impl FnOnce(std::io::Error) -> Fault {
    let what = what.display().to_string();
    move |cause| Fault::unavailable(format!("{what} cannot be written: {cause}")).because(cause)
}

/// An empty directory of the drill's own; removed with all that is in it.
pub(super) struct Sandbox(PathBuf);

impl Sandbox {
    /// Makes it. Servers with accounts of their own must be able to walk through it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn new(data: &Path, id: &str) -> Verb<Self> {
        let data = std::path::absolute(data).map_err(io(data))?;
        // Short: a path of a socket, which stands deep in here, has room for 107 characters.
        let path = data.join(format!("{PREFIX}{}", id.get(id.len().saturating_sub(8)..).unwrap_or(id)));
        fs::DirBuilder::new().mode(paths::open_mode()).create(&path).map_err(io(&path))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it.
    ///
    /// # Errors
    /// When something of it stays.
    pub(super) fn remove(self) -> Verb<()> {
        let removed = fs::remove_dir_all(&self.0);
        removed.map_err(|e| Fault::unavailable(format!("{} stays: {e}", self.0.display())).because(e))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const PREFIX: &str = ".drill-";

/// Removes what drills of a process that died have left.
pub(super) fn sweep(data: &Path) {
    let Ok(entries) = fs::read_dir(data) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A copy of the archives in which one bit of the newest of each vault is another.
///
/// # Errors
/// When it cannot be written.
pub(super) fn corrupted(folder: &Folder, found: &Catalogue, to: &Path) -> Verb<()> {
    let mut newest: Vec<&str> = Vec::new();
    for note in &found.archives {
        let first = !newest.contains(&note.vault.as_str());
        newest.push(&note.vault);
        copy(folder, &note.path(), to)?;
        if first {
            damage(folder, note, to)?;
        } else {
            copy(folder, &note.file, to)?;
        }
    }
    for file in [deny::FILE, CHECKPOINT] {
        if folder.path(file).exists() {
            copy(folder, file, to)?;
        }
    }
    Ok(())
}

/// The same file under another name; a copy where the file system has no second names.
fn copy(folder: &Folder, file: &str, to: &Path) -> Verb<()> {
    let (from, target) = (folder.path(file), to.join(file));
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(io(parent))?;
    }
    fs::hard_link(&from, &target).or_else(|_| fs::copy(&from, &target).map(|_| ())).map_err(io(&target))
}

fn damage(folder: &Folder, note: &Sidecar, to: &Path) -> Verb<()> {
    let target = to.join(&note.file);
    fs::copy(folder.path(&note.file), &target).map_err(io(&target))?;
    let flip = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().read(true).write(true).open(&target)?;
        let mut byte = [0u8];
        file.seek(SeekFrom::Start(note.bytes / 2))?;
        file.read_exact(&mut byte)?;
        file.seek(SeekFrom::Start(note.bytes / 2))?;
        file.write_all(&[byte[0] ^ 1])
    };
    flip().map_err(io(&target))
}
