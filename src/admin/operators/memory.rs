//! Operators, sessions and keys in memory: what answers each request, so that a locked database never stands between an operator and
//! the stop button. The database is written beside it and read at start.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::throttle::Throttle;
use crate::admin::actor::OperatorRole;
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

/// A session ends when nothing came for so long.
pub const IDLE_MS: i64 = 30 * 60_000;
/// And in any case after so long.
pub const ABSOLUTE_MS: i64 = 12 * 3_600_000;

/// One operator.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its role.
    pub role: OperatorRole,
    /// The password's hash.
    pub password_phc: String,
    /// Since when it may not sign in.
    pub disabled_at: Option<Timestamp>,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// Its second factor, once it was confirmed.
    pub second: Option<Second>,
}

/// The second factor of an operator.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// The authenticator's secret, sealed with the instance key.
    pub sealed: Vec<u8>,
    /// Since when it counts.
    pub confirmed_at: Timestamp,
    /// The last step whose code counted: neither it nor an earlier one counts again.
    pub last_step: i64,
    /// Whether `last_step` is newer than the database's.
    pub step_since: bool,
    /// SHA-256 of the recovery codes that nobody used yet.
    pub recovery: Vec<[u8; 32]>,
    /// Wrong codes after a right password since the last sign-in: somebody may have the password.
    pub wrong: u32,
}

/// A secret that was shown and not confirmed yet. Never stored.
#[derive(Clone, Debug)]
pub struct Pending {
    /// It.
    pub secret: Secret<Vec<u8>>,
    /// When it was shown.
    pub at: Timestamp,
}

/// What of an account a password was compared with. Comparing takes a while: what it opens is opened only while all of it still stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Who.
    pub operator: String,
    /// The hash.
    pub password_phc: String,
    /// The sealed secret of the second factor.
    pub second: Option<Vec<u8>>,
}

impl Account {
    /// What a password is compared with now; nothing where nobody may sign in.
    pub fn to_check(&self, operator: &str) -> Option<Checked> {
        let second = self.second.as_ref().map(|second| second.sealed.clone());
        let checked = Checked { operator: operator.to_owned(), password_phc: self.password_phc.clone(), second };
        self.disabled_at.is_none().then_some(checked)
    }
}

/// A sign-in whose password was right and whose code is still due. Never stored.
#[derive(Clone, Debug)]
pub struct Half {
    /// Who, and what the password was compared with.
    pub checked: Checked,
    /// When the password was given.
    pub at: Timestamp,
    /// Where to go afterwards.
    pub next: String,
    /// Codes that were wrong.
    pub wrong: u32,
}

/// One session.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Who.
    pub operator: String,
    /// When it began.
    pub created_at: Timestamp,
    /// The last request.
    pub last_seen: Timestamp,
    /// When the password was last given.
    pub login_at: Timestamp,
    /// From where.
    pub remote: String,
    /// With what.
    pub agent: String,
    /// What the next page says once.
    pub flash: Option<String>,
    /// A reason that was typed and not used yet.
    pub draft: Option<String>,
    /// Whether `last_seen` is newer than the database's.
    pub seen_since: bool,
    /// A second factor that is being set up in it.
    pub pending: Option<Pending>,
}

impl Session {
    /// Whether it still counts.
    pub fn lives(&self, now: Timestamp) -> bool {
        now.since_ms(self.last_seen) <= IDLE_MS && now.since_ms(self.created_at) <= ABSOLUTE_MS
    }
}

/// One key.
#[derive(Clone, Debug, Default)]
pub struct HeldKey {
    /// Whose it is.
    pub operator: String,
    /// What it may do, as far as its operator may; its operator's role when there is none.
    pub role: Option<OperatorRole>,
    /// SHA-256 of its text.
    pub hash: [u8; 32],
    /// When it was minted.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last shown.
    pub last_used: Option<Timestamp>,
    /// Whether `last_used` is newer than the database's.
    pub used_since: bool,
}

