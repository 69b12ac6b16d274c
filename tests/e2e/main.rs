//! End-to-end tests: the real binary, real MCP clients and servers, a real browser. Nothing here reaches into the product's code.
//!
//! `tests/run` installs what they need and runs them one after another; `LIFEBOAT_LONG=1` runs them at full size. One case:
//! `cargo test --manifest-path tests/peers/Cargo.toml --test e2e -- --test-threads=1 kill_timing::` after `cargo build`.

mod blocked;
mod browser;
mod buckets;
mod bytes;
mod clients;
mod conformance;
mod crash;
mod dashboard;
mod database;
mod edge;
mod flood;
mod hands;
mod harness;
mod https;
mod inspector;
mod kill_timing;
mod ledger;
mod limits;
mod matrix;
mod origins;
mod overload;
mod pages;
mod people;
mod raw;
mod real;
mod recovery;
mod restarts;
mod rig;
mod rotation;
mod sdk;
mod second;
mod sessions;
mod snippets;
mod talk;
mod tokens;
