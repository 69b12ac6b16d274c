//! What can be asked of the ledger: filters, pages, aggregates, and the reading of segments without an index. Knows no SQL.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::segment::{Cursor, Lines};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};

/// Events of a page when nothing is said.
pub const LIMIT: u32 = 100;
/// Most events of a page.
pub const MOST: u32 = 1_000;
const BATCH: usize = 1_000;

/// Which events. Every given field must fit; `None` fits all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Client name.
    pub client: Option<String>,
    /// `SERVER/TOOL`, or a tool's name alone.
    pub tool: Option<String>,
    /// Server name.
    pub server: Option<String>,
    /// Not earlier than this.
    pub since: Option<Timestamp>,
    /// Not later than this.
    pub until: Option<Timestamp>,
    /// `ok`, `refused` and so on.
    pub status: Option<String>,
    /// `permit` or `refuse`.
    pub decision: Option<String>,
    /// Reason slug.
    pub reason: Option<String>,
    /// `call`, `operator.action` and so on.
    pub kind: Option<String>,
    /// One request.
    pub request_id: Option<String>,
    /// Operator name.
    pub operator: Option<String>,
    /// `read`, `write` or `destructive`.
    pub class: Option<String>,
    /// Text anywhere in the line, in any case (ASCII). A page looks at 50,000 events for it, so it may be short and have a `next`.
    pub text: Option<String>,
    /// Events of a page: 100 when not given, at most 1,000.
    pub limit: Option<u32>,
    /// Where the page before ended.
    pub after: Option<String>,
}

impl Filter {
    /// Events of a page.
    pub fn page_size(&self) -> u32 {
        self.limit.unwrap_or(LIMIT).clamp(1, MOST)
    }

    /// The position that all events of the page lie before.
    ///
    /// # Errors
    /// `invalid` when `after` is no cursor of a page.
    pub fn before(&self) -> Verb<u64> {
        let Some(after) = &self.after else { return Ok(u64::MAX) };
        after.parse().map_err(|_| Fault::invalid("after", "is not a cursor that a page gave"))
    }

    /// Server and tool that are asked for.
    pub fn target(&self) -> (Option<&str>, Option<&str>) {
        match self.tool.as_deref().map(|tool| tool.split_once('/').ok_or(tool)) {
            None => (self.server.as_deref(), None),
            Some(Ok((server, tool))) => (Some(server), Some(tool)),
            Some(Err(tool)) => (self.server.as_deref(), Some(tool)),
        }
    }

    /// Whether an event and its stored line fit.
    pub fn fits(&self, event: &Event, line: &[u8]) -> bool {
        fn is(wanted: Option<&str>, found: Option<&str>) -> bool {
            wanted.is_none_or(|wanted| found == Some(wanted))
        }
        let (server, tool) = self.target();
        is(self.client.as_deref(), event.client.as_deref())
            && is(server, event.server.as_deref())
            && (self.server.is_none() || is(self.server.as_deref(), event.server.as_deref()))
            && is(tool, event.tool.as_deref())
            && is(self.status.as_deref(), event.status.as_deref())
            && is(self.decision.as_deref(), event.decision.as_deref())
            && is(self.reason.as_deref(), event.reason.as_deref())
            && is(self.kind.as_deref(), Some(&event.kind))
            && is(self.request_id.as_deref(), event.request_id.as_deref())
            && is(self.operator.as_deref(), event.operator.as_deref())
            && is(self.class.as_deref(), event.class.as_deref())
            && self.since.is_none_or(|since| event.ts >= since)
            && self.until.is_none_or(|until| event.ts <= until)
            && self.text.as_deref().is_none_or(|text| holds(line, text))
    }
}

/// Whether a line holds a text, in any case (ASCII).
pub(super) fn holds(line: &[u8], text: &str) -> bool {
    text.is_empty() || line.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
}

/// One page, newest first (docs/CONTRACT.md, `audit query`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EventPage")]
pub struct Page {
    /// The events.
    pub events: Vec<Event>,
    /// `after` of the next page; null when this is the last.
    pub next: Option<String>,
}

