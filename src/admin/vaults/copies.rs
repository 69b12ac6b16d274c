//! Copies of the destination in other directories: archives before their notes, so that a note never stands alone; what was removed here is removed
//! there. A copy that cannot be written is said, and keeps nothing else from happening. Blocks.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::folder::Folder;
use super::{CHECKPOINT, deny, pruned};
use crate::base::fault::{Fault, Verb};
use crate::crypto::archive::digest_file;

/// Brings a copy in line with the destination; how many files were copied.
///
/// # Errors
/// When the directory is not there (a mount that is missing must not be filled beneath), or a file cannot be copied as it is.
pub(super) fn bring_in_line(from: &Folder, to: &Path) -> Verb<usize> {
    let copy = Folder::open(to)?;
    no_strangers(from, to, fs::read(copy.path(deny::FILE)).ok().as_deref())?;
    let (here, there) = (files(from)?, files(&copy)?);
    let mut copied = 0;
    // A name sorts before the same name with .json behind it: the archive comes before its note.
    for file in here.difference(&there) {
        put(from, &copy, file, false)?;
        copied += 1;
    }
    for file in [pruned::FILE, deny::FILE, CHECKPOINT] {
        if from.path(file).exists() {
            put(from, &copy, file, true)?;
        }
    }
    for file in there.difference(&here) {
        remove(&copy, file)?;
    }
    Ok(copied)
}

/// How many files of the destination a copy lacks.
///
/// # Errors
/// When the directory is not there or cannot be read.
pub(super) fn missing(from: &Folder, to: &Path) -> Verb<usize> {
    let (here, there) = (files(from)?, files(&Folder::open(to)?)?);
    Ok(here.difference(&there).count())
}

/// Only the deny-list: what was ended a moment ago.
///
/// # Errors
/// As `bring_in_line`.
pub(super) fn bring_deny_list(from: &Folder, to: &Path) -> Verb<()> {
    let copy = Folder::open(to)?;
    no_strangers(from, to, fs::read(copy.path(deny::FILE)).ok().as_deref())?;
    put(from, &copy, deny::FILE, true)
}

/// One place has one deny-list: two instances that write theirs by turns would each bring back what the other one ended.
///
/// # Errors
/// `Conflict` when the list that is there names another instance as its writer.
pub(super) fn no_strangers(from: &Folder, place: &Path, there: Option<&[u8]>) -> Verb<()> {
    let writer = |bytes: &[u8]| {
        let list: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        list["key"].as_str().map(str::to_owned)
    };
    let ours = fs::read(from.path(deny::FILE)).ok().as_deref().and_then(writer);
    match (ours, there.and_then(writer)) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Fault::conflict(format!(
            "{} holds the deny-list of another instance (key {theirs}); give this one a directory or prefix of its own, or, when \
             there is no other one, find out who wrote it and remove it",
            place.display()
        ))),
        _ => Ok(()),
    }
}

/// Every archive and every note.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn files(folder: &Folder) -> Verb<BTreeSet<String>> {
    let archives = folder.list(super::catalogue::ARCHIVE)?.into_iter();
    let notes = folder.list(&format!("{}{}", super::catalogue::ARCHIVE, super::sidecar::SUFFIX))?;
    Ok(archives.chain(notes).collect())
}

fn put(from: &Folder, to: &Folder, file: &str, replace: bool) -> Verb<()> {
    let (source, target) = (from.path(file), to.path(file));
    let beside = target.with_file_name(format!(".{}.new", target.file_name().unwrap_or_default().to_string_lossy()));
    let copy = || -> io::Result<()> {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let _ = fs::remove_file(&beside);
        let mut out = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&beside)?;
        io::copy(&mut File::open(&source)?, &mut out)?;
        out.sync_all()?;
        if digest_file(&out)? != digest_file(&File::open(&source)?)? {
            return Err(io::Error::other("the copy does not read back as it was written"));
        }
        if !replace && target.exists() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        fs::rename(&beside, &target)?;
        target.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    copy().map_err(|e| {
        let _ = fs::remove_file(&beside);
        Fault::unavailable(format!("{} cannot be copied: {e}", target.display())).because(e)
    })
}

/// Ids of what was signed as removed.
pub(super) fn gone(folder: &Folder) -> Vec<String> {
    let text = fs::read_to_string(folder.path(pruned::FILE)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str::<pruned::Pruned>(line).ok()).map(|entry| entry.id).collect()
}

/// A copy that holds archives of others keeps those: only what this destination once had is removed.
fn remove(copy: &Folder, file: &str) -> Verb<()> {
    if !gone(copy).iter().any(|id| file.contains(id)) {
        return Ok(());
    }
    let path = copy.path(file);
    fs::remove_file(&path).map_err(|e| Fault::unavailable(format!("{} cannot be removed: {e}", path.display())).because(e))
}
