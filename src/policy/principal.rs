//! The authenticated client of one call. Never built from anything a client says about itself: only authentication makes one.

use std::sync::Arc;

/// Who calls.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The client's name in the configuration (for a canary: the name it takes on).
    pub client: Arc<str>,
    /// Id of the key it showed.
    pub kid: Arc<str>,
    /// Set for the single-use principal of a proof, which is stopped for good before anything is sent upstream.
    pub canary: Option<Canary>,
}

/// What a proof calls as (docs/ARCHITECTURE.md).
#[derive(Clone, Debug)]
pub struct Canary {
    /// The class its call counts as.
    pub class: crate::config::Class,
    /// The key it stands for, by kid: it is let in only while that key counts. None for the proof of a kill.
    pub stands_for: Option<Arc<str>>,
}

impl Canary {
    /// What the ledger calls its request.
    pub fn action(&self) -> &'static str {
        if self.stands_for.is_some() { "credential.canary" } else { "kill.canary" }
    }
}
