//! The working tree of `config/`: read with caps, compared with HEAD, and changed only where it holds what HEAD held before. Never follows
//! a link and never uses git's own checkout, so no filter can run and no attribute can change a byte.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use git2::{IndexEntry, IndexTime, Oid};

use super::tree::{MAX_DEPTH, MAX_FILE, MAX_FILES, MAX_TOTAL, check_part};
use super::{Files, Repository, changes_between, find};
use crate::base::fault::{Fault, Verb};

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content differs.
    Changed,
    /// It is gone.
    Removed,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Path inside `config/`.
    pub path: String,
    /// How it differs.
    pub kind: ChangeKind,
}

/// Editors keep their own files beside ours; they are never part of the configuration.
fn is_editors(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~')
}

fn visible(path: &str) -> bool {
    !path.split('/').any(is_editors)
}

pub(super) fn compare(head: &Files, working: &Files) -> Vec<FileChange> {
    let paths: BTreeSet<&String> = head.keys().chain(working.keys()).filter(|path| visible(path)).collect();
    let kind = |path: &String| match (head.get(path), working.get(path)) {
        (None, Some(_)) => Some(ChangeKind::Added),
        (Some(_), None) => Some(ChangeKind::Removed),
        (Some(a), Some(b)) if a != b => Some(ChangeKind::Changed),
        _ => None,
    };
    paths.into_iter().filter_map(|path| kind(path).map(|kind| FileChange { path: path.clone(), kind })).collect()
}

/// The working tree as it would be committed: what it cannot show (names with a dot) stays as HEAD has it.
pub(super) fn overlay(head: &Files, working: Files) -> Files {
    let hidden = head.iter().filter(|(path, _)| !visible(path)).map(|(path, bytes)| (path.clone(), bytes.clone()));
    hidden.chain(working).collect()
}

/// Reads the working tree.
pub(super) fn read(root: &Path) -> Verb<Files> {
    let mut files = Files::new();
    let mut total = 0;
    walk(root, "", &mut files, &mut total)?;
    Ok(files)
}

fn walk(root: &Path, folder: &str, files: &mut Files, total: &mut usize) -> Verb<()> {
    let unavailable = |e: std::io::Error| Fault::unavailable(format!("cannot read config/{folder}")).because(e);
    if folder.matches('/').count() >= MAX_DEPTH {
        return Err(Fault::invalid(folder, "the configuration is nested too deep"));
    }
    for entry in fs::read_dir(root.join(folder)).map_err(unavailable)? {
        let entry = entry.map_err(unavailable)?;
        let name = entry.file_name();
        let shown = format!("{folder}{}", name.to_string_lossy());
        let Some(name) = name.to_str().filter(|name| is_editors(name) || check_part(name)) else {
            return Err(Fault::invalid(shown, "is no name for a file of the configuration"));
        };
        if is_editors(name) {
            continue;
        }
        let kind = entry.file_type().map_err(unavailable)?;
        if kind.is_dir() {
            walk(root, &format!("{shown}/"), files, total)?;
        } else if kind.is_file() {
            let bytes = read_file(&entry.path()).map_err(unavailable)?;
            *total += bytes.len();
            if bytes.len() > MAX_FILE || *total > MAX_TOTAL || files.len() >= MAX_FILES {
                return Err(Fault::invalid(shown, "the configuration is too large"));
            }
            files.insert(shown, bytes);
        } else {
            return Err(Fault::invalid(shown, "is a link or a device; the configuration holds plain files only"));
        }
    }
    Ok(())
}

/// Reads one byte more than the cap at most, and never through a link that took the file's place meanwhile.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The content of one file of the working tree; `None` when it is not there.
fn current(root: &Path, path: &str) -> Verb<Option<Vec<u8>>> {
    let mut here = root.to_path_buf();
    for part in path.split('/') {
        here.push(part);
        match fs::symlink_metadata(&here) {
            Ok(found) if found.file_type().is_symlink() => {
                return Err(Fault::conflict(format!("config/{path} is a link; move it away first")));
            }
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(Fault::unavailable(format!("cannot read config/{path}")).because(e)),
        }
    }
    if here.is_dir() {
        return Err(Fault::conflict(format!("config/{path} is a directory; move it away first")));
    }
    read_file(&here).map(Some).map_err(|e| Fault::unavailable(format!("cannot read config/{path}")).because(e))
}

