//! Tokens in words, exactly as commands and API print them. Never holds a private key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;

/// A key that signs tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenKey {
    /// Its public name, as in the head of tokens and in `/oauth/jwks`.
    pub kid: String,
    /// `next`: published, does not sign yet. `current`: signs. `previous`: its tokens count still. `retired`: nothing of it counts.
    pub state: String,
    /// When it was made and published.
    pub created_at: Timestamp,
    /// When it may sign: everybody who keeps the published keys has seen it by then.
    pub activates_at: Timestamp,
    /// Since when it signs, or signed.
    pub activated_at: Option<Timestamp>,
    /// When another took its place.
    pub replaced_at: Option<Timestamp>,
    /// When its last token expires; none when it signed none.
    pub last_expiry: Option<Timestamp>,
    /// When it was retired.
    pub retired_at: Option<Timestamp>,
}

/// Every key that signs tokens, and what was cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenKeys {
    /// Newest first.
    pub keys: Vec<TokenKey>,
    /// Tokens issued before a moment are over.
    pub cuts: Vec<TokenCut>,
}

/// Every token that was issued before a moment is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCut {
    /// Whose; null for everybody's.
    pub client: Option<String>,
    /// Issued before.
    pub before: Timestamp,
}

/// Ends tokens at once.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutOrder {
    /// Whose tokens; everybody's when it is not given.
    #[serde(default)]
    pub client: Option<String>,
    /// Why, for the ledger.
    #[serde(default)]
    pub reason: Option<String>,
}
