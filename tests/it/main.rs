//! The one integration binary: laws of the source, and the whole app on free ports.

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

mod admin;
mod alerts;
mod archives;
mod command;
mod demo;
mod edge;
mod faults;
mod golden;
mod isolation;
mod laws;
mod live;
mod oauth;
mod operators;
mod plane;
mod proxy;
mod recovery;
mod rotation;
mod rotation_tokens;
mod sandbox;
mod secrets;
mod self_rotation;
mod support;
mod trust;
mod unprivileged;
