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

/// Looks whether places are free: nothing is there, or an empty directory, perhaps through a link.
///
/// # Errors
/// `Conflict` with all that are not.
pub(super) fn are_free<'a>(places: impl IntoIterator<Item = &'a Path>) -> Verb<()> {
    let (mut taken, mut closed) = (Vec::new(), Vec::new());
    for to in places {
        // A link that leads nowhere is something that is there as well.
        let is_empty = fs::symlink_metadata(to).map(|_| fs::read_dir(to).map(|mut entries| entries.next().is_none()));
        match is_empty {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Ok(Ok(true)) => {}
            Err(cause) => closed.push(format!("{} cannot be looked at: {cause}", to.display())),
            Ok(Err(cause)) if cause.kind() == io::ErrorKind::PermissionDenied => {
                closed.push(format!("{} cannot be looked into: {cause}", to.display()));
            }
            Ok(_) => taken.push(to.display().to_string()),
        }
    }
    match &taken[..] {
        [] if closed.is_empty() => Ok(()),
        [] => Err(Fault::conflict(format!("{}; make it readable or move it away, and rebuild again", closed.join(", ")))),
        [one] => Err(Fault::conflict(format!("{one} is there already and not empty; move it away and rebuild again"))),
        all => {
            Err(Fault::conflict(format!("{} are there already and not empty; move them away and rebuild again", all.join(" and "))))
        }
    }
}

/// Looks whether the place is free, and brings the vault to its disk.
///
/// # Errors
/// `Conflict` when something is there; `Unavailable` when its disk cannot be written.
pub(super) fn ready(from: &Path, to: &Path) -> Verb<Ready> {
    let single = to.file_name().map(|name| from.join(name)).filter(|file| file.is_file() && !to.is_dir());
    let count = fs::read_dir(from).map_err(cannot("a vault cannot be read"))?.count();
    let from = single.filter(|_| count == 1).unwrap_or_else(|| from.to_owned());
    are_free([to])?;
    // A rename takes a link for a thing of its own; what is meant is the directory that it leads to.
    let resolved =
        if to.is_dir() { fs::canonicalize(to).map_err(cannot("a vault's place cannot be read"))? } else { to.to_owned() };
    let to = resolved.as_path();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A vault as it was unpacked, on the disk of the temporary directory.
    fn vault(folder: &Path) -> PathBuf {
        let from = folder.join("unpacked");
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/a"), "one").unwrap();
        from
    }

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    // `/dev/shm` is another disk than the temporary directory's on every machine but those where both are in memory.
    fn disks() -> Vec<tempfile::TempDir> {
        [std::env::temp_dir(), PathBuf::from("/dev/shm")]
            .iter()
            .filter_map(|disk| tempfile::Builder::new().tempdir_in(disk).ok())
            .collect()
    }

    #[test]
    fn a_vault_gets_its_place_on_any_disk_and_leaves_nothing_beside_it() {
        for disk in disks() {
            let home = tempfile::tempdir().unwrap();
            let there = disk.path().join("empty");
            fs::create_dir(&there).unwrap();
            for to in [there, disk.path().join("new/memory")] {
                ready(&vault(home.path()), &to).unwrap().place().unwrap();
                assert_eq!(fs::read_to_string(to.join("sub/a")).unwrap(), "one");
                assert_eq!(names(&to), ["sub"]);
            }
            assert_eq!(names(&disk.path().join("new")), ["memory"]);
        }
    }

    #[test]
    fn a_vault_of_one_file_gets_its_place_and_replaces_none() {
        for disk in disks() {
            let home = tempfile::tempdir().unwrap();
            let to = disk.path().join("memory.db");
            for taken in [false, true] {
                let from = home.path().join("unpacked");
                fs::create_dir_all(&from).unwrap();
                fs::write(from.join("memory.db"), "two").unwrap();
                let ready = ready(&from, &to);
                if taken {
                    assert!(ready.err().unwrap().to_string().contains("there already"));
                } else {
                    ready.unwrap().place().unwrap();
                }
                assert_eq!((fs::read_to_string(&to).unwrap().as_str(), names(disk.path()).len()), ("two", 1));
            }
        }
    }

    #[test]
    fn a_link_to_an_empty_directory_is_a_place_and_one_to_nowhere_is_none() {
        for disk in disks() {
            let home = tempfile::tempdir().unwrap();
            let (real, link) = (disk.path().join("real"), disk.path().join("link"));
            std::os::unix::fs::symlink(&real, &link).unwrap();
            assert!(are_free([link.as_path()]).unwrap_err().to_string().contains("there already"));
            assert!(ready(&vault(home.path()), &link).is_err());
            fs::create_dir(&real).unwrap();
            ready(&vault(home.path()), &link).unwrap().place().unwrap();
            assert_eq!(fs::read_to_string(real.join("sub/a")).unwrap(), "one");
            assert_eq!(fs::read_link(&link).unwrap(), real, "the link stays");
            let both = are_free([real.as_path(), link.as_path()]).unwrap_err().to_string();
            assert!(both.contains("/real and ") && both.contains("/link are there already"), "{both}");
        }
    }

    #[test]
    fn what_was_made_ready_and_got_no_place_is_gone() {
        for disk in disks() {
            let home = tempfile::tempdir().unwrap();
            drop(ready(&vault(home.path()), &disk.path().join("memory")).unwrap());
            assert!(names(disk.path()).is_empty());
            let full = disk.path().join("full");
            fs::create_dir(&full).unwrap();
            fs::write(full.join("kept"), "").unwrap();
            assert!(ready(&vault(home.path()), &full).is_err());
            assert_eq!(names(&full), ["kept"]);
        }
    }
}
