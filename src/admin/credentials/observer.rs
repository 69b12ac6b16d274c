//! Whoever watches a rotation step by step: nobody, or a test that plays a process which dies at one of the moments. Never changes what a step does.

use super::machine::{State, Step};

/// A moment in the life of a rotation, for whoever watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// A side effect is about to happen.
    Before(Step),
    /// It happened, and nobody wrote it down yet.
    After(Step),
    /// The row says so.
    Written(State),
}

/// Watches a rotation; may have it stop as a process does that dies.
pub(super) trait Observer: Send + Sync {
    /// Whether it goes on.
    fn goes_on(&self, point: Point) -> bool;
}

/// Watches nothing.
pub(super) struct Unobserved;

impl Observer for Unobserved {
    fn goes_on(&self, _: Point) -> bool {
        true
    }
}
