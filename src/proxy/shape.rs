//! What the ledger says of parameters: name, type and size of each, never a value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

const MEMBERS: usize = 64;
const NAME: usize = 128;

/// `{"NAME": {"type": "string", "size": 12}, …}` of members as written; size in bytes as written. Members beyond 64 are one `…`.
pub(super) fn shapes<'a>(members: impl Iterator<Item = (Cow<'a, str>, &'a [u8])>) -> Value {
    let members: BTreeMap<Cow<'_, str>, &[u8]> = members.collect();
    let rest = members.len().saturating_sub(MEMBERS);
    let mut shapes: Map<String, Value> = members
        .iter()
        .take(MEMBERS)
        .map(|(name, value)| (cut(name, NAME), json!({"type": kind(value), "size": value.len()})))
        .collect();
    if rest > 0 {
        shapes.insert("…".into(), json!({"type": "members", "size": rest}));
    }
    Value::Object(shapes)
}

fn kind(raw: &[u8]) -> &'static str {
    match raw.first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// At most `limit` bytes of a text, with its length where it was cut.
pub(super) fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}… ({} bytes)", &text[..end], text.len())
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::json::members;

    #[test]
    fn shapes_hold_no_value() {
        let shapes = shapes(members(br#"{"name":"hunter2","n":42,"deep":{"secret":1},"list":[1,2],"no":null}"#));
        assert_eq!(shapes["name"], json!({"type": "string", "size": 9}));
        assert_eq!(shapes["deep"], json!({"type": "object", "size": 12}));
        assert!(!shapes.to_string().contains("hunter2") && !shapes.to_string().contains("secret"));
    }

    #[test]
    fn atk_p47_long_names_are_cut_with_their_length() {
        assert_eq!(cut("ééé", 3), "é… (6 bytes)");
        assert_eq!(hex(&[0, 171]), "00ab");
    }
}
