//! Evidence: one append-only ledger of audit events with a hash chain and signed checkpoints. Never decides, never forgets in silence.

pub mod event;
pub mod recorder;
pub mod strangers;

pub use event::Event;
pub use recorder::{Durability, LedgerUnavailable, Recorded, Recorder};
