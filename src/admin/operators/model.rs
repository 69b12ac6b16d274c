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
    /// Since when it signs in with a second factor.
    pub totp_since: Option<Timestamp>,
    /// Recovery codes that nobody used yet.
    pub recovery_codes: usize,
}

/// One session of the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorSession {
    /// Its public name; the cookie cannot be told from it.
    pub session: String,
    /// Whose it is.
    pub operator: String,
    /// When it began.
    pub created_at: Timestamp,
    /// The last request.
    pub last_seen: Timestamp,
    /// When the password was last given.
    pub login_at: Timestamp,
    /// The address it began from.
    pub remote: String,
    /// What the browser called itself.
    pub agent: String,
}

/// Sessions, the last seen first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionList {
    /// The sessions.
    pub sessions: Vec<OperatorSession>,
}

/// Sessions that were ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsEnded {
    /// How many.
    pub ended: usize,
}

/// A key to make.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddKey {
    /// What it may do; its operator's role when there is none.
    pub role: Option<OperatorRole>,
    /// Days until it stops counting; 90 when there is none.
    pub expires_days: Option<u32>,
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
    /// What it may do now: what it was made with, as far as its operator may.
    pub role: OperatorRole,
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
    /// Unknown, disabled or the password is wrong: nobody learns which. After a right password: the code is.
    Wrong,
    /// Too many tries; the next one counts after so many seconds.
    Later(u64),
    /// The password is right and a code is still due: the value of the cookie of the first step.
    Code(Secret<String>),
    /// The first step is too long ago, or was never done.
    Over,
    /// Something does not answer.
    Fault(Fault),
}

impl From<Fault> for NotSignedIn {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
