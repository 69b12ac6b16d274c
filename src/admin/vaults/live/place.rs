//! The place of a vault: what lies there, and how a new tree and it change places in one step of the file system. Which of the two lies there is
//! told by its inode, so that a later process can tell too. Never removes a tree but the one that it is told is the new one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::admin::vaults::trusted;
use crate::base::fault::{Fault, Verb};

/// What a vault is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory.
    Directory,
    /// One file.
    File,
}

/// A file or directory, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    dev: u64,
    ino: u64,
}

/// The place of a vault.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its path, with no link above it.
    pub path: PathBuf,
    /// What lies there.
    pub there: Option<(Kind, Node)>,
}

/// What a tree that waits for its place is called before its id, and one that made room, after its name.
pub(super) const WAITING: &str = ".restoring-";
pub(super) const BEFORE: &str = ".before-";

/// Which file a path is; none where there is nothing.
pub(super) fn node(path: &Path) -> io::Result<Option<Node>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(Node { dev: meta.dev(), ino: meta.ino() })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Looks at the place.
///
/// # Errors
/// `Conflict` when nothing can be exchanged there: a link, a device, the top of a disk, no folder above it, or one that another account than
/// those of `also` can change.
pub(super) fn look(path: &Path, also: &[u32]) -> Verb<Target> {
    let shown = path.display();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Fault::conflict(format!("{shown} has no folder above it; bring it back with --to")));
    };
    // What is written here is written by its path: nobody else may be able to lead it elsewhere.
    let above = trusted::own_folder(parent, also)?;
    let path = above.join(name);
    let meta = match fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Target { path, there: None }),
        Err(e) => return Err(Fault::unavailable(format!("{shown} cannot be looked at: {e}")).because(e)),
    };
    let kind = match (meta.is_dir(), meta.is_file()) {
        (true, _) => Kind::Directory,
        (_, true) => Kind::File,
        _ => {
            let what = if meta.is_symlink() { "a link" } else { "neither a file nor a directory" };
            return Err(Fault::conflict(format!("{shown} is {what}; bring the vault back with --to")));
        }
    };
    let disk = fs::metadata(&above).map_err(|e| Fault::unavailable(format!("the folder above {shown}: {e}")).because(e))?.dev();
    if disk != meta.dev() {
        return Err(Fault::conflict(format!(
            "{shown} is the top of a disk and cannot be exchanged; bring the vault back with --to"
        )));
    }
    Ok(Target { path, there: Some((kind, Node { dev: meta.dev(), ino: meta.ino() })) })
}

/// Makes the directory in which the new tree waits, and finds out whether this disk can exchange two names at all.
///
/// # Errors
/// `Unavailable` when it cannot be made or the disk cannot exchange; nothing is left then.
pub(super) fn waiting(dir: &Path) -> Verb<()> {
    let bad = |e: io::Error| Fault::unavailable(format!("{} cannot be written: {e}", dir.display())).because(e);
    fs::DirBuilder::new().mode(0o700).create(dir).map_err(bad)?;
    let (one, two) = (dir.join("one"), dir.join("two"));
    let tried = || -> io::Result<()> {
        for path in [&one, &two] {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        }
        renameat2(AT_FDCWD, &one, AT_FDCWD, &two, RenameFlags::RENAME_EXCHANGE)?;
        fs::remove_file(&one)?;
        fs::remove_file(&two)
    };
    tried().map_err(|e| {
        let _ = fs::remove_dir_all(dir);
        Fault::unavailable(format!("the disk of {} cannot exchange two names: {e}; bring the vault back with --to", dir.display()))
            .because(e)
    })
}

/// Puts `tree` at the place; what lay there is at `tree` afterwards. One step of the file system, and on the disk once `sync_names` was done.
///
/// # Errors
/// When the system refuses; nothing changed then.
pub(super) fn exchange(tree: &Path, target: &Path, there: Option<Node>) -> io::Result<()> {
    let flags = if there.is_some() { RenameFlags::RENAME_EXCHANGE } else { RenameFlags::RENAME_NOREPLACE };
    Ok(renameat2(AT_FDCWD, tree, AT_FDCWD, target, flags)?)
}

