//! GET and DELETE of a legacy session: the server's own stream, and the end of the session. Never serves the modern era, which has neither.

use http::{HeaderMap, StatusCode};

use super::Shared;
use super::authn::Caller;
use super::authz::attend;
use super::exchange::{Exchange, Sort, Whole};
use super::intake::session;
use super::origin::Admitted;
use super::pipeline::{Answer, Outcome};
use super::pump::Stream;
use super::refuse::{Executed, Refusal};
use super::sessions::SessionView;
use super::upstream;
use crate::mcp::era::{Era, era_of_header};
use crate::mcp::fault::WireFault;
use crate::mcp::headers::{check_accept_stream, single};

/// Opens the server's stream.
///
/// # Errors
/// 404 for a session that does not serve this client, 405 where the server has no such stream, 406.
pub(super) async fn open(shared: &Shared, x: &mut Exchange, admitted: Admitted, caller: Caller) -> Result<Outcome, Refusal> {
    x.facts.sort = Sort::List;
    let era = legacy(&admitted)?;
    check_accept_stream(&admitted.headers).map_err(Refusal::Wire)?;
    let attendance = attend(shared, x, &admitted, &caller)?;
    let server = attendance.server().name.clone();
    let session = session(shared, x, &admitted.headers, (&caller.principal.client, &server))?;
    // Before the server is asked: one that never answers holds a connection on either side too.
    let place = shared.limiter.listen(&caller)?;
    resumes(shared, &admitted.headers, session.as_ref())?;
    if let Some(whole) = upstream::listen(shared, x, attendance, (&admitted.headers, era, session.as_ref())).await? {
        return Ok(Outcome::whole(whole));
    }
    let principal = caller.principal;
    let stream = Stream { client: principal.client.clone(), principal, server, session, era, request: None, place };
    Ok(Outcome { answer: Answer::Open(Box::new(stream)), status: "ok", executed: Executed::No })
}

/// Ends a session, here and at the server.
///
/// # Errors
/// 404 for a session that does not serve this client, 400 without one.
pub(super) async fn end(shared: &Shared, x: &mut Exchange, admitted: Admitted, caller: Caller) -> Result<Outcome, Refusal> {
    x.facts.sort = Sort::List;
    let era = legacy(&admitted)?;
    let attendance = attend(shared, x, &admitted, &caller)?;
    let server = attendance.server().name.clone();
    let session = session(shared, x, &admitted.headers, (&caller.principal.client, &server))?;
    let session = session.ok_or_else(|| Refusal::Wire(WireFault::invalid_request("Mcp-Session-Id is missing")))?;
    shared.sessions.end(&session.id);
    upstream::part(shared, attendance, era, &session).await;
    Ok(Outcome::whole(Whole::empty(StatusCode::OK)))
}

/// A stream is resumed only from an event that went to this very session: some servers look events up without asking whose they are.
fn resumes(shared: &Shared, headers: &HeaderMap, session: Option<&SessionView>) -> Result<(), Refusal> {
    let Some(event) = single(headers, "last-event-id").map_err(Refusal::Wire)? else { return Ok(()) };
    let is_ours = session.is_some_and(|session| shared.sessions.has_passed(&session.id, event));
    if is_ours { Ok(()) } else { Err(Refusal::NoEvent) }
}

fn legacy(admitted: &Admitted) -> Result<Era, Refusal> {
    match era_of_header(&admitted.headers).map_err(Refusal::Wire)? {
        Era::Modern => Err(Refusal::NoMethod),
        era => Ok(era),
    }
}
