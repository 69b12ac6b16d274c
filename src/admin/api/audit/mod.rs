//! The part of the API that reads the ledger.

pub(super) mod routes;
