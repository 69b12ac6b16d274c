//! Why a message from a client was no message, with the HTTP status and JSON-RPC error it is answered with. Never carries content of the
//! message other than its id and names already known to the client.

use serde_json::{Value, json};

use super::era;
use super::json::JsonFault;

pub const PARSE_ERROR: i64 = -32700;
pub const INVALID_REQUEST: i64 = -32600;
pub const METHOD_NOT_FOUND: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;
/// 2026-07-28, basic/index, error codes.
pub const HEADER_MISMATCH: i64 = -32020;
pub const MISSING_CAPABILITY: i64 = -32021;
pub const UNSUPPORTED_VERSION: i64 = -32022;

#[derive(Clone, Debug, PartialEq)]
pub struct WireFault {
    /// HTTP status.
    pub status: u16,
    /// JSON-RPC error code.
    pub code: i64,
    pub message: String,
    /// The id of the message as its client wrote it; none where it could not be read: the answer then says `null`.
    pub id_raw: Option<Vec<u8>>,
    pub data: Option<Value>,
}

impl WireFault {
    pub fn new(status: u16, code: i64, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), id_raw: None, data: None }
    }

    pub fn parse_error(what: impl std::fmt::Display) -> Self {
        Self::new(400, PARSE_ERROR, format!("Parse error: {what}"))
    }

    pub fn invalid_request(what: impl std::fmt::Display) -> Self {
        Self::new(400, INVALID_REQUEST, format!("Invalid request: {what}"))
    }

    pub fn invalid_params(what: impl std::fmt::Display) -> Self {
        Self::new(400, INVALID_PARAMS, format!("Invalid params: {what}"))
    }

    pub fn header_mismatch(what: impl std::fmt::Display) -> Self {
        Self::new(400, HEADER_MISMATCH, format!("Header mismatch: {what}"))
    }

    pub fn unsupported_version(requested: &str) -> Self {
        let supported: Vec<&str> = era::supported().collect();
        let requested: String = requested.chars().take(64).collect();
        let mut fault = Self::new(400, UNSUPPORTED_VERSION, "Unsupported protocol version");
        fault.data = Some(json!({ "supported": supported, "requested": requested }));
        fault
    }

    pub fn missing_meta(key: &str) -> Self {
        Self::invalid_params(format_args!("params._meta lacks {key}"))
    }

    /// The client did not declare an extension that the method belongs to (2026-07-28, basic/index, error codes).
    pub fn missing_extension(name: &str) -> Self {
        let mut fault = Self::new(400, MISSING_CAPABILITY, format!("Missing required client capability: extensions.{name}"));
        fault.data = Some(json!({ "requiredCapabilities": { "extensions": { name: {} } } }));
        fault
    }

    pub fn unknown_method() -> Self {
        Self::new(404, METHOD_NOT_FOUND, "Method not found")
    }

    pub fn unsupported_media(what: impl std::fmt::Display) -> Self {
        Self::new(415, INVALID_REQUEST, format!("Unsupported media type: {what}"))
    }

    pub fn not_acceptable(what: impl std::fmt::Display) -> Self {
        Self::new(406, INVALID_REQUEST, format!("Not acceptable: {what}"))
    }

    #[must_use]
    pub fn with_id(mut self, id_raw: Option<&[u8]>) -> Self {
        self.id_raw = id_raw.map(<[u8]>::to_vec);
        self
    }

    /// The JSON-RPC error response.
    pub fn to_body(&self) -> Vec<u8> {
        super::reply::error(self.id_raw.as_deref(), self.code, &self.message, self.data.as_ref().unwrap_or(&Value::Null))
    }
}

impl From<JsonFault> for WireFault {
    fn from(fault: JsonFault) -> Self {
        if fault.what.is_syntax() { Self::parse_error(fault) } else { Self::invalid_request(fault) }
    }
}
