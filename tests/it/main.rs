//! The one integration binary: laws of the source, and the whole app on free ports.

mod admin;
mod laws;
mod plane;
mod proxy;
mod sandbox;
mod support;
