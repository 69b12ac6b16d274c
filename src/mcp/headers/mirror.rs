//! `Mcp-Method` and `Mcp-Name` against the body (2026-07-28, basic/transports/streamable-http; SEP-2243). Never fills in a missing one.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use super::super::fault::WireFault;
use super::super::message::Message;
use super::super::method::{MethodKind, kind_of};
use super::single;

const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";

/// 400 -32020 unless the headers of a modern POST repeat what its body says.
pub fn check_mirror(headers: &HeaderMap, message: &Message) -> Result<(), WireFault> {
    compare(headers, message).map_err(|fault| fault.with_id(message.id_raw()))
}

fn compare(headers: &HeaderMap, message: &Message) -> Result<(), WireFault> {
    let method = message.method().ok_or_else(|| WireFault::invalid_request("a client sends no responses in this revision"))?;
    match single(headers, METHOD)? {
        None => return Err(WireFault::header_mismatch("Mcp-Method is missing")),
        Some(value) if value != method => return Err(WireFault::header_mismatch("Mcp-Method differs from the method in the body")),
        Some(_) => {}
    }
    let header = single(headers, NAME)?.map(decode).transpose()?;
    match (named_by(message, kind_of(method)), header) {
        // The headers of the upstream leg are made from the body, so a name without counterpart goes nowhere.
        (None, _) => Ok(()),
        (Some(_), None) => Err(WireFault::header_mismatch("Mcp-Name is missing")),
        (Some(body), Some(header)) if body == header => Ok(()),
        (Some(_), Some(_)) => Err(WireFault::header_mismatch("Mcp-Name differs from the name in the body")),
    }
}

/// What `Mcp-Name` must repeat.
fn named_by(message: &Message, kind: MethodKind) -> Option<&str> {
    match kind {
        MethodKind::ToolCall | MethodKind::PromptGet => message.name(),
        MethodKind::ResourceRead => message.uri(),
        kind if kind.is_task() => message.task_id(),
        _ => None,
    }
}

/// A header value, decoded where it is wrapped as `=?base64?…?=`. Another spelling of the wrapping is refused: servers differ in it. What
/// begins like one and does not end like one is no wrapping, and stands for itself.
pub(super) fn decode(value: &str) -> Result<Cow<'_, str>, WireFault> {
    const OPEN: &str = "=?base64?";
    const CLOSE: &str = "?=";
    let begins = value.get(..OPEN.len()).is_some_and(|head| head.eq_ignore_ascii_case(OPEN));
    if !begins {
        return Ok(Cow::Borrowed(value));
    }
    let bad = || WireFault::header_mismatch("a header value that is not well-formed =?base64?…?=");
    let Some(text) = value.strip_prefix(OPEN).ok_or_else(bad)?.strip_suffix(CLOSE) else {
        return Ok(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(text).map_err(|_| bad())?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| bad())
}
