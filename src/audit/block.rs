//! Blocks: consecutive ledger lines as the index keeps them, the lines as they stand and each of their sorts once. An index row per event would
//! cost more than the call it tells of. Pure: never touches a file and knows no SQL.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::event::Event;
use super::query::{Filter, holds};
use super::segment::Lines;
use crate::base::clock::Timestamp;

/// Positions that one block may span.
pub(super) const SPAN: i64 = 256;
const MINUTE: i64 = 60_000;

/// What filters ask for, in the order of [`Sort`]: kind, client, server, tool, class, decision, reason, status, operator.
const FIELDS: usize = 9;

/// The fields of one sort of event; in a block each sort stands once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sort(pub(super) [Option<String>; FIELDS]);

impl Sort {
    fn field(&self, at: usize) -> &str {
        self.0.get(at).and_then(Option::as_deref).unwrap_or_default()
    }
}

/// Some consecutive lines.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Positions of the first and the last line.
    pub(super) first: i64,
    pub(super) last: i64,
    /// Earliest time in it, and the latest up to its end: that never falls, so that the first block of a stretch of time is found even
    /// when the clock jumped.
    pub(super) since: i64,
    pub(super) mts: i64,
    /// The lines, each with its line feed.
    pub(super) text: Vec<u8>,
    /// Each once.
    pub(super) sorts: Vec<Sort>,
    /// The keys of its requests, each once.
    pub(super) requests: Vec<i64>,
}

/// Minute, outcome, reason, client, `server/tool`.
pub(super) type TallyKey = (i64, &'static str, String, String, String);

/// The few members of a line that are looked at, as they are written.
#[derive(Deserialize)]
struct Slim<'a> {
    ts: Timestamp,
    #[serde(borrow)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    client: Option<&'a RawValue>,
    #[serde(borrow)]
    server: Option<&'a RawValue>,
    #[serde(borrow)]
    tool: Option<&'a RawValue>,
    #[serde(borrow)]
    class: Option<&'a RawValue>,
    #[serde(borrow)]
    decision: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    operator: Option<&'a RawValue>,
}

type RawSort<'a> = [Option<&'a str>; FIELDS];

impl<'a> Slim<'a> {
    fn sort(&self) -> RawSort<'a> {
        let Self { kind, client, server, tool, class, decision, reason, status, operator, .. } = self;
        [kind, client, server, tool, class, decision, reason, status, operator].map(|raw| raw.map(RawValue::get))
    }

    /// How many events it stands for: refusals of strangers are counted before they are written.
    fn times(&self) -> i64 {
        let counted = self.kind.map(RawValue::get) == Some("\"auth.refused\"");
        let params =
            self.params.filter(|_| counted).and_then(|params| serde_json::from_str::<serde_json::Value>(params.get()).ok());
        params.and_then(|params| params.get("count")?.as_i64()).unwrap_or(1)
    }
}

/// Cuts lines into blocks and counts them. `mts` is the latest time so far.
///
/// # Errors
/// When a line cannot be read.
pub(super) fn cut(lines: &Lines, mts: &mut i64) -> Result<(Vec<Block>, HashMap<TallyKey, i64>), serde_json::Error> {
    let (mut blocks, mut tallies) = (Vec::new(), HashMap::new());
    let mut rest = lines.as_slice();
    while let Some((first, _)) = rest.first() {
        let length = rest.iter().take_while(|(seq, _)| seq - first < SPAN.unsigned_abs()).count();
        let (part, more) = rest.split_at(length.max(1));
        blocks.push(block(part, mts, &mut tallies)?);
        rest = more;
    }
    Ok((blocks, tallies))
}

