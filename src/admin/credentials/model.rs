//! Credentials and their rotations in words, exactly as commands and API print them. A secret stands in the one answer that hands it over, and nowhere
//! else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::{Hold, Place, State};
use super::systems::IssuerCommands;
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

/// How long a run of the schedule may take.
const SOON_MS: i64 = 2 * 3_600_000;

/// How a credential is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RotationStrategy")]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Old and new count side by side for a while.
    Dual,
    /// The new one replaces the old one in one moment.
    Single,
    /// Somebody brings the new one, Lifeboat does the rest.
    Assisted,
    /// Not by Lifeboat.
    Elsewhere,
}

impl Strategy {
    /// The word in JSON and on pages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dual => "dual",
            Self::Single => "single",
            Self::Assisted => "assisted",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// One version of a credential. Never its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CredentialVersion")]
pub struct Version {
    /// Its public name: a kid, or a fingerprint.
    pub id: String,
    /// `current`, `previous` (it still counts), `next` (published, does not sign yet), `pending` (nothing accepts it yet), `expired`, `revoked` or `retired`.
    pub state: String,
    /// Since when; none when nobody wrote it down.
    pub created_at: Option<Timestamp>,
    /// When it ends by itself; for a key that signs tokens, when the last of them expires.
    pub expires_at: Option<Timestamp>,
    /// From when on it may be the current one, where that is not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activates_at: Option<Timestamp>,
    /// When it was last accepted, as far as it is known.
    pub last_used: Option<Timestamp>,
}

/// One credential of the deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Credential {
    /// `KIND/NAME`.
    pub name: String,
    /// `client-key`, `client-secret`, `token-key`, `upstream`, `webhook`, `tls`, `ca`, `recipient`, `postgres`, `http`, `command`, `admin`, `operator-password`, `operator-key`, `operator-session`, `ledger-key` or `instance-key`.
    pub kind: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Who holds it besides Lifeboat.
    pub holder: Option<String>,
    /// How it is replaced.
    pub strategy: Strategy,
    /// `ok`, `due`, `overdue`, `rotating`, `stuck` (its rotation waits or fails), `retire_failed`, `missing` or `ended`.
    pub state: String,
    /// More of that, in a sentence.
    pub note: String,
    /// Its versions, newest first.
    pub versions: Vec<Version>,
    /// Days after which it is to be replaced; 0 means never.
    pub rotate_every_days: u32,
    /// When it is due.
    pub due_at: Option<Timestamp>,
    /// Whether the schedule rotates it when it is due.
    #[serde(default)]
    pub by_itself: bool,
    /// When the schedule does: its first run once it is due.
    #[serde(default)]
    pub rotates_at: Option<Timestamp>,
    /// Whether the schedule has begun its rotation, and the new secret waits for somebody to fetch it.
    #[serde(default)]
    pub to_fetch: bool,
    /// How long both count when it is replaced.
    pub overlap: String,
    /// What its rotation does, in a sentence.
    pub means: String,
    /// Its open rotation.
    pub rotation: Option<String>,
    /// When a rotation of it last ended with both proofs.
    pub proved_at: Option<Timestamp>,
}

impl Credential {
    /// Whether nobody need be told yet that it is due: the schedule's first run for it is to come, or was a moment ago.
    pub fn is_left_to_schedule(&self, now: Timestamp) -> bool {
        self.rotates_at.is_some_and(|at| now < at.plus_ms(SOON_MS))
    }
}

/// Credentials.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CredentialList {
    /// By name.
    pub credentials: Vec<Credential>,
}

/// What is due.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CredentialDue {
    /// Nothing is due.
    pub ok: bool,
    /// What is due, the longest overdue first.
    pub credentials: Vec<Credential>,
}

/// One rotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rotation {
    /// `rot_…`.
    pub id: String,
    /// Of which credential.
    pub credential: String,
    /// Where it is.
    pub state: State,
    /// Why it does not go on.
    pub hold: Option<Hold>,
    /// In a sentence.
    pub why: Option<String>,
    /// `transient` or `permanent`: the last failure.
    pub error: Option<String>,
    /// Failures of this step so far.
    pub attempt: u32,
    /// When it is looked at again.
    pub next_try_at: Option<Timestamp>,
    /// The versions that end.
    pub old: Vec<String>,
    /// The version that comes.
    pub new: Option<String>,
    /// What is kept of it that is no secret.
    pub facts: Value,
    /// Whether somebody must pick the new one up.
    pub to_fetch: bool,
    /// When somebody did.
    pub fetched_at: Option<Timestamp>,
    /// Who.
    pub fetched_by: Option<String>,
    /// `manual`, `schedule`, `incident`, `leak` or `proof`.
    pub reason: String,
    /// More of that.
    pub note: String,
    /// Who else holds the credential.
    pub holder: Option<String>,
    /// How long both count.
    pub overlap_ms: i64,
    /// How long the old one must rest.
    pub quiet_ms: i64,
    /// Whether the old one ends with the overlap, whoever still uses it.
    pub forced: bool,
    /// When the overlap ends.
    pub overlap_until: Option<Timestamp>,
    /// When the new one was last seen at work.
    pub verified_at: Option<Timestamp>,
    /// Since when both count.
    pub draining_at: Option<Timestamp>,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// The new secret and what undoes it, sealed.
    #[serde(skip)]
    pub sealed: Option<Vec<u8>>,
    /// Whether it goes no further since its credential was revoked (1), and whether what it made ends as well (2).
    #[serde(skip)]
    pub revoked: i64,
}