/// Everything, as it was read.
#[derive(Debug, Default)]
pub struct State {
    /// By name.
    pub accounts: BTreeMap<String, Account>,
    /// By the hash of the cookie's value.
    pub sessions: HashMap<[u8; 32], Session>,
    /// By kid.
    pub keys: BTreeMap<String, HeldKey>,
    /// By the hash of the cookie's value.
    pub halves: HashMap<[u8; 32], Half>,
}

impl State {
    /// Admins that may sign in.
    pub fn admins(&self) -> Vec<String> {
        let may = self.accounts.iter().filter(|(_, a)| a.role == OperatorRole::Admin && a.disabled_at.is_none());
        may.map(|(name, _)| name.clone()).collect()
    }

    /// What a password of this operator is compared with now.
    pub fn to_check(&self, operator: &str) -> Option<Checked> {
        self.accounts.get(operator)?.to_check(operator)
    }

    /// Whether what was compared still stands: no other password or second factor since, and not disabled.
    pub fn stands(&self, checked: &Checked) -> bool {
        self.to_check(&checked.operator).as_ref() == Some(checked)
    }

    /// Ends the keys of an operator. Gives which ended.
    pub fn end_keys(&mut self, operator: &str, now: Timestamp) -> Vec<String> {
        let running = self.keys.iter_mut().filter(|(_, key)| key.operator == operator && key.revoked_at.is_none());
        let ended = running.map(|(kid, key)| {
            key.revoked_at = Some(now);
            kid.clone()
        });
        ended.collect()
    }

    /// Ends the sessions of an operator but one, and every sign-in of it that is half done. Gives what ended.
    pub fn end_sessions(&mut self, operator: &str, but: Option<[u8; 32]>) -> Vec<[u8; 32]> {
        self.halves.retain(|_, half| half.checked.operator != operator);
        let over = |(id, session): (&[u8; 32], &Session)| (session.operator == operator && Some(*id) != but).then_some(*id);
        let over: Vec<[u8; 32]> = self.sessions.iter().filter_map(over).collect();
        for id in &over {
            self.sessions.remove(id);
        }
        over
    }
}

/// The operators' memory. One per process, in `Admin`.
pub struct Operators {
    state: Mutex<State>,
    throttle: Mutex<Throttle>,
    codes: Mutex<Throttle>,
    /// Held by whoever changes a password, a second factor, a role or who may sign in, in the database and here: so both say the same, and a
    /// session that such a change has ended makes none of its own.
    pub changes: tokio::sync::Mutex<()>,
    /// Why the database could not be read at start.
    pub unread: Option<String>,
}

// A poisoned lock only means that another thread panicked between two assignments; stopping must go on.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Operators {
    /// The memory with what was read.
    pub fn new(state: State, unread: Option<String>) -> Self {
        let (mut throttle, mut codes) = (Throttle::default(), Throttle::of_codes());
        for session in state.sessions.values() {
            if let Ok(remote) = session.remote.parse() {
                throttle.succeeded(&session.operator, remote);
                codes.succeeded(&session.operator, remote);
            }
        }
        Self {
            state: Mutex::new(state),
            throttle: Mutex::new(throttle),
            codes: Mutex::new(codes),
            changes: tokio::sync::Mutex::default(),
            unread,
        }
    }

    /// The state, for one short look or change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// The throttle of passwords, for one short look or change.
    pub fn throttle(&self) -> MutexGuard<'_, Throttle> {
        locked(&self.throttle)
    }

    /// The throttle of codes, which only somebody with the password may try.
    pub fn codes(&self) -> MutexGuard<'_, Throttle> {
        locked(&self.codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atk_a04_a_session_ends_when_idle_and_in_any_case() {
        let session = Session { created_at: Timestamp(0), last_seen: Timestamp(0), ..Session::default() };
        assert!(session.lives(Timestamp(IDLE_MS)) && !session.lives(Timestamp(IDLE_MS + 1)));
        let busy = Session { last_seen: Timestamp(ABSOLUTE_MS), ..session };
        assert!(busy.lives(Timestamp(ABSOLUTE_MS)) && !busy.lives(Timestamp(ABSOLUTE_MS + 1)));
    }
}
