//! A tasks/cancel of Lifeboat's own, in the era and session of the call that began the task. Never repeats itself.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use hyper::body::Incoming as HttpBody;
use serde_json::json;

use super::super::Shared;
use super::super::task_table::Task;
use super::http_leg::HttpLeg;
use super::send::{encoded, media, session_headers};
use super::stdio::{RequestKey, StdioEvent, StdioServer};
use super::{EventStream, Leg, Piece, whole};
use crate::base::ids::mint;
use crate::mcp::era::{META_VERSION, MODERN_VERSION, VERSION_HEADER};
use crate::mcp::message::{Incoming, Kind, parse, parse_incoming};

const METHOD: &str = "tasks/cancel";
const WAIT: Duration = Duration::from_secs(5);
const SMALL: usize = 64 * 1024;

/// Asks the server to stop a task.
///
/// # Errors
/// A sentence: it was not reached, or it refused.
pub async fn cancel_task(shared: &Shared, id: &str, task: &Task) -> Result<(), &'static str> {
    let snapshot = shared.feed.snapshot();
    let entry = snapshot.servers.get(&*task.call.server).ok_or("its server is no longer there")?;
    let request = mint("lifeboat", shared.clock.now(), shared.entropy.as_ref());
    let body = body(&request, id, task.era.is_modern());
    let asking = async {
        match shared.upstreams.leg(entry, &snapshot.settings).0 {
            Leg::Http(leg) => over_http(&leg, id, task, body).await,
            Leg::Stdio(server) => in_child(&server, request, body).await,
            Leg::Instances(all) => match &task.session {
                None => in_child(all.base(), request, body).await,
                Some(session) => match all.find(&session.id) {
                    Some(server) => in_child(&server, request, body).await,
                    // With its child the task is gone as well.
                    None => Ok(()),
                },
            },
            Leg::Unusable(why, _) => Err(why),
        }
    };
    tokio::time::timeout(WAIT, asking).await.unwrap_or(Err("it did not answer"))
}

fn body(request: &str, id: &str, is_modern: bool) -> Bytes {
    let mut params = json!({"taskId": id});
    if is_modern {
        params["_meta"] = json!({
            META_VERSION: MODERN_VERSION,
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
            "io.modelcontextprotocol/clientInfo": {"name": "lifeboat", "version": env!("CARGO_PKG_VERSION")},
        });
    }
    json!({"jsonrpc": "2.0", "id": request, "method": METHOD, "params": params}).to_string().into()
}

async fn over_http(leg: &HttpLeg, id: &str, task: &Task, body: Bytes) -> Result<(), &'static str> {
    let mut headers = if task.era.is_modern() { modern_headers(id) } else { session_headers(task.era, task.session.as_ref()) };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    let response = leg.send(Method::POST, headers, body, WAIT).await.map_err(|fault| fault.detail)?;
    if !response.status().is_success() {
        return Err("it answered with an error");
    }
    verdict(answer(response).await)
}

fn modern_headers(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(VERSION_HEADER, HeaderValue::from_static(MODERN_VERSION));
    headers.insert("mcp-method", HeaderValue::from_static(METHOD));
    if let Ok(name) = HeaderValue::from_str(&encoded(id)) {
        headers.insert("mcp-name", name);
    }
    headers
}

async fn answer(response: Response<HttpBody>) -> Option<Incoming> {
    if media(response.headers()) != "text/event-stream" {
        return parse_incoming(whole(response.into_body(), SMALL as u64, WAIT).await.ok()?).ok();
    }
    let mut events = EventStream::new(response.into_body(), SMALL);
    loop {
        match events.next().await {
            Ok(Piece::Message { incoming, .. }) if incoming.kind() == Kind::Response => return Some(*incoming),
            Ok(Piece::Message { .. } | Piece::Silent { .. }) => {}
            Ok(Piece::End) | Err(_) => return None,
        }
    }
}

async fn in_child(server: &StdioServer, request: String, body: Bytes) -> Result<(), &'static str> {
    let message = parse(body).map_err(|_| "the order could not be written")?;
    let mut call = server.request(RequestKey(request), &message).await.map_err(|_| "its process takes no request")?;
    while let Some(event) = call.events.recv().await {
        match event {
            StdioEvent::Response(body) => return verdict(parse_incoming(body).ok()),
            StdioEvent::Notification(_) => {}
            // With its process the task is gone as well.
            StdioEvent::Gone => return Ok(()),
        }
    }
    Ok(())
}

fn verdict(answer: Option<Incoming>) -> Result<(), &'static str> {
    match answer {
        Some(answer) if !answer.is_error() => Ok(()),
        Some(_) => Err("it refused"),
        None => Err("its answer is none"),
    }
}
