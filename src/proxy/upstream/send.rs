//! One request to an HTTP server: headers written anew from what was parsed, the body as it came. Never passes a credential of the
//! client on, and never a header of the server back.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming as HttpBody;
use serde_json::json;

use super::super::Shared;
use super::super::arguments::Permit;
use super::super::exchange::{Exchange, Whole};
use super::super::intake::Received;
use super::super::pipeline::{Answer, Outcome};
use super::super::refuse::{Executed, Failure, Refusal};
use super::super::relay;
use super::super::sessions::{Question, SessionView};
use super::flow::{EventStream, HttpFlight, Notice, whole};
use super::http_leg::{HttpLeg, LegFault, Line};
use super::{Broken, Flight, begun, child};
use crate::config::{Class, Settings};
use crate::mcp::era::{Era, VERSION_HEADER};
use crate::mcp::fault::WireFault;
use crate::mcp::message::{Kind, parse_incoming};
use crate::mcp::method::MethodKind;
use crate::mcp::reply;

const SMALL: u64 = 64 * 1024;
/// Bytes of a server's session id; those in use have some dozen, signed ones a few hundred.
const LONGEST_SESSION: usize = 4 * 1024;
const BRIEF: Duration = Duration::from_secs(5);

/// Sends a permitted message and gives its answer.
///
/// # Errors
/// The kill; `upstream.…`; `size.response`; 404 for a session the server has ended.
pub(super) async fn call(shared: &Shared, x: &mut Exchange, permit: &Permit, leg: Arc<HttpLeg>) -> Result<Outcome, Refusal> {
    let received = &permit.living().received;
    if received.kind == Some(MethodKind::Cancelled) && received.session.is_none() {
        // An id alone names nobody's call, or another client's. Over HTTP a modern call is cancelled by closing its stream.
        return Ok(Outcome::whole(Whole::empty(StatusCode::ACCEPTED)));
    }
    let headers = post_headers(received);
    let line = if received.kind == Some(MethodKind::Listen) { Line::Stream } else { Line::Call };
    let place = leg.place(line).map_err(|fault| Refusal::upstream(fault.failure, Executed::No, x.class(), fault.detail))?;
    let flight = HttpFlight { leg: leg.clone(), place, notice: notice(received, &headers), stream: None };
    x.flight = Some(Flight::Http(Box::new(flight)));
    super::super::kill::last_look(shared, permit.living())?;
    let answers = (received.message.kind() == Kind::Response).then(|| expected(shared, received)).transpose()?;
    let mut posted = post(x, permit, (&leg, headers)).await;
    // Where the server had closed the connection meanwhile, what changes nothing is asked once more; anything else is never sent twice.
    if received.message.kind() == Kind::Request && x.class() == Class::Read && posted.as_ref().is_err_and(|fault| fault.stale) {
        super::super::kill::last_look(shared, permit.living())?;
        posted = post(x, permit, (&leg, post_headers(received))).await;
    }
    match posted {
        Ok(response) => answered(shared, x, permit, (&leg, response)).await,
        Err(fault) => {
            if let (Some(question), false) = (answers, fault.reached) {
                ask_again(shared, received, question);
            }
            Err(unreached(x, &leg, fault))
        }
    }
}

async fn post(x: &mut Exchange, permit: &Permit, (leg, headers): (&HttpLeg, HeaderMap)) -> Result<Response<HttpBody>, LegFault> {
    x.sent = true;
    let wait = Duration::from_millis(permit.settings().upstream.answer_ms);
    leg.send(Method::POST, headers, permit.living().received.message.body().clone(), wait).await
}

/// A response is passed on only when the server asked for it in this session, and once.
///
/// # Errors
/// 400.
pub(super) fn expected(shared: &Shared, received: &Received) -> Result<Question, Refusal> {
    let asked = match (&received.session, received.message.id()) {
        (Some(session), Some(id)) => shared.sessions.answers(&session.id, &id),
        _ => None,
    };
    asked.ok_or_else(|| Refusal::Wire(WireFault::invalid_request("a response that nobody asked for")))
}

