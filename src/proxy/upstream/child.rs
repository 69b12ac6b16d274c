//! One request to a stdio server: handshakes are answered from the child's own, everything else is handed to the child. Never
//! translates between eras.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use super::super::Shared;
use super::super::arguments::Permit;
use super::super::exchange::{Exchange, Whole};
use super::super::intake::Received;
use super::super::kill::last_look;
use super::super::pipeline::{Answer, Outcome};
use super::super::pump::Stream;
use super::super::rate::Slot;
use super::super::refuse::{Executed, Failure, Refusal};
use super::super::relay;
use super::super::sessions::digest;
use super::super::shape;
use super::Flight;
use super::stdio::{Handshake, RequestKey, StdioServer};
use crate::mcp::era::{Era, LEGACY_VERSIONS};
use crate::mcp::fault::WireFault;
use crate::mcp::message::{Kind, parse_incoming};
use crate::mcp::method::MethodKind;
use crate::mcp::reply;

/// Sends a permitted message and gives its answer.
///
/// # Errors
/// The kill; `upstream.unavailable` while the child is not ready; 400 for an era it does not speak.
pub(super) async fn call(shared: &Shared, x: &mut Exchange, permit: &Permit, server: Arc<StdioServer>) -> Result<Outcome, Refusal> {
    let received = &permit.living().received;
    match received.message.kind() {
        Kind::Response => return Err(Refusal::Wire(WireFault::invalid_request("a response that nobody asked for"))),
        Kind::Notification => return Ok(notify(received, &server).await),
        Kind::Request => {}
    }
    let settings = &permit.settings().upstream;
    let handshake = server.ready(Duration::from_millis(settings.start_wait_ms)).await.map_err(|why| {
        tracing::warn!(server = %permit.server().name, why, "a stdio server is not ready");
        Refusal::upstream(Failure::Unavailable, Executed::No, x.class(), "it is not running yet")
    })?;
    if let Some(outcome) = other_era(x, received, &handshake)? {
        return Ok(outcome);
    }
    if received.kind == Some(MethodKind::Initialize) {
        return initialize(shared, x, permit, &handshake);
    }
    ask(shared, x, permit, server).await
}

/// Hands a request to the child and gives its answer.
///
/// # Errors
/// The kill; `upstream.…`.
pub(super) async fn ask(shared: &Shared, x: &mut Exchange, permit: &Permit, server: Arc<StdioServer>) -> Result<Outcome, Refusal> {
    let received = &permit.living().received;
    let listens = received.kind == Some(MethodKind::Listen);
    let place = listens.then(|| shared.limiter.listen(&received.metered.caller)).transpose()?;
    last_look(shared, permit.living())?;
    x.sent = true;
    let call = server.request(key(received), &received.message).await.map_err(|why| {
        tracing::warn!(server = %permit.server().name, why, "a stdio server took no request");
        x.sent = false;
        Refusal::upstream(Failure::Unavailable, Executed::No, x.class(), "its process takes no request")
    })?;
    let due = Instant::now() + Duration::from_millis(permit.settings().upstream.answer_ms);
    if let Some(place) = place {
        x.flight = Some(Flight::Stdio { call, due: None });
        return Ok(listening(received, place));
    }
    x.flight = Some(Flight::Stdio { call, due: Some(due) });
    relay::answer(shared, x, permit).await
}

/// Only a cancellation reaches the child, for the one call it names; the other notifications belong to a session the child does not have.
pub(super) async fn notify(received: &Received, server: &StdioServer) -> Outcome {
    if received.kind == Some(MethodKind::Cancelled) && !received.era.is_modern() {
        let id = received.message.cancelled_request_id_raw().unwrap_or_default();
        let reason = received.message.param_raw("reason").and_then(|raw| serde_json::from_slice::<String>(raw).ok());
        let reason = reason.map_or_else(|| "the client cancelled the call".to_owned(), |reason| shape::cut(&reason, 256));
        server.cancel_by_key(&key_of(received, id), &reason).await;
    }
    Outcome::whole(Whole::empty(StatusCode::ACCEPTED))
}

/// Names a request among those of all clients and sessions.
fn key(received: &Received) -> RequestKey {
    key_of(received, received.message.id_raw().unwrap_or_default())
}

fn key_of(received: &Received, id: &[u8]) -> RequestKey {
    let owner = received.session.as_ref().map_or(&received.metered.caller.principal.client, |session| &session.id);
    RequestKey(format!("{owner} {}", String::from_utf8_lossy(id)))
}

