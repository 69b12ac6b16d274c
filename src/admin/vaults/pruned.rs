//! The signed list of archives that were removed on purpose, beside the others: a gap in the chain that it explains is no gap. Written before
//! anything is removed.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::sidecar::{self, Sidecar};
use crate::audit::{PublicKey, Signer};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};

/// Its name at a destination: one line for each archive.
pub const FILE: &str = "pruned.jsonl";
const DOMAIN: &str = "lifeboat-removal-v1\n";

/// One archive that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Its id.
    pub id: String,
    /// Its place in the chain.
    pub seq: u64,
    /// SHA-256 of its note, hex: what the next note names.
    pub note: String,
    /// When.
    pub at: Timestamp,
    /// Who removed it.
    pub by: String,
    /// Ed25519 over the rest, base64.
    #[serde(default)]
    pub signature: String,
}

/// What was removed, by place in the chain; lines that `key` did not sign do not count.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read(folder: &Folder, key: &PublicKey) -> Verb<BTreeMap<u64, Pruned>> {
    let text = match fs::read_to_string(folder.path(FILE)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(Fault::unavailable(format!("{FILE} cannot be read")).because(e)),
    };
    let line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let signed = key.verify(&sidecar::text(DOMAIN, &value), value["signature"].as_str().unwrap_or_default());
        let entry: Pruned = serde_json::from_value(value).ok().filter(|_| signed)?;
        Some((entry.seq, entry))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Adds a line, on the disk before it returns.
///
/// # Errors
/// When it cannot be written: then nothing may be removed.
pub fn add(folder: &Folder, note: &Sidecar, note_digest: String, (at, by): (Timestamp, &str), signer: &Signer) -> Verb<()> {
    let mut entry =
        Pruned { id: note.id.clone(), seq: note.seq, note: note_digest, at, by: by.to_owned(), signature: String::new() };
    let bug = |e: serde_json::Error| Fault::bug("a removal cannot be written").because(e);
    entry.signature = signer.sign(&sidecar::text(DOMAIN, &serde_json::to_value(&entry).map_err(bug)?));
    let mut line = serde_json::to_vec(&entry).map_err(bug)?;
    line.push(b'\n');
    let put = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(folder.path(FILE))?;
        file.write_all(&line)?;
        file.sync_all()?;
        fs::File::open(folder.root())?.sync_all()
    };
    put().map_err(|e| Fault::unavailable(format!("{FILE} cannot be written: {e}")).because(e))
}
