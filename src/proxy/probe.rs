//! Looks at a server with the proxy's own means: handshake, then all pages of its tools. Never calls a tool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Shared;
use super::upstream::http_leg::HttpLeg;
use super::upstream::stdio::{Handshake, RequestKey, StdioEvent, StdioServer};
use super::upstream::{EventStream, Leg, Piece, whole};
use crate::config::settings::Upstream as Limits;
use crate::config::{Class, UpstreamConfig};
use crate::mcp::era::{LEGACY_VERSIONS, META_VERSION, MODERN_VERSION, VERSION_HEADER};
use crate::mcp::list::{ListKind, entries, hints, next_cursor};
use crate::mcp::message::{Incoming, Kind, parse, parse_incoming};
use crate::policy::feed::{ProbeRequest, Probed, ToolSeen};
use crate::policy::snapshot::ServerEntry;

const WAIT: Duration = Duration::from_secs(20);
const START: Duration = Duration::from_secs(60);
const PAGES: usize = 100;
const CAP: usize = 8 * 1024 * 1024;
/// JSON-RPC error of a server that does not speak the version it is asked in.
const UNSUPPORTED_VERSION: i64 = -32022;
// Of all pages together.
const TOOLS: usize = 10_000;

/// Task: answers probes, one after the other is enough for an operator.
pub(super) async fn serve(shared: Arc<Shared>, mut probes: mpsc::Receiver<ProbeRequest>) {
    loop {
        let request = tokio::select! {
            () = shared.stop.cancelled() => return,
            request = probes.recv() => request,
        };
        let Some(ProbeRequest { server, reply }) = request else { return };
        let began = Instant::now();
        let shared = shared.clone();
        shared.clone().tasks.spawn(async move {
            let limits = shared.feed.snapshot().settings.upstream.clone();
            let kept = shared.upstreams.kept(&server);
            let is_kept = kept.is_some();
            let aside = shared.upstreams.aside(&server.name);
            let seen = match kept {
                Some(leg) => bounded(look(&leg), START + WAIT).await,
                None => look_aside(&shared, &server, &limits).await,
            };
            drop(aside);
            if !is_kept && !shared.feed.snapshot().servers.contains_key(server.name.as_ref()) {
                shared.feed.forget_server(&server.name);
            }
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            // An operator who no longer waits needs no answer.
            drop(reply.send(seen.map(|probed| Probed { ms, ..probed })));
        });
    }
}

/// Looks at a server as it does not run now. The process that runs makes place in the vault meanwhile: calls wait for it as for a start, so this may
/// take no longer than leaves it the time to be back.
async fn look_aside(shared: &Shared, server: &Arc<ServerEntry>, limits: &Limits) -> Result<Probed, String> {
    let is_child = matches!(server.config.upstream, UpstreamConfig::Stdio(_));
    let starts = is_child && server.secrets.approved && server.secrets.missing(&server.config).is_none();
    let lent = if starts { shared.upstreams.lend(&server.name).await? } else { None };
    let patience = match &lent {
        Some(_) => Duration::from_millis(limits.start_wait_ms) * 6 / 10,
        None => START + WAIT,
    };
    let leg = shared.upstreams.build(server, limits);
    let seen = bounded(look(&leg), patience).await;
    leg.shutdown().await;
    drop(lent);
    seen
}

async fn bounded(looking: impl Future<Output = Result<Probed, String>>, wait: Duration) -> Result<Probed, String> {
    let late = |_| Err(format!("it took longer than {} s", wait.as_secs()));
    tokio::time::timeout(wait, looking).await.unwrap_or_else(late)
}

async fn look(leg: &Leg) -> Result<Probed, String> {
    match leg {
        Leg::Unusable(_, why) => Err(why.to_string()),
        Leg::Http(leg) => Http::open(leg).await?.look().await,
        Leg::Stdio(_) | Leg::Instances(_) => {
            let server = leg.child().ok_or("it has no process")?;
            let handshake = server.ready(START).await?;
            look_at_child(server, &handshake).await
        }
    }
}

/// A short conversation with an HTTP server.
struct Http<'a> {
    leg: &'a HttpLeg,
    modern: bool,
    session: Option<HeaderValue>,
    version: String,
    first: Incoming,
}

impl<'a> Http<'a> {
    /// The modern question first; a server that does not know it gets the handshake.
    async fn open(leg: &'a HttpLeg) -> Result<Self, String> {
        let modern = discover(leg, "lifeboat-server/discover").await?;
        if let Some(first) = modern.message.filter(|message| !message.is_error()) {
            return Ok(Self { leg, modern: true, session: None, version: MODERN_VERSION.into(), first });
        }
        let version = LEGACY_VERSIONS[0];
        let client = json!({"name": "lifeboat", "version": env!("CARGO_PKG_VERSION")});
        let params = json!({"protocolVersion": version, "capabilities": capabilities(), "clientInfo": client});
        let answer = post(leg, &request("initialize", params, false), None, version, None).await?;
        let first = answer.message.filter(|message| !message.is_error());
        let first = first.ok_or_else(|| format!("it answered neither server/discover nor initialize (HTTP {})", answer.status))?;
        let version = first.result_text("protocolVersion").unwrap_or_else(|| version.to_owned());
        let http = Self { leg, modern: false, session: answer.session, version, first };
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        post(leg, &initialized.into(), None, &http.version, http.session.as_ref()).await?;
        Ok(http)
    }

