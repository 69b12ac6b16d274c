//! Signed checkpoints (Ed25519): a statement "the ledger had this event with this hash at this time" that copies elsewhere can
//! hold against a shortened or rewritten ledger. The signing key never leaves its file and this module.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::chain::{self, Head};
use super::disk;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};

// The file keeps the newest; older ones live with the sinks. Also bounds how long a check of all signatures takes.
const FILE_CAP: u64 = 2 * 1024 * 1024;

/// One signed statement about the ledger; one line of `audit/checkpoints.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Position of the last event it covers.
    pub seq: u64,
    /// Hash of that event.
    pub hash: String,
    /// When it was made.
    pub ts: Timestamp,
    /// `interval`, `start`, `stop`, `kill` and so on.
    pub why: String,
    /// Id of the key: first 16 hex digits of the SHA-256 of the public key.
    pub key: String,
    /// Ed25519 over `text()`, base64.
    pub signature: String,
}

/// Where checkpoints go besides their file.
pub type CheckpointSink = Box<dyn Fn(&Checkpoint) + Send + Sync>;

impl Checkpoint {
    /// Makes and signs a checkpoint.
    pub fn sign(head: &Head, ts: Timestamp, why: &str, signer: &Signer) -> Self {
        let (hash, why, key) = (head.hash.clone(), why.replace('\n', " "), signer.public.id());
        let mut made = Self { seq: head.seq, hash, ts, why, key, signature: String::new() };
        made.signature = signer.sign(&made.text());
        made
    }

    /// What is signed.
    pub fn text(&self) -> String {
        format!("lifeboat-checkpoint-v1\n{}\n{}\n{}\n{}\n", self.seq, self.hash, self.ts, self.why)
    }

    /// Whether the signature is of this key.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.key == key.id() && key.verify(&self.text(), &self.signature)
    }
}

/// The public half of the signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// From the 32 raw bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The 32 raw bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// First 16 hex digits of its SHA-256.
    pub fn id(&self) -> String {
        let mut id = chain::hex(digest(&SHA256, &self.0).as_ref());
        id.truncate(16);
        id
    }

    /// Whether `signature` (base64) is this key's over `text`.
    pub fn verify(&self, text: &str, signature: &str) -> bool {
        let Ok(signature) = BASE64.decode(signature) else { return false };
        UnparsedPublicKey::new(&ED25519, &self.0).verify(text.as_bytes(), &signature).is_ok()
    }
}

/// Signs checkpoints and tombstones. Cheap to clone.
#[derive(Clone)]
pub struct Signer {
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl Signer {
    /// From a PKCS#8 document.
    ///
    /// # Errors
    /// When it is no Ed25519 key.
    pub fn from_pkcs8(document: &[u8]) -> Verb<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(document)
            .map_err(|error| Fault::unavailable("the ledger's signing key is no Ed25519 key").because(error))?;
        let public = PublicKey(pair.public_key().as_ref().to_vec());
        Ok(Self { pair: Arc::new(pair), public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Ed25519 over the text, base64.
    pub fn sign(&self, text: &str) -> String {
        BASE64.encode(self.pair.sign(text.as_bytes()))
    }
}

/// Loads the signing key (`keys/audit-signing.pk8`, 0600); makes it when it is not there.
///
/// # Errors
/// When the file cannot be read or made, or holds something else.
pub fn load_or_create_key(path: &Path) -> Verb<Signer> {
    let fault = |what: &str| Fault::unavailable(format!("the ledger's signing key {} cannot be {what}", path.display()));
    match fs::read(path) {
        Ok(document) => return Signer::from_pkcs8(&document),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(fault("read").because(error)),
    }
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|error| fault("made").because(error))?;
    let temporary = path.with_extension("tmp");
    let written = disk::create(&temporary)
        .and_then(|mut file| file.write_all(document.as_ref()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| path.parent().map_or(Ok(()), disk::sync_dir));
    written.map_err(|error| fault("written").because(error))?;
    Signer::from_pkcs8(document.as_ref())
}

fn file(dir: &Path) -> PathBuf {
    dir.join("checkpoints.jsonl")
}

/// Appends a checkpoint to `audit/checkpoints.jsonl`.
///
/// # Errors
/// When it cannot be written.
pub fn append(dir: &Path, checkpoint: &Checkpoint) -> std::io::Result<()> {
    let path = file(dir);
    if fs::metadata(&path).is_ok_and(|meta| meta.len() > FILE_CAP) {
        shorten(dir)?;
    }
    let mut out = disk::open_append(&path)?;
    let mut line = String::new();
    if ends_torn(&path)? {
        line.push('\n');
    }
    line.push_str(&serde_json::to_string(checkpoint)?);
    line.push('\n');
    out.write_all(line.as_bytes())?;
    out.sync_data()
}

fn ends_torn(path: &Path) -> std::io::Result<bool> {
    use std::io::{Seek, SeekFrom};
    let mut read = fs::File::open(path)?;
    if read.metadata()?.len() == 0 {
        return Ok(false);
    }
    read.seek(SeekFrom::End(-1))?;
    let mut last = [0u8];
    read.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

// Keeps the newer half.
fn shorten(dir: &Path) -> std::io::Result<()> {
    let text = fs::read_to_string(file(dir))?;
    let half = text.get(text.floor_char_boundary(text.len() / 2)..).unwrap_or_default();
    let kept = half.split_once('\n').map_or("", |(_, rest)| rest);
    let temporary = dir.join("checkpoints.tmp");
    let mut out = disk::create(&temporary)?;
    out.write_all(kept.as_bytes())?;
    out.sync_all()?;
    fs::rename(&temporary, file(dir))?;
    disk::sync_dir(dir)
}

/// What `audit/checkpoints.jsonl` holds.
#[derive(Debug, Default)]
pub struct Stored {
    /// The readable checkpoints, oldest first; signatures are not checked yet.
    pub checkpoints: Vec<Checkpoint>,
    /// Whether a whole line is no checkpoint. A torn line from a crash does not count.
    pub damaged: bool,
}

/// Reads all stored checkpoints.
///
/// # Errors
/// When the file is there but cannot be read.
pub fn load(dir: &Path) -> std::io::Result<Stored> {
    let bytes = match fs::read(file(dir)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Stored::default()),
        Err(error) => return Err(error),
    };
    let mut stored = Stored::default();
    let mut rest = bytes.as_slice();
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let line = &rest[..end];
        match serde_json::from_slice(line) {
            Ok(checkpoint) => stored.checkpoints.push(checkpoint),
            // A crash tore this line, and the next checkpoint went on after it: it has no closing brace.
            Err(_) => stored.damaged |= line.last() == Some(&b'}'),
        }
        rest = &rest[end + 1..];
    }
    Ok(stored)
}
