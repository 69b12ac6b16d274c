//! One event of the ledger as a row, and opened as a detail with its decision. Pure; everything in it is text from outside, escaped by
//! the template.

use askama::Template;

use crate::audit::Event;
use crate::web::human;
use crate::web::view::{Badge, Code, Moment, Tone};

/// One row.
#[derive(Clone, Debug, Default)]
pub struct RowView {
    /// Position in the ledger.
    pub seq: u64,
    /// When.
    pub at: Moment,
    /// Client, operator or where strangers came from.
    pub who: String,
    /// `server/tool`, a method, or an action and its object.
    pub what: String,
    /// Class of a call, else the kind of event.
    pub kind: String,
    /// What became of it.
    pub badge: Badge,
    /// Slug of a refusal.
    pub reason: String,
    /// Milliseconds.
    pub latency: String,
    /// Bytes in and out.
    pub sizes: String,
    /// `new`, `sel`, `dim`, `hot` or nothing.
    pub class: &'static str,
    /// Query that opens it.
    pub link: String,
    /// The detail, when it is open.
    pub detail: Option<Detail>,
}

/// An opened event.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// The finding.
    pub title: String,
    /// `The call` or `The event`.
    pub noun: &'static str,
    /// The decision, step by step.
    pub steps: Vec<Step>,
    /// Facts.
    pub facts: Vec<Fact>,
    /// Shapes of the parameters.
    pub params: Option<Code>,
    /// The client to stop or open; empty for none.
    pub client: String,
    /// Whether this operator may stop it.
    pub may_stop: bool,
}

/// One step of a decision.
#[derive(Clone, Debug)]
pub struct Step {
    /// Passed, refused or unknown.
    pub tone: Tone,
    /// Its shape.
    pub icon: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What was seen.
    pub seen: String,
}

/// One fact.
#[derive(Clone, Debug)]
pub struct Fact {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Whether it is a code.
    pub code: bool,
}

/// Rows as a part, for the live tail.
#[derive(Template)]
#[template(path = "activity/rows.html")]
pub(super) struct RowsPart {
    /// The rows.
    pub rows: Vec<RowView>,
}

fn text(field: &Option<String>) -> String {
    field.clone().unwrap_or_default()
}

fn is_call(event: &Event) -> bool {
    event.kind == "list" || event.kind.starts_with("call")
}

impl RowView {
    /// A row; `query` is what the page was asked for, so that opening it keeps the filters.
    pub fn of(event: &Event, query: &str) -> Self {
        let badge = outcome(event);
        let class = match badge.text.as_str() {
            "outcome unknown" => "hot",
            _ if event.kind == "list" => "dim",
            _ => "",
        };
        Self {
            seq: event.seq,
            at: Moment::exact(event.ts),
            who: who(event),
            what: what(event),
            kind: event.class.clone().unwrap_or_else(|| kind(&event.kind).to_owned()),
            reason: text(&event.reason),
            latency: event.latency_ms.map(human::latency).unwrap_or_default(),
            sizes: sizes(event),
            class,
            link: if query.is_empty() { format!("call={}", event.seq) } else { format!("{query}&call={}", event.seq) },
            badge,
            detail: None,
        }
    }

    /// The row opened.
    #[must_use]
    pub fn opened(mut self, event: &Event, may_stop: bool) -> Self {
        self.class = "sel";
        self.detail = Some(detail(event, may_stop));
        self
    }
}

fn who(event: &Event) -> String {
    let strangers = || event.remote.clone().map_or_else(|| "lifeboat".to_owned(), |remote| format!("stranger {remote}"));
    event.client.clone().or_else(|| event.operator.clone()).unwrap_or_else(strangers)
}

fn what(event: &Event) -> String {
    match (&event.server, &event.tool, &event.action) {
        (Some(server), Some(tool), _) => format!("{server}/{tool}"),
        (_, _, Some(action)) => format!("{action} {}", text(&event.object)).trim().to_owned(),
        (Some(server), None, None) => format!("{server} {}", text(&event.method)).trim().to_owned(),
        _ => event.method.clone().or_else(|| event.object.clone()).unwrap_or_else(|| event.kind.clone()),
    }
}

fn kind(kind: &str) -> &str {
    match kind {
        "operator.action" => "operator action",
        "auth.refused" => "stranger",
        other => other,
    }
}

fn sizes(event: &Event) -> String {
    let shown: Vec<String> = [event.bytes_in, event.bytes_out].into_iter().flatten().map(human::bytes).collect();
    shown.join(", ")
}

fn outcome(event: &Event) -> Badge {
    let status = event.status.as_deref().unwrap_or_default();
    if event.decision.as_deref() == Some("refuse") || status == "refused" || event.kind == "auth.refused" {
        return Badge::new(Tone::Warn, "refuse");
    }
    match status {
        "unknown" => Badge::new(Tone::Warn, "outcome unknown"),
        "cut" => Badge::new(Tone::Warn, "cut"),
        "tool_error" => Badge::new(Tone::Warn, "tool error"),
        "upstream_error" => Badge::new(Tone::Warn, "upstream error"),
        "cancelled" => Badge::new(Tone::Plain, "cancelled"),
        _ if event.kind == "call.intent" => Badge::new(Tone::Plain, "intent"),
        _ if is_call(event) => Badge::new(Tone::Plain, "permit"),
        _ => Badge::new(Tone::Plain, if event.kind == "system" { "system" } else { "done" }),
    }
}

