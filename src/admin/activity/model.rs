//! Answers about the ledger, as commands and API print them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::Checkpoint;
use crate::base::clock::Timestamp;

/// What a check of the ledger found (docs/CONTRACT.md, `audit verify`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LedgerChecked")]
pub struct Checked {
    /// Whether everything fits.
    pub ok: bool,
    /// Segments read.
    pub segments: u64,
    /// Events that fit.
    pub events: u64,
    /// Position of the first event that does not fit, or is missing.
    pub first_bad: Option<u64>,
    /// What is wrong there, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A checkpoint that was made.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CheckpointSigned")]
pub struct Signed {
    /// Position of the last event it covers.
    pub seq: u64,
    /// Hash of that event, hex.
    pub hash: String,
    /// When.
    pub ts: Timestamp,
    /// The signature.
    pub signature: String,
}

impl Signed {
    /// The words for one checkpoint.
    pub fn of(made: &Checkpoint) -> Self {
        Self { seq: made.seq, hash: made.hash.clone(), ts: made.ts, signature: made.signature.clone() }
    }
}
