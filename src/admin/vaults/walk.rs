//! What stands in a directory that somebody else writes: found and opened without following a link, so that no link and no exchange of a
//! folder can make Lifeboat read what the owner of the vault could not. Never waits for a pipe.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path};

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use crate::base::fault::{Fault, Verb};
use crate::crypto::archive::{EntryKind, Skipped, check_name};

const DEEPEST: usize = 100;

/// One file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Path inside the directory.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Bytes, when it was seen.
    pub size: u64,
    /// How many of them take room: a sparse file is mostly holes.
    pub stored: u64,
}

/// How a file looked: what is written to it changes its size or its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(u64, i64, i64, i64);

impl Stamp {
    fn of(stat: &FileStat) -> Self {
        Self(stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
    }

    /// Whether the open file still looks like this.
    pub fn is_still(&self, file: &File) -> bool {
        fstat(file).is_ok_and(|after| Self::of(&after) == *self)
    }
}

fn item_of(path: &str, stat: &FileStat, kind: EntryKind) -> Item {
    Item {
        path: path.to_owned(),
        kind,
        mode: stat.st_mode & 0o777,
        mtime: u64::try_from(stat.st_mtime).unwrap_or(0),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        // Blocks of 512 bytes, whatever those of the disk are.
        stored: u64::try_from(stat.st_size.min(stat.st_blocks.saturating_mul(512))).unwrap_or(0),
    }
}

/// A directory's content.
#[derive(Debug, Default)]
pub struct Found {
    /// Directories before what is in them, in the order of names.
    pub items: Vec<Item>,
    /// Links, devices, pipes and sockets: never part of an archive.
    pub special: Vec<Skipped>,
    /// What could not be read, or has a name that cannot be written, or stands too deep: an archive without it is not complete.
    pub unread: Vec<Skipped>,
}

/// An open directory.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Opens it, by a path without links: one that comes into it meanwhile is not followed.
    ///
    /// # Errors
    /// `NotFound` when it is not there or no directory.
    pub fn open(real: &Path) -> Verb<Self> {
        let unread = |e: std::io::Error| Fault::not_found(format!("{} cannot be read: {e}", real.display())).because(e);
        let mut folder: OwnedFd = File::open("/").map_err(unread)?.into();
        for part in real.components().filter(|part| matches!(part, Component::Normal(_))) {
            folder = open_folder(&folder, part.as_os_str()).map_err(|e| unread(e.into()))?;
        }
        Ok(Self(folder))
    }

    /// Everything in it but `excluded` and what stands below that.
    pub fn scan(&self, excluded: &[&str]) -> Found {
        let mut found = Found::default();
        below(&self.0, "", excluded, 0, &mut found);
        found
    }

    /// Opens a regular file below it, and says what it is now.
    ///
    /// # Errors
    /// When it vanished, became something else, or cannot be read.
    pub fn read(&self, path: &str) -> std::io::Result<(File, Item, Stamp)> {
        let mut folder = self.0.try_clone()?;
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            folder = open_folder(&folder, part)?;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        // Whoever only reads leaves no mark of it: that would be a change to the disk, made in the middle of a file system's transaction.
        let quiet = openat(&folder, name, flags | OFlag::O_NOATIME, Mode::empty());
        let file = quiet.or_else(|_| openat(&folder, name, flags, Mode::empty()))?;
        let stat = fstat(&file)?;
        if kind_of(&stat) != SFlag::S_IFREG {
            return Err(std::io::Error::other("it is no regular file any more"));
        }
        Ok((File::from(file), item_of(path, &stat, EntryKind::File), Stamp::of(&stat)))
    }
}

fn open_folder(parent: &OwnedFd, name: impl AsRef<OsStr>) -> nix::Result<OwnedFd> {
    let name = name.as_ref();
    openat(parent, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn below(folder: &OwnedFd, prefix: &str, excluded: &[&str], depth: usize, found: &mut Found) {
    // The descriptor, not the path: a folder that was exchanged meanwhile is still the one that was opened.
    let listed = fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    let names = listed.and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>());
    let mut names = match names {
        Ok(names) => names,
        Err(cause) => return found.unread.push(skipped(prefix, cause.to_string())),
    };
    names.sort_unstable();
    for name in names {
        let Some(name) = name.to_str() else {
            found.unread.push(skipped(&format!("{prefix}{}", name.to_string_lossy()), "its name is not UTF-8"));
            continue;
        };
        let path = format!("{prefix}{name}");
        if excluded.contains(&path.as_str()) {
            continue;
        }
        if let Err(why) = check_name(&path) {
            found.unread.push(skipped(&path, why));
            continue;
        }
        one(folder, name, &path, excluded, depth, found);
    }
}

fn one(folder: &OwnedFd, name: &str, path: &str, excluded: &[&str], depth: usize, found: &mut Found) {
    let stat = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(cause) => return found.unread.push(skipped(path, cause.desc())),
    };
    let item = |kind| item_of(path, &stat, kind);
    match kind_of(&stat) {
        SFlag::S_IFREG => found.items.push(item(EntryKind::File)),
        SFlag::S_IFDIR if depth >= DEEPEST => found.unread.push(skipped(path, "it stands too deep")),
        SFlag::S_IFDIR => match open_folder(folder, name) {
            Ok(opened) => {
                found.items.push(item(EntryKind::Dir));
                below(&opened, &format!("{path}/"), excluded, depth + 1, found);
            }
            Err(cause) => found.unread.push(skipped(path, cause.desc())),
        },
        SFlag::S_IFLNK => found.special.push(skipped(path, "it is a link")),
        _ => found.special.push(skipped(path, "it is neither a file nor a directory")),
    }
}

fn skipped(path: &str, why: impl Into<String>) -> Skipped {
    Skipped { path: path.to_owned(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_pipes_and_sockets_are_listed_and_never_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("sub/deep")).unwrap();
        fs::create_dir(at("tmp")).unwrap();
        for file in ["a", "new\nline", "sub/deep/b", "tmp/c"] {
            fs::write(at(file), file).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
        std::os::unix::fs::symlink("/etc", at("folder")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let found = root.scan(&["tmp"]);
        let paths: Vec<&str> = found.items.iter().map(|item| item.path.as_str()).collect();
        assert_eq!(paths, ["a", "new\nline", "sub", "sub/deep", "sub/deep/b"]);
        let special: Vec<&str> = found.special.iter().map(|one| one.path.as_str()).collect();
        assert_eq!((special, found.unread.len()), (vec!["folder", "link", "pipe", "socket"], 0));
        for never in ["link", "pipe", "socket", "folder/passwd", "sub", "../a"] {
            assert!(root.read(never).is_err() || never == "../a", "{never}");
        }
        assert_eq!(std::io::read_to_string(root.read("sub/deep/b").unwrap().0).unwrap(), "sub/deep/b");
        assert!(Root::open(&at("a")).is_err() && Root::open(&at("none")).is_err());
    }
}