    async fn look(self) -> Result<Probed, String> {
        let mut tools = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let params = cursor.take().map_or(json!({}), |cursor| json!({"cursor": cursor}));
            let body = request("tools/list", params, self.modern);
            let method = self.modern.then_some("tools/list");
            let page = post(self.leg, &body, method, &self.version, self.session.as_ref()).await?;
            let page = page.message.ok_or_else(|| format!("it answered tools/list with HTTP {}", page.status))?;
            cursor = take_page(&page, &mut tools)?;
            if cursor.is_none() {
                break;
            }
        }
        if self.session.is_some() {
            let headers = headers(None, &self.version, self.session.as_ref());
            drop(self.leg.send(Method::DELETE, headers, Bytes::new(), WAIT).await);
        }
        Ok(Probed { server_info: info(self.first.result_raw()), protocol: self.version, tools, ms: 0 })
    }
}

/// What one message was answered with.
pub(super) struct Posted {
    pub(super) status: u16,
    pub(super) session: Option<HeaderValue>,
    pub(super) message: Option<Incoming>,
}

/// Sends one message and reads the response to it.
///
/// # Errors
/// A sentence for the operator.
pub(super) async fn post(
    leg: &HttpLeg,
    body: &Bytes,
    method: Option<&str>,
    version: &str,
    session: Option<&HeaderValue>,
) -> Result<Posted, String> {
    let headers = headers(method, version, session);
    let response = leg.send(Method::POST, headers, body.clone(), WAIT).await.map_err(|fault| fault.told)?;
    let status = response.status().as_u16();
    let session = response.headers().get("mcp-session-id").cloned();
    let media = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let message = if media.starts_with("text/event-stream") {
        first_response(EventStream::new(response.into_body(), CAP)).await
    } else {
        let body = whole(response.into_body(), CAP as u64, WAIT).await.map_err(|_| "its answer broke off".to_owned())?;
        parse_incoming(body).ok()
    };
    Ok(Posted { status, session, message })
}

/// Asks a server what it is. One that refuses the version, and supports it by its own word, is asked once more (2026-07-28, versioning).
///
/// # Errors
/// As [`post`].
pub(super) async fn discover(leg: &HttpLeg, id: &str) -> Result<Posted, String> {
    let question = message(id, "server/discover", json!({}), true);
    let first = post(leg, &question, Some("server/discover"), MODERN_VERSION, None).await?;
    if !first.message.as_ref().is_some_and(contradicts_itself) {
        return Ok(first);
    }
    post(leg, &question, Some("server/discover"), MODERN_VERSION, None).await
}

fn contradicts_itself(answer: &Incoming) -> bool {
    let error: Value = answer.error_raw().and_then(|raw| serde_json::from_slice(raw).ok()).unwrap_or_default();
    let supported = error["data"]["supported"].as_array();
    answer.error_code() == Some(UNSUPPORTED_VERSION) && supported.is_some_and(|all| all.iter().any(|one| one == MODERN_VERSION))
}

async fn first_response(mut stream: EventStream) -> Option<Incoming> {
    let reading = async {
        loop {
            match stream.next().await {
                Ok(Piece::Message { incoming, .. }) if incoming.kind() == Kind::Response => return Some(*incoming),
                Ok(Piece::Message { .. } | Piece::Silent { .. }) => {}
                Ok(Piece::End) | Err(_) => return None,
            }
        }
    };
    tokio::time::timeout(WAIT, reading).await.ok().flatten()
}

/// The headers of a message of our own.
pub(super) fn headers(method: Option<&str>, version: &str, session: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    if let Ok(version) = HeaderValue::from_str(version) {
        headers.insert(VERSION_HEADER, version);
    }
    if let Some(method) = method.and_then(|method| HeaderValue::from_str(method).ok()) {
        headers.insert("mcp-method", method);
    }
    if let Some(session) = session {
        headers.insert("mcp-session-id", session.clone());
    }
    headers
}

/// Everything a client may be able to do. Some servers show a tool only to a client that can do what the tool asks for, and a tool that
/// is not seen here can never be permitted. Nothing is ever asked of the probe: it calls no tool and opens no stream.
fn capabilities() -> Value {
    let tasks = json!({"requests": {"elicitation": {"create": {}}, "sampling": {"createMessage": {}}}, "list": {}, "cancel": {}});
    json!({
        "elicitation": {"form": {}, "url": {}},
        "roots": {"listChanged": true},
        "sampling": {"tools": {}, "context": {}},
        "tasks": tasks,
    })
}

