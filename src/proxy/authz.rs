//! Stage: may this client do this. Makes the [`Authorised`], which nothing else can make. Never permits by default, and never a canary.

use std::sync::Arc;

use super::Shared;
use super::authn::{Caller, Shown, challenge, step_up};
use super::exchange::Exchange;
use super::intake::Received;
use super::kill::Living;
use super::oauth;
use super::origin::Admitted;
use super::refuse::Refusal;
use crate::config::Class;
use crate::mcp::fault::WireFault;
use crate::mcp::method::MethodKind;
use crate::mcp::task;
use crate::policy::decide::attends;
use crate::policy::snapshot::{ClientEntry, ServerEntry, Snapshot};
use crate::policy::{Asked, Decision, Principal, Scopes, decide};

/// A call that a grant permits, or that needs none. Only [`authorise`] makes one.
pub struct Authorised {
    living: Living,
    server: Arc<ServerEntry>,
    snapshot: Arc<Snapshot>,
}

impl Authorised {
    /// The call.
    pub fn living(&self) -> &Living {
        &self.living
    }

    /// The server it goes to.
    pub fn server(&self) -> &Arc<ServerEntry> {
        &self.server
    }

    /// The policy that permitted it.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The policy's settings.
    pub fn settings(&self) -> &crate::config::Settings {
        &self.snapshot.settings
    }
}

/// Decides with the policy of this very moment: a key or client that went meanwhile counts no more.
///
/// # Errors
/// `policy.…`.
pub fn authorise(shared: &Shared, x: &mut Exchange, living: Living) -> Result<Authorised, Refusal> {
    let snapshot = shared.feed.snapshot();
    let principal = &living.received.metered.caller.principal;
    x.facts.revision = Some(snapshot.revision.to_string());
    let name = living.received.server.clone();
    let Some(server) = snapshot.servers.get(name.as_ref()).cloned() else {
        return Err(Refusal::Policy("policy.unknown_server"));
    };
    // A kill proof ends here at the latest: a kill that failed must never execute anything.
    if principal.canary.is_some() {
        return Err(Refusal::Policy("policy.no_grant"));
    }
    oauth::counts_by(shared, &snapshot, principal).map_err(|why| ended((&living.received.base, &name), why))?;
    let client = snapshot.clients.get(&principal.client).ok_or(Refusal::Policy("policy.no_grant"))?;
    match living.received.asked() {
        Some(asked) => match decide(&snapshot, client, &name, asked) {
            Decision::Refuse { reason, class } => {
                x.facts.class = Some(class);
                return Err(Refusal::Policy(reason));
            }
            Decision::Permit { grant, class } => {
                x.facts.class = Some(class);
                x.facts.grant = Some(grant);
            }
        },
        // Handshakes, lists, responses, streams: they need no grant of their own, but some grant on that server.
        None if living.received.kind.is_some_and(MethodKind::is_cancel) => {}
        None if !attends(&snapshot, client, &name) => return Err(Refusal::Policy("policy.no_grant")),
        None => {}
    }
    own_tasks(shared, x, (&snapshot, client), &living.received)?;
    within_scope(x, &living.received)?;
    Ok(Authorised { living, server, snapshot })
}

/// A credential that does not count any more.
pub(super) fn ended((base, server): (&str, &str), why: &'static str) -> Refusal {
    Refusal::Unauthenticated { challenge: challenge(base, Some(server), Shown::Something), why }
}

/// A token reaches what its scopes say and no more, whatever its client's grants do. What the grants do not reach has been refused before: a
/// client is only sent for a wider token that it can have.
fn within_scope(x: &Exchange, received: &Received) -> Result<(), Refusal> {
    let Some(token) = &received.metered.caller.principal.token else { return Ok(()) };
    let class = x.facts.class.unwrap_or(Class::Destructive);
    // Ending what one has begun needs no scope, as it needs no grant.
    if token.scopes.cover(class) || received.kind == Some(MethodKind::TaskCancel) {
        return Ok(());
    }
    let scopes = token.scopes.and(Scopes::of(class));
    Err(Refusal::Scope { challenge: step_up(&received.base, &received.server, scopes) })
}

