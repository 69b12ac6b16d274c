//! The way back from a server: one answer to one request, or a stream that stays open. Passes events one by one, byte for byte, and
//! only the response that was asked for. Never buffers a stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::timeout;

use super::Shared;
use super::arguments::Permit;
use super::exchange::{ClientLeft, Exchange, Sort, Whole};
use super::kill;
use super::lists;
use super::pipeline::{Answer, Outcome, left_alone, loose_end};
use super::rate::Slot;
use super::refuse::{Executed, Failure, Refusal};
use super::sessions::SessionView;
use super::upstream::{Broken, CancelWhy, Flight, Piece};
use crate::mcp::era::{Era, LEGACY_VERSIONS};
use crate::mcp::message::{Id, Incoming, Kind};
use crate::mcp::method::MethodKind;
use crate::mcp::sse::{self, SseEvent};
use crate::policy::feed::FlyingCall;
use crate::policy::snapshot::KeyEntry;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
const COMMENT: Bytes = Bytes::from_static(b":\n\n");
const DRAIN: Duration = Duration::from_millis(250);

/// A stream that belongs to no single answer: the server's own stream of a session, or subscriptions/listen.
pub struct Stream {
    /// Who listens.
    pub client: Arc<str>,
    /// With which key; the stream ends with the key.
    pub kid: Arc<str>,
    /// To which server.
    pub server: Arc<str>,
    /// In which session.
    pub session: Option<SessionView>,
    /// In which era.
    pub era: Era,
    /// The request that opened it, whose response may come last.
    pub request: Option<Id>,
    /// Its place among the client's open streams.
    pub place: Slot,
}

/// Passes on the events of the call under way until its response has come.
///
/// # Errors
/// A refusal when the server breaks off, or answers with too much.
pub async fn answer(shared: &Shared, x: &mut Exchange, permit: &Permit) -> Result<Outcome, Refusal> {
    let received = &permit.living().received;
    let request = received.message.id();
    let mut resumable = false;
    loop {
        let class = x.class();
        let Exchange { reply, flight, .. } = x;
        let Some(flight) = flight else { return Err(Refusal::Broken { executed: Executed::Unknown }) };
        let piece = match timeout(KEEP_ALIVE, flight.next()).await {
            Ok(Ok(piece)) => piece,
            Ok(Err(broken)) => {
                // Nobody waits for the rest: the server may stop.
                x.flight.take().into_iter().for_each(|flight| flight.end(shared, CancelWhy::Client));
                return Err(refusal_of(broken, class));
            }
            Err(_) => Piece::Silent(COMMENT),
        };
        let passed = match piece {
            Piece::Silent(bytes) => {
                resumable |= has_id(&bytes);
                reply.event(bytes).await
            }
            Piece::Message { incoming, event } => {
                resumable |= event.id.is_some();
                if incoming.kind() == Kind::Response && incoming.id().is_some() && incoming.id() == request {
                    return last(shared, x, permit, &incoming, &event);
                }
                match sift(shared, &incoming, received.era, received.session.as_ref()) {
                    Sifted::Pass => reply.event(event.raw).await,
                    Sifted::Drop => Ok(()),
                }
            }
            Piece::End => return ended(shared, x, permit, resumable),
        };
        if passed == Err(ClientLeft) {
            return Ok(left_alone(x, "unknown"));
        }
    }
}

/// Whether an event gives the client a place to come back to. The id may stand on any of its lines.
fn has_id(event: &[u8]) -> bool {
    event.split(|byte| matches!(byte, b'\n' | b'\r')).any(|line| line.starts_with(b"id:"))
}

enum Sifted {
    Pass,
    Drop,
}

/// Notifications pass; requests of the server pass in a legacy session, where their answers are awaited; responses do not.
fn sift(shared: &Shared, incoming: &Incoming, era: Era, session: Option<&SessionView>) -> Sifted {
    match (incoming.kind(), era, session, incoming.id()) {
        (Kind::Notification, ..) => Sifted::Pass,
        (Kind::Request, Era::Legacy { .. }, Some(session), Some(id)) => {
            shared.sessions.asked(&session.id, id);
            Sifted::Pass
        }
        _ => Sifted::Drop,
    }
}

/// The response has come: what the ledger says of it, and what is released.
fn last(shared: &Shared, x: &mut Exchange, permit: &Permit, incoming: &Incoming, event: &SseEvent) -> Result<Outcome, Refusal> {
    let body = conclude(shared, x, permit, incoming)?;
    let answer = if !x.reply.streams() {
        Answer::Whole(Whole::json(StatusCode::OK, body))
    } else if body == event.data {
        Answer::Last(event.raw.clone())
    } else {
        Answer::Last(event.with_data(&body))
    };
    Ok(outcome_of(x, incoming, answer))
}

