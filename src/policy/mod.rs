//! Who may do what, decided from memory. Pure but for `feed`, the door between the planes. Never does I/O, never asks a database.

pub mod asks;
pub mod decide;
pub mod ended;
pub mod feed;
pub mod guests;
pub mod kill;
pub mod listener;
pub mod lookalike;
pub mod places;
pub mod principal;
pub mod quiet;
pub mod scopes;
pub mod snapshot;
pub mod tokens;
pub mod uses;

pub use decide::{Asked, Decision, decide};
pub use kill::{KillEntry, KillOverlay, Mode, Scope};
pub use lookalike::Alike;
pub use principal::{Principal, Token};
pub use scopes::Scopes;
pub use snapshot::Snapshot;
pub use tokens::Tokens;
