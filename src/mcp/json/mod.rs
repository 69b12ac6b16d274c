//! One strict pass over the bytes of a message. Never builds a tree and never recurses: the depth of the input costs no stack.
//!
//! What passes here means the same to every parser that may read the bytes later (RFC 8259, I-JSON RFC 7493): valid UTF-8, no byte order
//! mark, one object, nothing behind it, no key twice in an object, no lone surrogate, no number beyond a double.

use std::borrow::Cow;
use std::fmt;

mod plain;
mod scan;
#[cfg(test)]
mod tests;
pub(in crate::mcp) mod view;

/// Bounds of one message.
#[derive(Clone, Copy, Debug)]
pub struct JsonLimits {
    /// Open containers at once; the outermost object counts as one.
    pub depth: usize,
    /// Object members and array elements in the whole message.
    pub members: usize,
}

impl JsonLimits {
    /// For what clients send.
    pub const CLIENT: Self = Self { depth: 64, members: 100_000 };
    /// For what servers answer: lists and results may hold more, but not nest deeper.
    pub const SERVER: Self = Self { depth: 64, members: 1_000_000 };
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    Utf8,
    ByteOrderMark,
    Syntax(&'static str),
    TrailingBytes,
    Surrogate,
    NumberRange,
    /// The top level is an array: a batch, which no revision served here allows.
    Batch,
    NotObject,
    DuplicateKey,
    Depth,
    Members,
    Length,
}

impl Flaw {
    /// True where the bytes are no JSON text at all (-32700); false where they are JSON that no message may be (-32600).
    pub fn is_syntax(self) -> bool {
        matches!(
            self,
            Self::Utf8 | Self::ByteOrderMark | Self::Syntax(_) | Self::TrailingBytes | Self::Surrogate | Self::NumberRange
        )
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "not UTF-8",
            Self::ByteOrderMark => "a byte order mark",
            Self::Syntax(what) => what,
            Self::TrailingBytes => "bytes after the message",
            Self::Surrogate => "a lone surrogate",
            Self::NumberRange => "a number out of range",
            Self::Batch => "a batch; send one message",
            Self::NotObject => "not an object",
            Self::DuplicateKey => "a key twice in one object",
            Self::Depth => "nested too deep",
            Self::Members => "too many members",
            Self::Length => "too long",
        })
    }
}

/// The first fault found and where, in bytes from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonFault {
    pub offset: usize,
    pub what: Flaw,
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.offset)
    }
}

/// Refuses whatever two parsers could read differently. Linear in the length of `bytes`, but for the sorting of the keys of large objects.
pub fn check(bytes: &[u8], limits: JsonLimits) -> Result<(), JsonFault> {
    outline(bytes, limits).map(drop)
}

/// As [`check`]; gives where long values stand.
pub(in crate::mcp) fn outline(bytes: &[u8], limits: JsonLimits) -> Result<view::Skips, JsonFault> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(JsonFault { offset: 0, what: Flaw::Length });
    }
    let body = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let first = body.iter().position(|byte| !plain::is_space(*byte));
    if first.and_then(|at| body.get(at)) == Some(&b'[') {
        return Err(JsonFault { offset: 0, what: Flaw::Batch });
    }
    if body.len() != bytes.len() {
        return Err(JsonFault { offset: 0, what: Flaw::ByteOrderMark });
    }
    if let Err(fault) = std::str::from_utf8(bytes) {
        return Err(JsonFault { offset: fault.valid_up_to(), what: Flaw::Utf8 });
    }
    scan::Scan::new(bytes, limits).run()
}

/// The members of an object, in order: decoded name and value as written. Only for bytes that stand in a message that was parsed.
pub fn members(object: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, &[u8])> {
    view::members(object, 0..object.len()).filter_map(|(name, value)| Some((name, object.get(value)?)))
}
