//! The page of the ledger: filters from the URL, rows, one opened. Pure.

use askama::Template;

use super::rows::RowView;
use crate::admin::shell::Shell;
use crate::audit::Event;
use crate::audit::query::{Filter, Page};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::web::Fields;
use crate::web::human;

/// `/activity`.
#[derive(Template)]
#[template(path = "activity/page.html")]
pub struct ActivityPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: ActivityView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct ActivityView {
    /// Whether the newest events are shown and more follow by themselves.
    pub live: bool,
    /// Whether this operator may export.
    pub may_export: bool,
    /// The filters as a query.
    pub query: String,
    /// Choices of the time filter.
    pub times: Vec<Choice>,
    /// The client filter.
    pub client: String,
    /// The tool filter.
    pub tool: String,
    /// Choices of the outcome filter.
    pub statuses: Vec<Choice>,
    /// Choices of the kind filter.
    pub kinds: Vec<Choice>,
    /// The text filter.
    pub text: String,
    /// Filters without a control.
    pub hidden: Vec<Hidden>,
    /// Why nothing can be shown.
    pub fault: String,
    /// The rows.
    pub rows: Vec<RowView>,
    /// What is said when there are none.
    pub empty: &'static str,
    /// Whether any filter is set.
    pub filtered: bool,
    /// Query of the first page; empty on it.
    pub newer: String,
    /// Query of the next page; empty on the last.
    pub older: String,
    /// How many are shown.
    pub tally: String,
}

/// One choice of a filter.
#[derive(Clone, Debug)]
pub struct Choice {
    /// In the URL.
    pub value: &'static str,
    /// For people.
    pub text: &'static str,
    /// Whether it is chosen.
    pub chosen: bool,
}

/// A filter that came by a link.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

const TIMES: [(&str, &str); 6] = [
    ("", "Any time"),
    ("15m", "Last 15 min"),
    ("1h", "Last hour"),
    ("24h", "Last 24 h"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
];
const STATUSES: [(&str, &str); 8] = [
    ("", "any"),
    ("ok", "ok"),
    ("refused", "refused"),
    ("tool_error", "tool error"),
    ("upstream_error", "upstream error"),
    ("cut", "cut"),
    ("cancelled", "cancelled"),
    ("unknown", "outcome unknown"),
];
const KINDS: [(&str, &str); 8] = [
    ("", "any"),
    ("call", "read call"),
    ("call.outcome", "write: outcome"),
    ("call.intent", "write: intent"),
    ("list", "list"),
    ("auth.refused", "stranger"),
    ("operator.action", "operator action"),
    ("system", "system"),
];
const KEPT: [&str; 9] = ["since", "until", "client", "tool", "server", "status", "decision", "reason", "class"];
const ROWS: u32 = 50;

fn choices(all: &[(&'static str, &'static str)], value: &str) -> Vec<Choice> {
    all.iter().map(|(v, text)| Choice { value: v, text, chosen: *v == value }).collect()
}

/// Reads the filters of a URL. `since` and `until` are RFC 3339 or, for `since`, an age: `15m`, `24h`, `7d`.
///
/// # Errors
/// `Invalid`, naming the field.
pub fn filter(fields: &Fields, now: Timestamp) -> Verb<Filter> {
    let given = |name: &str| Some(fields.get(name).to_owned()).filter(|v| !v.is_empty());
    let tool = given("tool");
    // One word names a server; a tool has its server before the slash.
    let (server, tool) = match tool {
        Some(word) if !word.contains('/') => (Some(word), None),
        other => (given("server"), other),
    };
    Ok(Filter {
        client: given("client"),
        server,
        tool,
        since: time("since", fields.get("since"), now)?,
        until: time("until", fields.get("until"), now)?,
        status: given("status"),
        decision: given("decision"),
        reason: given("reason"),
        kind: given("kind"),
        class: given("class"),
        text: given("text"),
        limit: Some(ROWS),
        after: given("after"),
        ..Filter::default()
    })
}

fn time(field: &str, text: &str, now: Timestamp) -> Verb<Option<Timestamp>> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Fault::invalid(field, "a time is 2026-11-22T03:14:02Z, or an age such as 15m, 24h or 7d");
    if let Some(at) = Timestamp::parse(text) {
        return Ok(Some(at));
    }
    let unit = match text.chars().last() {
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => return Err(wrong()),
    };
    let n: i64 = text.get(..text.len() - 1).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    if !(0..100_000).contains(&n) { Err(wrong()) } else { Ok(Some(now.plus_ms(-n * unit))) }
}

