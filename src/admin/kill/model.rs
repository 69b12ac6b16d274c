//! The kill switch in words: orders, answers, proofs, history, exactly as docs/CONTRACT.md has them in JSON. Never acts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::policy::{KillEntry, Mode, Scope};

/// The client name that a kill drill stops and no real client may have.
pub const CANARY: &str = "canary";

/// An order to stop.
#[derive(Clone, Debug)]
pub struct Order {
    /// What to stop.
    pub scope: Scope,
    /// How far.
    pub mode: Mode,
    /// Why.
    pub reason: String,
}

/// An order to start again.
#[derive(Clone, Debug)]
pub struct Release {
    /// What to release: exactly a scope that is engaged.
    pub scope: Scope,
    /// Down to this mode instead of wholly.
    pub to: Option<Mode>,
    /// Why.
    pub reason: String,
}

/// Both orders as forms, the API and the command line send them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KillOrder")]
#[serde(deny_unknown_fields, default)]
pub struct OrderBody {
    /// Why.
    pub reason: String,
    /// A server's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// `SERVER/TOOL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// A client's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// `full` (the default) or `read-only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// For a release: `read-only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl OrderBody {
    /// As an order to stop.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn into_order(self) -> Verb<Order> {
        if self.to.is_some() {
            return Err(Fault::invalid("to", "\"to\" belongs to a release"));
        }
        let mode = self.mode.as_deref().map_or(Ok(Mode::Full), |word| read_mode("mode", word))?;
        Ok(Order { scope: self.scope()?, mode, reason: self.reason })
    }

    /// As an order to start again.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn into_release(self) -> Verb<Release> {
        if self.mode.is_some() {
            return Err(Fault::invalid("mode", "a release takes \"to\", not \"mode\""));
        }
        let to = match self.to.as_deref() {
            None | Some("") => None,
            Some(word) => match read_mode("to", word)? {
                Mode::ReadOnly => Some(Mode::ReadOnly),
                Mode::Full => return Err(Fault::invalid("to", "a release goes to read-only, or wholly without \"to\"")),
            },
        };
        Ok(Release { scope: self.scope()?, to, reason: self.reason })
    }

    fn scope(&self) -> Verb<Scope> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        match (given(&self.server), given(&self.tool), given(&self.client)) {
            (None, None, None) => Ok(Scope::Everything),
            (Some(server), None, None) => Ok(Scope::Server { server }),
            (None, Some(full), None) => {
                let (server, tool) = full.split_once('/').ok_or_else(|| Fault::invalid("tool", "a tool is named SERVER/TOOL"))?;
                Ok(Scope::Tool { server: server.to_owned(), tool: tool.to_owned() })
            }
            (None, None, Some(client)) => Ok(Scope::Client { client }),
            _ => Err(Fault::invalid("scope", "name one server, one tool or one client, or none of them for everything")),
        }
    }
}

fn read_mode(place: &str, word: &str) -> Verb<Mode> {
    match word {
        "full" | "" => Ok(Mode::Full),
        "read-only" | "read_only" => Ok(Mode::ReadOnly),
        _ => Err(Fault::invalid(place, "a mode is full or read-only")),
    }
}

/// What one listener answered to the canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KillProofAt")]
pub struct ProofAt {
    /// Which listener.
    pub listener: String,
    /// Whether the canary came back refused with the kill's own reason.
    pub refused: bool,
    /// Milliseconds from the order to this answer, or to giving up.
    pub ms: u64,
}

/// The answer to an order to stop.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Engaged {
    /// `kd_…`.
    pub decision_id: String,
    /// What is stopped: `everything`, `server S`, `tool S/T`, `client C`.
    pub scope: String,
    /// `full` or `read-only`.
    pub mode: String,
    /// Whether every listener proved it. `false` reads "engaged, unproven".
    pub effective: bool,
    /// Milliseconds from the order to the last proof; null when unproven.
    pub effective_ms: Option<u64>,
    /// Calls that were in flight in this scope and ended.
    pub cut_in_flight: usize,
    /// One per listener.
    pub proofs: Vec<ProofAt>,
    /// Where it is kept: `db` (and the file), `file` while state.db does not answer, `memory` when the disk took neither.
    pub persisted: String,
    /// When the order came.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

