//! The signed note beside each archive: what it is, its digests, who can open it, and the note before it. The notes of a destination are its
//! catalogue, readable without a database. Holds neither a path of the source nor a secret.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::{PublicKey, Signer};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::crypto::archive::{Limits, hex};
use crate::crypto::keys::sha256;

/// The format this version writes.
pub const FORMAT: u32 = 1;
/// What every note's name ends with.
pub const SUFFIX: &str = ".json";
const DOMAIN: &str = "lifeboat-archive-v1\n";

/// One archive as its note tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// 1.
    pub format: u32,
    /// Id of the archive.
    pub id: String,
    /// Its vault.
    pub vault: String,
    /// The recovery point: archives made in one run.
    pub set: String,
    /// `directory`, `sqlite` or `deployment`.
    pub source: String,
    /// What wrote it.
    pub program: String,
    /// The configuration's commit at that time.
    pub head: String,
    /// Path of the archive at its destination.
    pub file: String,
    /// Bytes of the archive.
    pub bytes: u64,
    /// SHA-256 of the archive, hex.
    pub sha256: String,
    /// SHA-256 of its manifest, hex.
    pub manifest_sha256: String,
    /// Entries of its payload.
    pub entries: u64,
    /// Bytes of its files.
    pub payload_bytes: u64,
    /// Whether everything of the source is in it.
    pub complete: bool,
    /// When the source began to be read: what was written later is not in it.
    pub started_at: Timestamp,
    /// When it was finished.
    pub created_at: Timestamp,
    /// When it was read back, decrypted and compared.
    pub verified_at: Timestamp,
    /// Who can open it, `age1…`.
    pub recipients: Vec<String>,
    /// Id that its content was archived under, when it was encrypted anew since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Whether it holds what a restore in place replaced: it is taken when it is named, and never as the newest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub safety: bool,
    /// Place in the chain of this destination, from 1.
    pub seq: u64,
    /// SHA-256 of the note before it, hex; empty for the first.
    pub prev: String,
    /// Id of the signing key.
    pub key: String,
    /// Ed25519 over the note without this field, base64.
    #[serde(default)]
    pub signature: String,
}

impl Sidecar {
    /// Id that its content was archived under: what stands inside of it.
    pub fn content(&self) -> &str {
        self.content.as_deref().unwrap_or(&self.id)
    }

    /// Signs it, and gives the bytes of its file.
    ///
    /// # Errors
    /// `Bug` when it cannot be written.
    pub fn sign(&mut self, signer: &Signer) -> Verb<Vec<u8>> {
        self.key = signer.public().id();
        self.signature = signer.sign(&text(DOMAIN, &to_value(self)?));
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|e| Fault::bug("a note cannot be written").because(e))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a note that `key` has signed.
    ///
    /// # Errors
    /// `Invalid` when it is no note, of a newer format, or not signed by this key.
    pub fn read(name: &str, bytes: &[u8], key: &PublicKey) -> Verb<Self> {
        let wrong = |why: String| Fault::invalid(name, why);
        let value: Value = serde_json::from_slice(bytes).map_err(|cause| wrong(format!("is no note of an archive: {cause}")))?;
        let format = value["format"].as_u64().unwrap_or(0);
        if format > u64::from(FORMAT) {
            return Err(wrong(format!("has format {format}; this version reads format {FORMAT}")));
        }
        let signature = value["signature"].as_str().unwrap_or_default().to_owned();
        if !key.verify(&text(DOMAIN, &value), &signature) {
            return Err(wrong(format!("is not signed by this instance (key {})", key.id())));
        }
        let note: Self = serde_json::from_value(value).map_err(|cause| wrong(format!("is no note of an archive: {cause}")))?;
        crate::crypto::archive::check_name(&note.file).map_err(|why| wrong(why.to_owned()))?;
        Ok(note)
    }

    /// How much its archive may hold.
    pub fn limits(&self) -> Limits {
        Limits { entries: self.entries, bytes: self.payload_bytes }
    }

    /// Path of the note at its destination.
    pub fn path(&self) -> String {
        format!("{}{SUFFIX}", self.file)
    }
}

/// SHA-256 of a note's file, hex: what the next one names.
pub fn digest(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

fn to_value(note: &Sidecar) -> Verb<Value> {
    serde_json::to_value(note).map_err(|e| Fault::bug("a note cannot be written").because(e))
}

/// What is signed: what kind of document it is, and every field but the signature, those of a later version too, with sorted keys and without spaces.
pub(in crate::admin) fn text(domain: &str, value: &Value) -> String {
    let mut out = domain.to_owned();
    write(&mut out, value, true);
    out
}

/// A document with sorted keys and without spaces: the same bytes however it was written down.
pub(in crate::admin) fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, false);
    out
}

fn write(out: &mut String, value: &Value, top: bool) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().filter(|key| !(top && *key == "signature")).collect();
            keys.sort_unstable();
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(out, &map[key], false);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(out, item, false);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}
