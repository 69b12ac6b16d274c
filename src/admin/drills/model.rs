//! What the verbs of drills take and give, and the report as it is signed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::Fate;
use super::steps::Step;
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

/// A drill, as an order.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrillOrder {
    /// What is lost: `host-lost` when not given.
    pub scenario: Option<String>,
    /// Text of an age identity: proves the recovery key itself.
    #[schemars(with = "Option<String>")]
    pub identity: Option<Secret<String>>,
}

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Targets {
    /// Seconds until the deployment serves again.
    pub rto_seconds: u64,
    /// Seconds of data that may be lost.
    pub rpo_seconds: u64,
}

/// The report of one drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drill {
    /// Its id.
    pub id: String,
    /// What was lost.
    pub scenario: String,
    /// The end that is right for this scenario.
    pub expected: String,
    /// Whether that is how it ended.
    pub passed: bool,
    /// `met`, `breached`, `failed` or `timed_out`.
    pub verdict: String,
    /// In one sentence.
    pub summary: String,
    /// Seconds from the disaster to the last check, by a clock that only goes forward.
    pub rto_seconds: f64,
    /// Seconds from what the oldest archive holds to the disaster.
    pub rpo_seconds: f64,
    /// What was promised.
    pub targets: Targets,
    /// `rolling`: the identities this host keeps for the newest archives; `recovery`: one that was brought along.
    pub key: String,
    /// Every step.
    pub steps: Vec<Step>,
    /// Every server of the configuration.
    pub servers: Vec<Fate>,
    /// What an operator must know.
    pub warnings: Vec<String>,
    /// The configuration's commit that was rebuilt.
    pub head: String,
    /// When it began; this host's clock says so.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Who ordered it.
    pub by: String,
    /// What rebuilt.
    pub program: String,
}

/// A drill in the list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DrillLine {
    /// Its id.
    pub id: String,
    /// What was lost.
    pub scenario: String,
    /// `running`, `done` or `interrupted`.
    pub state: String,
    /// Whether it ended as it should; none while it runs.
    pub passed: Option<bool>,
    /// Seconds until the deployment served again.
    pub rto_seconds: Option<f64>,
    /// Seconds of data that would have been lost.
    pub rpo_seconds: Option<f64>,
    /// When it began.
    pub started_at: Timestamp,
    /// Who ordered it.
    pub by: String,
}

/// Drills.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DrillList {
    /// Newest first.
    pub drills: Vec<DrillLine>,
}

/// A report with what proves it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Signed {
    /// The report.
    #[serde(flatten)]
    pub report: Drill,
    /// SHA-256 of the report as it is signed, hex.
    pub sha256: String,
    /// The report before, by that digest.
    pub prev: Option<String>,
    /// The key it is signed with, `ed25519/…`.
    pub key_public: String,
    /// Ed25519, base64.
    pub signature: String,
}