/// The answer to a release.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Released {
    /// What was released.
    pub scope: String,
    /// `read-only` when it was not released wholly.
    pub to: Option<String>,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// What is still stopped, anywhere.
    pub states: Vec<State>,
}

/// One engaged kill in `kill status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KillState")]
pub struct State {
    /// What.
    pub scope: String,
    /// How far.
    pub mode: String,
    /// Since when.
    pub since: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Which order.
    pub decision_id: String,
}

impl State {
    /// The words for one entry.
    pub fn of(entry: &KillEntry) -> Self {
        Self {
            scope: entry.scope.text(),
            mode: entry.mode.word().to_owned(),
            since: entry.since,
            by: entry.by.clone(),
            reason: entry.reason.clone(),
            decision_id: entry.decision_id.clone(),
        }
    }
}

/// What `kill status` says.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KillReport")]
pub struct Status {
    /// Whether anything is stopped.
    pub engaged: bool,
    /// What.
    pub states: Vec<State>,
    /// The last proof there was, of an order or a drill.
    pub last_proof: Option<Proof>,
}

/// A proof that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KillProof")]
pub struct Proof {
    /// The order it proves.
    pub decision_id: String,
    /// `order` or `drill`.
    pub kind: String,
    /// What was stopped.
    pub scope: String,
    /// How far.
    pub mode: String,
    /// When the order came.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Whether every listener proved it.
    pub effective: bool,
    /// Milliseconds from the order to the last proof.
    pub effective_ms: Option<u64>,
    /// Calls in flight that were cut.
    pub cut_in_flight: usize,
    /// One per listener.
    pub proofs: Vec<ProofAt>,
}

/// Whether an order was meant or practised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "KillKind")]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Meant.
    Order,
    /// Practised on the scope of the canary alone.
    Drill,
}

impl Kind {
    /// The word in database and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Drill => "drill",
        }
    }
}

/// One order as the history keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "KillPast")]
pub struct Past {
    /// `kd_…`.
    pub decision_id: String,
    /// Meant or practised.
    pub kind: Kind,
    /// What.
    #[serde(serialize_with = "scope_text")]
    #[schemars(with = "String")]
    pub scope: Scope,
    /// How far.
    #[serde(serialize_with = "mode_word")]
    #[schemars(with = "String")]
    pub mode: Mode,
    /// When.
    pub engaged_at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Calls in flight that were cut.
    pub cut_in_flight: usize,
    /// Whether it was proved; `None` while the proof runs, or when Lifeboat ended before it was over.
    pub effective: Option<bool>,
    /// Milliseconds to the last proof.
    pub effective_ms: Option<u64>,
    /// One per listener.
    pub proofs: Vec<ProofAt>,
    /// When it was released.
    pub released_at: Option<Timestamp>,
    /// By whom.
    pub released_by: Option<String>,
    /// Why.
    pub release_reason: Option<String>,
}

impl Past {
    /// An order whose proof is not over, and which cut nothing.
    pub(super) fn of(entry: &KillEntry, kind: Kind) -> Self {
        Self {
            decision_id: entry.decision_id.clone(),
            kind,
            scope: entry.scope.clone(),
            mode: entry.mode,
            engaged_at: entry.since,
            by: entry.by.clone(),
            reason: entry.reason.clone(),
            cut_in_flight: 0,
            effective: None,
            effective_ms: None,
            proofs: Vec::new(),
            released_at: None,
            released_by: None,
            release_reason: None,
        }
    }

    /// The proof in it, once it is over.
    pub fn proof(&self) -> Option<Proof> {
        Some(Proof {
            decision_id: self.decision_id.clone(),
            kind: self.kind.word().to_owned(),
            scope: self.scope.text(),
            mode: self.mode.word().to_owned(),
            at: self.engaged_at,
            by: self.by.clone(),
            effective: self.effective?,
            effective_ms: self.effective_ms,
            cut_in_flight: self.cut_in_flight,
            proofs: self.proofs.clone(),
        })
    }
}

fn scope_text<S: serde::Serializer>(scope: &Scope, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&scope.text())
}

fn mode_word<S: serde::Serializer>(mode: &Mode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(mode.word())
}
