//! The proxy plane.

pub mod sandbox;
