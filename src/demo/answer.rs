//! The shapes of what goes back: results of both eras, errors, notifications. Pure.

use serde_json::{Map, Value, json};

/// The stateless revision.
pub(super) const MODERN: &str = "2026-07-28";
/// The revisions with a handshake, newest first.
pub(super) const LEGACY: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

const LIST_TTL_MS: u32 = 60_000;

/// Which era a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    Modern,
    Legacy,
}

/// What is wrong with a request.
pub(super) struct Fault {
    pub(super) code: i64,
    pub(super) message: String,
    pub(super) data: Option<Value>,
}

impl Fault {
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(super) fn unknown_method(method: &str) -> Self {
        Self::new(-32601, format!("there is no method {method}"))
    }

    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    pub(super) fn unsupported_version(requested: &str) -> Self {
        let supported: Vec<&str> = std::iter::once(MODERN).chain(LEGACY).collect();
        let data = Some(json!({"supported": supported, "requested": requested}));
        Self { code: -32022, message: "unsupported protocol version".to_owned(), data }
    }
}

/// Name and version of this server.
pub(super) fn server_info() -> Value {
    json!({"name": "lifeboat-demo", "title": "Lifeboat demo memory", "version": env!("CARGO_PKG_VERSION")})
}

/// A whole response line.
pub(super) fn response(id: &Value, outcome: Result<Value, Fault>) -> Value {
    match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(Fault { code, message, data }) => {
            let mut error = json!({"code": code, "message": message});
            if let (Some(data), Some(members)) = (data, error.as_object_mut()) {
                members.insert("data".to_owned(), data);
            }
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        }
    }
}

/// A result with what its era adds to every one.
pub(super) fn complete(era: Era, mut members: Map<String, Value>) -> Value {
    if era == Era::Modern {
        members.insert("resultType".to_owned(), json!("complete"));
        members.insert("_meta".to_owned(), json!({"io.modelcontextprotocol/serverInfo": server_info()}));
    }
    Value::Object(members)
}

/// A result that may be cached, in the modern era with how long.
pub(super) fn cacheable(era: Era, mut members: Map<String, Value>) -> Value {
    if era == Era::Modern {
        members.insert("ttlMs".to_owned(), json!(LIST_TTL_MS));
        members.insert("cacheScope".to_owned(), json!("public"));
    }
    complete(era, members)
}

/// The result of a tool: its structure, and the same as text.
pub(super) fn tool_result(era: Era, outcome: Result<Value, String>) -> Value {
    let mut members = Map::new();
    match outcome {
        Ok(structure) => {
            members.insert("content".to_owned(), json!([{"type": "text", "text": structure.to_string()}]));
            members.insert("structuredContent".to_owned(), structure);
        }
        Err(why) => {
            members.insert("content".to_owned(), json!([{"type": "text", "text": why}]));
            members.insert("isError".to_owned(), json!(true));
        }
    }
    complete(era, members)
}

/// A progress notification.
pub(super) fn progress(token: &Value, done: u32, total: u32) -> Value {
    let params = json!({"progressToken": token, "progress": done, "total": total, "message": format!("{done} of {total}")});
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
}