/// The reverse of `exchange`.
///
/// # Errors
/// As `exchange`.
pub(super) fn change_back(tree: &Path, target: &Path, there: Option<Node>) -> io::Result<()> {
    match there {
        Some(_) => exchange(tree, target, there),
        None => Ok(renameat2(AT_FDCWD, target, AT_FDCWD, tree, RenameFlags::RENAME_NOREPLACE)?),
    }
}

/// Gives what lay at the place its name beside it, for its owner alone.
///
/// # Errors
/// When the name is taken or the disk refuses.
pub(super) fn keep(tree: &Path, kept: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(tree)?;
    if meta.is_dir() || meta.is_file() {
        let mode = if meta.is_dir() { 0o700 } else { meta.mode() & 0o700 };
        fs::set_permissions(tree, Permissions::from_mode(mode))?;
    }
    renameat2(AT_FDCWD, tree, AT_FDCWD, kept, RenameFlags::RENAME_NOREPLACE)?;
    sync_names(tree, kept)
}

/// Moves what is in no archive by order from the tree that was to the one that is; gives what could not follow.
pub(super) fn carry(kept: &Path, target: &Path, excluded: &[String]) -> Vec<String> {
    let mut left = Vec::new();
    for path in excluded {
        let moved = match (folder_of(kept, path), folder_of(target, path)) {
            (Ok((from, name)), Ok((to, _))) => {
                match renameat2(&from, name, &to, name, RenameFlags::RENAME_NOREPLACE) {
                    Ok(()) => File::from(to).sync_all().is_ok(),
                    // There was none, or the archive brought one.
                    Err(nix::Error::ENOENT | nix::Error::EEXIST) => true,
                    Err(_) => false,
                }
            }
            (Err(nix::Error::ENOENT), _) => true,
            _ => false,
        };
        if !moved {
            left.push(path.clone());
        }
    }
    left
}

// By descriptors: a link that a server left in its tree must not lead the move out of it.
fn folder_of<'a>(root: &Path, path: &'a str) -> nix::Result<(OwnedFd, &'a str)> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut folder = openat(AT_FDCWD, root, flags, Mode::empty())?;
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        if part == ".." {
            return Err(nix::Error::EINVAL);
        }
        folder = openat(&folder, part, flags, Mode::empty())?;
    }
    if matches!(name, "" | "." | "..") { Err(nix::Error::EINVAL) } else { Ok((folder, name)) }
}

/// Removes the directory in which a tree waited, and the tree in it where that is the new one. Whatever else lies there stays, and is named.
///
/// # Errors
/// When it cannot be removed, or holds what is not ours to remove.
pub(super) fn discard(dir: &Path, tree: &Path, new: Option<Node>) -> io::Result<()> {
    if node(dir)?.is_none() {
        return Ok(());
    }
    let found = node(tree)?;
    if found.is_some() && new.is_some() && found != new {
        return Err(io::Error::other(format!("{} is not the tree that was unpacked", tree.display())));
    }
    fs::remove_dir_all(dir)
}

/// Removes what is empty of the directory in which a tree waited. Never a file.
pub(super) fn tidy(dir: &Path) {
    let _ = fs::remove_dir(dir.join(CONTENT));
    if let Err(fault) = fs::remove_dir(dir)
        && fault.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%fault, path = %dir.display(), "what a restore needed stays");
    }
}

/// Where in the waiting directory the archive is unpacked.
pub(super) const CONTENT: &str = "content";

/// Brings the names of two paths to the disk.
///
/// # Errors
/// When the disk does not take them.
pub(super) fn sync_names(one: &Path, other: &Path) -> io::Result<()> {
    for folder in [one.parent(), other.parent()].into_iter().flatten() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
