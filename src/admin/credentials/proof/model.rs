//! What a proof takes and gives, and the report as it is signed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};

/// What a report says it is.
pub(super) const KIND: &str = "rotation-proof";

/// A proof, as an order.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProveOrder {
    /// Also rotates what others hold: their new secrets go to files of mode 0600, and both count until they moved.
    pub all: bool,
    /// How long the traffic lasts, 3 to 60.
    pub seconds: u32,
    /// Requests a second, 1 to 200.
    pub rate: u32,
}

impl Default for ProveOrder {
    fn default() -> Self {
        Self { all: false, seconds: 10, rate: 200 }
    }
}

impl ProveOrder {
    /// # Errors
    /// `Invalid`, naming the field.
    pub(super) fn check(&self) -> Verb<()> {
        if !(3..=60).contains(&self.seconds) {
            return Err(Fault::invalid("seconds", "must be from 3 to 60"));
        }
        if !(1..=200).contains(&self.rate) {
            return Err(Fault::invalid("rate", "must be from 1 to 200"));
        }
        Ok(())
    }
}

/// How one listener answered a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ProofSide")]
pub struct Side {
    /// Its name.
    pub listener: String,
    /// Its HTTP status; 0 when it did not answer.
    pub status: u16,
}

/// Requests of one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ProofBucket")]
pub struct Bucket {
    /// Milliseconds since the first request.
    pub at_ms: u64,
    /// With the old key, answered.
    pub old: u64,
    /// With the new key, answered.
    pub new: u64,
    /// Not answered with a result.
    pub failed: u64,
}

/// The traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ProofTraffic")]
pub struct Traffic {
    /// Clients that called side by side.
    pub loops: u32,
    /// Requests a second that were asked for.
    pub rate: u32,
    /// Requests that were made.
    pub requests: u64,
    /// Requests that were not answered with a result.
    pub failed: u64,
    /// Those of them that were refused with 401.
    pub unauthorised: u64,
    /// Tokens that half of the clients got, and called with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Why the first of them failed.
    pub first_failure: Option<String>,
    /// Clients that moved to the new key or secret.
    pub moved: u32,
    /// The 99th percentile before the rotations, milliseconds.
    pub p99_before_ms: f64,
    /// The same from the first rotation to the end of the last.
    pub p99_during_ms: f64,
    /// Over time.
    pub buckets: Vec<Bucket>,
}

/// What became of one credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ProvedCredential")]
pub struct Proved {
    /// `KIND/NAME`.
    pub name: String,
    /// Its rotation.
    pub rotation: Option<String>,
    /// Where that is, or `skipped`.
    pub state: String,
    /// Whether it is where it should be.
    pub passed: bool,
    /// In a sentence.
    pub said: String,
    /// Where its new secret lies, mode 0600.
    pub file: Option<String>,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RotationProof")]
pub struct Proof {
    /// `rotation-proof`.
    pub kind: String,
    /// `prf_…`.
    pub id: String,
    /// Whether nobody noticed, and every rotation is where it should be.
    pub passed: bool,
    /// In one sentence.
    pub summary: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Who ordered it.
    pub by: String,
    /// What was called: `SERVER/TOOL`, or `SERVER` for its list.
    pub called: String,
    /// The traffic.
    pub traffic: Traffic,
    /// How each listener answered the new key at the end.
    pub new_accepted: Vec<Side>,
    /// How each listener answered the old key at the end.
    pub old_rejected: Vec<Side>,
    /// How each token endpoint answered the new secret at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_accepted: Vec<Side>,
    /// How each token endpoint answered the old secret at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_rejected: Vec<Side>,
    /// What became of each credential.
    pub credentials: Vec<Proved>,
    /// SHA-256 of the chart, hex.
    pub chart_sha256: String,
    /// The running revision.
    pub revision: String,
    /// What made it.
    pub program: String,
}

/// A report with what proves it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SignedRotationProof")]
pub struct Signed {
    /// The report.
    #[serde(flatten)]
    pub report: Proof,
    /// SHA-256 of the report as it is signed, hex.
    pub sha256: String,
    /// The report before, by that digest.
    pub prev: Option<String>,
    /// The key it is signed with, `ed25519/…`.
    pub key_public: String,
    /// Ed25519, base64.
    pub signature: String,
}

/// A proof in the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofLine {
    /// `prf_…`.
    pub id: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// By whom.
    pub made_by: String,
    /// Whether it passed.
    pub passed: bool,
}

/// Proofs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProofList {
    /// Newest first.
    pub proofs: Vec<ProofLine>,
}