fn request(method: &str, params: Value, modern: bool) -> Bytes {
    message(&format!("lifeboat-{method}"), method, params, modern)
}

/// A request of our own.
pub(super) fn message(id: &str, method: &str, mut params: Value, modern: bool) -> Bytes {
    if modern {
        params["_meta"] = json!({
            META_VERSION: MODERN_VERSION,
            "io.modelcontextprotocol/clientCapabilities": capabilities(),
            "io.modelcontextprotocol/clientInfo": {"name": "lifeboat", "version": env!("CARGO_PKG_VERSION")},
        });
    }
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string().into()
}

async fn look_at_child(server: &StdioServer, handshake: &Handshake) -> Result<Probed, String> {
    let mut tools = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES {
        let params = cursor.take().map_or(json!({}), |cursor| json!({"cursor": cursor}));
        let page = ask(server, "tools/list", params, handshake.initialize_result.is_none()).await?;
        cursor = take_page(&page, &mut tools)?;
        if cursor.is_none() {
            break;
        }
    }
    let mut protocol: Vec<String> = handshake.legacy_version.iter().cloned().collect();
    let mut server_info = info(handshake.initialize_result.as_deref());
    if handshake.modern {
        protocol.insert(0, MODERN_VERSION.to_owned());
        if server_info.is_empty() {
            server_info = info(ask(server, "server/discover", json!({}), true).await?.result_raw());
        }
    }
    Ok(Probed { server_info, protocol: protocol.join(", "), tools, ms: 0 })
}

async fn ask(server: &StdioServer, method: &str, params: Value, modern: bool) -> Result<Incoming, String> {
    let message = parse(request(method, params, modern)).map_err(|fault| fault.message)?;
    let mut call = server.request(RequestKey(format!("probe {method}")), &message).await?;
    let reading = async {
        while let Some(event) = call.events.recv().await {
            match event {
                StdioEvent::Response(body) => return parse_incoming(body).map_err(|fault| fault.to_string()),
                StdioEvent::Notification(_) => {}
                StdioEvent::Gone => break,
            }
        }
        Err("its process ended".to_owned())
    };
    tokio::time::timeout(WAIT, reading).await.unwrap_or_else(|_| Err(format!("it did not answer {method} in time")))
}

/// Adds the tools of one page; gives the cursor of the next.
fn take_page(page: &Incoming, tools: &mut Vec<ToolSeen>) -> Result<Option<String>, String> {
    // A server without tools may not know the method at all.
    if page.error_code() == Some(-32601) {
        return Ok(None);
    }
    if page.is_error() {
        return Err("it answered tools/list with an error".into());
    }
    let unreadable = |fault: crate::mcp::list::ListFault| format!("its tools cannot be read: {fault}");
    let found = entries(page.body(), ListKind::Tools).map_err(unreadable)?;
    let bytes: usize = tools.iter().map(|tool| tool.definition.len()).chain(found.iter().map(|tool| tool.raw.len())).sum();
    if bytes > CAP || tools.len() + found.len() > TOOLS {
        return Err(format!("it shows more than {TOOLS} tools, or more than {} MiB of them", CAP >> 20));
    }
    for tool in found {
        let definition = String::from_utf8_lossy(&tool.raw).into_owned();
        tools.push(ToolSeen { class: class(&tool.raw), name: tool.name, definition });
    }
    next_cursor(page.body(), ListKind::Tools).map_err(unreadable)
}

fn class(definition: &[u8]) -> Class {
    let hints = hints(definition);
    match (hints.read_only, hints.destructive) {
        (Some(true), _) => Class::Read,
        (_, Some(false)) => Class::Write,
        _ => Class::Destructive,
    }
}

/// `NAME VERSION` of `serverInfo`, which modern servers put into `_meta`.
fn info(result: Option<&[u8]>) -> String {
    let result: BTreeMap<String, Value> = result.and_then(|raw| serde_json::from_slice(raw).ok()).unwrap_or_default();
    let modern = result.get("_meta").and_then(|meta| meta.get("io.modelcontextprotocol/serverInfo"));
    let Some(info) = result.get("serverInfo").or(modern) else { return String::new() };
    let part = |key: &str| info.get(key).and_then(Value::as_str).unwrap_or_default().chars().take(128).collect::<String>();
    format!("{} {}", part("name"), part("version")).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_without_annotations_counts_as_destructive() {
        assert_eq!(class(br#"{"name":"t"}"#), Class::Destructive);
        assert_eq!(class(br#"{"name":"t","annotations":{"readOnlyHint":true}}"#), Class::Read);
        assert_eq!(class(br#"{"name":"t","annotations":{"destructiveHint":false}}"#), Class::Write);
        assert_eq!(class(br#"{"name":"t","annotations":{"readOnlyHint":false}}"#), Class::Destructive);
    }
}
