//! The proxy from outside: every case asserts what the client sees and what reached the upstream.

mod authn;
mod body;
mod h2;
mod headers;
mod many;
mod one_way;
pub(crate) mod streams;
mod wire;

use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::wire::Reply;

/// A modern tools/call body.
pub(crate) fn call(id: i64, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {
        "name": tool, "arguments": arguments,
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}})
}

/// Headers of a modern tools/call.
pub(crate) fn modern<'a>(method: &'a str, name: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", method),
    ];
    if !name.is_empty() {
        headers.push(("Mcp-Name", name));
    }
    headers
}

/// Posts raw bytes as the writer with the headers of `echo`, and asserts that nothing reaches the upstream.
pub(crate) async fn refused_before_upstream(app: &TestApp, body: &[u8]) -> Reply {
    app.upstream.forget();
    let reply = app.post(&app.writer, &modern("tools/call", "echo"), body).await;
    assert_eq!(app.upstream.hits().len(), 0, "reached the upstream: {}", String::from_utf8_lossy(&body[..body.len().min(200)]));
    reply
}
