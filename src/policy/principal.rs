//! The authenticated client of one call. Never built from anything a client says about itself: only authentication makes one.

use std::sync::Arc;

use super::scopes::Scopes;
use crate::base::clock::Timestamp;

/// Who calls.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The client's name in the configuration (for a canary: the name it takes on).
    pub client: Arc<str>,
    /// Id of the credential it showed; with a token: of the one the token was issued for.
    pub kid: Arc<str>,
    /// The token it showed; none for a key.
    pub token: Option<Arc<Token>>,
    /// Set for the single-use principal of a proof, which is stopped for good before anything is sent upstream.
    pub canary: Option<Canary>,
}

/// A token that was checked: signature, issuer and audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub jti: Arc<str>,
    /// Who issued it.
    pub issuer: Issuer,
    /// When.
    pub issued_at: Timestamp,
    /// Until when it counts.
    pub expires_at: Timestamp,
    /// What it may be used for at most.
    pub scopes: Scopes,
}

/// Who issued a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// This instance, by this key.
    Own {
        /// The key's name.
        key: Arc<str>,
    },
    /// An issuer of the settings.
    External(Arc<Foreign>),
}

/// What let a token of an issuer elsewhere in. It counts only while all of it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The issuer's name in the settings.
    pub name: String,
    /// Its identifier: another one under that name is another issuer.
    pub issuer: String,
    /// The claim that named the client.
    pub claim: String,
    /// What the claim said.
    pub value: String,
    /// The thumbprint of the key that signed.
    pub key: Arc<str>,
}

/// What a proof calls as (docs/ARCHITECTURE.md).
#[derive(Clone, Debug)]
pub struct Canary {
    /// The class its call counts as.
    pub class: crate::config::Class,
    /// The key, secret or token-signing key it stands for, by kid: it is let in only while that counts. None for the proof of a kill.
    pub stands_for: Option<Arc<str>>,
}

impl Canary {
    /// What the ledger calls its request.
    pub fn action(&self) -> &'static str {
        if self.stands_for.is_some() { "credential.canary" } else { "kill.canary" }
    }
}
