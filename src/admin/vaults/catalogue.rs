//! The archives of a destination, read from their signed notes alone: no database, no configuration. A note that this instance did not sign
//! does not count, and a chain that does not fit together is said.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

use super::folder::Folder;
use super::pruned::{self, Pruned};
use super::sidecar::{self, SUFFIX, Sidecar};
use crate::audit::PublicKey;
use crate::base::fault::{Fault, Verb};
use crate::crypto::archive::{ArchiveFault, Hashed, Identities, Opened, Pace, Sink, digest_file, open, verify};

/// A note is small; a larger file under its name is none.
const NOTE_CAP: u64 = 1024 * 1024;
/// What every archive's name ends with.
pub const ARCHIVE: &str = ".tar.zst.age";

/// What a destination holds.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Archives with a note of ours, newest first.
    pub archives: Vec<Sidecar>,
    /// What is wrong: strangers' notes, gaps in the chain.
    pub faults: Vec<String>,
    /// Archives that are signed as removed and still lie here: a crash came in between.
    pub unfinished: Vec<Sidecar>,
    /// Ids of all that are signed as removed.
    pub removed: BTreeSet<String>,
    /// Digest of the newest note of the chain; empty when there is none.
    pub head: String,
    /// Its place.
    pub seq: u64,
}

/// Reads the catalogue of a destination.
///
/// # Errors
/// When the directory cannot be read.
pub fn read(folder: &Folder, key: &PublicKey) -> Verb<Catalogue> {
    let mut found = Catalogue::default();
    let mut notes: Vec<(Sidecar, String)> = Vec::new();
    for name in folder.list(&format!("{ARCHIVE}{SUFFIX}"))? {
        let mut bytes = Vec::new();
        let read = folder.read(&name)?.take(NOTE_CAP + 1).read_to_end(&mut bytes);
        read.map_err(|e| Fault::unavailable(format!("{name} cannot be read")).because(e))?;
        match Sidecar::read(&name, &bytes, key) {
            Ok(note) if note.path() == name => notes.push((note, sidecar::digest(&bytes))),
            Ok(note) => found.faults.push(format!("{name} is the note of {}", note.file)),
            Err(fault) => found.faults.push(fault.to_string()),
        }
    }
    notes.sort_by_key(|(note, _)| note.seq);
    let gone = pruned::read(folder, key)?;
    chain(&notes, &gone, &mut found);
    if let Some((note, digest)) = notes.last() {
        (found.head, found.seq) = (digest.clone(), note.seq);
    }
    if let Some((seq, last)) = gone.last_key_value().filter(|(seq, _)| **seq > found.seq) {
        (found.head, found.seq) = (last.note.clone(), *seq);
    }
    let (unfinished, there) = notes.into_iter().map(|(note, _)| note).partition(|note| gone.contains_key(&note.seq));
    (found.unfinished, found.archives) = (unfinished, there);
    found.removed = gone.into_values().map(|entry| entry.id).collect();
    found.archives.sort_by_key(|note| std::cmp::Reverse((note.created_at, note.seq)));
    Ok(found)
}

/// Every place from the first to the newest is a note that names the one before it, or is signed as removed.
fn chain(notes: &[(Sidecar, String)], gone: &BTreeMap<u64, Pruned>, found: &mut Catalogue) {
    let (mut next, mut before) = (1, String::new());
    for (note, digest) in notes {
        if note.seq < next {
            found.faults.push(format!("{} has a place in the chain that another archive has", note.file));
            continue;
        }
        let missing = (next..note.seq).filter(|seq| !gone.contains_key(seq)).count();
        if missing > 0 {
            found.faults.push(format!("{missing} archives before {} are gone, and nobody signed that", note.file));
        }
        let expected = match note.seq.checked_sub(1).and_then(|seq| gone.get(&seq)) {
            Some(removed) => Some(&removed.note),
            None if note.seq == next => Some(&before),
            None => None,
        };
        if expected.is_some_and(|expected| *expected != note.prev) {
            found.faults.push(format!("{} does not follow the archive before it", note.file));
        }
        (next, before) = (note.seq + 1, digest.clone());
    }
}

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file is not the one that the note speaks of.
    #[error("{0}")]
    Changed(String),
    /// It is, and still cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveFault),
}

