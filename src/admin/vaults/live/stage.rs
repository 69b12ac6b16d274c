//! Unpacks an archive beside the place of its vault, with the modes and owners that the place has, and compares a tree with a manifest, file by
//! file. Never touches what lies at the place. Blocks.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use super::place::{self, CONTENT, Kind, Node, Target, node};
use crate::admin::vaults::catalogue::{Unusable, extract};
use crate::admin::vaults::extract::Extract;
use crate::admin::vaults::folder::{Folder, forget_pages, free};
use crate::admin::vaults::sidecar::Sidecar;
use crate::admin::vaults::walk::Root;
use crate::base::fault::{Fault, Verb};
use crate::crypto::archive::{Entry, EntryKind, Identities, Manifest, digest_file};

/// What is to be unpacked, and where.
pub(super) struct Job {
    /// Where archives lie.
    pub folder: Folder,
    /// Which one.
    pub note: Sidecar,
    /// Opens it.
    pub keys: Identities,
    /// The place.
    pub target: Target,
    /// The directory beside it, made by this.
    pub dir: PathBuf,
    /// Bytes that must stay free.
    pub reserve: u64,
}

/// A whole tree that waits for its place.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    /// Where it waits.
    pub tree: PathBuf,
    /// Which file or directory that is.
    pub node: Node,
    /// What it must hold.
    pub manifest: Manifest,
}

fn unwritten(path: &Path) -> impl Fn(std::io::Error) -> Fault + use<> {
    let path = path.display().to_string();
    move |e| Fault::unavailable(format!("{path} cannot be written: {e}")).because(e)
}

/// Whether there is room for the new tree beside the old one.
///
/// # Errors
/// `Unavailable` when there is not.
pub(super) fn need_room(job: &Job) -> Verb<()> {
    let above = job.dir.parent().unwrap_or(Path::new("/"));
    let needed = job.note.payload_bytes.saturating_add(job.reserve);
    if free(above).is_some_and(|free| free < needed) {
        let (mib, shown) = (needed / 1_048_576, above.display());
        return Err(Fault::unavailable(format!("{shown} needs {mib} MiB free: old and new lie there side by side for a while")));
    }
    Ok(())
}

/// Finds out, and leaves nothing, whether the disk can do what will be asked of it.
///
/// # Errors
/// `Unavailable` when it is full, read-only or cannot exchange two names.
pub(super) fn try_out(job: &Job) -> Verb<()> {
    need_room(job)?;
    place::waiting(&job.dir)?;
    fs::remove_dir(&job.dir).map_err(unwritten(&job.dir))
}

/// Unpacks and compares. What it began is removed when it fails.
///
/// # Errors
/// As a restore; `Conflict` when the archive is not of the kind that lies at the place.
pub(super) fn unpack(job: &Job) -> Verb<Staged> {
    need_room(job)?;
    place::waiting(&job.dir)?;
    let staged = fill(job);
    if staged.is_err() {
        let _ = fs::remove_dir_all(&job.dir);
    }
    staged
}

fn fill(job: &Job) -> Verb<Staged> {
    let content = job.dir.join(CONTENT);
    let bad = unwritten(&content);
    fs::create_dir(&content).map_err(&bad)?;
    let mut sink = Extract::new(&content, None);
    let opened = extract(&job.folder, &job.note, &job.keys, &mut sink).map_err(Unusable::into_fault)?;
    let (tree, kind) = match single(&opened.manifest, &job.target.path) {
        Some(name) => (content.join(name), Kind::File),
        None => (content, Kind::Directory),
    };
    fits(job, kind)?;
    sink.settle().map_err(&bad)?;
    dress(&tree, kind, &job.target).map_err(&bad)?;
    compare(&tree, &opened.manifest, Disk::AsItIs)?;
    crate::admin::vaults::folder::sync_disk(&job.dir).map_err(&bad)?;
    let found = node(&tree).map_err(&bad)?;
    let node = found.ok_or_else(|| Fault::unavailable(format!("{} is gone", tree.display())))?;
    Ok(Staged { tree, node, manifest: opened.manifest })
}

/// The name of the one file that an archive of a single file holds: that of its place.
fn single<'a>(manifest: &Manifest, target: &'a Path) -> Option<&'a str> {
    let name = target.file_name()?.to_str()?;
    match manifest.entries.as_slice() {
        [one] if one.kind == EntryKind::File && one.path == name => Some(name),
        _ => None,
    }
}

