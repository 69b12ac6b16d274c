//! The way back from a server: the answer to one request, with all that comes before it. Passes events one by one, byte for byte, and
//! only the response that was asked for. Never buffers a stream.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::timeout;

use super::Shared;
use super::arguments::Permit;
use super::conclude::{self, Asker};
use super::exchange::{ClientLeft, Exchange, Sort, Whole};
use super::pipeline::{Answer, Outcome, left_alone, loose_end};
use super::refuse::{Executed, Failure, Refusal};
use super::sessions::Question;
use super::upstream::{Broken, CancelWhy, Flight, Piece};
use crate::config::Class;
use crate::mcp::era::Era;
use crate::mcp::message::{Incoming, Kind};
use crate::mcp::sse::SseEvent;
use crate::mcp::task;
use crate::policy::feed::FlyingCall;

/// How often a stream without news gets a comment, so that nobody on the way takes it for dead.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
pub(super) const COMMENT: Bytes = Bytes::from_static(b":\n\n");
const DRAIN: Duration = Duration::from_millis(250);

/// Passes on the events of the call under way until its response has come.
///
/// # Errors
/// A refusal when the server breaks off, or answers with too much.
pub async fn answer(shared: &Shared, x: &mut Exchange, permit: &Permit) -> Result<Outcome, Refusal> {
    let living = permit.living();
    let received = &living.received;
    let request = received.message.id();
    let session = received.session.as_ref().map(|session| session.id.clone()).or_else(|| x.begun.clone());
    let mut resumable = false;
    loop {
        let class = x.class();
        let Exchange { reply, flight, .. } = x;
        let Some(flight) = flight else { return Err(Refusal::Broken { executed: Executed::Unknown }) };
        let piece = match timeout(KEEP_ALIVE, flight.next()).await {
            Ok(Ok(piece)) => piece,
            // Whoever can resume is not told of a failure: it asks for the rest.
            Ok(Err(Broken::Lost(_))) if resumable && received.session.is_some() => Piece::End,
            Ok(Err(broken)) => {
                // Nobody waits for the rest: the server may stop.
                x.flight.take().into_iter().for_each(|flight| flight.end(shared, CancelWhy::Client));
                return Err(refusal_of(broken, class));
            }
            Err(_) => Piece::Silent { raw: COMMENT, id: None },
        };
        if let (Piece::Silent { id: Some(id), .. } | Piece::Message { event: SseEvent { id: Some(id), .. }, .. }, Some(session)) =
            (&piece, &session)
        {
            resumable = true;
            shared.sessions.passed(session, id);
        }
        let passed = match piece {
            Piece::Silent { raw, .. } => reply.event(raw).await,
            Piece::Message { incoming, event } => {
                if incoming.kind() == Kind::Response && incoming.id().is_some() && incoming.id() == request {
                    return last(shared, x, permit, &incoming, &event);
                }
                let of = living.target.as_ref();
                if passes(shared, &incoming, received.era, (received.session.as_ref().map(|session| &*session.id), of)) {
                    reply.event(event.raw).await
                } else {
                    Ok(())
                }
            }
            Piece::End => return ended(shared, x, permit, resumable),
        };
        if passed == Err(ClientLeft) {
            if let Some((session, id, orphan)) = loose_end(living, &x.id) {
                shared.sessions.orphaned(&session, id, orphan);
            }
            return Ok(left_alone(x, "unknown"));
        }
    }
}

/// Notifications pass; requests of the server pass in a legacy session, where their answers are awaited; responses do not. `of` is the
/// call on whose stream it came.
pub(super) fn passes(shared: &Shared, incoming: &Incoming, era: Era, (session, of): (Option<&str>, Option<&FlyingCall>)) -> bool {
    match (incoming.kind(), era, session, incoming.id()) {
        (Kind::Notification, ..) => true,
        (Kind::Request, Era::Legacy { .. }, Some(session), Some(id)) => {
            shared.sessions.asked(session, id, question(incoming, of));
            true
        }
        _ => false,
    }
}

