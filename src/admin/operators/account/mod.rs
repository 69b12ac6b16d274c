//! The page My account: what an operator does about its own access. Never about somebody else's: that is the page Operators.

pub mod pages;
pub mod routes;