impl Rotation {
    /// Whether the schedule began it, so that its holder may not know, and the new secret waits to be fetched.
    pub fn waits_for_holder(&self) -> bool {
        self.reason == "schedule" && self.state == State::Draining && self.to_fetch && self.fetched_at.is_none()
    }
}

/// One step that was taken, as it was then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepTaken {
    /// Its place, from 1.
    pub seq: u32,
    /// When.
    pub at: Timestamp,
    /// `mint`, `install`, `verify`, `promote`, `drain`, `retire`, `prove`, `finish`, or an operator's order.
    pub step: String,
    /// `done`, `failed`, `waits` or `ordered`.
    pub outcome: String,
    /// What was seen. Never a secret.
    pub evidence: Value,
}

/// One credential with its rotations.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CredentialDetail {
    /// It.
    pub credential: Credential,
    /// Its rotations, newest first.
    pub rotations: Vec<Rotation>,
    /// The steps of the newest.
    pub steps: Vec<StepTaken>,
    /// Who showed which version since the newest began.
    pub places: Vec<Place>,
    /// The commands that make and end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands: Option<IssuerCommands>,
}

/// A rotation, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotateOrder {
    /// `now`, or a number with `m`, `h` or `d`; as `credentials.toml` says when not given.
    pub overlap: Option<String>,
    /// The old one ends with the overlap, whoever still uses it; and an open rotation is given up for this one.
    pub force: bool,
    /// `manual`, `schedule`, `incident` or `leak`: `manual` when not given.
    pub reason: Option<String>,
    /// More of that.
    pub note: String,
    /// Hands the new secret over with the answer, as `fetch` would.
    pub fetch: bool,
}

/// A rotation was started, and how far it came at once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rotated {
    /// It.
    #[serde(flatten)]
    pub rotation: Rotation,
    /// What comes next, in a sentence.
    pub next: String,
    /// The new secret, when it was asked for; the only time it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A new secret, handed over once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Fetched {
    /// Of which credential.
    pub credential: String,
    /// By which rotation.
    pub rotation: String,
    /// Its public name.
    pub version: String,
    /// It.
    pub secret: String,
    /// Until when the old one counts at least.
    pub overlap_until: Option<Timestamp>,
}

/// An order to an open rotation.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RotationOrder")]
#[serde(deny_unknown_fields, default)]
pub struct OrderBody {
    /// `pause`, `resume`, `cancel`, `rollback`, `extend` or `retire`.
    pub order: String,
    /// For `extend`: how much longer both count, such as `24h`.
    pub by: Option<String>,
}

/// What somebody brings.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SupplyOrder {
    /// The new value, or the answer to what was asked.
    #[schemars(with = "Option<String>")]
    pub value: Option<Secret<String>>,
}

/// What Lifeboat needs itself to replace a credential elsewhere.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminOrder {
    /// The password of the role that may change the others, or what the issuer wants to see.
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret<String>>,
}

/// It is kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CredentialAdmin")]
pub struct AdminKept {
    /// For which credential.
    pub name: String,
    /// Of which role; `issuer` for what an issuer wants to see.
    pub role: String,
    /// Where: nowhere else is it sent.
    pub system: String,
}

/// What to end at once.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RevokeOrder {
    /// `client-key/NAME` (all its keys), `key/KID` (one), `client/NAME`, `server/NAME`, `postgres/NAME`, `http/NAME`, `command/NAME`, `operator/NAME`; empty with `since`.
    pub name: String,
    /// Everything issued from then on.
    pub since: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

/// What was ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CredentialRevoked {
    /// What was named.
    pub name: String,
    /// Client keys that are refused from now on, by kid.
    pub keys: Vec<String>,
    /// Operator keys that are, by kid.
    pub operator_keys: Vec<String>,
    /// Operators that may not sign in any more.
    pub operators: Vec<String>,
    /// Secrets towards servers that are sent no more.
    pub upstream: Vec<String>,
    /// Database roles that can log in no more, and have no session.
    pub roles: Vec<String>,
    /// Dashboard sessions that ended.
    pub sessions: u64,
    /// Calls in flight that were cut.
    pub cut_in_flight: usize,
    /// When the order came.
    pub at: Timestamp,
    /// Milliseconds until no call was accepted any more.
    pub effective_ms: u64,
    /// The running revision without them.
    pub revision: String,
    /// Place of the evidence in the ledger.
    pub evidence: String,
    /// Whether all of it holds.
    pub ok: bool,
    /// What does not hold yet, a sentence each.
    pub open: Vec<String>,
}
