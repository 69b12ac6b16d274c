//! The proxy plane.

pub mod sandbox;
pub mod upstream;
