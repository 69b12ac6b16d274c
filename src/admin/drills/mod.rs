//! Rebuilding a deployment from its archives, and the drills that rehearse it.

pub mod chosen;
pub mod rebuild;
pub mod steps;
