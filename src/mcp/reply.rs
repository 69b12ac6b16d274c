//! Builds the few JSON-RPC responses that Lifeboat itself speaks. Never touches the id: it is written as the client wrote it.

use serde_json::{Value, json};

/// An error response; `data` is left out where it is null, and the id is `null` where it is unknown.
pub fn error(id_raw: Option<&[u8]>, code: i64, message: &str, data: &Value) -> Vec<u8> {
    let mut error = json!({ "code": code, "message": message });
    if let (Some(fields), false) = (error.as_object_mut(), data.is_null()) {
        fields.insert("data".to_owned(), data.clone());
    }
    envelope(id_raw, "error", &error)
}

/// A result response.
pub fn result(id_raw: Option<&[u8]>, result: &Value) -> Vec<u8> {
    envelope(id_raw, "result", result)
}

fn envelope(id_raw: Option<&[u8]>, member: &str, value: &Value) -> Vec<u8> {
    let value = value.to_string();
    let head: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":";
    let id = id_raw.unwrap_or(b"null");
    [head, id, b",\"", member.as_bytes(), b"\":", value.as_bytes(), b"}"].concat()
}
