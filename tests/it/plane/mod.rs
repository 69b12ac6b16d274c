//! The proxy plane alone, as a client meets it: real TLS, real HTTP, a scripted server behind it, a ledger that is read back.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may")]

mod arguments;
mod calls;
mod given_up;
mod kill;
mod listen;
mod lists;
mod own_child;
mod questions;
mod resume;
mod rig;
mod scripted;
mod secrets;
mod sessions;
mod strangers;
mod tasks;