/// An answer that did not leave leaves its question open.
pub(super) fn ask_again(shared: &Shared, received: &Received, question: Question) {
    if let (Some(session), Some(id)) = (&received.session, received.message.id()) {
        shared.sessions.asked(&session.id, id, question);
    }
}

fn unreached(x: &mut Exchange, leg: &HttpLeg, fault: LegFault) -> Refusal {
    x.sent = fault.reached;
    x.flight = None;
    leg.word.ill(&fault.told);
    Refusal::upstream(fault.failure, x.executed_if_cut(), x.class(), fault.detail)
}

async fn answered(
    shared: &Shared,
    x: &mut Exchange,
    permit: &Permit,
    (leg, response): (&HttpLeg, Response<HttpBody>),
) -> Result<Outcome, Refusal> {
    let received = &permit.living().received;
    let limits = &permit.settings().limits;
    let status = response.status();
    if status.is_client_error() {
        return relayed(shared, x, received.session.as_ref(), response).await;
    }
    if !status.is_success() {
        let detail = if status.is_redirection() { "it redirects, which is not followed" } else { "it answered with an error" };
        leg.word.ill(detail);
        return Err(lost(x, detail));
    }
    leg.word.well();
    if received.message.kind() != Kind::Request {
        return Ok(Outcome::whole(Whole::empty(StatusCode::ACCEPTED)));
    }
    if !is_identity(response.headers()) {
        return Err(lost(x, "its answer is compressed"));
    }
    begin_session(shared, x, permit, response.headers())?;
    let is_list = received.kind.is_some_and(MethodKind::is_list);
    match media(response.headers()).as_str() {
        "text/event-stream" => {
            let limit = if is_list { limits.list } else { limits.event.max(limits.response) };
            streams(shared, x, permit, EventStream::new(response.into_body(), limit.bytes())).await
        }
        "application/json" => {
            let limit = if is_list { limits.list } else { limits.response };
            let wait = Duration::from_millis(permit.settings().upstream.body_ms);
            let body = whole(response.into_body(), limit.0, wait).await.map_err(|broken| broke(x, broken))?;
            json_answer(shared, x, permit, body)
        }
        _ => Err(lost(x, "its answer is neither JSON nor a stream")),
    }
}

async fn streams(shared: &Shared, x: &mut Exchange, permit: &Permit, events: EventStream) -> Result<Outcome, Refusal> {
    if let Some(Flight::Http(flight)) = &mut x.flight {
        flight.stream = Some(events);
    }
    let received = &permit.living().received;
    if received.kind == Some(MethodKind::Listen) {
        let place = shared.limiter.listen(&received.metered.caller)?;
        return Ok(child::listening(received, place));
    }
    begun(shared, x, permit);
    let begun = x.begun.clone();
    x.reply.begin(begun.as_deref());
    relay::answer(shared, x, permit).await
}

fn json_answer(shared: &Shared, x: &mut Exchange, permit: &Permit, body: Bytes) -> Result<Outcome, Refusal> {
    let incoming = parse_incoming(body).map_err(|_| lost(x, "its answer is no message"))?;
    if incoming.kind() != Kind::Response || incoming.id().is_none() || incoming.id() != permit.living().received.message.id() {
        return Err(lost(x, "its answer belongs to another request"));
    }
    let body = relay::conclude(shared, x, permit, &incoming)?;
    let session = x.begun.clone().filter(|_| !incoming.is_error());
    let answer = Answer::Whole(Whole { session, ..Whole::json(StatusCode::OK, body) });
    Ok(relay::outcome_of(x, &incoming, answer))
}

/// Where the server begins a session, the client gets one of ours.
///
/// # Errors
/// When its id is too long to be kept for each of many sessions.
fn begin_session(shared: &Shared, x: &mut Exchange, permit: &Permit, headers: &HeaderMap) -> Result<(), Refusal> {
    let received = &permit.living().received;
    if received.kind != Some(MethodKind::Initialize) {
        return Ok(());
    }
    let Some(upstream) = headers.get("mcp-session-id").and_then(|value| value.to_str().ok()) else { return Ok(()) };
    if upstream.len() > LONGEST_SESSION {
        return Err(lost(x, "the id of its session is too long"));
    }
    let pair = (received.metered.caller.principal.client.clone(), received.server.clone());
    let limits = &permit.settings().sessions;
    let id = shared.sessions.mint(shared.entropy.as_ref(), limits, pair, Some(upstream.into()));
    x.facts.session = Some(super::super::sessions::digest(&id));
    x.begun = Some(id);
    Ok(())
}

