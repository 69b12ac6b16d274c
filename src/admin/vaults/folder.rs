//! A directory that archives are kept in. A file appears under its name only when it is whole and on the disk; what has a name is never
//! replaced. Never decides what is kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, PosixFadviseAdvice, RenameFlags, posix_fadvise, renameat2};
use nix::sys::statvfs::statvfs;

use crate::base::fault::{Fault, Verb};

/// What an unfinished file begins with.
pub const PARTIAL: &str = ".partial-";

/// The directory.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// A file that is being written; removed when it is dropped before `commit`.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    target: PathBuf,
    done: bool,
}

impl Folder {
    /// The directory at `root`, which must exist.
    ///
    /// # Errors
    /// `NotFound` when it does not.
    pub fn open(root: &Path) -> Verb<Self> {
        let root =
            fs::canonicalize(root).map_err(|e| Fault::not_found(format!("there is no directory {}", root.display())).because(e))?;
        if root.is_dir() { Ok(Self(root)) } else { Err(Fault::not_found(format!("{} is no directory", root.display()))) }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Where a file lies. The path must have passed `archive::check_name`.
    pub fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// Begins a file; its folders are made (0700).
    ///
    /// # Errors
    /// `Conflict` when the name is taken; `Unavailable` when it cannot be made.
    pub fn begin(&self, file: &str, id: &str) -> Verb<(Partial, File)> {
        let target = self.path(file);
        let folder = target.parent().unwrap_or(&self.0);
        if target.exists() {
            return Err(Fault::conflict(format!("{} exists already", target.display())));
        }
        let bad = |e: io::Error| unwritten(&target, e);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(bad)?;
        let path = folder.join(format!("{PARTIAL}{id}"));
        let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(bad)?;
        Ok((Partial { path, target: target.clone(), done: false }, made))
    }

    /// Writes a small file whole.
    ///
    /// # Errors
    /// As `begin`.
    pub fn put(&self, file: &str, id: &str, bytes: &[u8]) -> Verb<()> {
        let (partial, mut made) = self.begin(file, id)?;
        made.write_all(bytes).and_then(|()| made.sync_all()).map_err(|e| unwritten(&partial.target, e))?;
        partial.commit()
    }

    /// Removes what was never finished: directories at the top that begin with `staging`, and partial files.
    pub(super) fn sweep(&self, staging: &str) {
        sweep(&self.0, staging, DEPTH);
    }

    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound` when it is not there.
    pub fn read(&self, file: &str) -> Verb<File> {
        let path = self.path(file);
        File::open(&path).map_err(|e| Fault::not_found(format!("{} cannot be opened: {e}", path.display())).because(e))
    }

    /// Every file below the directory that ends with `suffix`, by path; unfinished ones are passed over.
    ///
    /// # Errors
    /// `Unavailable` when a folder cannot be read.
    pub fn list(&self, suffix: &str) -> Verb<Vec<String>> {
        let mut found = Vec::new();
        collect(&self.0, "", suffix, &mut found)
            .map_err(|e| Fault::unavailable(format!("{} cannot be read", self.0.display())).because(e))?;
        found.sort_unstable();
        Ok(found)
    }
}

/// Bytes that may still be written to the disk of a path; `None` when the system does not say.
pub(super) fn free(path: &Path) -> Option<u64> {
    let stat = statvfs(path).ok()?;
    Some(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// What is read of a file from now on is what the disk has, not what the page cache remembers. The system may not do it.
pub(super) fn forget_pages(file: &File) {
    let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
}

/// The disk is asked for no more than is read next. What a system reads ahead may be megabytes at once, and what the ledger syncs then waits for them.
pub(super) fn read_in_pieces(file: &File) {
    let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
}

/// Brings everything on the disk of a path to it: one call for all, since one for each of a hundred thousand files takes minutes.
pub(super) fn sync_disk(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(File::open(path)?)?)
}

// Archives stand two folders deep: VAULT/YEAR/FILE.
const DEPTH: usize = 3;

fn sweep(folder: &Path, staging: &str, depth: usize) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (name, is_dir) = (entry.file_name(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let name = name.to_string_lossy();
        let gone = match is_dir {
            true if name.starts_with(staging) => fs::remove_dir_all(entry.path()),
            true if depth > 1 => {
                sweep(&entry.path(), staging, depth - 1);
                Ok(())
            }
            false if name.starts_with(PARTIAL) => fs::remove_file(entry.path()),
            _ => Ok(()),
        };
        if let Err(fault) = gone {
            tracing::warn!(%fault, path = %entry.path().display(), "what was never finished stays");
        }
    }
}

fn collect(folder: &Path, prefix: &str, suffix: &str, found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() && path.split('/').count() < DEPTH {
            collect(&entry.path(), &path, suffix, found)?;
        } else if kind.is_file() && name.ends_with(suffix) && !name.starts_with('.') {
            found.push(path);
        }
    }
    Ok(())
}

impl Partial {
    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name. Its content must be synced already.
    ///
    /// # Errors
    /// `Conflict` when somebody took the name; `Unavailable` when the directory cannot be written.
    pub fn commit(mut self) -> Verb<()> {
        let renamed = renameat2(AT_FDCWD, &self.path, AT_FDCWD, &self.target, RenameFlags::RENAME_NOREPLACE);
        match renamed {
            Ok(()) => {}
            Err(nix::Error::EEXIST) => return Err(Fault::conflict(format!("{} exists already", self.target.display()))),
            Err(cause) => return Err(unwritten(&self.target, cause.into())),
        }
        self.done = true;
        let folder = self.target.parent().map(File::open);
        folder.map_or(Ok(()), |folder| folder?.sync_all()).map_err(|e| unwritten(&self.target, e))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn unwritten(path: &Path, cause: io::Error) -> Fault {
    Fault::unavailable(format!("{} cannot be written: {cause}", path.display())).because(cause)
}
