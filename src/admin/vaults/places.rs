//! Where archives are copied to and rebuilt from: directories and buckets. Never decides what is kept.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::bucket::{Bucket, Patience};
use super::catalogue::{self, ARCHIVE};
use super::folder::Folder;
use super::sidecar::{SUFFIX, Sidecar};
use super::{CHECKPOINT, copies, deny, pruned};
use crate::audit::PublicKey;
use crate::base::fault::{Fault, FaultKind, Verb};
use crate::config::BucketConfig;
use crate::config::settings::Recovery;

/// The small files that are replaced: what is so now.
const CURRENT: [&str; 3] = [pruned::FILE, deny::FILE, CHECKPOINT];

/// One of them.
#[derive(Clone, Debug)]
pub enum Place {
    /// A directory of this host, which may be mounted from elsewhere.
    Directory(PathBuf),
    /// An S3-compatible bucket.
    Bucket(BucketConfig),
}

impl Place {
    /// Everywhere that the settings name.
    pub fn copies(settings: &Recovery) -> Vec<Self> {
        let directories = settings.copies.iter().map(|path| Self::Directory(PathBuf::from(path)));
        directories.chain(settings.buckets.iter().cloned().map(Self::Bucket)).collect()
    }

    /// As an operator knows it.
    pub fn name(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Bucket(bucket) => bucket.url.clone(),
        }
    }

    /// Brings it in line with the destination; how many files were copied.
    ///
    /// # Errors
    /// When it is not there, or a file does not get there as it is.
    pub(super) async fn bring_in_line(&self, from: &Folder) -> Verb<usize> {
        match self {
            Self::Directory(path) => {
                let (from, path) = (from.clone(), path.clone());
                super::backup::blocking(move || copies::bring_in_line(&from, &path)).await
            }
            Self::Bucket(bucket) => send(from, &Bucket::open(bucket, Patience::Long)?).await,
        }
    }

    /// What is there of these archives and is not as its note says. A bucket tells the size; a directory is read.
    pub(super) async fn faults(&self, notes: &[Sidecar]) -> Vec<String> {
        let named = |why: String| format!("the copy {}: {why}", self.name());
        let found = match self {
            Self::Directory(path) => {
                let (path, notes) = (path.clone(), notes.to_vec());
                super::backup::blocking(move || differing(&Folder::open(&path)?, &notes)).await
            }
            Self::Bucket(bucket) => sizes(bucket, notes).await,
        };
        found.unwrap_or_else(|fault| vec![fault.to_string()]).into_iter().map(named).collect()
    }

    /// Until when it lets nobody remove a file of it: `compliance until DATE`. A directory has no such thing.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn lock(&self, file: Option<&str>) -> Verb<Option<String>> {
        match (self, file) {
            (Self::Bucket(bucket), Some(file)) => Bucket::open(bucket, Patience::Short)?.lock(file).await,
            _ => Ok(None),
        }
    }

    /// Whether its deny-list is the one of the destination.
    ///
    /// # Errors
    /// `Conflict` when another instance, or somebody in its name, wrote there; as `missing`.
    pub(super) async fn has_deny_list(&self, from: &Folder) -> Verb<bool> {
        let Ok(here) = fs::read(from.path(deny::FILE)) else { return Ok(true) };
        let there = match self {
            Self::Directory(path) => fs::read(path.join(deny::FILE)).ok(),
            Self::Bucket(bucket) => Bucket::open(bucket, Patience::Short)?.small(deny::FILE).await?.map(|bytes| bytes.to_vec()),
        };
        copies::no_strangers(from, self.name().as_ref(), there.as_deref())?;
        Ok(there.is_some_and(|there| there == here))
    }

    /// How many files of the destination it lacks.
    ///
    /// # Errors
    /// When it is not there or does not answer.
    pub(super) async fn missing(&self, from: &Folder) -> Verb<usize> {
        match self {
            Self::Directory(path) => {
                let (from, path) = (from.clone(), path.clone());
                super::backup::blocking(move || copies::missing(&from, &path)).await
            }
            Self::Bucket(bucket) => {
                let there = Bucket::open(bucket, Patience::Short)?.list().await?;
                Ok(copies::files(from)?.iter().filter(|file| !there.contains_key(*file)).count())
            }
        }
    }
}

// What a copy does not have yet is no damage: `missing` says that.
fn differing(copy: &Folder, notes: &[Sidecar]) -> Verb<Vec<String>> {
    let there = notes.iter().filter(|note| copy.path(&note.file).exists());
    Ok(there.filter_map(|note| catalogue::compare(copy, note).err()).map(|fault| fault.to_string()).collect())
}

async fn sizes(bucket: &BucketConfig, notes: &[Sidecar]) -> Verb<Vec<String>> {
    let there = Bucket::open(bucket, Patience::Long)?.list().await?;
    let wrong = |note: &Sidecar| {
        let size = there.get(&note.file).filter(|size| **size != note.bytes)?;
        Some(format!("{} has {size} bytes; its note says {}", note.file, note.bytes))
    };
    Ok(notes.iter().filter_map(wrong).collect())
}

