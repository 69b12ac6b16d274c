//! Credentials over the API.

pub(super) mod routes;
