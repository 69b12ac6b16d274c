//! The other ends of Lifeboat's tests: a scripted upstream and a load generator. Never part of the product.

pub mod flags;
pub mod lines;
pub mod load;
pub mod scripted;
pub mod tls;
