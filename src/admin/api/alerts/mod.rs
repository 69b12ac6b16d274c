//! The part of the API about alerts and who is told of them.

pub(super) mod routes;
