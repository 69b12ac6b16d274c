//! The ways to a server.

pub mod stdio;
