//! Evidence: one append-only ledger of audit events with a hash chain and signed checkpoints. Never decides, never forgets in silence.

pub mod begin;
mod block;
pub mod bound;
pub mod chain;
pub mod checkpoint;
pub mod courier;
pub mod disk;
pub mod event;
pub mod index;
pub mod keep;
pub mod ledger;
pub mod log;
pub mod query;
pub mod recorder;
pub mod reserve;
pub mod scan;
pub mod segment;
pub mod state;
mod store;
pub mod strangers;
pub mod tail;
#[cfg(test)]
mod tests;
mod upkeep;
pub mod verify;
pub mod writer;

pub use checkpoint::{Checkpoint, CheckpointSink, PublicKey, Signer, load_or_create_key};
pub use event::Event;
pub use ledger::{Ledger, Opening};
pub use query::{Bucket, Filter, Page, ReasonCount, Totals};
pub use recorder::{Durability, LedgerUnavailable, Recorded, Recorder};
pub use state::{GroupStats, LedgerState};
pub use tail::{Tail, Tailed};
pub use verify::Report;