/// The filters of a URL as a query, without page and opened row.
pub fn query(fields: &Fields) -> String {
    fields.query_with(&[("after", ""), ("call", ""), ("calls", "")])
}

/// What was found.
pub struct Found {
    /// The page of the ledger.
    pub page: Page,
    /// The event to open.
    pub open: Option<Event>,
    /// Why nothing was found.
    pub fault: Option<String>,
}

/// The whole page.
pub fn page(mut shell: Shell, fields: &Fields, found: Found, may_export: bool) -> ActivityPage {
    let query = query(fields);
    let may_stop = shell.halt.is_some();
    let live = fields.get("after").is_empty() && fields.get("until").is_empty() && found.fault.is_none();
    if live {
        shell.live = if query.is_empty() { "/live?calls=1".into() } else { format!("/live?calls=1&{query}") };
        shell.live_target = "#rows";
    }
    let filtered = !query.is_empty();
    let rows = rows(&found, &query, may_stop);
    let page = ActivityView {
        live,
        may_export,
        times: choices(&TIMES, fields.get("since")),
        client: fields.get("client").to_owned(),
        tool: fields.get("tool").to_owned(),
        statuses: choices(&STATUSES, fields.get("status")),
        kinds: choices(&KINDS, fields.get("kind")),
        text: fields.get("text").to_owned(),
        hidden: hidden(fields),
        fault: found.fault.unwrap_or_default(),
        empty: if filtered { "No calls match these filters." } else { "No event yet. The first call shows here within a second." },
        filtered,
        newer: if fields.get("after").is_empty() { String::new() } else { format!("?{query}") },
        older: found.page.next.map(|after| fields.query_with(&[("after", &after), ("call", "")])).unwrap_or_default(),
        tally: format!("{} on this page", human::plural(rows.len() as u64, "event")),
        rows,
        query,
    };
    ActivityPage { shell, page }
}

fn rows(found: &Found, query: &str, may_stop: bool) -> Vec<RowView> {
    let opened = found.open.as_ref().map(|event| event.seq);
    let mut rows: Vec<RowView> = found
        .page
        .events
        .iter()
        .map(|event| {
            let row = RowView::of(event, query);
            if Some(event.seq) == opened { row.opened(event, may_stop) } else { row }
        })
        .collect();
    // The event of a link may be on another page by now; it is shown first then.
    if let Some(event) = found.open.as_ref().filter(|event| !found.page.events.iter().any(|e| e.seq == event.seq)) {
        rows.insert(0, RowView::of(event, query).opened(event, may_stop));
    }
    rows
}

// Filters that only links set stay set when the form is sent.
fn hidden(fields: &Fields) -> Vec<Hidden> {
    let shown = ["since", "client", "tool", "status"];
    let names = KEPT.into_iter().filter(|name| !shown.contains(name) && !fields.get(name).is_empty());
    names.map(|name| Hidden { name, value: fields.get(name).to_owned() }).collect()
}

/// The command and call that give the same.
pub fn same(fields: &Fields) -> (String, String) {
    let option = |name: &str| match fields.get(name) {
        "" => String::new(),
        value if value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/:".contains(&b)) => format!(" --{name} {value}"),
        value => format!(" --{name} '{}'", value.replace('\'', "'\\''")),
    };
    let command: String = ["client", "tool", "since", "until", "status"].into_iter().map(option).collect();
    let query = query(fields);
    let call = if query.is_empty() { "GET /api/v1/audit".to_owned() } else { format!("GET /api/v1/audit?{query}") };
    (format!("lifeboat audit query{command}"), call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_read_ages_and_times() {
        let now = Timestamp::parse("2026-11-22T03:15:00Z").unwrap();
        let filter = filter(&Fields::parse("since=15m&tool=tickets/close&client=ci&status="), now).unwrap();
        assert_eq!(filter.since, Timestamp::parse("2026-11-22T03:00:00Z"));
        assert_eq!((filter.tool.as_deref(), filter.status), (Some("tickets/close"), None));
        for bad in ["x", "m", "-5m", "5y", "999999999999h", "é"] {
            assert!(super::filter(&Fields::parse(&format!("since={bad}")), now).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_word_is_a_server() {
        let filter = filter(&Fields::parse("tool=tickets"), Timestamp(0)).unwrap();
        assert_eq!((filter.server.as_deref(), filter.tool), (Some("tickets"), None));
    }

    #[test]
    fn the_same_command_is_safe_to_paste() {
        let (command, _) = same(&Fields::parse("client=a%27%3B+rm+-rf"));
        assert_eq!(command, "lifeboat audit query --client 'a'\\''; rm -rf'");
    }
}