impl Page {
    /// A page of at most `size` events out of up to `size + 1` found ones, newest first.
    pub fn of(mut events: Vec<Event>, size: u32) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = events.len() > size;
        events.truncate(size);
        let next = more.then(|| events.last().map(|event| event.seq.to_string())).flatten();
        Self { events, next }
    }
}

/// Calls of one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Bucket {
    /// When it begins.
    pub start: Timestamp,
    /// Calls that were permitted and answered by their server.
    pub permitted: u64,
    /// Calls and strangers that were refused or cut.
    pub refused: u64,
    /// Calls that their server did not answer.
    pub upstream_error: u64,
}

/// All calls of one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Totals {
    /// The sum of the rest.
    pub calls: u64,
    /// As in `Bucket`.
    pub permitted: u64,
    /// As in `Bucket`.
    pub refused: u64,
    /// As in `Bucket`.
    pub upstream_error: u64,
}

/// Refusals of one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReasonCount {
    /// The slug.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The client refused most often.
    pub top_client: Option<String>,
    /// The `server/tool` refused most often.
    pub top_tool: Option<String>,
}

fn read(cursor: &mut Cursor, dir: &Path, upto: u64) -> Verb<Lines> {
    cursor.read(dir, upto, BATCH).map_err(|error| Fault::unavailable(format!("the ledger cannot be read: {error}")).because(error))
}

/// Reads a stored line back.
///
/// # Errors
/// When it is no event.
pub fn parse(line: &[u8]) -> Verb<Event> {
    serde_json::from_slice(line).map_err(|error| Fault::unavailable("a ledger line cannot be read").because(error))
}

/// A page straight from the segments, for a ledger that nothing serves. Reads everything, so it takes seconds per million events.
///
/// # Errors
/// `invalid` for a bad cursor, `unavailable` when the ledger cannot be read.
pub fn scan(dir: &Path, filter: &Filter) -> Verb<Page> {
    let (size, before) = (filter.page_size(), filter.before()?);
    let room = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1);
    let mut newest: VecDeque<Event> = VecDeque::new();
    let mut cursor = Cursor::before(1);
    loop {
        let lines = read(&mut cursor, dir, before.saturating_sub(1))?;
        if lines.is_empty() {
            break;
        }
        for (_, line) in &lines {
            let event = parse(line)?;
            if filter.fits(&event, line) {
                newest.push_back(event);
            }
            if newest.len() > room {
                newest.pop_front();
            }
        }
    }
    Ok(Page::of(newest.into_iter().rev().collect(), size))
}

/// Writes every stored line that fits, up to the event `upto`, oldest first and byte for byte. Returns how many.
///
/// # Errors
/// `unavailable` when the ledger cannot be read or `out` not be written.
pub fn export(dir: &Path, out: &mut dyn Write, filter: &Filter, upto: u64) -> Verb<u64> {
    let mut cursor = Cursor::before(1);
    let mut count = 0;
    loop {
        let lines = read(&mut cursor, dir, upto)?;
        if lines.is_empty() {
            break;
        }
        for (_, line) in &lines {
            if filter.fits(&parse(line)?, line) {
                let written = out.write_all(line).and_then(|()| out.write_all(b"\n"));
                written.map_err(|error| Fault::unavailable("the export cannot be written").because(error))?;
                count += 1;
            }
        }
    }
    out.flush().map_err(|error| Fault::unavailable("the export cannot be written").because(error))?;
    Ok(count)
}

/// One event by its position.
///
/// # Errors
/// `unavailable` when the ledger cannot be read.
pub fn find(dir: &Path, seq: u64) -> Verb<Option<Event>> {
    let mut cursor = Cursor::before(seq);
    let lines = read(&mut cursor, dir, seq)?;
    lines.first().filter(|(found, _)| *found == seq).map(|(_, line)| parse(line)).transpose()
}