/// What the answer to a server's request will set going. One that came on no call's stream may belong to any call of the session.
fn question(incoming: &Incoming, of: Option<&FlyingCall>) -> Question {
    let class = match (incoming.method(), of) {
        (Some("ping"), _) => None,
        (_, Some(call)) => Some(call.class),
        (Some("roots/list"), None) => Some(Class::Read),
        (_, None) => Some(Class::Destructive),
    };
    Question { tool: of.and_then(|call| call.tool.clone()), class }
}

/// The response has come: what the ledger says of it, and what is released.
fn last(shared: &Shared, x: &mut Exchange, permit: &Permit, incoming: &Incoming, event: &SseEvent) -> Result<Outcome, Refusal> {
    let body = conclude(shared, x, permit, incoming)?;
    let answer = if !x.reply.streams() {
        let session = x.begun.clone().filter(|_| !incoming.is_error());
        Answer::Whole(Whole { session, ..Whole::json(StatusCode::OK, body) })
    } else if body == event.data {
        Answer::Last(event.raw.clone())
    } else {
        Answer::Last(event.with_data(&body))
    };
    Ok(outcome_of(x, incoming, answer))
}

/// Checks the response to the call under way and rewrites it where a stage must.
///
/// # Errors
/// See [`conclude::conclude`].
pub fn conclude(shared: &Shared, x: &Exchange, permit: &Permit, incoming: &Incoming) -> Result<Bytes, Refusal> {
    let received = &permit.living().received;
    let Some(kind) = received.kind else { return Ok(incoming.body().clone()) };
    let asker = Asker {
        kind,
        era: received.era,
        client: &received.metered.caller.principal.client,
        server: &received.server,
        class: x.class(),
        executed: if x.facts.sort == Sort::List { Executed::No } else { Executed::Yes },
        session: received.session.as_ref(),
        call: permit.living().target.as_ref(),
        may_begin_task: task::may_begin(&received.message),
        task: received.message.task_id(),
    };
    let body = conclude::conclude(shared, &asker, incoming)?;
    if let Some(session) = &x.begun {
        conclude::agree(shared, session, incoming);
    }
    Ok(body)
}

/// What a response says about its call.
pub fn outcome_of(x: &Exchange, incoming: &Incoming, answer: Answer) -> Outcome {
    let (status, executed) = match (incoming.is_error(), incoming.is_tool_error()) {
        (true, _) => ("upstream_error", Executed::Unknown),
        (_, true) => ("tool_error", Executed::Yes),
        _ => ("ok", Executed::Yes),
    };
    let executed = if x.facts.sort == Sort::List { Executed::No } else { executed };
    Outcome { answer, status, executed }
}

/// The server's stream ended without the response. A legacy server may do so and answer on the session's own stream later.
fn ended(shared: &Shared, x: &mut Exchange, permit: &Permit, resumable: bool) -> Result<Outcome, Refusal> {
    match loose_end(permit.living(), &x.id) {
        Some((session, id, orphan)) if resumable => {
            shared.sessions.orphaned(&session, id, orphan);
            Ok(Outcome { answer: Answer::End, status: "unknown", executed: Executed::Unknown })
        }
        _ => Err(Refusal::upstream(Failure::Unavailable, Executed::Unknown, x.class(), "it broke off before its answer")),
    }
}

fn refusal_of(broken: Broken, class: Class) -> Refusal {
    match broken {
        Broken::TooLarge { limit } => Refusal::ResponseSize { limit, executed: Executed::Unknown },
        Broken::Lost(detail) => Refusal::upstream(Failure::Unavailable, Executed::Unknown, class, detail),
        Broken::Late => Refusal::upstream(Failure::Timeout, Executed::Unknown, class, "it took too long"),
    }
}

/// Reads what little a server still sends after its answer, so that the connection can serve again.
pub async fn drain(flight: Option<Flight>) {
    let Some(mut flight) = flight else { return };
    drop(timeout(DRAIN, async { while !matches!(flight.next().await, Ok(Piece::End) | Err(_)) {} }).await);
}
