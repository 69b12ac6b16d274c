//! Server-sent events (WHATWG HTML, 9.2), incrementally and byte-exact: what is not rewritten is passed on as it came. Never holds more
//! than one event, and never more of it than the cap.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

#[cfg(test)]
mod tests;

/// One block of the stream: an event, or comment lines between events (then `data` is empty and nothing else is set).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// The bytes as they came, with the blank line at the end.
    pub raw: Bytes,
    /// The data lines, joined by line feeds; empty for comments and for the priming events of 2025-11-25.
    pub data: Bytes,
    pub id: Option<String>,
    pub event: Option<String>,
    pub retry: Option<String>,
}

impl SseEvent {
    /// True where a message must stand in `data`.
    pub fn has_message(&self) -> bool {
        !self.data.is_empty()
    }

    /// The event with other data, its id, name and retry kept.
    pub fn with_data(&self, data: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(data.len() + 64);
        for (field, value) in [("id", &self.id), ("event", &self.event), ("retry", &self.retry)] {
            if let Some(value) = value {
                out.extend_from_slice(format!("{field}: {value}\n").as_bytes());
            }
        }
        write_data(&mut out, data);
        out.into()
    }
}

/// The stream must be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseFault {
    /// The cap that one event went over, in bytes.
    pub limit: usize,
}

impl fmt::Display for SseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event of more than {} bytes", self.limit)
    }
}

/// Writes one `message` event.
pub fn encode(data: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + 32);
    out.extend_from_slice(b"event: message\n");
    write_data(&mut out, data);
    out.into()
}

/// A carriage return ends a line as well, so neither kind of line end may stay inside a data line.
fn write_data(out: &mut Vec<u8>, data: &[u8]) {
    let mut rest = data;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(rest.get(..end.unwrap_or(rest.len())).unwrap_or_default());
        out.push(b'\n');
        let Some(end) = end else { break };
        let width = if rest.get(end..end + 2) == Some(b"\r\n") { 2 } else { 1 };
        rest = rest.get(end + width..).unwrap_or_default();
    }
    out.push(b'\n');
}

/// Cuts a stream into events.
#[derive(Debug)]
pub struct Decoder {
    /// The bytes of the event that is not whole yet.
    pending: BytesMut,
    /// Where in `pending` the line under way begins.
    line: usize,
    /// How far in `pending` a line end has been looked for.
    seen: usize,
    fields: Fields,
    is_start: bool,
    /// The last block ended with a carriage return at the end of a chunk: a line feed that follows belongs to it.
    after_return: bool,
    limit: usize,
}

/// What the lines of the event so far have set; `data` as spans of the raw bytes.
#[derive(Debug, Default)]
struct Fields {
    is_set: bool,
    data: Vec<Range<usize>>,
    id: Option<String>,
    event: Option<String>,
    retry: Option<String>,
}

impl Decoder {
    /// `limit`: bytes of one event, its field names and line ends included.
    pub fn new(limit: usize) -> Self {
        Self { pending: BytesMut::new(), line: 0, seen: 0, fields: Fields::default(), is_start: true, after_return: false, limit }
    }

    /// Takes the next bytes, split anywhere, and gives the events they complete. After a fault the stream is not to be read on.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<SseEvent>, SseFault> {
        let mut events = Vec::new();
        self.pending.extend_from_slice(chunk);
        while let Some((end, next)) = self.line_end() {
            self.take_line(end, next, &mut events);
            if self.line > self.limit || events.last().is_some_and(|event| event.raw.len() > self.limit) {
                return Err(SseFault { limit: self.limit });
            }
        }
        if self.pending.len() > self.limit { Err(SseFault { limit: self.limit }) } else { Ok(events) }
    }

    /// Bytes of an event that is not whole; at the end of the stream they are no event (WHATWG HTML, 9.2.6).
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The end of the line under way and the beginning of the next, if it is here.
    fn line_end(&mut self) -> Option<(usize, usize)> {
        let unseen = self.pending.get(self.seen..).unwrap_or_default();
        let Some(found) = unseen.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.seen = self.pending.len();
            return None;
        };
        let end = self.seen + found;
        let width = if self.pending.get(end..end + 2) == Some(b"\r\n") { 2 } else { 1 };
        Some((end, end + width))
    }

    fn take_line(&mut self, end: usize, next: usize, events: &mut Vec<SseEvent>) {
        // The line feed of a pair that was split between two chunks ends no second line.
        let is_half = self.after_return && end == self.line && self.pending.get(end) == Some(&b'\n');
        self.after_return = next == end + 1 && next == self.pending.len() && self.pending.get(end) == Some(&b'\r');
        let mut start = self.line;
        self.line = next;
        self.seen = next;
        if is_half {
            return;
        }
        if std::mem::take(&mut self.is_start) && self.pending.get(start..end).is_some_and(|line| line.starts_with(b"\xEF\xBB\xBF"))
        {
            start += 3;
        }
        if start == end {
            events.push(self.dispatch());
            return;
        }
        let is_comment = self.pending.get(start) == Some(&b':');
        if is_comment && !self.fields.is_set {
            events.push(self.dispatch());
        } else if !is_comment {
            self.take_field(start, end);
        }
    }

    fn take_field(&mut self, start: usize, end: usize) {
        let line = self.pending.get(start..end).unwrap_or_default();
        let colon = line.iter().position(|byte| *byte == b':');
        let name = line.get(..colon.unwrap_or(line.len())).unwrap_or_default();
        let mut value = colon.map_or(end, |colon| start + colon + 1);
        if self.pending.get(value..end).is_some_and(|text| text.starts_with(b" ")) {
            value += 1;
        }
        let text = || String::from_utf8_lossy(self.pending.get(value..end).unwrap_or_default()).into_owned();
        match name {
            b"data" => self.fields.data.push(value..end),
            b"event" => self.fields.event = Some(text()),
            b"id" if !self.pending.get(value..end).is_some_and(|id| id.contains(&0)) => self.fields.id = Some(text()),
            b"retry" if self.pending.get(value..end).is_some_and(|ms| ms.iter().all(u8::is_ascii_digit)) => {
                self.fields.retry = Some(text());
            }
            _ => {}
        }
        self.fields.is_set = true;
    }

    /// Everything up to the line under way is one block.
    fn dispatch(&mut self) -> SseEvent {
        let raw = self.pending.split_to(self.line).freeze();
        self.line = 0;
        self.seen = 0;
        let fields = std::mem::take(&mut self.fields);
        let data = match fields.data.as_slice() {
            [] => Bytes::new(),
            [one] => raw.slice(one.clone()),
            many => {
                let lines: Vec<&[u8]> = many.iter().filter_map(|line| raw.get(line.clone())).collect();
                lines.join(&b'\n').into()
            }
        };
        SseEvent { raw, data, id: fields.id, event: fields.event, retry: fields.retry }
    }
}
