//! The part of the API that knows operators and their keys.

pub(super) mod routes;
