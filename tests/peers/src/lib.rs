//! The other ends of Lifeboat's tests: a scripted upstream, a fast one, and a load generator. Never part of the product.

pub mod brisk;
pub mod flags;
pub mod lines;
pub mod load;
pub mod scripted;
pub mod tls;
