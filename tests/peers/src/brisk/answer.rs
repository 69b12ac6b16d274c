//! One message in, one answer out. The id and the text go back as the bytes they came in. Never builds a tree of a message.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Counts;

const MODERN: &[u8] = b"2026-07-28";
const TOOLS: &str = concat!(
    r#"{"name":"echo","description":"Says the text again.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]},"annotations":{"readOnlyHint":true}},"#,
    r#"{"name":"write_note","description":"Keeps a note.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]},"annotations":{"readOnlyHint":false,"destructiveHint":false}}"#
);

/// The parts of a message that are looked at; everything else stays bytes.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

/// Answers one HTTP request.
pub(super) fn answer(counts: &Counts, head: &Parts, body: &[u8]) -> Response<Full<Bytes>> {
    let path = head.uri.path();
    if head.method == Method::GET && path == "/stats" {
        let calls = counts.calls.load(Ordering::Relaxed);
        return reply(StatusCode::OK, "application/json", format!("{{\"calls\":{calls}}}").into());
    }
    if head.method != Method::POST || !matches!(path, "/mcp" | "/sse") {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(message) = serde_json::from_slice::<Envelope<'_>>(body) else { return empty(StatusCode::BAD_REQUEST) };
    let (Some(id), Some(method)) = (message.id, message.method) else { return empty(StatusCode::ACCEPTED) };
    let modern = head.headers.get("mcp-protocol-version").is_some_and(|version| version.as_bytes() == MODERN);
    let text = message.params.and_then(|params| params.arguments).and_then(|arguments| arguments.text);
    let answer = result(counts, method, text.map_or("\"\"", RawValue::get), modern);
    let json = ["{\"jsonrpc\":\"2.0\",\"id\":", id.get(), ",", &answer, "}"];
    let mut response = if path == "/sse" {
        reply(
            StatusCode::OK,
            "text/event-stream",
            [&["event: message\ndata: "][..], &json[..], &["\n\n"][..]].concat().concat().into(),
        )
    } else {
        reply(StatusCode::OK, "application/json", json.concat().into())
    };
    if method == "initialize" {
        let session = format!("brisk-{}", counts.sessions.fetch_add(1, Ordering::Relaxed));
        if let Ok(session) = HeaderValue::from_str(&session) {
            response.headers_mut().insert("mcp-session-id", session);
        }
    }
    response
}

/// The member `result` or `error` of the answer.
fn result(counts: &Counts, method: &str, text: &str, modern: bool) -> String {
    let kind = if modern { "\"resultType\":\"complete\"," } else { "" };
    let info = "\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"brisk\",\"version\":\"1\"}";
    match method {
        "tools/call" => {
            counts.calls.fetch_add(1, Ordering::Relaxed);
            ["\"result\":{", kind, "\"content\":[{\"type\":\"text\",\"text\":", text, "}]}"].concat()
        }
        "tools/list" => ["\"result\":{", kind, "\"ttlMs\":0,\"cacheScope\":\"private\",\"tools\":[", TOOLS, "]}"].concat(),
        "server/discover" => {
            ["\"result\":{", kind, "\"ttlMs\":0,\"cacheScope\":\"private\",\"supportedVersions\":[\"2026-07-28\"],", info, "}"]
                .concat()
        }
        "initialize" => ["\"result\":{\"protocolVersion\":\"2025-11-25\",", info, "}"].concat(),
        "ping" => ["\"result\":{", kind.trim_end_matches(','), "}"].concat(),
        _ => "\"error\":{\"code\":-32601,\"message\":\"no such method\"}".to_owned(),
    }
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper::Request;

    use super::*;

    async fn ask(path: &str, body: &str) -> String {
        let (head, ()) = Request::post(path).header("mcp-protocol-version", "2026-07-28").body(()).unwrap().into_parts();
        let body = answer(&Counts::default(), &head, body.as_bytes()).into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn id_and_text_come_back_as_they_were_written() {
        let call = r#"{"jsonrpc":"2.0","id":1e2,"method":"tools/call","params":{"name":"echo","arguments":{"text":"a\u00e9\n"}}}"#;
        let result =
            r#"{"jsonrpc":"2.0","id":1e2,"result":{"resultType":"complete","content":[{"type":"text","text":"a\u00e9\n"}]}}"#;
        assert_eq!(ask("/mcp", call).await, result);
        assert_eq!(ask("/sse", call).await, format!("event: message\ndata: {result}\n\n"));
    }
}
