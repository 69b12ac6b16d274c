//! What a restore in place takes and gives. Never holds a secret but the identity that it is given.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

/// A restore in place, as an order.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LiveOrder {
    /// An archive's id, or `latest:VAULT`. Archives that restores made of what was there are not the latest; they are named.
    pub archive: String,
    /// Why; not needed to look only.
    pub reason: String,
    /// The newest one that is not younger than this.
    pub at: Option<Timestamp>,
    /// Says what would happen: which servers stop, and what comes back. Changes nothing.
    pub dry_run: bool,
    /// Goes on without an archive of what is there; it is kept beside its place all the same.
    pub without_backup: bool,
    /// Text of an age identity, for archives that this host keeps none for.
    #[schemars(with = "Option<String>")]
    pub identity: Option<Secret<String>>,
}

/// One step of a restore in place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RestoreStep")]
pub struct LiveStep {
    /// `backup`, `unpack`, `stop`, `quiet`, `swap`, `compare`, `undo`, `start`, `tools`, `release`.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether it did.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// How a restore in place ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RestoredLive")]
pub struct LiveDone {
    /// `rs_…`.
    pub id: String,
    /// Which vault.
    pub vault: String,
    /// Which archive.
    pub archive: String,
    /// What was written after this moment is not in it.
    pub started_at: Timestamp,
    /// Whether every step passed.
    pub ok: bool,
    /// Where what was there is kept; none when the place was empty or is as it was.
    pub kept: Option<String>,
    /// The archive of what was there.
    pub safety: Option<String>,
    /// Servers that use the vault.
    pub servers: Vec<String>,
    /// In order.
    pub steps: Vec<LiveStep>,
    /// Whether the kill that this restore engaged is released.
    pub released: bool,
    /// Whether nothing was changed, as asked.
    pub dry_run: bool,
}
