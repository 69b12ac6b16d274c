//! `roles/NAME.toml`: a named list of grants. Never denies: what no grant permits is refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::server::Class;

/// The whole of `roles/NAME.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// What the role permits.
    #[serde(default, rename = "grant", skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantConfig>,
}

/// One `[[grant]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantConfig {
    /// Globs over full tool names, `server/tool`; `*` does not cross the slash.
    pub tools: Vec<String>,
    /// Classes it reaches.
    pub classes: Vec<Class>,
    /// Name of a JSON Schema that the arguments must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}
