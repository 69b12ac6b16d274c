//! Reads spans out of bytes that `check` has let pass. Never validates again: on other bytes it finds nothing, or the wrong thing, but
//! never fails.

use std::borrow::Cow;
use std::ops::Range;

use super::scan::{is_space, plain_end};

/// Where a value stands in the message, in bytes.
pub(in crate::mcp) type Span = Range<usize>;

/// The members of an object, in order: decoded key and span of the value.
pub(in crate::mcp) struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The members of the object at `span`; none where no object stands there.
pub(in crate::mcp) fn members(bytes: &[u8], span: Span) -> Members<'_> {
    let at = if bytes.get(span.start) == Some(&b'{') { span.start + 1 } else { bytes.len() };
    Members { bytes, at }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Span);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, _, value) = self.step()?;
        Some((key, value))
    }
}

impl<'a> Members<'a> {
    /// The next key, where it begins, and the span of its value.
    fn step(&mut self) -> Option<(Cow<'a, str>, usize, Span)> {
        let start = skip_separators(self.bytes, self.at);
        if self.bytes.get(start) != Some(&b'"') {
            return None;
        }
        let end = value_end(self.bytes, start);
        let key = decode(self.bytes.get(start + 1..end.checked_sub(1)?)?)?;
        let value = skip_separators(self.bytes, end);
        self.at = value_end(self.bytes, value);
        Some((key, start, value..self.at))
    }
}

/// The members of the object at `span`, in order: decoded key, where it begins, and the span of its value.
pub(in crate::mcp) fn whole_members(bytes: &[u8], span: Span) -> impl Iterator<Item = (Cow<'_, str>, usize, Span)> {
    let mut members = members(bytes, span);
    std::iter::from_fn(move || members.step())
}

/// The elements of the array at `span`, in order.
pub(in crate::mcp) struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

pub(in crate::mcp) fn elements(bytes: &[u8], span: Span) -> Elements<'_> {
    let at = if bytes.get(span.start) == Some(&b'[') { span.start + 1 } else { bytes.len() };
    Elements { bytes, at }
}

impl Iterator for Elements<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let start = skip_separators(self.bytes, self.at);
        if matches!(self.bytes.get(start), None | Some(b']' | b'}')) {
            return None;
        }
        self.at = value_end(self.bytes, start);
        Some(start..self.at)
    }
}

/// The value of one member of the object at `span`.
pub(in crate::mcp) fn member(bytes: &[u8], span: Span, key: &str) -> Option<Span> {
    members(bytes, span).find(|(name, _)| name == key).map(|(_, value)| value)
}

/// The whole message as a span, without the white space around it.
pub(in crate::mcp) fn root(bytes: &[u8]) -> Span {
    let start = skip_separators(bytes, 0);
    let behind = bytes.iter().rev().take_while(|byte| is_space(**byte)).count();
    start..bytes.len() - behind.min(bytes.len() - start)
}

pub(in crate::mcp) fn is_object(bytes: &[u8], span: &Span) -> bool {
    bytes.get(span.start) == Some(&b'{')
}

/// The string at `span`, decoded; none where another value stands there.
pub(in crate::mcp) fn string(bytes: &[u8], span: Span) -> Option<Cow<'_, str>> {
    let raw = bytes.get(span)?;
    decode(raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
}

/// The text between the quotes of a string, decoded.
pub(in crate::mcp) fn decode(text: &[u8]) -> Option<Cow<'_, str>> {
    if !text.contains(&b'\\') {
        return std::str::from_utf8(text).ok().map(Cow::Borrowed);
    }
    let quoted = [b"\"", text, b"\""].concat();
    serde_json::from_slice(&quoted).ok().map(Cow::Owned)
}

fn skip_separators(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| is_space(*byte) || matches!(byte, b',' | b':')) {
        at += 1;
    }
    at
}

/// The index behind the value that begins at `start`.
fn value_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b',' | b':' => at += 1,
            space if is_space(*space) => at += 1,
            _ => at = scalar_end(bytes, at),
        }
        if depth == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        at = plain_end(bytes, at);
        match bytes.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') | None => return (at + 1).min(bytes.len()),
            Some(_) => at += 1,
        }
    }
}

fn scalar_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| !is_space(*byte) && !matches!(byte, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"')) {
        at += 1;
    }
    at
}