async fn send(from: &Folder, to: &Bucket) -> Verb<usize> {
    copies::no_strangers(from, to.name().as_ref(), to.small(deny::FILE).await?.as_deref())?;
    let (here, there) = (copies::files(from)?, to.list().await?);
    let mut sent = 0;
    // A name sorts before the same name with .json behind it: the archive comes before its note.
    for file in here.iter().filter(|file| !there.contains_key(*file)) {
        let path = from.path(file);
        match to.put(file, &path).await {
            Ok(()) => sent += 1,
            // A list may be older than what it lists.
            Err(fault) if fault.kind == FaultKind::Conflict && to.holds(file, size(&path)?).await? => {}
            Err(fault) => return Err(fault),
        }
    }
    for file in CURRENT {
        let path = from.path(file);
        if path.exists() {
            let bytes = fs::read(&path).map_err(|e| Fault::unavailable(format!("{} cannot be read", path.display())).because(e))?;
            to.replace(file, bytes).await?;
        }
    }
    // What others keep below the same prefix stays: only what was signed as removed here goes.
    let gone = copies::gone(from);
    for file in there.keys().filter(|file| !here.contains(*file) && gone.iter().any(|id| file.contains(id))) {
        to.remove(file).await?;
    }
    Ok(sent)
}

fn size(path: &Path) -> Verb<u64> {
    let unread = |e| Fault::unavailable(format!("{} cannot be read", path.display())).because(e);
    fs::metadata(path).map(|file| file.len()).map_err(unread)
}

/// Brings the deny-list to a bucket, unless it has it.
///
/// # Errors
/// When it does not get there.
pub(super) async fn send_deny_list(from: &Folder, bucket: &BucketConfig) -> Verb<()> {
    let path = from.path(deny::FILE);
    let here = fs::read(&path).map_err(|e| Fault::unavailable(format!("{} cannot be read", path.display())).because(e))?;
    let to = Bucket::open(bucket, Patience::Short)?;
    let there = to.small(deny::FILE).await?;
    if there.as_ref().is_some_and(|there| *there == here) {
        return Ok(());
    }
    copies::no_strangers(from, to.name().as_ref(), there.as_deref())?;
    to.replace(deny::FILE, here).await
}

/// What was fetched.
pub struct Fetched {
    /// It, as a directory of archives.
    pub folder: Folder,
    /// How many files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Fetches from a bucket what a rebuild needs into `to`: every note, the small files, and of each vault the newest archive that is as its note
/// says. An archive that is not comes too, so that it can be said.
///
/// # Errors
/// When the bucket does not answer, or the disk is full.
pub async fn fetch(bucket: &BucketConfig, to: &Path, key: &PublicKey) -> Verb<Fetched> {
    let from = Bucket::open(bucket, Patience::Long)?;
    let there = from.list().await?;
    let folder = Folder::open(to)?;
    let mut done = Fetched { folder: folder.clone(), files: 0, bytes: 0 };
    let note = format!("{ARCHIVE}{SUFFIX}");
    // Whoever may write there may add what is none of ours: it is passed over, not waited for.
    for (file, size) in there.iter().filter(|(file, _)| is_note(file, &note) || CURRENT.contains(&file.as_str())) {
        if *size > SMALL {
            continue;
        }
        done.bytes += from.fetch(file, &folder.path(file), SMALL).await?;
        done.files += 1;
    }
    let found = catalogue::read(&folder, key)?;
    let mut whole = BTreeSet::new();
    for note in &found.archives {
        if note.safety || whole.contains(&note.vault) {
            continue;
        }
        match from.fetch(&note.file, &folder.path(&note.file), note.bytes).await {
            Ok(bytes) => {
                (done.files, done.bytes) = (done.files + 1, done.bytes + bytes);
                if catalogue::compare(&folder, note).is_ok() {
                    whole.insert(note.vault.clone());
                }
            }
            // One that is gone or grew is not the newest whole one; a bucket that does not answer any more is another thing.
            Err(fault) if fault.kind == FaultKind::NotFound || there.get(&note.file).is_some_and(|size| *size != note.bytes) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(done)
}

/// As much as a list of removals can be after years; a note is far smaller.
const SMALL: u64 = 16 * 1024 * 1024;

/// `VAULT/YEAR/NAME` of a note. A key is whatever somebody wrote; a path on this disk is not.
fn is_note(file: &str, note: &str) -> bool {
    let parts: Vec<&str> = file.split('/').collect();
    let [vault, year, name] = parts.as_slice() else { return false };
    let plain = |part: &str| !part.starts_with('.') && part.len() <= 255 && !part.contains(['\0', '\\']);
    let is_year = year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    is_year && !vault.is_empty() && plain(vault) && plain(name) && name.ends_with(note)
}
