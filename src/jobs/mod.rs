//! The engine of scheduled work: which slot is due is read off a table, never off a timer. A slot is worked on once, whatever the clock does; what
//! was missed is caught up with one run; one job runs at a time. Knows no noun.

mod decide;
mod driver;
mod store;

use std::pin::Pin;

use crate::base::fault::Verb;
use crate::config::schedules::Slots;

pub use decide::{Due, decide};
pub use driver::drive;
pub use store::{Occurrence, STATEMENTS, begun, last, newest};

/// Work that is done by itself.
pub trait Job: Send + Sync {
    /// A stable name.
    fn name(&self) -> &'static str;

    /// When; `None` while it is paused or its schedule cannot be read.
    fn slots(&self) -> Option<Slots>;

    /// How late it may begin, in milliseconds: a slot that is older is skipped.
    fn grace_ms(&self) -> i64;

    /// Does it; the sentence is kept with the slot.
    fn run(&self) -> Pin<Box<dyn Future<Output = Verb<String>> + Send + '_>>;
}
