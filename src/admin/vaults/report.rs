//! Reports as they are signed, whatever they tell of: the digest of the report and that of the one before, under a name of its own for each kind. Never
//! says whether what a report tells is good.

use serde_json::Value;

use super::recipients::key_text;
use super::sidecar::canonical;
use crate::audit::PublicKey;
use crate::base::fault::{Fault, Verb};
use crate::crypto::archive::hex;
use crate::crypto::keys::sha256;

/// What stands beside a report and is not part of it.
const AROUND: [&str; 4] = ["sha256", "prev", "key_public", "signature"];

/// SHA-256 of a report as it is signed, hex.
pub fn digest(report: &Value) -> String {
    hex(&sha256(canonical(report).as_bytes()))
}

/// What is signed. `domain` keeps a report of one kind from being taken for one of another.
pub fn text(domain: &str, sha256: &str, prev: Option<&str>) -> String {
    format!("{domain}{sha256}\n{}\n", prev.unwrap_or_default())
}

/// Whether a report is as it was signed by `key`; gives its digest.
///
/// # Errors
/// `Invalid`, saying what does not fit.
pub fn check(document: &Value, domain: &str, key: &PublicKey) -> Verb<String> {
    let wrong = |why: &str| Fault::invalid("report", why.to_owned());
    // The one field that the signature does not cover must say what was trusted beforehand.
    if document["key_public"] != key_text(key) {
        return Err(wrong("names another key than the one that is trusted"));
    }
    let mut bare = document.clone();
    if let Some(map) = bare.as_object_mut() {
        AROUND.iter().for_each(|field| drop(map.remove(*field)));
    }
    // The document as it is, not as this version would write it: a field that was added is a change as well.
    let sha256 = digest(&bare);
    if document["sha256"] != sha256 {
        return Err(wrong("was changed: its digest is another"));
    }
    let signature = document["signature"].as_str().unwrap_or_default();
    if !key.verify(&text(domain, &sha256, document["prev"].as_str()), signature) {
        return Err(wrong(&format!("is not signed by {}", key.id())));
    }
    Ok(sha256)
}