impl Unusable {
    /// As the fault of a verb.
    pub fn into_fault(self) -> Fault {
        match &self {
            Self::Archive(ArchiveFault::Key(_) | ArchiveFault::WrongKey) => Fault::invalid("identity", self.to_string()),
            Self::Archive(ArchiveFault::Hostile(_)) => Fault::denied(self.to_string()),
            _ => Fault::unavailable(self.to_string()),
        }
    }
}

/// Compares an archive with the digest in its note: level 0. Needs no key.
///
/// # Errors
/// `Changed` when it differs or cannot be read.
pub fn compare(folder: &Folder, note: &Sidecar) -> Result<(), Unusable> {
    let file = opened(folder, note)?;
    let (sha256, bytes) = digest_file(&file).map_err(|e| Unusable::Changed(format!("{} cannot be read: {e}", note.file)))?;
    same(note, &sha256, bytes)
}

/// Reads an archive into a sink and compares digest, manifest and end: level 1. What the sink holds counts only when this returns.
///
/// # Errors
/// `Changed` when it is not the archive of the note: this is said before a wrong key is blamed. `Archive` for the rest.
pub fn extract(folder: &Folder, note: &Sidecar, identities: &Identities, sink: &mut dyn Sink) -> Result<Opened, Unusable> {
    let file = opened(folder, note)?;
    let mut hashed = Hashed::new(file);
    let read = open(&mut hashed, identities, note.limits(), sink);
    let got = match read {
        Ok(got) => got,
        // A bit that flipped in the header looks like a wrong key to age.
        Err(fault) => {
            compare(folder, note)?;
            return Err(fault.into());
        }
    };
    let bytes = hashed.passed();
    same(note, &hashed.finish().0, bytes)?;
    inside(note, &got)?;
    Ok(got)
}

/// Reads back an archive that has no note yet, from what the disk has of it; gives its digest.
///
/// # Errors
/// `Changed` when it does not hold what was put into it; `Archive` for the rest.
pub(super) fn extract_new(
    note: &Sidecar,
    (input, pace): (impl Read + Send, &dyn Pace),
    identities: &Identities,
) -> Result<String, Unusable> {
    let mut hashed = Hashed::new(input);
    let got = verify(&mut hashed, identities, note.limits(), pace)?;
    let bytes = hashed.passed();
    if bytes != note.bytes {
        return Err(Unusable::Changed(format!("{bytes} bytes can be read of the {} that were written", note.bytes)));
    }
    inside(note, &got)?;
    Ok(hashed.finish().0)
}

/// It is the archive that the note speaks of.
fn inside(note: &Sidecar, got: &Opened) -> Result<(), Unusable> {
    let right = got.manifest_sha256 == note.manifest_sha256 && got.meta.id == note.content() && got.meta.vault == note.vault;
    let other = || Unusable::Changed(format!("{} holds another archive than its note says", note.file));
    right.then_some(()).ok_or_else(other)
}

fn opened(folder: &Folder, note: &Sidecar) -> Result<File, Unusable> {
    folder.read(&note.file).map_err(|fault| Unusable::Changed(fault.message))
}

fn same(note: &Sidecar, sha256: &str, bytes: u64) -> Result<(), Unusable> {
    if bytes != note.bytes {
        return Err(Unusable::Changed(format!("{} has {bytes} bytes; its note says {}", note.file, note.bytes)));
    }
    if sha256 != note.sha256 {
        return Err(Unusable::Changed(format!("{} was changed: its digest is not the one in its note", note.file)));
    }
    Ok(())
}
