//! What one client may see of one server: exactly what it may use, by the same decision. Never asks anything but the policy.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::Shared;
use crate::policy::snapshot::ClientEntry;
use crate::policy::{Asked, Decision, Snapshot, decide};

/// A client's view of a server, with the policy of one moment.
pub(super) struct Sight<'a> {
    snapshot: Arc<Snapshot>,
    client: Option<Arc<ClientEntry>>,
    server: &'a str,
}

/// The parts of a view that a client can be told the change of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    /// Digest of the names of its tools.
    pub tools: u64,
    /// Whether it reaches prompts.
    pub prompts: bool,
    /// Whether it reaches resources.
    pub resources: bool,
}

impl<'a> Sight<'a> {
    /// The view with the policy of now.
    pub(super) fn of(shared: &Shared, client: &str, server: &'a str) -> Self {
        let snapshot = shared.feed.snapshot();
        let client = snapshot.clients.get(client).cloned();
        Self { snapshot, client, server }
    }

    /// Whether it may use a thing.
    pub(super) fn permits(&self, asked: Asked<'_>) -> bool {
        let decided = self.client.as_ref().map(|client| decide(&self.snapshot, client, self.server, asked));
        matches!(decided, Some(Decision::Permit { .. }))
    }

    /// What its lists are made of.
    pub(super) fn outline(&self) -> Outline {
        let mut tools = DefaultHasher::new();
        if let Some(server) = self.snapshot.servers.get(self.server) {
            server.config.tools.keys().filter(|tool| self.permits(Asked::Tool(tool))).for_each(|tool| tool.hash(&mut tools));
        }
        let facet = |facet| self.permits(Asked::Facet(facet));
        Outline { tools: tools.finish(), prompts: facet("prompts"), resources: facet("resources") }
    }
}
