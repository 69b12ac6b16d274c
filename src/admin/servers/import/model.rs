//! An import in words, exactly as the command and the API print it. Never shows the value of a secret.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A client's file to take servers from.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImportOrder {
    /// The text of the file: JSON with `mcpServers` or `servers`; comments are allowed.
    pub text: String,
    /// Values for placeholders such as `${input:token}`, one `NAME=value` a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<String>,
    /// Only these servers, by their name in the file or here; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Whether to do it. Otherwise the answer is the plan, and nothing is changed.
    pub apply: bool,
}

/// What an import will do, or did.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// Whether it was done.
    pub applied: bool,
    /// Whether every server that was asked for can be, or was, taken in.
    pub ok: bool,
    /// Every server of the file.
    pub servers: Vec<Planned>,
    /// What to do next, a sentence or command each.
    pub next: Vec<String>,
}

/// One server of a file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// Its name here.
    pub name: String,
    /// Its name in the file.
    pub from: String,
    /// `ready`, `blocked`, `off`, `left` (not asked for), `added` or `failed`.
    pub state: String,
    /// `http` or `stdio`; empty when it is neither.
    pub kind: String,
    /// Its URL or command line; what looks like a secret in it is dots.
    pub target: String,
    /// Names of headers and variables that this host will keep sealed.
    pub sealed: Vec<String>,
    /// Variables that stand in the configuration as they are.
    pub plain: BTreeMap<String, String>,
    /// Directories it may read and write.
    pub dirs: Vec<String>,
    /// Why it cannot be taken in, or was not.
    pub problems: Vec<String>,
    /// What to know about it.
    pub notes: Vec<String>,
    /// Names of the tools that were taken in.
    pub tools: Vec<String>,
}
