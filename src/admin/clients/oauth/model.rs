//! What clients show at the token endpoint, in words. A secret's text is in one answer only: the one that minted it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;

/// A secret to add.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddSecret {
    /// Days until it expires; absent means never.
    #[serde(default)]
    pub expires_days: Option<u32>,
}

/// A secret was added; the only time it is shown.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct SecretAdded {
    /// Whose it is.
    pub client: String,
    /// What the client calls itself at the token endpoint: its name.
    pub client_id: String,
    /// The secret's public name.
    pub kid: String,
    /// The secret.
    pub secret: String,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// One client secret, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientSecret {
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
    /// When it, or a token it got, was last used.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// By whom.
    pub revoked_by: Option<String>,
}

/// Client secrets.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SecretList {
    /// Newest first.
    pub secrets: Vec<ClientSecret>,
}

/// A secret was revoked, with every token it got.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SecretRevoked {
    /// Whose it was.
    pub client: String,
    /// Its public name.
    pub kid: String,
    /// Since when.
    pub revoked_at: Timestamp,
    /// The running revision without it.
    pub revision: String,
}

/// A public key to register.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddJwk {
    /// The key as a JSON Web Key, as text. Without `kid` it is called by its thumbprint.
    pub jwk: String,
}

/// A public key of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientPublicKey {
    /// Whose it is.
    pub client: String,
    /// What the client calls it.
    pub kid: String,
    /// What the ledger calls it.
    pub id: String,
    /// The algorithms it is for.
    pub algorithms: Vec<String>,
    /// When it, or a token it got, was last used.
    pub last_used_at: Option<Timestamp>,
}

/// Which public key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveJwk {
    /// What the client calls it.
    pub kid: String,
}

/// A public key was removed for good, with every token it got.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct JwkRemoved {
    /// Whose it was.
    pub client: String,
    /// What the client called it.
    pub kid: String,
    /// What the ledger calls it.
    pub id: String,
    /// The running revision without it.
    pub revision: String,
}
