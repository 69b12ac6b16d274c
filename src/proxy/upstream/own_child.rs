//! One message to a stdio server that has a child for each session: the client speaks to its own child, handshake included, and the child
//! may ask it back. Never reaches another session's child.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::super::Shared;
use super::super::arguments::Permit;
use super::super::exchange::{Exchange, Whole};
use super::super::intake::Received;
use super::super::kill::last_look;
use super::super::pipeline::Outcome;
use super::super::refuse::{Executed, Failure, Refusal};
use super::super::sessions::{SessionView, digest};
use super::child;
use super::instances::Instances;
use super::send::{ask_again, expected};
use super::stdio::StdioServer;
use crate::mcp::fault::WireFault;
use crate::mcp::message::Kind;
use crate::mcp::method::MethodKind;

/// Sends a permitted message and gives its answer. What has no session goes to the child that all share.
///
/// # Errors
/// The kill; 404 where the child has ended; `upstream.unavailable` while none can be started.
pub(super) async fn call(shared: &Shared, x: &mut Exchange, permit: &Permit, all: Arc<Instances>) -> Result<Outcome, Refusal> {
    let received = &permit.living().received;
    if received.era.is_modern() {
        return child::call(shared, x, permit, all.base().clone()).await;
    }
    if received.kind == Some(MethodKind::Initialize) {
        return initialize(shared, x, permit, &all).await;
    }
    let server = of_session(shared, received.session.as_ref(), &all)?;
    match received.message.kind() {
        Kind::Request => child::ask(shared, x, permit, server).await,
        Kind::Response => answer(shared, x, permit, &server).await,
        Kind::Notification if received.kind == Some(MethodKind::Cancelled) => Ok(child::notify(received, &server).await),
        Kind::Notification => {
            pass_on(x, &server, received.message.body().clone()).await?;
            Ok(Outcome::whole(Whole::empty(StatusCode::ACCEPTED)))
        }
    }
}

/// The child of a session. A session without one is over: its client begins a new one.
///
/// # Errors
/// 404; 400 without a session.
pub(super) fn of_session(shared: &Shared, session: Option<&SessionView>, all: &Instances) -> Result<Arc<StdioServer>, Refusal> {
    let session = session.ok_or_else(|| Refusal::Wire(WireFault::invalid_request("Mcp-Session-Id is missing")))?;
    all.find(&session.id).ok_or_else(|| {
        shared.sessions.end(&session.id);
        all.end(&session.id);
        Refusal::NoSession
    })
}

/// A session whose handshake did not succeed ends together with its child.
struct Birth<'a> {
    shared: &'a Shared,
    all: &'a Instances,
    session: Arc<str>,
    is_good: bool,
}

impl Drop for Birth<'_> {
    fn drop(&mut self) {
        if !self.is_good {
            self.shared.sessions.end(&self.session);
            self.all.end(&self.session);
        }
    }
}

async fn initialize(shared: &Shared, x: &mut Exchange, permit: &Permit, all: &Instances) -> Result<Outcome, Refusal> {
    let received = &permit.living().received;
    let wait = Duration::from_millis(permit.settings().upstream.start_wait_ms);
    // The shared child holds the vault and tells the era.
    let handshake = all.base().ready(wait).await.map_err(|why| not_ready(x, received, &why))?;
    if let Some(outcome) = child::other_era(x, received, &handshake)? {
        return Ok(outcome);
    }
    let client = received.metered.caller.principal.client.clone();
    let pair = (client.clone(), received.server.clone());
    let session = shared.sessions.mint(shared.entropy.as_ref(), &permit.settings().sessions, pair, None);
    let mut birth = Birth { shared, all, session: session.clone(), is_good: false };
    let unavailable = |detail| Refusal::upstream(Failure::Unavailable, Executed::No, crate::config::Class::Read, detail);
    let server = all.begin(session.clone(), client).map_err(unavailable)?;
    server.ready(wait).await.map_err(|why| not_ready(x, received, &why))?;
    x.facts.session = Some(digest(&session));
    x.reply.in_session(session.clone());
    x.begun = Some(session.clone());
    let outcome = child::ask(shared, x, permit, server).await?;
    birth.is_good = shared.sessions.has(&session);
    Ok(outcome)
}

fn not_ready(x: &Exchange, received: &Received, why: &str) -> Refusal {
    tracing::warn!(server = %received.server, why, "a stdio server is not ready");
    Refusal::upstream(Failure::Unavailable, Executed::No, x.class(), "it is not running yet")
}

async fn answer(shared: &Shared, x: &mut Exchange, permit: &Permit, server: &StdioServer) -> Result<Outcome, Refusal> {
    let received = &permit.living().received;
    last_look(shared, permit.living())?;
    let question = expected(shared, received)?;
    if let Err(refusal) = pass_on(x, server, received.message.body().clone()).await {
        ask_again(shared, received, question);
        return Err(refusal);
    }
    Ok(Outcome::whole(Whole::empty(StatusCode::ACCEPTED)))
}

async fn pass_on(x: &mut Exchange, server: &StdioServer, line: Bytes) -> Result<(), Refusal> {
    server.say(line).await.map_err(|why| {
        tracing::warn!(why, "a stdio server took no message");
        Refusal::upstream(Failure::Unavailable, Executed::No, x.class(), "its process takes no message")
    })?;
    x.sent = true;
    Ok(())
}