fn fits(job: &Job, kind: Kind) -> Verb<()> {
    let shown = job.target.path.display();
    match (job.target.there, kind) {
        (Some((Kind::Directory, _)), Kind::File) => Err(Fault::conflict(format!(
            "{shown} is a directory, and the archive is of a file of that name; move it away, or bring the archive back with --to"
        ))),
        (Some((Kind::File, _)), Kind::Directory) => Err(Fault::conflict(format!(
            "{shown} is a file, and the archive is of a directory; move it away, or bring the archive back with --to"
        ))),
        _ => Ok(()),
    }
}

/// Mode and owners as they are at the place; an archive knows no owners.
fn dress(tree: &Path, kind: Kind, target: &Target) -> std::io::Result<()> {
    let old = target.there.map(|_| fs::symlink_metadata(&target.path)).transpose()?;
    let above = || fs::symlink_metadata(target.path.parent().unwrap_or(Path::new("/")));
    let owner = match &old {
        Some(old) => (old.uid(), old.gid()),
        None => above().map(|above| (above.uid(), above.gid()))?,
    };
    give(tree, old.is_some().then_some(target.path.as_path()), owner)?;
    if kind == Kind::Directory {
        let mode = old.map_or(0o700, |old| old.mode() & 0o777);
        fs::set_permissions(tree, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Each file gets the owner that the one of its name has; a new one that of the folder it stands in.
fn give(path: &Path, old: Option<&Path>, above: (u32, u32)) -> std::io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    let was = old.and_then(|old| fs::symlink_metadata(old).ok()).filter(|was| was.is_dir() == meta.is_dir() && !was.is_symlink());
    let owner = was.as_ref().map_or(above, |was| (was.uid(), was.gid()));
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let counterpart = old.filter(|_| was.is_some()).map(|old| old.join(entry.file_name()));
            give(&entry.path(), counterpart.as_deref(), owner)?;
        }
    }
    if (meta.uid(), meta.gid()) != owner {
        lchown(path, Some(owner.0), Some(owner.1))?;
        // A change of owner may take bits away.
        fs::set_permissions(path, Permissions::from_mode(meta.mode() & 0o777))?;
    }
    Ok(())
}

/// Whether what is read may come from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    /// It may.
    AsItIs,
    /// What the page cache remembers is forgotten first.
    Anew,
}

/// Compares a tree with a manifest: the same paths, kinds, modes, sizes and digests, and nothing else.
///
/// # Errors
/// `Unavailable`, naming the first path that differs.
pub(super) fn compare(tree: &Path, manifest: &Manifest, disk: Disk) -> Verb<()> {
    let differs = |path: &str, why: &str| Fault::unavailable(format!("{}: {path:?} {why}", tree.display()));
    if tree.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        let (folder, name) = (tree.parent().unwrap_or(Path::new("/")), tree.file_name().and_then(|name| name.to_str()));
        let name = name.ok_or_else(|| Fault::bug("a tree whose name cannot be written"))?;
        let [entry] = manifest.entries.as_slice() else { return Err(differs(name, "is one file, and the archive holds more")) };
        return same(&Root::open(folder)?, name, entry, disk).map_err(|why| differs(name, &why));
    }
    let root = Root::open(tree)?;
    let found = root.scan(&[]);
    if let Some(odd) = found.special.first().or(found.unread.first()) {
        return Err(differs(&odd.path, &odd.why));
    }
    let mut expected: std::collections::BTreeMap<&str, &Entry> =
        manifest.entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    for item in &found.items {
        let entry = expected.remove(item.path.as_str()).ok_or_else(|| differs(&item.path, "is not in the archive"))?;
        if item.kind != entry.kind || item.mode != entry.mode {
            return Err(differs(&item.path, "is not of the archive's kind or mode"));
        }
        if item.kind == EntryKind::File {
            same(&root, &item.path, entry, disk).map_err(|why| differs(&item.path, &why))?;
        }
    }
    match expected.keys().next() {
        Some(missing) => Err(differs(missing, "is missing")),
        None => Ok(()),
    }
}

fn same(root: &Root, path: &str, entry: &Entry, disk: Disk) -> Result<(), String> {
    let (file, ..) = root.read(path).map_err(|e| format!("cannot be read: {e}"))?;
    if disk == Disk::Anew {
        forget_pages(&file);
    }
    let (sha256, bytes) = digest_file(&file).map_err(|e| format!("cannot be read: {e}"))?;
    if bytes != entry.size || sha256 != entry.sha256 {
        return Err("has another content than in the archive".to_owned());
    }
    Ok(())
}
