//! Activity: the ledger as operators read it. Asks the ledger and never writes to it.

pub mod pages;
pub mod routes;
mod rows;
