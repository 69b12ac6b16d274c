//! One request: logged, then answered by its era. Never answers before the receive log holds the request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, oneshot};

use super::body::{Feed, Reply, event, events, full, json as json_reply, reply};
use super::tools::{KITCHEN_SINK, TOOLS, text_content};
use super::{Eras, Reset, Upstream, faults, lock};
use crate::lines::wall_ns;

const MODERN: &str = "2026-07-28";

/// The parts of a message we look at; the rest stays bytes.
#[derive(Deserialize, Default)]
struct Envelope {
    id: Option<Box<RawValue>>,
    method: Option<String>,
    params: Option<Box<RawValue>>,
}

/// One message with what its era says about it.
struct Call {
    id: String,
    method: String,
    params: Value,
    session: Option<String>,
    modern: bool,
}

impl Call {
    fn name(&self) -> &str {
        self.params["name"].as_str().unwrap_or_default()
    }

    fn argument(&self, name: &str) -> &Value {
        &self.params["arguments"][name]
    }

    fn key(&self) -> String {
        format!("{}/{}", self.session.as_deref().unwrap_or_default(), self.id)
    }

    /// A successful answer: `members` is the inside of the result object.
    fn result(&self, members: &str) -> String {
        let era = if self.modern { r#""resultType":"complete","# } else { "" };
        format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{{era}{members}}}}}"#, self.id)
    }

    fn error(&self, code: i64, message: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":{code},"message":{}}}}}"#, self.id, Value::from(message))
    }
}

/// Answers one HTTP request.
pub(super) async fn answer(upstream: &Arc<Upstream>, request: Request<Incoming>, reset: &Reset) -> Result<Reply, Infallible> {
    let t_ns = wall_ns();
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if let Some(door) = head.uri.path().strip_prefix("/__") {
        return Ok(side_door(upstream, door, &body));
    }
    let envelope: Envelope = serde_json::from_slice(&body).unwrap_or_default();
    let params = envelope.params.as_ref().map_or("", |raw| raw.get());
    let call = Call {
        id: envelope.id.as_ref().map_or("null", |raw| raw.get()).to_owned(),
        method: envelope.method.clone().unwrap_or_default(),
        params: serde_json::from_str(params).unwrap_or_default(),
        session: header(&head.headers, "mcp-session-id"),
        modern: header(&head.headers, "mcp-protocol-version").is_some_and(|version| version.as_str() >= MODERN),
    };
    if !upstream.fast {
        let line = json!({
            "t_ns": t_ns, "event": "request", "http": head.method.as_str(), "path": head.uri.path(), "method": call.method, "name": call.name(),
            "id": call.id, "headers": headers(&head.headers), "body_sha256": sha256(&body), "params_sha256": sha256(params.as_bytes()),
            "text": call.argument("text"),
        });
        upstream.log.write(&line);
    }
    upstream.count("total".into());
    upstream.count(format!("method {}", if call.method.is_empty() { head.method.as_str() } else { &call.method }));
    if !call.name().is_empty() {
        upstream.count(format!("name {}", call.name()));
    }
    Ok(match head.method {
        Method::POST if call.method.is_empty() => client_answer(upstream, &call, &body),
        Method::POST if call.modern => modern(upstream, call, reset),
        Method::POST => legacy(upstream, call, reset),
        Method::GET if upstream.sessions && upstream.eras != Eras::Modern => listen(upstream, &call),
        Method::DELETE if upstream.sessions && upstream.eras != Eras::Modern => end_session(upstream, &call),
        _ => reply(StatusCode::METHOD_NOT_ALLOWED, "", full("")),
    })
}

fn side_door(upstream: &Upstream, door: &str, body: &Bytes) -> Reply {
    match door {
        "hits" => {
            let hits = lock(&upstream.hits).clone();
            let text = json!({ "total": hits.get("total").copied().unwrap_or(0), "open": upstream.open.load(Ordering::Relaxed),
                "sessions": lock(&upstream.known).len(), "by": hits });
            json_reply(StatusCode::OK, text.to_string())
        }
        "fault" => {
            *lock(&upstream.fault) = String::from_utf8_lossy(body).trim().to_owned();
            json_reply(StatusCode::OK, "{}")
        }
        _ => reply(StatusCode::NOT_FOUND, "", full("")),
    }
}

