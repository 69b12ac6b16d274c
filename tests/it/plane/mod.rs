//! The proxy plane alone, as a client meets it: real TLS, real HTTP, a scripted server behind it, a ledger that is read back.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may")]

mod arguments;
mod calls;
mod kill;
mod rig;
mod sessions;
mod strangers;
