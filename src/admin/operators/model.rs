//! Operators in words, as commands, API and pages print them. The text of a key is in one answer only: the one that minted it.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::actor::OperatorRole;
use crate::base::clock::Timestamp;
use crate::base::fault::Fault;
use crate::base::secret::Secret;

/// An operator to add.
#[derive(Debug)]
pub struct AddOperator {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: OperatorRole,
    /// Its password, 12 characters or more.
    pub password: Secret<String>,
}

/// One operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Operator {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: OperatorRole,
    /// Since when it may not sign in.
    pub disabled_at: Option<Timestamp>,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// When it was last seen in the dashboard, by sessions that still are.
    pub last_seen: Option<Timestamp>,
}

/// Every operator.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OperatorList {
    /// By name.
    pub operators: Vec<Operator>,
}

/// A key was minted; the only time it is shown (docs/CONTRACT.md, `operator key add`).
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct KeyAdded {
    /// Whose it is.
    pub operator: String,
    /// Its public name.
    pub kid: String,
    /// The key.
    pub key: String,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// One operator key, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorKey {
    /// Its public name.
    pub kid: String,
    /// Whose it is.
    pub operator: String,
    /// When it was minted.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last shown, to the minute.
    pub last_used: Option<Timestamp>,
}

/// Keys, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeyList {
    /// The keys.
    pub keys: Vec<OperatorKey>,
}

/// Where somebody signs in from.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Address of the browser.
    pub remote: IpAddr,
    /// `User-Agent`.
    pub agent: String,
}

/// A new session.
#[derive(Debug)]
pub struct SignedIn {
    /// Who.
    pub operator: String,
    /// The value of the cookie.
    pub token: Secret<String>,
}

/// Why somebody is not signed in.
#[derive(Debug)]
pub enum NotSignedIn {
    /// Unknown, disabled or the password is wrong: nobody learns which.
    Wrong,
    /// Too many tries; the next one counts after so many seconds.
    Later(u64),
    /// Something does not answer.
    Fault(Fault),
}

impl From<Fault> for NotSignedIn {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