impl Repository {
    fn pending(&self) -> PathBuf {
        self.root.join(".git/lifeboat-pending")
    }

    /// A file to be changed must hold what HEAD holds, or already what is to come.
    pub(super) fn refuse_edited(&self, old: &Files, new: &Files) -> Verb<()> {
        for change in changes_between(old, new) {
            let path = change.path();
            let found = current(&self.root, path)?;
            let (was, comes) = (old.get(path), new.get(path));
            if found.as_ref() != was && found.as_ref() != comes {
                return Err(Fault::conflict(format!("config/{path} has edits that are not committed; commit or undo them first")));
            }
        }
        Ok(())
    }

    /// Remembers a commit whose files are not in the working tree yet, so that a crash between the two does not look like an edit.
    pub(super) fn note_pending(&self, old: &str, new: Oid) -> Verb<()> {
        write_file(&self.pending(), format!("{old} {new}\n").as_bytes())
            .map_err(|e| Fault::unavailable("cannot write to the configuration's repository").because(e))
    }

    /// Brings a recorded commit into the working tree.
    pub(super) fn bring_in(&self, raw: &git2::Repository, old: &Files, new: &Files) -> Verb<()> {
        for change in changes_between(old, new) {
            let path = change.path();
            // Somebody who saved the file this very moment keeps the edit; it shows as uncommitted.
            if current(&self.root, path)?.as_ref() == old.get(path) {
                put(&self.root, path, new.get(path).map(Vec::as_slice))
                    .map_err(|e| Fault::unavailable(format!("committed, but cannot write config/{path}")).because(e))?;
            }
        }
        stage(raw, old, new);
        // When it stays, the next start finds nothing to do.
        let _ = fs::remove_file(self.pending());
        Ok(())
    }

    /// Finishes what `note_pending` remembers, if its commit is HEAD.
    pub(super) fn finish_pending(&self, raw: &git2::Repository) -> Verb<()> {
        let Ok(text) = fs::read_to_string(self.pending()) else { return Ok(()) };
        let Some((old, new)) = text.trim().split_once(' ') else { return Ok(()) };
        let head = super::head_of(raw)?.1;
        if head.to_string() != new {
            return Ok(());
        }
        let before = if old == super::EMPTY { Files::new() } else { self.files_of(raw, find(raw, old)?.id())? };
        self.bring_in(raw, &before, &self.files_of(raw, head)?)
    }
}

fn put(root: &Path, path: &str, bytes: Option<&[u8]>) -> std::io::Result<()> {
    let target = root.join(path);
    let Some(bytes) = bytes else {
        return match fs::remove_file(&target) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
    };
    if let Some(folder) = target.parent() {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    write_file(&target, bytes)
}

/// Writes a file whole or not at all: beside it first, then in its place.
fn write_file(target: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let name = target.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let beside = target.with_file_name(format!(".{name}.new"));
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, target)
}

/// Tells git's index about the changed files, so that `git status` shows nothing that is committed. What others staged stays. The index is
/// a convenience: nothing of ours reads it, so a fault here is none of the caller's.
pub(super) fn stage(raw: &git2::Repository, old: &Files, new: &Files) {
    let Ok(mut index) = raw.index() else { return };
    for change in changes_between(old, new) {
        let path = change.path();
        let _ = match new.get(path) {
            Some(bytes) => raw.blob(bytes).and_then(|id| index.add(&entry(path, id, bytes.len()))),
            None => index.remove_path(Path::new(path)),
        };
    }
    let _ = index.write();
}

fn entry(path: &str, id: Oid, size: usize) -> IndexEntry {
    let none = IndexTime::new(0, 0);
    let file_size = u32::try_from(size).unwrap_or(0);
    let path = path.as_bytes().to_vec();
    IndexEntry {
        ctime: none,
        mtime: none,
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size,
        id,
        flags: 0,
        flags_extended: 0,
        path,
    }
}
