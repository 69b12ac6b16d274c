//! The part of the API that knows the desired state.

pub(super) mod routes;
