//! The state machine of a rotation, pure: from a row, what was seen, and the time, to what is done next. The row is written before anything is done and
//! after each step, so whatever dies goes on here. Never acts, and never reads a clock.

pub mod drain;
mod order;
#[cfg(test)]
mod tests;

pub use drain::{Drain, Place, Verdict};
pub use order::{Order, Ordered, order};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::Rotation;
use crate::base::clock::Timestamp;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;

/// How long the proof that the new version works counts before it must be promoted.
pub const FRESH_MS: i64 = MINUTE_MS;
/// Failures of one step with the same new secret, after which another one is minted: it may be the secret itself that is not taken.
pub const SAME_SECRET: u32 = 3;
/// How soon it is tried again, by the number of failures; the last one for ever.
const BACK_OFF_MS: [i64; 6] = [2 * SECOND_MS, 10 * SECOND_MS, 30 * SECOND_MS, 2 * MINUTE_MS, 10 * MINUTE_MS, 30 * MINUTE_MS];
/// How soon what waits for somebody is looked at again, in case they acted elsewhere.
const LOOK_AGAIN_MS: i64 = 30 * SECOND_MS;

/// Where a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RotationState")]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing was done.
    Planned,
    /// The new secret exists, sealed; nobody has it and nothing accepts it.
    Minted,
    /// Both are accepted.
    Installed,
    /// The new one did real work.
    Verified,
    /// The new one is the current one.
    Promoted,
    /// Both are accepted until nobody shows the old one.
    Draining,
    /// The old one is no longer accepted.
    Retired,
    /// The old one could not be ended; it is tried until it is.
    RetireFailed,
    /// New accepted, old rejected: both were seen.
    Proved,
    /// Over.
    Done,
    /// Given up before anything accepted the new one.
    Cancelled,
    /// Given up; the old one is the current one.
    RolledBack,
}

/// What leads from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Planned to minted.
    Mint,
    /// Minted to installed.
    Install,
    /// Installed to verified.
    Verify,
    /// Verified to promoted.
    Promote,
    /// Promoted to draining.
    Drain,
    /// Draining to retired.
    Retire,
    /// Retired to proved.
    Prove,
    /// Proved to done.
    Finish,
}

/// Why an open rotation does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RotationHold")]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// An operator paused it.
    Paused,
    /// Somebody must do something.
    Waiting,
    /// Its last step failed; it is tried again.
    Failed,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It may work later.
    Transient,
    /// It will not work unless somebody changes something.
    Permanent,
}

impl State {
    /// Every state, in order.
    pub const ALL: [Self; 12] = [
        Self::Planned,
        Self::Minted,
        Self::Installed,
        Self::Verified,
        Self::Promoted,
        Self::Draining,
        Self::Retired,
        Self::RetireFailed,
        Self::Proved,
        Self::Done,
        Self::Cancelled,
        Self::RolledBack,
    ];

    /// The word in the database, JSON and commands.
    pub fn word(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Minted => "minted",
            Self::Installed => "installed",
            Self::Verified => "verified",
            Self::Promoted => "promoted",
            Self::Draining => "draining",
            Self::Retired => "retired",
            Self::RetireFailed => "retire_failed",
            Self::Proved => "proved",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled_back",
        }
    }

    /// The state of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether nothing comes after it.
    pub fn is_over(self) -> bool {
        self.step().is_none()
    }

    /// What leads on from it.
    pub fn step(self) -> Option<Step> {
        Some(match self {
            Self::Planned => Step::Mint,
            Self::Minted => Step::Install,
            Self::Installed => Step::Verify,
            Self::Verified => Step::Promote,
            Self::Promoted => Step::Drain,
            Self::Draining | Self::RetireFailed => Step::Retire,
            Self::Retired => Step::Prove,
            Self::Proved => Step::Finish,
            Self::Done | Self::Cancelled | Self::RolledBack => return None,
        })
    }
}

impl Step {
    /// The word in the database and in evidence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Install => "install",
            Self::Verify => "verify",
            Self::Promote => "promote",
            Self::Drain => "drain",
            Self::Retire => "retire",
            Self::Prove => "prove",
            Self::Finish => "finish",
        }
    }

    /// Where it leads.
    pub fn leads_to(self) -> State {
        match self {
            Self::Mint => State::Minted,
            Self::Install => State::Installed,
            Self::Verify => State::Verified,
            Self::Promote => State::Promoted,
            Self::Drain => State::Draining,
            Self::Retire => State::Retired,
            Self::Prove => State::Proved,
            Self::Finish => State::Done,
        }
    }
}