/// Checks a response and rewrites it where a stage must: lists are filtered.
///
/// # Errors
/// `size.response`, or a list that cannot be filtered.
pub fn conclude(shared: &Shared, x: &Exchange, permit: &Permit, incoming: &Incoming) -> Result<Bytes, Refusal> {
    let received = &permit.living().received;
    let limits = &permit.settings().limits;
    let is_list = received.kind.is_some_and(MethodKind::is_list);
    let limit = if is_list { limits.list } else { limits.response };
    if incoming.body().len() as u64 > limit.0 {
        return Err(Refusal::ResponseSize { limit: limit.0, executed: executed_by(x) });
    }
    if let (Some(MethodKind::Initialize), Some(session)) = (received.kind, &x.begun) {
        let version = incoming.result_text("protocolVersion");
        match LEGACY_VERSIONS.into_iter().find(|known| Some(*known) == version.as_deref()) {
            Some(version) => shared.sessions.agree(session, version),
            None if incoming.is_error() => shared.sessions.end(session),
            None => {}
        }
    }
    match received.kind {
        Some(kind) if is_list => {
            lists::rewrite(shared, incoming.body(), kind, received.era, (&received.metered.caller, &received.server))
                .map_err(|detail| Refusal::upstream(Failure::Unavailable, Executed::No, x.class(), detail))
        }
        _ => Ok(incoming.body().clone()),
    }
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

fn executed_by(x: &Exchange) -> Executed {
    if x.facts.sort == Sort::List { Executed::No } else { Executed::Yes }
}

/// The server's stream ended without the response. A legacy server may do so and answer on the session's own stream later.
fn ended(shared: &Shared, x: &mut Exchange, permit: &Permit, resumable: bool) -> Result<Outcome, Refusal> {
    match loose_end(permit.living()) {
        Some((session, id, orphan)) if resumable => {
            shared.sessions.orphaned(&session, id, orphan);
            Ok(Outcome { answer: Answer::End, status: "unknown", executed: Executed::Unknown })
        }
        _ => Err(Refusal::upstream(Failure::Unavailable, Executed::Unknown, x.class(), "it broke off before its answer")),
    }
}

fn refusal_of(broken: Broken, class: crate::config::Class) -> Refusal {
    match broken {
        Broken::TooLarge { limit } => Refusal::ResponseSize { limit, executed: Executed::Unknown },
        Broken::Lost(detail) => Refusal::upstream(Failure::Unavailable, Executed::Unknown, class, detail),
        Broken::Late => Refusal::upstream(Failure::Timeout, Executed::Unknown, class, "it took too long"),
    }
}

/// Passes on an open stream until one side ends it, its key stops counting, or Lifeboat stops.
pub async fn pump(shared: &Arc<Shared>, x: &mut Exchange, stream: Stream) {
    let mut snapshots = shared.feed.watch_snapshot();
    let left = x.left.clone();
    // It counts among the open streams from here on, no longer among the calls in flight.
    x.reply.hold(stream.place.clone());
    x.reply.begin(None);
    loop {
        let Some(flight) = &mut x.flight else { return };
        let piece = tokio::select! {
            () = left.cancelled() => return,
            () = shared.drain.cancelled() => return,
            _ = snapshots.changed() => if still_permitted(shared, &stream) { continue } else { return },
            piece = timeout(KEEP_ALIVE, flight.next()) => piece,
        };
        // A key that expires changes no policy, so it is looked at with each piece.
        if !still_permitted(shared, &stream) {
            return;
        }
        // With each piece, because a busy stream has no silence to do it in.
        still_used(shared, &stream);
        let bytes = match piece {
            Err(_) => COMMENT,
            Ok(Ok(Piece::Silent(bytes))) => bytes,
            Ok(Ok(Piece::Message { incoming, event })) => match passing(shared, x, &stream, &incoming, event) {
                Some(bytes) => bytes,
                None => continue,
            },
            Ok(Ok(Piece::End) | Err(_)) => return,
        };
        if x.reply.event(bytes).await.is_err() {
            return;
        }
    }
}

/// Whether who opened a stream may still listen: the key counts, and client and server are there.
fn still_permitted(shared: &Shared, stream: &Stream) -> bool {
    let snapshot = shared.feed.snapshot();
    let counts = |key: &KeyEntry| key.expires_at.is_none_or(|end| shared.clock.now() < end);
    snapshot.keys.get(&stream.kid).is_some_and(counts)
        && snapshot.clients.contains_key(&stream.client)
        && snapshot.servers.contains_key(stream.server.as_ref())
}

/// A session lasts as long as somebody listens.
fn still_used(shared: &Shared, stream: &Stream) {
    if let Some(session) = &stream.session {
        let limits = &shared.feed.snapshot().settings.sessions;
        shared.sessions.find(limits, &session.id, &stream.client, &stream.server);
    }
}

/// What of one message goes to the client of an open stream.
fn passing(shared: &Shared, x: &Exchange, stream: &Stream, incoming: &Incoming, event: SseEvent) -> Option<Bytes> {
    if incoming.kind() != Kind::Response {
        let sifted = sift(shared, incoming, stream.era, stream.session.as_ref());
        return matches!(sifted, Sifted::Pass).then_some(event.raw);
    }
    let id = incoming.id()?;
    if stream.request.as_ref() == Some(&id) {
        return Some(event.raw);
    }
    // The late response to a request of this session whose own stream ended early.
    let orphan = shared.sessions.adopt(&stream.session.as_ref()?.id, &id)?;
    let call = FlyingCall { server: stream.server.clone(), tool: orphan.tool, client: stream.client.clone(), class: orphan.class };
    if orphan.kind.executes()
        && let Err(refusal) = kill::recheck(&shared.feed, &call, Executed::Yes)
    {
        return Some(sse::encode(&refusal.to_body(incoming.id_raw(), &x.id)));
    }
    if !orphan.kind.is_list() {
        return Some(event.raw);
    }
    let body = lists::rewrite_for(shared, incoming.body(), orphan.kind, stream.era, (&stream.client, &stream.server)).ok()?;
    Some(event.with_data(&body))
}

/// Reads what little a server still sends after its answer, so that the connection can serve again.
pub async fn drain(flight: Option<Flight>) {
    let Some(mut flight) = flight else { return };
    drop(timeout(DRAIN, async { while !matches!(flight.next().await, Ok(Piece::End) | Err(_)) {} }).await);
}
