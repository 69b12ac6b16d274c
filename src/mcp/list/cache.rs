//! Makes an answer private to its client and short-lived, so that no cache outlives a change of policy (2026-07-28,
//! server/utilities/caching). Never lengthens what a server allowed.

use std::ops::Range;

use bytes::Bytes;

use super::super::era::Era;
use super::super::json::view;
use super::super::message::replace;

/// The longest a list may be kept, in milliseconds.
const LONGEST: f64 = 10_000.0;

pub(super) type Edit = (Range<usize>, &'static [u8]);

/// The same for an answer that is no list: only what it says itself is changed.
pub fn for_its_client_alone(body: &Bytes) -> Bytes {
    let result = view::member(body, view::root(body), "result").filter(|span| view::is_object(body, span));
    let Some(result) = result else { return body.clone() };
    replace(body, &mut edits(body, result, Era::Legacy { version: None }))
}

/// The replacements in the object `result`; empty spans insert.
pub(super) fn edits(body: &[u8], result: Range<usize>, era: Era) -> Vec<Edit> {
    let scope = view::member(body, result.clone(), "cacheScope");
    let ttl = view::member(body, result.clone(), "ttlMs");
    let mut edits: Vec<Edit> = Vec::with_capacity(3);
    // Inserted right behind the brace; the list itself is a member, so a comma always follows.
    let front = result.start + 1..result.start + 1;
    let missing: &[u8] = match (era.is_modern(), &scope, &ttl) {
        (true, None, None) => b"\"ttlMs\":0,\"cacheScope\":\"private\",",
        (true, None, Some(_)) => b"\"cacheScope\":\"private\",",
        (true, Some(_), None) => b"\"ttlMs\":0,",
        _ => b"",
    };
    if !missing.is_empty() {
        edits.push((front, missing));
    }
    if let Some(span) = scope.filter(|span| body.get(span.clone()) != Some(b"\"private\"")) {
        edits.push((span, b"\"private\""));
    }
    if let Some(span) = ttl
        && let Some(text) = clamped(body.get(span.clone()).unwrap_or_default())
    {
        edits.push((span, text));
    }
    edits
}

/// What to write instead of a lifetime that may not stay.
fn clamped(raw: &[u8]) -> Option<&'static [u8]> {
    match std::str::from_utf8(raw).ok().and_then(|text| text.parse::<f64>().ok()) {
        Some(ms) if (0.0..=LONGEST).contains(&ms) => None,
        Some(ms) if ms > LONGEST => Some(b"10000"),
        _ => Some(b"0"),
    }
}
