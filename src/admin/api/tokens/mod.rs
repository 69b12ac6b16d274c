//! The part of the API about what clients show at the token endpoint and about tokens.

pub(super) mod routes;
