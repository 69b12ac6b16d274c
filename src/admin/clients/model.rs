//! Clients in words, exactly as commands and API print them. The text of a key or secret is in one answer only: the one that minted it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::oauth::{ClientPublicKey, ClientSecret};
use crate::base::clock::Timestamp;

/// A client to add.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddClient {
    /// Its name.
    pub name: String,
    /// Names of its roles, one at least.
    pub roles: Vec<String>,
    /// Calls per second instead of the default; 0 means no limit.
    #[serde(default)]
    pub rate: Option<u32>,
    /// Days until its key or secret expires; absent means never.
    #[serde(default)]
    pub expires_days: Option<u32>,
    /// Gives it a secret for the token endpoint instead of a key.
    #[serde(default)]
    pub oauth: bool,
}

/// A client was added; the only time its key or secret is shown.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct ClientAdded {
    /// Its name.
    pub client: String,
    /// The public name of the key or secret.
    pub kid: String,
    /// The key; absent when it has a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it calls itself at the token endpoint; absent when it has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The secret; absent when it has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Who gives it tokens; absent when it has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What it may ask a token for: the address of the first server; absent when it has a key, and without servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// When the key or secret expires.
    pub expires_at: Option<Timestamp>,
}

/// One client key, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientKey {
    /// Its public name.
    pub kid: String,
    /// Whose it is.
    pub client: String,
    /// `active`, `expired` or `revoked`.
    pub state: String,
    /// When it was minted.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, as far as anybody knows.
    #[serde(default)]
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// By whom.
    pub revoked_by: Option<String>,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// `active`, `no_key` or `revoked`.
    pub state: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Calls per second that hold for it; 0 means no limit.
    pub rate: u32,
    /// Calls at once before `rate` counts.
    pub burst: u32,
    /// Calls in flight at once; 0 means no limit.
    pub concurrency: u32,
    /// Its keys, newest first.
    pub keys: Vec<ClientKey>,
    /// Its secrets for the token endpoint, newest first.
    #[serde(default)]
    pub secrets: Vec<ClientSecret>,
    /// Its public keys for the token endpoint.
    #[serde(default)]
    pub jwks: Vec<ClientPublicKey>,
}

/// Every client.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClientList {
    /// By name.
    pub clients: Vec<Client>,
}

/// A client was revoked.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClientRevoked {
    /// Its name.
    pub client: String,
    /// The keys and secrets that are refused from now on, with every token they got.
    pub kids: Vec<String>,
    /// Since when.
    pub revoked_at: Timestamp,
    /// The running revision without them.
    pub revision: String,
}
