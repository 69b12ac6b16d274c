//! The part of the API about vaults, archives, restores and drills.

pub(super) mod routes;
