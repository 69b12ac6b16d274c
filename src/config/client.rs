//! `clients/NAME.toml`: a program that calls tools. Never holds its key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole of `clients/NAME.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Names of its roles; their grants add up.
    pub roles: Vec<String>,
    /// Calls per second instead of the default; 0 means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Calls that may come at once before `rate` counts, instead of twice `rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Calls in flight at once instead of the default; 0 means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}
