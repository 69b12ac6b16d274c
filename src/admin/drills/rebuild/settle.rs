//! Gives a vault its place: a directory that is not there or empty, or the one file that it is. What lies on another disk is copied beside its place
//! first, so that giving it the name is one step there too. Never replaces anything.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::io as cannot;
use crate::base::fault::{Fault, Verb};

/// A vault whose place is free, on the disk of that place.
pub(super) struct Ready {
    from: PathBuf,
    to: PathBuf,
    /// Ours to remove, while it has no name yet.
    copy: bool,
}

/// Looks whether the place is free, and brings the vault to its disk.
///
/// # Errors
/// `Conflict` when something is there; `Unavailable` when its disk cannot be written.
pub(super) fn ready(from: &Path, to: &Path) -> Verb<Ready> {
    let single = to.file_name().map(|name| from.join(name)).filter(|file| file.is_file() && !to.is_dir());
    let count = fs::read_dir(from).map_err(cannot("a vault cannot be read"))?.count();
    let (from, file) = match single {
        Some(file) if count == 1 => (file, true),
        _ => (from.to_owned(), false),
    };
    let taken = to.exists() && (file || fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()));
    if taken {
        let message = format!("{} is there already and not empty; move it away and rebuild again", to.display());
        return Err(Fault::conflict(message));
    }
    let parent = to.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(cannot(&format!("{} cannot be made", parent.display())))?;
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
    // An empty directory may itself be where another disk is mounted: then its content goes into it.
    let target = if to.is_dir() { to } else { parent };
    let apart = device(&from).and_then(|one| Ok(one != device(target)?)).map_err(cannot("a vault's disk cannot be told"))?;
    let mut ready = Ready { from, to: to.to_owned(), copy: false };
    if apart {
        let beside = target.join(format!(".rebuild-{}", std::process::id()));
        let brought = Ready { from: beside.clone(), to: to.to_owned(), copy: true };
        copy(&ready.from, &beside).map_err(cannot(&format!("{} cannot be written", beside.display())))?;
        ready = brought;
    }
    Ok(ready)
}

impl Ready {
    /// Its place.
    pub(super) fn to(&self) -> &Path {
        &self.to
    }

    /// Gives it the name.
    ///
    /// # Errors
    /// `Unavailable` when that cannot be done.
    pub(super) fn place(mut self) -> Verb<()> {
        let what = format!("{} cannot be put in place", self.to.display());
        let placed = if self.from.starts_with(&self.to) { self.place_within() } else { fs::rename(&self.from, &self.to) };
        placed.map_err(cannot(&what))?;
        self.copy = false;
        Ok(())
    }

    /// The place is the top of a disk, which no rename can take: entry by entry.
    fn place_within(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.from)? {
            let entry = entry?;
            fs::rename(entry.path(), self.to.join(entry.file_name()))?;
        }
        fs::remove_dir(&self.from)
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        if self.copy {
            let _ = if self.from.is_dir() { fs::remove_dir_all(&self.from) } else { fs::remove_file(&self.from) };
        }
    }
}

/// Files and directories alone: nothing else comes out of an archive.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::metadata(from)?;
    if meta.is_file() {
        fs::copy(from, to)?;
        let file = fs::OpenOptions::new().append(true).open(to)?;
        file.set_times(fs::FileTimes::new().set_modified(meta.modified()?))?;
        return file.sync_all();
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    fs::set_permissions(to, meta.permissions())?;
    fs::File::open(to)?.sync_all()
}
