//! Who performs a verb: an operator with a role, or the local account on the control socket. Never a client, but for the one rotation of its own key that its
//! file lets it ask for.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, FaultKind, Verb};

/// Roles of operators (docs/ARCHITECTURE.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperatorRole {
    /// Reads.
    Viewer,
    /// Reads and exports.
    Auditor,
    /// Also engages the kill, acknowledges, runs, rotates and revokes.
    Operator,
    /// Also releases, and changes servers, clients, roles, operators and settings.
    Admin,
}

/// What a verb asks of its actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Every role.
    Read,
    /// Auditor and admin.
    Export,
    /// Operator and admin.
    Operate,
    /// Admin only.
    Administer,
}

impl OperatorRole {
    /// Every role, from least to most.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Auditor, Self::Operator, Self::Admin];

    /// The word in JSON, pages and commands.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Whether the role has a right.
    pub fn has(self, right: Right) -> bool {
        match right {
            Right::Read => true,
            Right::Export => matches!(self, Self::Auditor | Self::Admin),
            Right::Operate => matches!(self, Self::Operator | Self::Admin),
            Right::Administer => self == Self::Admin,
        }
    }

    /// Whether the role has no right that `bound` lacks.
    pub fn fits(self, bound: Self) -> bool {
        [Right::Read, Right::Export, Right::Operate, Right::Administer]
            .into_iter()
            .all(|right| bound.has(right) || !self.has(right))
    }

    /// The role as far as `bound` allows it; viewer where neither holds the other.
    #[must_use]
    pub fn within(self, bound: Self) -> Self {
        match (self.fits(bound), bound.fits(self)) {
            (true, _) => self,
            (false, true) => bound,
            (false, false) => Self::Viewer,
        }
    }
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for OperatorRole {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let found = Self::ALL.into_iter().find(|role| role.word() == text);
        found.ok_or_else(|| Fault::invalid("role", "a role is viewer, auditor, operator or admin"))
    }
}

/// The way a verb was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A signed-in browser.
    Dashboard,
    /// An operator API key.
    Api,
    /// The control socket: the local account is the authority.
    Socket,
    /// The `KILL` file, a signal, a job.
    System,
}

/// Who performs a verb.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Operator name, `local:NAME`, `client:NAME`, `file` or `signal`.
    pub name: String,
    /// What it may do.
    pub role: OperatorRole,
    /// The way in.
    pub via: Via,
    /// When the operator last gave a password, in the dashboard.
    pub login_at: Option<Timestamp>,
}

/// How long a login counts as fresh for dangerous verbs.
pub const FRESH_LOGIN_MS: i64 = 5 * 60 * 1000;

impl Actor {
    /// The local account behind the control socket.
    pub fn local(account: &str) -> Self {
        Self { name: format!("local:{account}"), role: OperatorRole::Admin, via: Via::Socket, login_at: None }
    }

    /// Lifeboat itself, acting for a file, a signal or a job.
    pub fn system(name: &str) -> Self {
        Self { name: name.to_owned(), role: OperatorRole::Admin, via: Via::System, login_at: None }
    }

    /// A client that asks for the successor of its own key. The right is what that verb needs; nothing else is done as this.
    pub fn client(name: &str) -> Self {
        Self { name: format!("client:{name}"), role: OperatorRole::Operator, via: Via::System, login_at: None }
    }

    /// Checks a right.
    ///
    /// # Errors
    /// `Denied`, naming the verb and the role it needs.
    pub fn need(&self, right: Right, verb: &str) -> Verb<()> {
        if self.role.has(right) {
            return Ok(());
        }
        let needs = match right {
            Right::Read => "viewer",
            Right::Export => "auditor or admin",
            Right::Operate => "operator or admin",
            Right::Administer => "admin",
        };
        Err(Fault::denied(format!("{verb} needs role {needs}. You are signed in as {}, {}", self.name, self.role)))
    }

    /// Checks that a dashboard login is of the last five minutes; other ways in have no login to age. For verbs that give, start again or
    /// delete for good (docs/SECURITY.md, "Fresh logins"); what stops or takes away never asks.
    ///
    /// # Errors
    /// `Stale`, saying how old the login is.
    pub fn need_fresh_login(&self, now: Timestamp) -> Verb<()> {
        if self.is_fresh(now) {
            return Ok(());
        }
        let sentence = match self.login_at {
            Some(at) => format!("Your login is {} minutes old. Sign in again", now.since_ms(at).max(0) / 60_000),
            None => "Sign in again".to_owned(),
        };
        Err(Fault::new(FaultKind::Stale, sentence))
    }

    /// As `need_fresh_login`, and no API key will do: for verbs that open a new way in, start new code on this host, or let somebody else
    /// read archives. A stolen key must not outlive its end.
    ///
    /// # Errors
    /// `Denied` for a key, naming the verb; `Stale`.
    pub fn need_person(&self, verb: &str, now: Timestamp) -> Verb<()> {
        if self.via == Via::Api {
            return Err(Fault::denied(format!(
                "{verb} is nothing an API key may do. Use the dashboard, or the command on the host"
            )));
        }
        self.need_fresh_login(now)
    }

    /// Whether `need_fresh_login` would let this actor pass.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        // A clock that was set back makes no login of the future fresh for longer.
        let fresh = |at: Timestamp| (0..=FRESH_LOGIN_MS).contains(&now.since_ms(at));
        self.via != Via::Dashboard || self.login_at.is_some_and(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_is_wide_and_starting_is_narrow() {
        let can = |right| OperatorRole::ALL.map(|role| role.has(right));
        assert_eq!(can(Right::Read), [true; 4]);
        assert_eq!(can(Right::Export), [false, true, false, true]);
        assert_eq!(can(Right::Operate), [false, false, true, true]);
        assert_eq!(can(Right::Administer), [false, false, false, true]);
    }

    #[test]
    fn atk_a11_only_a_dashboard_login_ages() {
        let mut actor = Actor { name: "ana".into(), role: OperatorRole::Admin, via: Via::Dashboard, login_at: Some(Timestamp(0)) };
        assert!(actor.need_fresh_login(Timestamp(FRESH_LOGIN_MS)).is_ok());
        assert!(actor.need_fresh_login(Timestamp(FRESH_LOGIN_MS + 1)).is_err());
        assert_eq!(actor.need_person("x", Timestamp(FRESH_LOGIN_MS + 1)).unwrap_err().kind, FaultKind::Stale);
        actor.via = Via::Api;
        assert!(actor.need_fresh_login(Timestamp(i64::MAX)).is_ok());
        assert_eq!(actor.need_person("x", Timestamp(0)).unwrap_err().kind, FaultKind::Denied, "no key is a person");
        actor.via = Via::Socket;
        assert!(actor.need_person("x", Timestamp(i64::MAX)).is_ok());
    }

    #[test]
    fn atk_a10_a_role_within_another_has_no_right_that_the_other_lacks() {
        for role in OperatorRole::ALL {
            for bound in OperatorRole::ALL {
                let both = role.within(bound);
                for right in [Right::Read, Right::Export, Right::Operate, Right::Administer] {
                    assert!(!both.has(right) || (role.has(right) && bound.has(right)), "{role} within {bound} is {both}");
                }
                assert!(both == role || !role.fits(bound), "{role} fits {bound} and stays");
            }
        }
        assert!(OperatorRole::Auditor.fits(OperatorRole::Admin) && !OperatorRole::Auditor.fits(OperatorRole::Operator));
    }
}