/// A task is its owner's alone, and reachable for as long as the tool is that began it. Somebody else's is refused like an unknown one.
fn own_tasks(
    shared: &Shared,
    x: &mut Exchange,
    (snapshot, client): (&Snapshot, &ClientEntry),
    received: &Received,
) -> Result<(), Refusal> {
    if received.kind == Some(MethodKind::Listen) {
        let is_own = |id: &String| shared.table.find(&received.task_key(id)).is_some();
        return if task::listened(&received.message).iter().all(is_own) { Ok(()) } else { Err(Refusal::NoTask) };
    }
    if received.message.task_id().is_none() {
        return Ok(());
    }
    let call = received.task.as_ref().ok_or_else(|| no_task(received))?;
    x.facts.tool.clone_from(&call.tool);
    let (Some(tool), false) = (&call.tool, received.kind == Some(MethodKind::TaskCancel)) else { return Ok(()) };
    match decide(snapshot, client, &received.server, Asked::Tool(tool)) {
        Decision::Refuse { reason, class } => {
            x.facts.class = Some(class);
            Err(Refusal::Policy(reason))
        }
        Decision::Permit { class, .. } => {
            // Input sets the tool going again; looking at a task only reads.
            if received.kind == Some(MethodKind::TaskUpdate) {
                x.facts.class = Some(class.max(call.class));
            }
            Ok(())
        }
    }
}

/// There is no such task; a modern client that never declared tasks is told that instead, as the server would tell it.
fn no_task(received: &Received) -> Refusal {
    if received.era.is_modern() && !task::declared(&received.message) {
        return Refusal::Wire(WireFault::missing_extension(task::EXTENSION));
    }
    Refusal::NoTask
}

/// A client that may hold a session with a server; what opens and ends the server's own stream.
pub struct Attendance {
    server: Arc<ServerEntry>,
    snapshot: Arc<Snapshot>,
}

impl Attendance {
    /// The server.
    pub fn server(&self) -> &Arc<ServerEntry> {
        &self.server
    }

    /// The policy's settings.
    pub fn settings(&self) -> &crate::config::Settings {
        &self.snapshot.settings
    }
}

/// Lets an authenticated client at a registered server on which some grant of its reaches something, and a token that may read. Nothing executes
/// there but what [`authorise`] permits.
///
/// # Errors
/// `policy.unknown_server`; `policy.no_grant`, also for a canary; 403 for a token without a scope of ours.
pub fn attend(shared: &Shared, x: &mut Exchange, admitted: &Admitted, caller: &Caller) -> Result<Attendance, Refusal> {
    let snapshot = shared.feed.snapshot();
    x.facts.revision = Some(snapshot.revision.to_string());
    if caller.principal.canary.is_some() {
        return Err(Refusal::Policy("policy.no_grant"));
    }
    let server = admitted.server.as_deref().and_then(|name| snapshot.servers.get(name)).cloned();
    let server = server.ok_or(Refusal::Policy("policy.unknown_server"))?;
    if !may_attend(&snapshot, &caller.principal, &server.name) {
        return Err(Refusal::Policy("policy.no_grant"));
    }
    if caller.principal.token.as_ref().is_some_and(|token| !token.scopes.cover(Class::Read)) {
        return Err(Refusal::Scope { challenge: step_up(&admitted.base, &server.name, Scopes::of(Class::Read)) });
    }
    Ok(Attendance { server, snapshot })
}

/// Whether a grant of its client reaches anything on a server now.
pub(super) fn may_attend(snapshot: &Snapshot, principal: &Principal, server: &str) -> bool {
    snapshot.clients.get(&principal.client).is_some_and(|client| attends(snapshot, client, server))
}

/// Whether a call must be on disk before it is sent.
pub fn needs_intent(class: Class) -> bool {
    class > Class::Read
}
