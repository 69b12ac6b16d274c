//! Commands that Lifeboat starts on its own host: for the content of vaults, and for tokens of issuers. One starts only as it was approved here, so a
//! configuration that was pulled or rolled back can never run new code. Knows no noun, never a shell, and never repeats a secret.

mod process;
mod store;
mod words;

use std::collections::HashMap;

pub(super) use process::{Line, Running, collect};
pub use store::STATEMENTS;

use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::crypto::keys::sha256;
use crate::db::Db;

/// What is approved: whatever can make other code run. Hex SHA-256.
pub(super) fn digest(parts: &serde_json::Value) -> String {
    sha256(parts.to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Words as one line, as they would be typed; quotes where a word would fall apart without.
pub(super) fn typed(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%^".contains(c);
    let one = |word: &String| match !word.is_empty() && word.chars().all(plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Approves what an owner, `vault/NAME` or `command/NAME`, would start; what was approved for it before is no longer.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn approve(db: &Db, owner: &str, digest: &str, (now, by): (Timestamp, &str)) -> Verb<()> {
    store::set(db, owner, digest, (now, by)).await
}

/// Digests of what is approved on this host, by owner.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn approvals(db: &Db) -> Verb<HashMap<String, String>> {
    store::all(db).await
}

/// Whether this is approved for an owner.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn is_approved(db: &Db, owner: &str, digest: &str) -> Verb<bool> {
    Ok(store::all(db).await?.get(owner).is_some_and(|approved| approved == digest))
}

/// Ends the approval of one owner.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn forget(db: &Db, owner: &str) -> Verb<()> {
    store::forget(db, owner).await
}

/// In a deployment that was rebuilt for a drill: no command may start there, for it would reach what production reaches.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn forget_all(db: &Db) -> Verb<()> {
    store::forget_all(db).await
}