/// A 4xx goes to the client with its JSON body: clients choose the era by it. What speaks of our own credential does not.
async fn relayed(
    shared: &Shared,
    x: &mut Exchange,
    session: Option<&SessionView>,
    response: Response<HttpBody>,
) -> Result<Outcome, Refusal> {
    let status = response.status();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            return Err(declined(x, "it does not accept the credential it is given"));
        }
        StatusCode::TOO_MANY_REQUESTS => return Err(declined(x, "it has too much to do")),
        _ => {}
    }
    let body = whole(response.into_body(), SMALL, BRIEF).await.unwrap_or_default();
    if let Some(session) = session
        && (status == StatusCode::NOT_FOUND || (status == StatusCode::BAD_REQUEST && speaks_of_session(&body)))
        && parse_incoming(body.clone()).ok().and_then(|incoming| incoming.error_code()) != Some(-32601)
    {
        shared.sessions.end(&session.id);
        return Err(Refusal::NoSession);
    }
    // Anything else beside an error status would pass what no stage has looked at, however a client reads it.
    let body = match parse_incoming(body.clone()) {
        Ok(incoming) if incoming.is_error() => body,
        _ => {
            let text = format!("the server answered HTTP {}", status.as_u16());
            reply::error(x.id_raw(), -32000, &text, &json!(null)).into()
        }
    };
    let executed = if x.class() > Class::Read { Executed::Unknown } else { Executed::No };
    Ok(Outcome { answer: Answer::Whole(Whole::json(status, body)), status: "upstream_error", executed })
}

fn speaks_of_session(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).to_ascii_lowercase().contains("session")
}

/// Opens the server's own stream for a session.
///
/// # Errors
/// 404, 405, or the server cannot be reached.
pub(super) async fn listen(
    shared: &Shared,
    x: &mut Exchange,
    leg: Arc<HttpLeg>,
    (client, era, session): (&HeaderMap, Era, Option<&SessionView>),
    settings: &Settings,
) -> Result<Option<Whole>, Refusal> {
    let mut headers = session_headers(era, session);
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    copy(client, &mut headers, &["last-event-id", "traceparent", "tracestate"]);
    x.facts.class = Some(Class::Read);
    let place = leg.place(Line::Stream).map_err(|fault| Refusal::upstream(fault.failure, Executed::No, x.class(), fault.detail))?;
    let wait = Duration::from_millis(settings.upstream.answer_ms);
    let response = leg.send(Method::GET, headers, Bytes::new(), wait).await.map_err(|fault| unreached(x, &leg, fault))?;
    let status = response.status();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        return Err(Refusal::NoMethod);
    }
    if status.is_client_error() {
        return match relayed(shared, x, session, response).await?.answer {
            Answer::Whole(whole) => Ok(Some(whole)),
            _ => Ok(None),
        };
    }
    if !status.is_success() || !is_identity(response.headers()) || media(response.headers()) != "text/event-stream" {
        return Err(lost(x, "it gives no stream"));
    }
    let stream = EventStream::new(response.into_body(), settings.limits.event.bytes());
    x.flight = Some(Flight::Http(Box::new(HttpFlight { leg, place, notice: None, stream: Some(stream) })));
    Ok(None)
}

/// Ends a session at the server.
pub(super) async fn part(leg: &HttpLeg, era: Era, session: &SessionView) {
    if session.upstream.is_some() {
        // Over here already; a server that does not hear of it lets the session expire.
        drop(leg.send(Method::DELETE, session_headers(era, Some(session)), Bytes::new(), BRIEF).await);
    }
}

