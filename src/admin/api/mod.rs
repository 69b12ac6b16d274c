//! The JSON API `/api/v1` and the control socket: the same verbs, the same documents as the commands print with `--json`. Never takes a
//! cookie, and never does anything without an `Actor` that somebody else has authenticated.

mod alerts;
mod audit;
mod credentials;
mod desired;
mod openapi;
mod operators;
mod recovery;
mod routes;
pub mod socket;
#[cfg(test)]
mod tests;
mod tokens;

pub use routes::router;

/// Every route below `/api/v1`: method, whole path, whether a person is needed, an example of its body.
#[cfg(test)]
pub(super) fn described_routes() -> Vec<(String, String, bool, String)> {
    routes::described().operations().iter().map(openapi::Operation::row).collect()
}