fn detail(event: &Event, may_stop: bool) -> Detail {
    let took = event.latency_ms.map(|ms| format!(" in {}", human::latency(ms))).unwrap_or_default();
    let title = match (is_call(event), event.decision.as_deref()) {
        (true, Some("refuse")) => format!("Refused{took}: {}", text(&event.reason)),
        (true, _) => format!(
            "{}{took}",
            if event.kind == "call.intent" { "Permitted, outcome not yet known" } else { "Permitted and answered" }
        ),
        (false, _) => event.action.clone().unwrap_or_else(|| event.kind.clone()),
    };
    Detail {
        title,
        noun: if is_call(event) { "The call" } else { "The event" },
        steps: if is_call(event) { trace(event) } else { vec![ledger_step(event)] },
        facts: facts(event),
        params: event.params.as_ref().map(|params| Code::new("Parameters, shapes only", pretty(params))),
        client: text(&event.client),
        may_stop,
    }
}

fn pretty(params: &serde_json::Value) -> String {
    serde_json::to_string_pretty(params).unwrap_or_default()
}

fn step(tone: Tone, name: &'static str, seen: String) -> Step {
    Step { tone, icon: if tone == Tone::Plain { "todo" } else { tone.icon() }, name, seen }
}

// Only what the event itself says: a stage the ledger does not name is not claimed to have passed.
fn trace(event: &Event) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(kid) = &event.kid {
        steps.push(step(Tone::Ok, "Authenticated", format!("key lbk_{kid} from {}", text(&event.remote))));
    }
    if let Some(method) = &event.method {
        steps.push(step(
            Tone::Ok,
            "Parsed",
            format!("{method}{}", event.bytes_in.map(|n| format!(", {}", human::bytes(n))).unwrap_or_default()),
        ));
    }
    match (event.decision.as_deref(), &event.grant) {
        (Some("refuse"), _) => steps.push(step(
            Tone::Warn,
            "Refused",
            format!("{}, class {}", text(&event.reason), event.class.as_deref().unwrap_or("unknown")),
        )),
        (_, Some(grant)) => {
            steps.push(step(Tone::Ok, "Grant", format!("{grant}, class {}", event.class.as_deref().unwrap_or("read"))))
        }
        (Some(_), None) => steps.push(step(Tone::Ok, "Permitted", "needs no grant".into())),
        (None, None) => {}
    }
    match event.executed.as_deref() {
        Some("yes") => steps.push(step(Tone::Ok, "Executed", "yes".into())),
        Some("unknown") => steps.push(step(Tone::Warn, "Executed", "unknown: ask the server before repeating it".into())),
        Some(_) => steps.push(step(Tone::Plain, "Executed", "no: nothing reached the server".into())),
        None => {}
    }
    for finding in &event.findings {
        steps.push(step(Tone::Warn, "Detector", finding.to_string()));
    }
    if let Some(status) = &event.status {
        let tone = if status == "ok" { Tone::Ok } else { Tone::Warn };
        let size = event.bytes_out.map(|n| format!(", {}", human::bytes(n))).unwrap_or_default();
        steps.push(step(tone, "Answered", format!("{status}{size}")));
    }
    steps.push(ledger_step(event));
    steps
}

fn ledger_step(event: &Event) -> Step {
    step(Tone::Ok, "Ledger", format!("event {}, {}", human::count(event.seq), event.kind))
}

fn facts(event: &Event) -> Vec<Fact> {
    let from = event.remote.as_ref().map(|remote| format!(", from {remote}")).unwrap_or_default();
    let principal = event.client.as_ref().map(|client| format!("{client}, key lbk_{}{from}", text(&event.kid)));
    let all = [
        ("When", Some(event.ts.to_string()), true),
        ("Request id", event.request_id.clone(), true),
        ("Principal", principal, false),
        ("Operator", event.operator.clone(), false),
        ("Object", event.object.clone(), false),
        ("Session", event.session.clone(), true),
        ("Revision", event.revision.clone(), true),
        ("Executed", event.executed.clone(), false),
        ("Parameters", event.params_sha256.clone().map(|sum| format!("sha256 {sum}")), true),
        ("Ledger hash", Some(event.hash.clone()), true),
        ("Hash before", Some(event.prev.clone()), true),
    ];
    all.into_iter().filter_map(|(name, value, code)| value.map(|value| Fact { name, value, code })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atk_a08_text_from_outside_stays_text() {
        let evil = "<img src=x onerror=alert(1)>\"><svg hx-get=/kill/engage hx-trigger=load>{{7*7}}";
        let mut event = Event::of("call");
        event.client = Some(evil.into());
        event.server = Some(evil.into());
        event.tool = Some(evil.into());
        event.params = Some(serde_json::json!({ evil: evil }));
        let row = RowView::of(&event, "client=a").opened(&event, true);
        let html = RowsPart { rows: vec![row] }.render().unwrap();
        assert!(!html.contains("<img") && !html.contains("<svg hx-get"), "{html}");
        assert!(html.contains("&#60;img") || html.contains("&lt;img"));
        assert!(html.contains("{{7*7}}"));
    }

    #[test]
    fn outcomes_carry_a_word() {
        let mut event = Event::of("call.outcome");
        event.status = Some("unknown".into());
        assert_eq!(RowView::of(&event, "").badge.text, "outcome unknown");
        event.decision = Some("refuse".into());
        assert_eq!(RowView::of(&event, "").badge.text, "refuse");
        assert_eq!(RowView::of(&Event::of("call.intent"), "").badge.text, "intent");
    }
}
