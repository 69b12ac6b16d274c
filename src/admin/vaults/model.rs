//! What the verbs of vaults and archives take and give. Never holds a secret but the one that a recipient is asked to show.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::command::typed;
use crate::base::clock::Timestamp;
use crate::config::VaultConfig;

/// One vault.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VaultView {
    /// Its name.
    pub name: String,
    /// `directory`, `command` or `deployment`.
    pub source: String,
    /// What is read; none for the deployment and for a command.
    pub path: Option<String>,
    /// The command whose output it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandView>,
    /// The server whose memory it is.
    pub server: Option<String>,
    /// Whether a file in `vaults/` says so; the others are there by themselves.
    pub configured: bool,
    /// Its newest verified archive.
    pub last_archive: Option<Timestamp>,
    /// How many verified archives there are.
    pub archives: usize,
}

/// The command of a vault.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "VaultCommand")]
pub struct CommandView {
    /// Program and arguments, as they would be typed at `vault add`.
    pub line: String,
    /// Plain variables, `NAME=value`.
    pub env: Vec<String>,
    /// Names of the variables that each host keeps for it.
    pub secret_env: Vec<String>,
    /// SHA-256 of all that.
    pub digest: String,
    /// Whether it is approved on this host: else it does not start.
    pub approved: bool,
}

impl CommandView {
    pub(super) fn of(config: &VaultConfig, approved: Option<&String>) -> Self {
        let digest = super::command::digest(config);
        Self {
            line: typed(&config.command),
            env: config.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            secret_env: config.secret_env.clone(),
            approved: approved == Some(&digest),
            digest,
        }
    }
}

/// Every vault.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VaultList {
    /// By name.
    pub vaults: Vec<VaultView>,
}

/// A new vault, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AddVault {
    /// Its name.
    pub name: String,
    /// A directory or file, absolute.
    pub path: String,
    /// Or a command line whose output is the content; quotes group, no shell reads it. It is approved on this host by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Variables for the command, one `NAME=value` a line: the text of `--env-file FILE`. Kept sealed on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Or a server whose kind is known, by which path and exclude are filled in: `server-memory`, `mcp-memory-service`, `basic-memory` or
    /// `memory-keeper`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The server whose memory it is.
    pub server: Option<String>,
    /// Paths inside that are left out.
    pub exclude: Vec<String>,
}

/// A vault was added.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VaultAdded {
    /// Its name.
    pub vault: String,
    /// `directory` or `command`.
    pub source: String,
    /// What is read; none for a command.
    pub path: Option<String>,
    /// Paths inside that are left out.
    pub exclude: Vec<String>,
    /// Digest of the command line that was approved on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<String>,
    /// What was filled in, and from where.
    pub notes: Vec<String>,
    /// The running revision that holds it.
    pub revision: String,
}

/// One archive.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Archive {
    /// Its id.
    pub id: String,
    /// Its vault.
    pub vault: String,
    /// Where it lies.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// When it was finished.
    pub created_at: Timestamp,
    /// Whether it was read back, decrypted and compared, and no later check found it wanting.
    pub verified: bool,
    /// When that was last seen.
    pub verified_at: Timestamp,
    /// The recovery point it belongs to.
    pub set: String,
    /// Whether everything of the source is in it.
    pub complete: bool,
    /// When its source began to be read.
    pub started_at: Timestamp,
    /// Whether it holds what a restore in place replaced: never the newest of its vault, unless it is named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub safety: bool,
    /// Who can open it.
    pub recipients: Vec<String>,
    /// What the last check found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// The catalogue.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveList {
    /// Newest first.
    pub archives: Vec<Archive>,
    /// What is wrong with the destination: notes of strangers, gaps in the chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// A backup, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackupOrder {
    /// Only this vault.
    pub vault: Option<String>,
}

/// A vault without a new archive.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// Which.
    pub vault: String,
    /// Why.
    pub why: String,
}

/// What a backup made.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BackupDone")]
pub struct Backup {
    /// Whether every vault has a new archive.
    pub ok: bool,
    /// The recovery point.
    pub set: String,
    /// What was made.
    pub archives: Vec<Archive>,
    /// What was not.
    pub failed: Vec<Failed>,
    /// Copies that are not in line now, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<String>,
}

/// What a check of all archives found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ArchivesChecked")]
pub struct Checked {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// How many were compared.
    pub checked: usize,
    /// Those that were also decrypted and read to their end.
    pub opened: usize,
    /// Everything that is wrong.
    pub faults: Vec<String>,
}

/// One recipient.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecipientView {
    /// What it is called.
    pub name: String,
    /// `age1…`.
    pub recipient: String,
    /// Since when.
    pub added_at: Timestamp,
    /// By whom it was added.
    pub added_by: String,
    /// When somebody last showed that the identity is at hand.
    pub proved_at: Option<Timestamp>,
}

/// Every recipient.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecipientList {
    /// Since they were added.
    pub recipients: Vec<RecipientView>,
    /// The public key that notes of this instance are signed with: `rebuild --trust` asks for it.
    pub instance_key: String,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// A new recipient, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AddRecipient {
    /// What to call it.
    pub name: String,
    /// `age1…`.
    pub recipient: String,
}

/// A proof of possession: without an answer it asks, with one it is checked.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProveRecipient {
    /// The word that was encrypted.
    pub answer: Option<String>,
}

/// Where a proof stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RecipientProof")]
pub struct Proof {
    /// Which.
    pub name: String,
    /// Whether possession is shown.
    pub proved: bool,
    /// A word encrypted to the recipient, in base64: `base64 -d | age -d -i FILE` gives the answer.
    pub challenge: Option<String>,
    /// When it was shown.
    pub proved_at: Option<Timestamp>,
}
