//! Replaces spans of a body. Never changes a byte outside of them.

use std::ops::Range;

use bytes::Bytes;

/// A span to replace and what stands there afterwards; nothing happens where either is absent.
pub(in crate::mcp) type Edit<'a> = (Option<&'a Range<usize>>, Option<&'a [u8]>);

/// The body with each present span replaced by its present text; spans must not overlap. Without any, the same bytes, not copied.
pub(in crate::mcp) fn splice<const N: usize>(body: &Bytes, edits: [Edit<'_>; N]) -> Bytes {
    let mut present: Vec<(Range<usize>, &[u8])> =
        edits.into_iter().filter_map(|(span, text)| Some((span?.clone(), text?))).collect();
    replace(body, &mut present)
}

/// The same for any number of edits. An empty span inserts.
pub(in crate::mcp) fn replace(body: &Bytes, edits: &mut [(Range<usize>, &[u8])]) -> Bytes {
    if edits.is_empty() {
        return body.clone();
    }
    edits.sort_by_key(|(span, _)| span.start);
    let grown: usize = edits.iter().map(|(_, text)| text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + grown);
    let mut at = 0;
    for (span, text) in edits.iter() {
        out.extend_from_slice(body.get(at..span.start).unwrap_or_default());
        out.extend_from_slice(text);
        at = span.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out.into()
}
