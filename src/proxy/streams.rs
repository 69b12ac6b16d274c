//! GET and DELETE of a legacy session: the server's own stream, and the end of the session. Never serves the modern era, which has neither.

use http::StatusCode;

use super::Shared;
use super::authn::Caller;
use super::authz::attend;
use super::exchange::{Exchange, Sort, Whole};
use super::intake::session;
use super::origin::Admitted;
use super::pipeline::{Answer, Outcome};
use super::refuse::{Executed, Refusal};
use super::relay::Stream;
use super::upstream;
use crate::mcp::era::{Era, era_of_header};
use crate::mcp::fault::WireFault;
use crate::mcp::headers::check_accept_stream;

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
    if let Some(whole) = upstream::listen(shared, x, attendance, (&admitted.headers, era, session.as_ref())).await? {
        return Ok(Outcome::whole(whole));
    }
    let principal = caller.principal;
    let stream = Stream { client: principal.client, kid: principal.kid, server, session, era, request: None, place };
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

fn legacy(admitted: &Admitted) -> Result<Era, Refusal> {
    match era_of_header(&admitted.headers).map_err(Refusal::Wire)? {
        Era::Modern => Err(Refusal::NoMethod),
        era => Ok(era),
    }
}