fn block(lines: &[(u64, Vec<u8>)], mts: &mut i64, tallies: &mut HashMap<TallyKey, i64>) -> Result<Block, serde_json::Error> {
    let ends = [lines.first(), lines.last()].map(|line| line.map_or(0, |(seq, _)| i64::try_from(*seq).unwrap_or(i64::MAX)));
    let size = lines.iter().map(|(_, line)| line.len() + 1).sum();
    let mut block = Block { first: ends[0], last: ends[1], since: i64::MAX, text: Vec::with_capacity(size), ..Block::default() };
    let mut counts: HashMap<(i64, RawSort<'_>), i64> = HashMap::new();
    for (_, line) in lines {
        let slim: Slim<'_> = serde_json::from_slice(line)?;
        block.since = block.since.min(slim.ts.0);
        *mts = slim.ts.0.max(*mts);
        block.requests.extend(slim.request_id.map(|id| key(id.get().trim_matches('"'))));
        *counts.entry((slim.ts.0.div_euclid(MINUTE), slim.sort())).or_default() += slim.times();
        block.text.extend_from_slice(line);
        block.text.push(b'\n');
    }
    block.mts = *mts;
    block.requests.sort_unstable();
    block.requests.dedup();
    let mut seen = HashSet::new();
    for ((minute, raw), n) in counts {
        let sort = decoded(raw)?;
        if let Some(key) = tally(minute, &sort) {
            *tallies.entry(key).or_default() += n;
        }
        if seen.insert(raw) {
            block.sorts.push(sort);
        }
    }
    Ok(block)
}

fn decoded(raw: RawSort<'_>) -> Result<Sort, serde_json::Error> {
    let mut sort = Sort::default();
    for (to, from) in sort.0.iter_mut().zip(raw) {
        *to = from.map(serde_json::from_str).transpose()?;
    }
    Ok(sort)
}

/// What an event adds to the counts. An intent adds nothing: its outcome does.
fn tally(minute: i64, sort: &Sort) -> Option<TallyKey> {
    let [kind, client, server, tool, _, decision, reason, status, _] = std::array::from_fn(|at| sort.field(at));
    let refused = decision == "refuse" || matches!(status, "refused" | "cut");
    let plain = |outcome| Some((minute, outcome, String::new(), String::new(), String::new()));
    match kind {
        "call.intent" | "operator.action" | "system" => None,
        _ if refused => {
            let tool = sort.0[3].as_ref().map(|_| format!("{server}/{tool}")).unwrap_or_default();
            Some((minute, "refused", reason.to_owned(), client.to_owned(), tool))
        }
        "call" | "call.outcome" if matches!(status, "upstream_error" | "unknown") => plain("upstream_error"),
        "call" | "call.outcome" => plain("permitted"),
        _ => None,
    }
}

/// A number for a request id. Ids that were minted together give numbers that lie together, so that adding them is cheap; two ids may give
/// the same one, which costs a look and no more.
pub(super) fn key(request_id: &str) -> i64 {
    let tail = request_id.rsplit('_').next().unwrap_or_default();
    let places = tail.bytes().chain(std::iter::repeat(0)).take(12);
    places.fold(0, |number, byte| number << 5 | i64::from(byte & 31))
}

/// The keys of the requests of a block, from its lines.
pub(super) fn requests(text: &[u8]) -> Vec<i64> {
    let slim = |line| serde_json::from_slice::<Slim<'_>>(line).ok()?.request_id.map(|id| key(id.get().trim_matches('"')));
    text.split(|byte| *byte == b'\n').filter_map(slim).collect()
}

/// The last line of a block.
pub(super) fn last_line(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Takes out of blocks what a filter asks for.
pub(super) struct Sieve<'a> {
    filter: &'a Filter,
    /// Members as a line that fits must spell them.
    spelled: Vec<String>,
    /// Positions from the first up to, but not including, the second.
    range: (u64, u64),
}

impl<'a> Sieve<'a> {
    pub(super) fn new(filter: &'a Filter, range: (i64, i64)) -> Self {
        let (server, tool) = filter.target();
        let wanted = [
            ("client", filter.client.as_deref()),
            ("server", server),
            ("tool", tool),
            ("status", filter.status.as_deref()),
            ("decision", filter.decision.as_deref()),
            ("reason", filter.reason.as_deref()),
            ("kind", filter.kind.as_deref()),
            ("request_id", filter.request_id.as_deref()),
            ("operator", filter.operator.as_deref()),
            ("class", filter.class.as_deref()),
        ];
        let spelled = wanted.into_iter().filter_map(|(name, value)| spell(name, value?)).collect();
        let range = [range.0, range.1].map(|seq| u64::try_from(seq).unwrap_or(0));
        Self { filter, spelled, range: (range[0], range[1]) }
    }

    /// Adds the events of a block that fit, newest first, until there are `most`.
    ///
    /// # Errors
    /// When a line is no event.
    pub(super) fn pick(&self, text: &[u8], most: usize, found: &mut Vec<Event>) -> Result<(), serde_json::Error> {
        for line in text.rsplit(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if found.len() >= most {
                break;
            }
            // A cheap look first: most lines of a block are of another sort, or lack the text.
            let spells = |text: &str| self.spelled.iter().all(|member| text.contains(member.as_str()));
            if !std::str::from_utf8(line).is_ok_and(spells) || !self.filter.text.as_deref().is_none_or(|text| holds(line, text)) {
                continue;
            }
            let event: Event = serde_json::from_slice(line)?;
            if (self.range.0..self.range.1).contains(&event.seq) && self.filter.fits(&event, line) {
                found.push(event);
            }
        }
        Ok(())
    }
}

/// `"name":"value"`; nothing for a value that may be spelled in several ways.
fn spell(name: &str, value: &str) -> Option<String> {
    let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\');
    plain.then(|| format!("\"{name}\":\"{value}\""))
}

#[cfg(test)]
mod tests {
    use super::super::chain::{Head, seal};
    use super::*;

    fn lines(events: Vec<Event>) -> Lines {
        let mut head = Head::genesis();
        let sealed = events.into_iter().map(|mut event| {
            let mut line = Vec::new();
            head = seal(&mut event, &head, &mut line).unwrap();
            line.pop();
            (head.seq, line)
        });
        sealed.collect()
    }

    fn call(n: i64) -> Event {
        let client = if n % 2 == 0 { "even" } else { "o\"dd" };
        Event {
            ts: Timestamp(n * 1_000),
            request_id: Some(format!("req_01KB0W2T9Q{n:016}")),
            client: Some(client.into()),
            status: Some("ok".into()),
            ..Event::of("call")
        }
    }

    #[test]
    fn a_block_spans_256_positions_and_holds_each_sort_once() {
        let mut mts = 0;
        let (blocks, tallies) = cut(&lines((0..600).map(call).collect()), &mut mts).unwrap();
        let spans: Vec<(i64, i64)> = blocks.iter().map(|block| (block.first, block.last)).collect();
        assert_eq!(spans, [(1, 256), (257, 512), (513, 600)]);
        assert!(blocks.iter().all(|block| block.sorts.len() == 2));
        assert_eq!(blocks[1].since, 256_000);
        assert_eq!((blocks[2].mts, mts), (599_000, 599_000));
        assert_eq!(tallies.values().sum::<i64>(), 600);
        assert_eq!(tallies.len(), 10, "one count a minute");
    }

    #[test]
    fn a_sieve_gives_the_newest_that_fit_whatever_their_names_hold() {
        let (blocks, _) = cut(&lines((0..20).map(call).collect()), &mut 0).unwrap();
        for client in ["even", "o\"dd"] {
            let filter = Filter { client: Some(client.into()), ..Filter::default() };
            let mut found = Vec::new();
            Sieve::new(&filter, (1, 15)).pick(&blocks[0].text, 3, &mut found).unwrap();
            let seqs: Vec<u64> = found.iter().map(|event| event.seq).collect();
            assert_eq!(seqs, if client == "even" { [13, 11, 9] } else { [14, 12, 10] });
        }
        assert_eq!(serde_json::from_slice::<Event>(last_line(&blocks[0].text)).unwrap().seq, 20);
    }

    #[test]
    fn a_request_is_found_by_its_key() {
        let (blocks, _) = cut(&lines((0..20).map(call).collect()), &mut 0).unwrap();
        assert!(blocks[0].requests.contains(&key("req_01KB0W2T9Q0000000000000007")));
        let mut again = requests(&blocks[0].text);
        again.sort_unstable();
        again.dedup();
        assert_eq!(again, blocks[0].requests);
        assert_ne!(key("req_01KB0W2T9Q7V5M3N8R4S6X1YZA"), key("req_01KB0W2T9R7V5M3N8R4S6X1YZA"));
    }
}
