//! What an operator may order of an open rotation, and where it leads. Pure.

use super::{Hold, State};
use crate::admin::credentials::model::Rotation;
use crate::base::clock::Timestamp;

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing is done until it is resumed.
    Pause,
    /// It goes on, at once.
    Resume,
    /// It is given up before anything accepts the new one.
    Cancel,
    /// It is given up while the old one still counts.
    RollBack,
    /// Both count for so many milliseconds more.
    Extend(i64),
    /// The old one ends now.
    Retire,
}

/// Where an order leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// It does not go on.
    Held,
    /// It goes on.
    Freed,
    /// The new secret is thrown away.
    Cancelled,
    /// The new one is taken back first.
    Undone,
    /// The overlap ends then.
    Until(Timestamp),
    /// The overlap ends then, whoever still uses the old one.
    Forced(Timestamp),
}

impl Order {
    /// The word in the ledger and in evidence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::RollBack => "rollback",
            Self::Extend(_) => "extend",
            Self::Retire => "retire",
        }
    }
}

/// Whether an order can be followed, and where it leads.
///
/// # Errors
/// A sentence that says why not, and what works instead.
pub fn order(row: &Rotation, order: Order, now: Timestamp) -> Result<Ordered, String> {
    use State::{Draining, Installed, Minted, Planned, Promoted, RetireFailed, Verified};
    if row.state.is_over() {
        return Err(format!("this rotation is over: {}", row.state.word().replace('_', " ")));
    }
    let overlaps = matches!(row.state, Promoted | Draining);
    match order {
        Order::Pause if row.hold == Some(Hold::Paused) => Err("it is paused already".to_owned()),
        Order::Pause => Ok(Ordered::Held),
        Order::Resume if row.hold.is_none() => Err("it is not held up".to_owned()),
        Order::Resume => Ok(Ordered::Freed),
        Order::Cancel if matches!(row.state, Planned | Minted) => Ok(Ordered::Cancelled),
        Order::Cancel => Err("it is past the step in which nothing can accept the new one: roll back instead".to_owned()),
        Order::RollBack if matches!(row.state, Planned | Minted) => {
            Err("nothing accepts the new one yet: cancel instead".to_owned())
        }
        Order::RollBack if overlaps || matches!(row.state, Installed | Verified) => Ok(Ordered::Undone),
        Order::RollBack => Err("the old one has ended, so there is nothing to go back to".to_owned()),
        Order::Extend(ms) if overlaps => Ok(Ordered::Until(row.overlap_until.unwrap_or(now).max(now).plus_ms(ms))),
        Order::Extend(_) => Err("there is no overlap now that could last longer".to_owned()),
        Order::Retire if overlaps || row.state == RetireFailed => Ok(Ordered::Forced(now)),
        Order::Retire => Err("the new one has not been seen at work yet, so the old one stays".to_owned()),
    }
}
