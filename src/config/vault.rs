//! `vaults/NAME.toml`: one memory store to protect. A stdio server's own folder is a vault without a file here. Never holds a secret.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of the vault that is the deployment itself.
pub const DEPLOYMENT: &str = "lifeboat";

/// The whole of `vaults/NAME.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// A directory or a file, as an absolute path. SQLite databases in it are copied consistently while they are written.
    pub path: String,
    /// The server whose memory it is: it is stopped while the vault is swapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Paths inside the directory that are left out, such as a cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}
