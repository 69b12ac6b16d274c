//! The other ends of Lifeboat's tests: a scripted upstream, a fast one, and a load generator. Never part of the product.

pub mod brisk;
// The suite tests logging and sampling too, which the specification has deprecated and the SDK marks so.
#[expect(deprecated)]
pub mod conformance;
pub mod flags;
pub mod lines;
pub mod load;
pub mod scripted;
pub mod shim;
pub mod tls;
