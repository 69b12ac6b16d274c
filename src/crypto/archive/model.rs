//! What an archive says of itself: `META.json` before its files, `MANIFEST.json` after them. Never holds a secret.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::clock::Timestamp;

/// The format this version writes. A reader refuses a higher one; fields it does not know it passes over.
pub const FORMAT: u32 = 1;

/// `META.json`: what was known before the first file was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// 1.
    pub format: u32,
    /// Id of the archive.
    pub id: String,
    /// Vault it is of.
    pub vault: String,
    /// Recovery point it belongs to.
    pub set: String,
    /// `directory`, `sqlite`, `command` or `deployment`.
    pub source: String,
    /// What wrote it, with its version.
    pub program: String,
    /// The configuration's commit at that time.
    pub head: String,
    /// When the source began to be read.
    pub started_at: Timestamp,
    /// Facts that a drill compares after a rebuild.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub facts: Value,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
}

/// One entry of the payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path below `payload/`.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes.
    pub size: u64,
    /// Permission bits, at most 0o777.
    pub mode: u32,
    /// Seconds since 1970.
    pub mtime: u64,
    /// SHA-256 of the content, hex; empty for a directory.
    pub sha256: String,
}

/// Something that was not stored, or not as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Path in the source, as far as it can be written.
    pub path: String,
    /// Why.
    pub why: String,
}

/// `MANIFEST.json`: everything the archive holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// Id of the archive.
    pub id: String,
    /// Every entry of the payload, in the order they stand there.
    pub entries: Vec<Entry>,
    /// How many of them are files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is missing: links, devices, what changed while it was read.
    pub skipped: Vec<Skipped>,
    /// When the last file was read.
    pub finished_at: Timestamp,
}