impl Hold {
    /// The word in the database and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }

    /// The hold of a word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Paused, Self::Waiting, Self::Failed].into_iter().find(|hold| hold.word() == word)
    }
}

/// What to look at next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    /// Nothing: it is over, or an operator paused it.
    Nothing,
    /// Nothing before then.
    Later(Timestamp),
    /// Whether this step holds already.
    Look(Step),
}

/// What a row asks for now.
pub fn todo(row: &Rotation, now: Timestamp) -> Todo {
    let Some(step) = row.state.step().filter(|_| row.hold != Some(Hold::Paused)) else { return Todo::Nothing };
    match row.next_try_at.filter(|at| *at > now) {
        Some(at) => Todo::Later(at),
        // A clock that was set back far must not hold it up for ever: the row's own time says how long it may.
        None if step == Step::Promote && !is_fresh(row, now) => Todo::Look(Step::Verify),
        None => Todo::Look(step),
    }
}

/// Whether the new version was seen at work a moment ago.
pub fn is_fresh(row: &Rotation, now: Timestamp) -> bool {
    row.verified_at.is_some_and(|at| (0..FRESH_MS).contains(&now.since_ms(at)))
}

/// What a driver sees of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// It was done already.
    Holds(Value),
    /// It was not.
    Not,
    /// Somebody else must do it.
    Waits(String),
    /// It was not, and before then it must not be: why, in a sentence. Nobody has to do anything.
    NotBefore(Timestamp, String),
}

/// What is done about a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// It holds: the state after it is entered.
    Enter(Value),
    /// It is done now, and looked at again.
    Do,
    /// Somebody is waited for; it is looked at again then.
    Wait(String, Timestamp),
    /// It is not time yet.
    Later(Timestamp),
    /// It is not time yet, and why is worth saying.
    Rest(String, Timestamp),
}

/// From what was seen to what is done.
pub fn act(step: Step, seen: Seen, drain: Option<&Verdict>, now: Timestamp) -> Act {
    let again = now.plus_ms(LOOK_AGAIN_MS);
    match (seen, drain) {
        (Seen::Holds(evidence), _) => Act::Enter(evidence),
        (Seen::Waits(what), _) => Act::Wait(what, again),
        // A moment that is there already holds nothing up: the driver would have said `Not`, and a clock that was moved must not make a circle.
        (Seen::NotBefore(at, why), _) => Act::Rest(why, at.max(now.plus_ms(1))),
        // The old one ends only by this verdict (I4).
        (Seen::Not, None) if step == Step::Retire => Act::Wait("nobody knows yet who uses the old one".to_owned(), again),
        (Seen::Not, Some(Verdict::Going(until))) if step == Step::Retire => Act::Later(*until),
        (Seen::Not, Some(Verdict::Ended(who))) if step == Step::Retire => Act::Wait(who.clone(), again),
        (Seen::Not, _) => Act::Do,
    }
}

/// What becomes of a row whose step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Where it is then.
    pub state: State,
    /// Why it does not go on at once.
    pub hold: Hold,
    /// Failures so far.
    pub attempt: u32,
    /// When it is tried again.
    pub next_try_at: Option<Timestamp>,
    /// Whether the new secret is thrown away.
    pub discard: bool,
}

/// From a failure to what becomes of the row; `acted` says whether something was done before it failed.
pub fn failed(row: &Rotation, (step, acted): (Step, bool), class: Class, now: Timestamp) -> Failed {
    let attempt = row.attempt.saturating_add(1);
    let again = Some(now.plus_ms(back_off(attempt)));
    let stays = Failed { state: row.state, hold: Hold::Failed, attempt, next_try_at: again, discard: false };
    match (step, class) {
        // It must end, whatever it takes: tried for ever, and never called done.
        (Step::Retire, _) if acted || row.state == State::RetireFailed => Failed { state: State::RetireFailed, ..stays },
        (_, Class::Permanent) => Failed { hold: Hold::Waiting, next_try_at: None, ..stays },
        (Step::Install, Class::Transient) if attempt >= SAME_SECRET => {
            Failed { state: State::Planned, attempt: 0, discard: true, ..stays }
        }
        _ => stays,
    }
}

fn back_off(attempt: u32) -> i64 {
    let place = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX).min(BACK_OFF_MS.len() - 1);
    BACK_OFF_MS.get(place).copied().unwrap_or(MINUTE_MS)
}
