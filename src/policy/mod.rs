//! Who may do what, decided from memory. Pure but for `feed`, the door between the planes. Never does I/O, never asks a database.

pub mod cuts;
pub mod decide;
pub mod feed;
pub mod guests;
pub mod kill;
pub mod lookalike;
pub mod places;
pub mod principal;
pub mod quiet;
pub mod snapshot;
pub mod uses;

pub use decide::{Asked, Decision, decide};
pub use kill::{KillEntry, KillOverlay, Mode, Scope};
pub use lookalike::Alike;
pub use principal::Principal;
pub use snapshot::Snapshot;