/// The era is the server's own (basic/versioning): the other one is answered so that clients change to it.
pub(super) fn other_era(x: &Exchange, received: &Received, handshake: &Handshake) -> Result<Option<Outcome>, Refusal> {
    match received.era {
        Era::Modern if !handshake.modern => {
            let text = "this server speaks the initialize handshake only";
            let body = reply::error(x.id_raw(), -32000, text, &json!(null)).into();
            let whole = Whole::json(StatusCode::BAD_REQUEST, body);
            Ok(Some(Outcome { answer: Answer::Whole(whole), status: "upstream_error", executed: Executed::No }))
        }
        Era::Legacy { .. } if handshake.initialize_result.is_none() => {
            let requested = received.message.initialize_version().unwrap_or(received.era.version());
            Err(Refusal::Wire(WireFault::unsupported_version(requested).with_id(x.id_raw())))
        }
        _ => Ok(None),
    }
}

/// Answers from the child's own handshake, in a session of ours.
fn initialize(shared: &Shared, x: &mut Exchange, permit: &Permit, handshake: &Handshake) -> Result<Outcome, Refusal> {
    let received = &permit.living().received;
    let refused =
        || Refusal::upstream(Failure::Unavailable, Executed::No, crate::config::Class::Read, "its handshake cannot be read");
    let result = handshake.initialize_result.clone().ok_or_else(refused)?;
    let requested = received.message.initialize_version().unwrap_or_default();
    let version = agreed(requested, handshake.legacy_version.as_deref());
    let body = with_version(x.id_raw().unwrap_or(b"null"), &result, version).ok_or_else(refused)?;
    let pair = (received.metered.caller.principal.client.clone(), received.server.clone());
    let id = shared.sessions.mint(shared.entropy.as_ref(), &permit.settings().sessions, pair, None);
    shared.sessions.agree(&id, version);
    x.facts.session = Some(digest(&id));
    let incoming = parse_incoming(body).map_err(|_| refused())?;
    let body = relay::conclude(shared, x, permit, &incoming)?;
    let whole = Whole { session: Some(id), ..Whole::json(StatusCode::OK, body) };
    Ok(Outcome::whole(whole))
}

/// The version the client asks for where the child's is not older, else the child's. Newest first in the table.
fn agreed(requested: &str, child: Option<&str>) -> &'static str {
    let place = |version: &str| LEGACY_VERSIONS.iter().position(|known| *known == version);
    let oldest_place = child.and_then(place).unwrap_or(0);
    let at = place(requested).filter(|at| *at >= oldest_place).unwrap_or(oldest_place);
    LEGACY_VERSIONS[at]
}

/// The handshake's result with another `protocolVersion`, all else as the child wrote it.
fn with_version(id: &[u8], result: &Bytes, version: &str) -> Option<Bytes> {
    let envelope = Bytes::from([b"{\"jsonrpc\":\"2.0\",\"id\":", id, b",\"result\":", result, b"}"].concat());
    let incoming = parse_incoming(envelope).ok()?;
    let (whole, old) = (incoming.result_raw()?, incoming.result_member_raw("protocolVersion")?);
    // Both are parts of the same bytes, so the difference of their addresses is the place of one in the other.
    let at = (old.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let head = whole.get(..at)?;
    let tail = whole.get(at + old.len()..)?;
    Some(incoming.with_result(&[head, b"\"", version.as_bytes(), b"\"", tail].concat()))
}

/// The stream of a modern client that listens for changes; it lasts as long as both sides like.
pub(super) fn listening(received: &Received, place: Slot) -> Outcome {
    let principal = &received.metered.caller.principal;
    let stream = Stream {
        client: principal.client.clone(),
        principal: principal.clone(),
        server: received.server.clone(),
        session: None,
        era: received.era,
        request: received.message.id(),
        place,
    };
    Outcome { answer: Answer::Open(Box::new(stream)), status: "ok", executed: Executed::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_of_two_versions_is_agreed_on() {
        assert_eq!(agreed("2025-06-18", Some("2025-11-25")), "2025-06-18");
        assert_eq!(agreed("2025-11-25", Some("2025-06-18")), "2025-06-18");
        assert_eq!(agreed("1999-01-01", Some("2025-06-18")), "2025-06-18");
        assert_eq!(agreed("2025-11-25", None), "2025-11-25");
    }

    #[test]
    fn pit_10_the_handshake_keeps_every_other_byte() {
        let result = Bytes::from_static(br#"{ "x":1.10, "protocolVersion" : "2025-11-25","serverInfo":{"name":"d"}}"#);
        let body = with_version(b"\"a\"", &result, "2025-06-18").expect("body");
        let due = br#"{"jsonrpc":"2.0","id":"a","result":{ "x":1.10, "protocolVersion" : "2025-06-18","serverInfo":{"name":"d"}}}"#;
        assert_eq!(body.as_ref(), due);
    }
}