fn modern(upstream: &Arc<Upstream>, call: Call, reset: &Reset) -> Reply {
    if upstream.eras == Eras::Legacy {
        // As server-everything does: no modern error code, so that a dual-era client falls back.
        return json_reply(StatusCode::BAD_REQUEST, call.error(-32000, "Bad Request: No valid session ID provided"));
    }
    match call.method.as_str() {
        "server/discover" => {
            let members = r#""ttlMs":1000,"cacheScope":"public","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"scripted","version":"1"}}"#;
            json_reply(StatusCode::OK, call.result(members))
        }
        "tools/list" => json_reply(StatusCode::OK, call.result(&format!(r#""ttlMs":60000,"cacheScope":"public","tools":{TOOLS}"#))),
        "tools/call" => tool(upstream, call, reset),
        method if method.starts_with("notifications/") => reply(StatusCode::ACCEPTED, "", full("")),
        _ => json_reply(StatusCode::NOT_FOUND, call.error(-32601, "Method not found")),
    }
}

fn legacy(upstream: &Arc<Upstream>, call: Call, reset: &Reset) -> Reply {
    if upstream.eras == Eras::Modern {
        return json_reply(StatusCode::BAD_REQUEST, call.error(-32022, "Unsupported protocol version"));
    }
    if call.method == "initialize" {
        return initialize(upstream, &call);
    }
    if let Some(refusal) = unknown_session(upstream, &call) {
        return refusal;
    }
    match call.method.as_str() {
        "ping" => json_reply(StatusCode::OK, call.result("")),
        "tools/list" => json_reply(StatusCode::OK, call.result(&format!(r#""tools":{TOOLS}"#))),
        "tools/call" => tool(upstream, call, reset),
        "notifications/cancelled" => cancel(upstream, &call),
        method if method.starts_with("notifications/") => reply(StatusCode::ACCEPTED, "", full("")),
        _ => json_reply(StatusCode::OK, call.error(-32601, "Method not found")),
    }
}

fn initialize(upstream: &Upstream, call: &Call) -> Reply {
    let version = call.params["protocolVersion"].as_str().filter(|version| *version < MODERN).unwrap_or("2025-11-25");
    let members = format!(
        r#""protocolVersion":"{version}","capabilities":{{"tools":{{"listChanged":true}}}},"serverInfo":{{"name":"scripted","version":"1"}}"#
    );
    let mut answer = json_reply(StatusCode::OK, call.result(&members));
    if upstream.sessions {
        let session = upstream.mint("session");
        if let Ok(value) = session.parse() {
            answer.headers_mut().insert("mcp-session-id", value);
        }
        if !upstream.fast {
            lock(&upstream.known).insert(session);
        }
    }
    answer
}

fn unknown_session(upstream: &Upstream, call: &Call) -> Option<Reply> {
    let known = !upstream.sessions || upstream.fast || call.session.as_ref().is_some_and(|id| lock(&upstream.known).contains(id));
    (!known).then(|| json_reply(StatusCode::NOT_FOUND, call.error(-32001, "Session not found")))
}

fn listen(upstream: &Arc<Upstream>, call: &Call) -> Reply {
    if let Some(refusal) = unknown_session(upstream, call) {
        return refusal;
    }
    let (feed, answer) = events();
    // No byte of body, for ever: headers alone must reach the client.
    tokio::spawn(async move { feed.closed().await });
    answer
}

fn end_session(upstream: &Upstream, call: &Call) -> Reply {
    if let Some(refusal) = unknown_session(upstream, call) {
        return refusal;
    }
    if let Some(id) = &call.session {
        lock(&upstream.known).remove(id);
    }
    reply(StatusCode::OK, "", full(""))
}

fn cancel(upstream: &Upstream, call: &Call) -> Reply {
    let key = format!("{}/{}", call.session.as_deref().unwrap_or_default(), call.params["requestId"]);
    if let Some(running) = lock(&upstream.running).get(&key) {
        running.notify_one();
    }
    reply(StatusCode::ACCEPTED, "", full(""))
}

/// A POSTed answer to a question of ours, or nonsense.
fn client_answer(upstream: &Upstream, call: &Call, body: &Bytes) -> Reply {
    let id: Value = serde_json::from_str(&call.id).unwrap_or_default();
    match lock(&upstream.asked).remove(id.as_str().unwrap_or_default()) {
        Some(waiting) => {
            let _ = waiting.send(String::from_utf8_lossy(body).into_owned());
            reply(StatusCode::ACCEPTED, "", full(""))
        }
        None => json_reply(StatusCode::BAD_REQUEST, call.error(-32600, "Invalid request")),
    }
}

fn tool(upstream: &Arc<Upstream>, call: Call, reset: &Reset) -> Reply {
    let standing = lock(&upstream.fault).clone();
    let mode = if standing.is_empty() { call.argument("mode").as_str().unwrap_or_default().to_owned() } else { standing };
    if let Some(bad) = faults::answer(&mode, &call.id, reset) {
        return bad;
    }
    match call.name() {
        "echo" | "write_note" | "wipe" | "fault" | "fault_write" => {
            let text = call.argument("text").as_str().unwrap_or("done").to_owned();
            json_reply(StatusCode::OK, call.result(&text_content(&text)))
        }
        "kitchen_sink" => json_reply(StatusCode::OK, call.result(KITCHEN_SINK)),
        "big" => big(&call),
        "slow" | "slow_write" => slow(upstream, call),
        "ask" => ask(upstream, call),
        name => {
            json_reply(StatusCode::OK, call.result(&format!("{},\"isError\":true", text_content(&format!("Unknown tool: {name}")))))
        }
    }
}

fn big(call: &Call) -> Reply {
    let size = usize::try_from(call.argument("bytes").as_u64().unwrap_or(1024)).unwrap_or(usize::MAX);
    let form = call.argument("form").as_str().unwrap_or("json");
    if form == "json" {
        return json_reply(StatusCode::OK, call.result(&text_content(&"x".repeat(size))));
    }
    let many = form == "events";
    let last = event(&call.result(&text_content(&"x".repeat(if many { 16 } else { size }))));
    let (feed, answer) = events();
    tokio::spawn(async move {
        let filler =
            json!({"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"y".repeat(16 * 1024)}})
                .to_string();
        let pieces = if many { size / filler.len() } else { 0 };
        for _ in 0..pieces {
            if feed.send(Ok(event(&filler))).await.is_err() {
                return;
            }
        }
        let _ = feed.send(Ok(last)).await;
    });
    answer
}

/// Takes its time, step by step; tells the log how it ended: `done`, `cancelled` (by a notification) or `closed` (the peer hung up).
fn slow(upstream: &Arc<Upstream>, call: Call) -> Reply {
    let steps = call.argument("steps").as_u64().unwrap_or(4);
    let (feed, mut answer) = events();
    if steps == 0 {
        answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    }
    let upstream = Arc::clone(upstream);
    tokio::spawn(async move {
        upstream.open.fetch_add(1, Ordering::Relaxed);
        let cancelled = Arc::new(Notify::new());
        lock(&upstream.running).insert(call.key(), Arc::clone(&cancelled));
        let ended = tokio::select! {
            () = run_steps(&feed, &call, steps) => "done",
            () = cancelled.notified() => "cancelled",
            () = feed.closed() => "closed",
        };
        lock(&upstream.running).remove(&call.key());
        upstream.open.fetch_sub(1, Ordering::Relaxed);
        upstream.log.write(&json!({"t_ns": wall_ns(), "event": ended, "method": call.method, "name": call.name(), "id": call.id}));
    });
    answer
}

async fn run_steps(feed: &Feed, call: &Call, steps: u64) {
    let total = Duration::from_millis(call.argument("ms").as_u64().unwrap_or(1000));
    let token = &call.params["_meta"]["progressToken"];
    for step in 1..=steps.max(1) {
        tokio::time::sleep(total / u32::try_from(steps.max(1)).unwrap_or(1)).await;
        if steps > 0 && !token.is_null() {
            let note = json!({"jsonrpc":"2.0","method":"notifications/progress",
                "params":{"progressToken":token,"progress":step,"total":steps,"message":format!("step {step}")}});
            let _ = feed.send(Ok(event(&note.to_string()))).await;
        }
    }
    let text = call.result(&text_content(call.argument("text").as_str().unwrap_or("slow and done")));
    let last = if steps == 0 { Bytes::from(text) } else { event(&text) };
    let _ = feed.send(Ok(last)).await;
}

/// A question to the caller's user: a request on the stream (legacy), or `input_required` (modern).
fn ask(upstream: &Arc<Upstream>, call: Call) -> Reply {
    let question = json!({"message":"Your name?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}}}});
    if call.modern {
        if !call.params["inputResponses"].is_null() {
            return json_reply(StatusCode::OK, call.result(&text_content(&call.params["inputResponses"].to_string())));
        }
        let wanted = json!({"resultType":"input_required","inputRequests":{"who":{"method":"elicitation/create","params":question}},"requestState":"opaque-1"});
        return json_reply(StatusCode::OK, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{wanted}}}"#, call.id));
    }
    let (feed, answer) = events();
    let (sender, answered) = oneshot::channel();
    let id = upstream.mint("ask");
    lock(&upstream.asked).insert(id.clone(), sender);
    tokio::spawn(async move {
        let request = json!({"jsonrpc":"2.0","id":id,"method":"elicitation/create","params":question});
        let _ = feed.send(Ok(event(&request.to_string()))).await;
        if let Ok(text) = answered.await {
            let _ = feed.send(Ok(event(&call.result(&text_content(&text))))).await;
        }
    });
    answer
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn headers(headers: &HeaderMap) -> BTreeMap<&str, String> {
    headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