fn post_headers(received: &Received) -> HeaderMap {
    let mut headers = match received.era {
        Era::Modern => modern_headers(received),
        legacy => session_headers(legacy, received.session.as_ref()),
    };
    if received.kind == Some(MethodKind::Initialize) && matches!(received.era, Era::Legacy { version: None }) {
        headers.remove(VERSION_HEADER);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    copy(&received.headers, &mut headers, &["traceparent", "tracestate"]);
    headers
}

fn modern_headers(received: &Received) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let message = &received.message;
    headers.insert(VERSION_HEADER, HeaderValue::from_static(crate::mcp::era::MODERN_VERSION));
    if let Some(method) = message.method().and_then(|method| HeaderValue::from_str(method).ok()) {
        headers.insert("mcp-method", method);
    }
    let name = match received.kind {
        Some(MethodKind::ToolCall | MethodKind::PromptGet) => message.name(),
        Some(MethodKind::ResourceRead) => message.uri(),
        Some(kind) if kind.is_task() => message.task_id(),
        _ => None,
    };
    if let Some(name) = name.and_then(|name| HeaderValue::from_str(&encoded(name)).ok()) {
        headers.insert("mcp-name", name);
    }
    for (name, value) in received.headers.iter().filter(|(name, _)| name.as_str().starts_with("mcp-param-")) {
        headers.append(name.clone(), value.clone());
    }
    headers
}

/// A header value as it is, or wrapped as `=?base64?…?=` where it is no plain visible ASCII (2026-07-28, streamable HTTP).
pub(super) fn encoded(value: &str) -> String {
    let is_plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && value.trim() == value && !value.starts_with("=?");
    if is_plain { value.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(value)) }
}

pub(super) fn session_headers(era: Era, session: Option<&SessionView>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let agreed = session.and_then(|session| session.version);
    let version = match era {
        Era::Legacy { version: None } => agreed.unwrap_or(era.version()),
        era => era.version(),
    };
    headers.insert(VERSION_HEADER, HeaderValue::from_static(version));
    let upstream = session.and_then(|session| session.upstream.as_deref());
    if let Some(id) = upstream.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert("mcp-session-id", id);
    }
    headers
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, names: &[&'static str]) {
    for name in names {
        if let Some(value) = from.get(*name) {
            to.insert(*name, value.clone());
        }
    }
}

/// How a legacy server learns that a call was stopped.
fn notice(received: &Received, headers: &HeaderMap) -> Option<Notice> {
    let is_call = received.message.kind() == Kind::Request && !received.era.is_modern();
    let id = received.message.id_raw().filter(|_| is_call)?;
    let id: serde_json::Value = serde_json::from_slice(id).ok()?;
    let body = json!({
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": id, "reason": "stopped by an operator"},
    });
    Some(Notice { headers: headers.clone(), body: body.to_string().into() })
}

fn is_identity(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

pub(super) fn media(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn lost(x: &Exchange, detail: &'static str) -> Refusal {
    Refusal::upstream(Failure::Unavailable, Executed::Unknown, x.class(), detail)
}

/// The server said before doing anything that it will not.
fn declined(x: &Exchange, detail: &'static str) -> Refusal {
    Refusal::upstream(Failure::Declined, Executed::No, x.class(), detail)
}

fn broke(x: &Exchange, broken: Broken) -> Refusal {
    match broken {
        Broken::TooLarge { limit } => Refusal::ResponseSize { limit, executed: Executed::Unknown },
        Broken::Lost(detail) => lost(x, detail),
        Broken::Late => Refusal::upstream(Failure::Timeout, Executed::Unknown, x.class(), "its answer took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_header_text_are_wrapped() {
        assert_eq!(encoded("read_graph"), "read_graph");
        for name in ["d\u{435}lete", " x", "=?base64?eA==?=", "a\nb"] {
            let text = encoded(name);
            let inner = text.strip_prefix("=?base64?").and_then(|text| text.strip_suffix("?=")).expect("wrapped");
            assert_eq!(STANDARD.decode(inner).expect("base64"), name.as_bytes());
        }
    }

    #[test]
    fn only_identity_is_read() {
        let mut headers = HeaderMap::new();
        assert!(is_identity(&headers));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!is_identity(&headers));
    }
}
