//! A modern server that believes the body and looks at no header: what an upstream is that left header validation to whoever stands before it.
//! Never keeps anything.

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

/// The whole server.
pub fn app() -> Router {
    Router::new().route("/mcp", post(answer))
}

async fn answer(body: Bytes) -> Response {
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let result = match message["method"].as_str().unwrap_or_default() {
        "server/discover" => json!({
            "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}}, "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "lax", "version": "1"}},
        }),
        "tools/list" => json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": [plain(), mirrored()]}),
        "tools/call" => {
            let text = format!("{} was called", message["params"]["name"]);
            json!({"resultType": "complete", "content": [{"type": "text", "text": text}]})
        }
        _ if message["id"].is_null() => return StatusCode::ACCEPTED.into_response(),
        _ => {
            let error = json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "Method not found"}});
            return (StatusCode::NOT_FOUND, axum::Json(error)).into_response();
        }
    };
    axum::Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})).into_response()
}

fn plain() -> Value {
    json!({"name": "plain", "description": "Takes nothing", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}})
}

fn mirrored() -> Value {
    json!({
        "name": "mirrored",
        "description": "Takes a region, which travels as a header too",
        "inputSchema": {
            "type": "object",
            "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
            "required": ["region"],
        },
        "annotations": {"readOnlyHint": true},
    })
}
