//! Reads and filters the answers to tools/list and its like. Never re-encodes an entry: what stays, stays byte for byte and in order.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::era::Era;
use super::json::view;
use super::message::{Incoming, parse_incoming, replace, spelled_otherwise};
use super::method::MethodKind;

mod cache;
#[cfg(test)]
mod tests;
mod tool;

pub use cache::for_its_client_alone;
pub use tool::{Hints, hints};

/// Which list, and so which member holds the entries and what names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    Tools,
    Prompts,
    Resources,
    Templates,
    /// tasks/list of 2025-11-25.
    Tasks,
}

impl ListKind {
    /// The list a method asks for.
    pub fn of(method: MethodKind) -> Option<Self> {
        match method {
            MethodKind::ToolsList => Some(Self::Tools),
            MethodKind::PromptsList => Some(Self::Prompts),
            MethodKind::ResourcesList => Some(Self::Resources),
            MethodKind::TemplatesList => Some(Self::Templates),
            MethodKind::TaskList => Some(Self::Tasks),
            _ => None,
        }
    }

    fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Tasks => "tasks",
        }
    }

    fn naming(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
            Self::Tasks => "taskId",
        }
    }
}

/// One entry of a list: what names it (name, URI or template, decoded) and the object as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    pub name: String,
    pub raw: Bytes,
}

/// A filtered list.
#[derive(Clone, Debug)]
pub struct Filtered {
    pub body: Bytes,
    pub kept: usize,
    /// Entries refused by the caller, and those that no client may see because they have no one name.
    pub dropped: usize,
}

/// The answer is no list that could be filtered; it must not be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFault(String);

impl fmt::Display for ListFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

struct Found {
    incoming: Incoming,
    result: Range<usize>,
    array: Range<usize>,
    /// Each entry's span and, where it has exactly one, its name.
    entries: Vec<(Range<usize>, Option<String>)>,
}

/// Keeps the entries that `permits` lets pass, and makes the answer private and short-lived: `cacheScope` and `ttlMs` are set where
/// present and, in the modern era, also where absent. An error response passes unchanged.
pub fn filter(body: &Bytes, kind: ListKind, era: Era, mut permits: impl FnMut(&RawEntry) -> bool) -> Result<Filtered, ListFault> {
    let Some(found) = find(body, kind)? else { return Ok(Filtered { body: body.clone(), kept: 0, dropped: 0 }) };
    let total = found.entries.len();
    let mut kept: Vec<Range<usize>> = Vec::with_capacity(total);
    for (span, name) in found.entries {
        let Some(name) = name else { continue };
        if permits(&RawEntry { name, raw: body.slice(span.clone()) }) {
            kept.push(span);
        }
    }
    let count = kept.len();
    let array = array_of(body, &kept);
    let mut edits: Vec<(Range<usize>, &[u8])> = cache::edits(body, found.result, era);
    if count < total {
        edits.push((found.array, &array));
    }
    Ok(Filtered { body: replace(body, &mut edits), kept: count, dropped: total - count })
}

/// The entries of a list in order, without those that have no one name; none for an error response.
pub fn entries(body: &Bytes, kind: ListKind) -> Result<Vec<RawEntry>, ListFault> {
    let Some(found) = find(body, kind)? else { return Ok(Vec::new()) };
    let named = found.entries.into_iter().filter_map(|(span, name)| Some(RawEntry { name: name?, raw: body.slice(span) }));
    Ok(named.collect())
}

/// Whether a result holds a list that each client may see only a part of, whatever was asked for.
pub fn holds_some(incoming: &Incoming) -> bool {
    const ALL: [ListKind; 5] = [ListKind::Tools, ListKind::Prompts, ListKind::Resources, ListKind::Templates, ListKind::Tasks];
    let is_list = |kind: ListKind| incoming.result_member_raw(kind.member()).is_some_and(|raw| raw.first() == Some(&b'['));
    ALL.into_iter().any(is_list)
}

/// `result.nextCursor`; none on the last page.
pub fn next_cursor(body: &Bytes, kind: ListKind) -> Result<Option<String>, ListFault> {
    Ok(find(body, kind)?.and_then(|found| found.incoming.result_text("nextCursor")))
}

fn find(body: &Bytes, kind: ListKind) -> Result<Option<Found>, ListFault> {
    let incoming = parse_incoming(body.clone()).map_err(|fault| ListFault(fault.to_string()))?;
    if incoming.is_error() {
        return Ok(None);
    }
    let result = incoming.result_span().filter(|span| view::is_object(body, span));
    let result = result.ok_or_else(|| ListFault("no object result".to_owned()))?;
    let mut array = None;
    for (key, value) in view::members(body, result.clone()) {
        if key == kind.member() {
            array = Some(value);
        } else if spelled_otherwise(&key, &[kind.member(), "cacheScope", "ttlMs", "nextCursor"]) {
            return Err(ListFault(format!("a key that differs from {} or its like only by case", kind.member())));
        }
    }
    let array = array.filter(|span| body.get(span.start) == Some(&b'['));
    let array = array.ok_or_else(|| ListFault(format!("no array {}", kind.member())))?;
    let entries = view::elements(body, array.clone()).map(|span| (span.clone(), name_of(body, span, kind.naming()))).collect();
    Ok(Some(Found { incoming, result, array, entries }))
}

/// The name of an entry; none where it has none, or a second one in another spelling.
fn name_of(body: &[u8], span: Range<usize>, naming: &str) -> Option<String> {
    let mut name = None;
    for (key, value) in view::members(body, span) {
        if key == naming {
            name = Some(view::string(body, value)?.into_owned());
        } else if spelled_otherwise(&key, &[naming]) {
            return None;
        }
    }
    name
}

fn array_of(body: &[u8], kept: &[Range<usize>]) -> Vec<u8> {
    let entries: Vec<&[u8]> = kept.iter().filter_map(|span| body.get(span.clone())).collect();
    [b"[".as_slice(), &entries.join(&b','), b"]"].concat()
}
