//! What a response passes before it is released, whichever way it came back: its cap, what it says of its session, and what must be
//! rewritten. Never changes a byte beside that.

use std::sync::Arc;

use bytes::Bytes;

use super::refuse::{Executed, Failure, Refusal};
use super::sessions::SessionView;
use super::sight::Sight;
use super::task_table::{Owner, Task, TaskKey};
use super::{Shared, kill, lists};
use crate::config::Class;
use crate::mcp::era::{Era, LEGACY_VERSIONS};
use crate::mcp::list::for_its_client_alone;
use crate::mcp::message::Incoming;
use crate::mcp::method::MethodKind;
use crate::mcp::{capabilities, task};
use crate::policy::Asked;
use crate::policy::feed::FlyingCall;

/// The facets that a server advertises as a capability, and under which name (2025-11-25, basic/lifecycle; the extensions of 2026-07-28).
const FACETS: [(&str, &str); 4] =
    [("prompts", "prompts"), ("resources", "resources"), ("completion", "completions"), ("tasks", "tasks")];

/// Whose response it is.
pub struct Asker<'a> {
    /// What was asked for.
    pub kind: MethodKind,
    /// In which era.
    pub era: Era,
    /// By whom.
    pub client: &'a Arc<str>,
    /// From which server.
    pub server: &'a Arc<str>,
    /// The class it counts as.
    pub class: Class,
    /// Whether the tool ran, now that it is answered.
    pub executed: Executed,
    /// In which session.
    pub session: Option<&'a SessionView>,
    /// The call it ends; none where nothing executes.
    pub call: Option<&'a FlyingCall>,
    /// Whether it may begin a task instead.
    pub may_begin_task: bool,
    /// The task it asks about.
    pub task: Option<&'a str>,
}

impl Asker<'_> {
    /// What names a task of this client.
    pub fn task(&self, id: &str) -> TaskKey {
        TaskKey { server: self.server.clone(), owner: Owner::of(self.session, self.client), id: id.into() }
    }
}

/// Checks a response and rewrites it where a stage must: lists are filtered, and what the client cannot reach is not advertised.
///
/// # Errors
/// `size.response`, or a list that cannot be filtered.
pub fn conclude(shared: &Shared, asker: &Asker<'_>, incoming: &Incoming) -> Result<Bytes, Refusal> {
    let limits = &shared.feed.snapshot().settings.limits;
    let limit = if asker.kind.is_list() { limits.list } else { limits.response };
    if incoming.body().len() as u64 > limit.0 {
        return Err(Refusal::ResponseSize { limit: limit.0, executed: asker.executed });
    }
    learn(shared, asker, incoming)?;
    match asker.kind {
        MethodKind::Initialize | MethodKind::Discover => {
            let sight = Sight::of(shared, asker.client, asker.server);
            let hidden = FACETS.into_iter().filter(|(facet, _)| !sight.permits(Asked::Facet(facet)));
            Ok(for_its_client_alone(&capabilities::without(incoming, hidden.map(|(_, name)| name))))
        }
        MethodKind::ResourceRead => Ok(for_its_client_alone(incoming.body())),
        kind if kind.is_list() => lists::rewrite(shared, incoming.body(), asker)
            .map_err(|detail| Refusal::upstream(Failure::Unavailable, Executed::No, asker.class, detail)),
        _ => Ok(incoming.body().clone()),
    }
}

/// Remembers a task that begins here, and what is said of one.
///
/// # Errors
/// The kill, for a task that began while it was engaged: it is cancelled at once. An id that is too long to be kept.
fn learn(shared: &Shared, asker: &Asker<'_>, incoming: &Incoming) -> Result<(), Refusal> {
    match (asker.kind, asker.call) {
        (MethodKind::TaskGet | MethodKind::TaskCancel, _) => {
            let note = task::told(incoming).filter(|note| note.is_over() && asker.task == Some(note.id.as_str()));
            note.into_iter().for_each(|note| shared.table.over(&asker.task(&note.id)));
        }
        (MethodKind::TaskResult, _) if !incoming.is_error() => {
            asker.task.into_iter().for_each(|id| shared.table.over(&asker.task(id)));
        }
        (kind, Some(call)) if asker.may_begin_task && !kind.is_task() => {
            let Some(note) = task::begun(incoming) else { return Ok(()) };
            if note.id.len() > task::LONGEST_ID {
                let detail = "the id of its task is too long";
                return Err(Refusal::upstream(Failure::Unavailable, asker.executed, asker.class, detail));
            }
            let begun = Task { call: call.clone(), era: asker.era, session: asker.session.cloned() };
            shared.table.remember(asker.task(&note.id), begun, note.ttl_ms, !note.is_over());
            return kill::recheck(&shared.feed, call, Executed::Yes).inspect_err(|_| shared.table.wake());
        }
        _ => {}
    }
    Ok(())
}

/// What initialize agreed on belongs to the session that began with it.
pub fn agree(shared: &Shared, session: &str, incoming: &Incoming) {
    let version = incoming.result_text("protocolVersion");
    match LEGACY_VERSIONS.into_iter().find(|known| Some(*known) == version.as_deref()) {
        Some(version) => shared.sessions.agree(session, version),
        None if incoming.is_error() => shared.sessions.end(session),
        None => {}
    }
}
