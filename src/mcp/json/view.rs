//! Reads spans out of bytes that `check` has let pass. Never validates again: on other bytes it finds nothing, or the wrong thing, but
//! never fails.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::plain::{is_space, plain_end};

/// Where a value stands in the message, in bytes.
pub(in crate::mcp) type Span = Range<usize>;

/// Where long values begin and end, in order: noted by the one pass of `check`, so that nobody has to look for their ends again.
pub(in crate::mcp) type Skips = Vec<(u32, u32)>;

/// Checked bytes, and what is known of them.
#[derive(Clone, Copy)]
pub(in crate::mcp) struct Text<'a> {
    bytes: &'a [u8],
    skips: &'a [(u32, u32)],
}

impl<'a> Text<'a> {
    /// `skips` must be what `outline` found in the same bytes.
    pub(in crate::mcp) fn new(bytes: &'a [u8], skips: &'a [(u32, u32)]) -> Self {
        Self { bytes, skips }
    }

    pub(in crate::mcp) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    fn end_of(self, start: usize) -> Option<usize> {
        let start = u32::try_from(start).ok()?;
        let found = self.skips.binary_search_by_key(&start, |(start, _)| *start).ok()?;
        self.skips.get(found).map(|(_, end)| *end as usize)
    }
}

impl<'a> From<&'a [u8]> for Text<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, skips: &[] }
    }
}

impl<'a> From<&'a Bytes> for Text<'a> {
    fn from(bytes: &'a Bytes) -> Self {
        Self { bytes, skips: &[] }
    }
}

/// The members of an object, in order: decoded key and span of the value.
pub(in crate::mcp) struct Members<'a> {
    text: Text<'a>,
    at: usize,
}

/// The members of the object at `span`; none where no object stands there.
pub(in crate::mcp) fn members<'a>(text: impl Into<Text<'a>>, span: Span) -> Members<'a> {
    let text = text.into();
    let at = if text.bytes.get(span.start) == Some(&b'{') { span.start + 1 } else { text.bytes.len() };
    Members { text, at }
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
        let bytes = self.text.bytes;
        let start = skip_separators(bytes, self.at);
        if bytes.get(start) != Some(&b'"') {
            return None;
        }
        let end = string_end(bytes, start);
        let key = decode(bytes.get(start + 1..end.checked_sub(1)?)?)?;
        let value = skip_separators(bytes, end);
        self.at = value_end(self.text, value);
        Some((key, start, value..self.at))
    }
}

/// The members of the object at `span`, in order: decoded key, where it begins, and the span of its value.
pub(in crate::mcp) fn whole_members<'a>(
    text: impl Into<Text<'a>>,
    span: Span,
) -> impl Iterator<Item = (Cow<'a, str>, usize, Span)> {
    let mut members = members(text, span);
    std::iter::from_fn(move || members.step())
}

/// The elements of the array at `span`, in order.
pub(in crate::mcp) struct Elements<'a> {
    text: Text<'a>,
    at: usize,
}

pub(in crate::mcp) fn elements<'a>(text: impl Into<Text<'a>>, span: Span) -> Elements<'a> {
    let text = text.into();
    let at = if text.bytes.get(span.start) == Some(&b'[') { span.start + 1 } else { text.bytes.len() };
    Elements { text, at }
}

impl Iterator for Elements<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let start = skip_separators(self.text.bytes, self.at);
        if matches!(self.text.bytes.get(start), None | Some(b']' | b'}')) {
            return None;
        }
        self.at = value_end(self.text, start);
        Some(start..self.at)
    }
}

/// The value of one member of the object at `span`.
pub(in crate::mcp) fn member<'a>(text: impl Into<Text<'a>>, span: Span, key: &str) -> Option<Span> {
    members(text, span).find(|(name, _)| name == key).map(|(_, value)| value)
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
fn value_end(text: Text<'_>, start: usize) -> usize {
    let bytes = text.bytes;
    let mut depth = 0usize;
    let mut at = start;
    if matches!(bytes.get(start), Some(b'"' | b'{' | b'['))
        && let Some(end) = text.end_of(start)
    {
        return end;
    }
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
