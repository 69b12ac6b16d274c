//! The proxy plane alone, as a client meets it: real TLS, real HTTP, a scripted server behind it, a ledger that is read back.

mod calls;
mod kill;
mod rig;
mod sessions;
mod strangers;
