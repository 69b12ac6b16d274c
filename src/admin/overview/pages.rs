//! The first page: what is stopped, what needs somebody, what happened in the last day. Pure: from facts to what the template shows.

use askama::Template;

use crate::admin::Admin;
use crate::admin::kill::pages::{ProofView, ReleaseView, Scale};
use crate::admin::servers::Server;
use crate::admin::shell::{Shell, scope_name};
use crate::audit::{Bucket, Event, ReasonCount, Totals};
use crate::base::clock::Timestamp;
use crate::web::chart::{self, Rect};
use crate::web::human;
use crate::web::view::{Moment, Tile, Tone};

/// `/`.
#[derive(Template)]
#[template(path = "overview/page.html")]
pub struct OverviewPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: OverviewView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct OverviewView {
    /// `Sun 22 Nov 2026`.
    pub day: String,
    /// `03:15`.
    pub time: Moment,
    /// `03:15:20`.
    pub looked: String,
    /// Short form of the running revision.
    pub revision: String,
    /// The strip.
    pub tiles: Vec<Tile>,
    /// What needs somebody.
    pub needs: Vec<Need>,
    /// Whether one of them cannot wait.
    pub urgent: bool,
    /// The proof of what is stopped.
    pub proof: Option<ProofView>,
    /// Refusals since the stop.
    pub refused_since: String,
    /// The proof on its scale.
    pub scale: Scale,
    /// The release card, while anything is stopped.
    pub release: Option<ReleaseView>,
    /// Totals of 24 hours.
    pub permitted: String,
    /// Totals of 24 hours.
    pub refused: String,
    /// Totals of 24 hours.
    pub errors: String,
    /// Shapes of the chart.
    pub rects: Vec<Rect>,
    /// Labels of the vertical axis.
    pub axis: Vec<String>,
    /// Labels of the horizontal axis.
    pub hours: Vec<String>,
    /// The chart's finding in words.
    pub finding: String,
    /// The chart as a table; empty when there was no call.
    pub rows: Vec<Row>,
    /// Why there is no chart.
    pub no_calls: String,
    /// Refusals by reason.
    pub reasons: Vec<Reason>,
    /// `5 of 5 up`.
    pub servers_up: String,
    /// All servers.
    pub servers: Vec<ServerLine>,
    /// The newest operator actions.
    pub ledger: Vec<LedgerLine>,
    /// Why there are none.
    pub no_ledger: String,
}

/// One thing that needs somebody.
#[derive(Clone, Debug, Default)]
pub struct Need {
    /// How much.
    pub tone: Tone,
    /// Its shape.
    pub icon: &'static str,
    /// What.
    pub title: String,
    /// Why, in numbers.
    pub text: String,
    /// What the button does; empty for none.
    pub button: String,
    /// Where it goes.
    pub path: String,
    /// Whether it is a form.
    pub post: bool,
}

/// One row of the chart's table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Beginning of the hour.
    pub at: Moment,
    /// Calls.
    pub permitted: u64,
    /// Calls.
    pub refused: u64,
    /// Calls.
    pub errors: u64,
}

/// Refusals of one reason.
#[derive(Clone, Debug)]
pub struct Reason {
    /// `policy.no_grant`.
    pub slug: String,
    /// How many.
    pub count: String,
    /// Most from.
    pub from: String,
    /// Most to.
    pub to: String,
}

/// One server.
#[derive(Clone, Debug)]
pub struct ServerLine {
    /// Its name.
    pub name: String,
    /// `up` and so on.
    pub state: String,
    /// Why, or how many tools.
    pub note: String,
    /// How it is.
    pub tone: Tone,
    /// Its shape.
    pub icon: &'static str,
}

impl ServerLine {
    /// A server in one line.
    pub fn of(server: &Server) -> Self {
        let (tone, icon) = match server.state.as_str() {
            "up" => (Tone::Ok, "check"),
            "starting" => (Tone::Sea, "now"),
            "idle" => (Tone::Plain, "todo"),
            "unapproved" => (Tone::Warn, "lock"),
            _ => (Tone::Warn, "warn"),
        };
        let tools = human::plural(server.tools.len() as u64, "tool");
        let note = if server.detail.is_empty() { tools } else { format!("{tools} · {}", server.detail) };
        Self { name: server.name.clone(), state: server.state.clone(), note, tone, icon }
    }
}

/// One event of the ledger card.
#[derive(Clone, Debug)]
pub struct LedgerLine {
    /// When.
    pub at: Moment,
    /// `kill.engage`.
    pub action: String,
    /// What was acted on.
    pub object: String,
    /// By whom.
    pub by: String,
}

/// What the page is made from.
pub struct Facts {
    /// What the verb says.
    pub overview: super::Overview,
    /// Refusals since the stop.
    pub since_stop: String,
    /// The newest operator actions.
    pub events: Vec<Event>,
    /// Why the index does not answer.
    pub unread: Option<String>,
    /// The release card.
    pub release: ReleaseView,
}

/// The whole page.
pub fn page(admin: &Admin, shell: Shell, facts: Facts) -> OverviewPage {
    let now = shell.now;
    let up = facts.overview.servers.iter().filter(|s| matches!(s.state.as_str(), "up" | "idle")).count();
    let columns: Vec<[u64; 3]> = facts.overview.hours.iter().map(|b| [b.permitted, b.refused, b.upstream_error]).collect();
    let bars = chart::bars(&columns);
    let any = facts.overview.totals.calls > 0;
    let needs = super::needs::needs(admin, &facts, &shell);
    let proof = facts
        .overview
        .kill
        .last_proof
        .as_ref()
        .filter(|p| facts.overview.kill.states.iter().any(|s| s.decision_id == p.decision_id && s.mode == p.mode));
    let page = OverviewView {
        day: human::long_day(now),
        time: Moment { datetime: now.to_string(), text: human::minute(now) },
        looked: human::clock(now),
        revision: short_revision(admin),
        tiles: tiles(admin, &facts, up, now),
        urgent: needs.iter().any(|need| matches!(need.tone, Tone::Warn | Tone::Fire)),
        needs,
        scale: Scale::of(&proof.and_then(|p| p.effective_ms).into_iter().collect::<Vec<_>>()),
        proof: proof.map(|p| ProofView::of(p, now)),
        refused_since: facts.since_stop,
        release: facts.overview.kill.engaged.then_some(facts.release),
        permitted: human::count(facts.overview.totals.permitted),
        refused: human::count(facts.overview.totals.refused),
        errors: human::count(facts.overview.totals.upstream_error),
        axis: bars.axis.iter().map(|n| human::count(*n)).collect(),
        rects: bars.rects,
        hours: hours(&facts.overview.hours, now),
        finding: finding(&facts.overview.hours, &facts.overview.totals),
        rows: if any { facts.overview.hours.iter().map(|b| row(b, now)).collect() } else { Vec::new() },
        no_calls: facts.unread.clone().unwrap_or_else(|| "No call in 24 hours. The first one shows here within a second.".into()),
        reasons: facts.overview.refusals.iter().take(8).map(reason).collect(),
        servers_up: format!("{up} of {} up", facts.overview.servers.len()),
        servers: facts.overview.servers.iter().map(ServerLine::of).collect(),
        ledger: facts.events.iter().map(|event| line(event, now)).collect(),
        no_ledger: facts.unread.unwrap_or_else(|| "No operator has acted yet.".into()),
    };
    OverviewPage { shell, page }
}

/// `7c1e9a4+318`.
pub fn short_revision(admin: &Admin) -> String {
    let revision = admin.feed.snapshot().revision.clone();
    format!("{}+{}", revision.commit.chars().take(7).collect::<String>(), revision.epoch)
}

fn tiles(admin: &Admin, facts: &Facts, up: usize, now: Timestamp) -> Vec<Tile> {
    let note = facts.overview.kill.last_proof.as_ref().map_or("never proved".to_owned(), |proof| {
        let took = proof.effective_ms.map_or("unproven".to_owned(), |ms| format!("{ms} ms"));
        format!("{took}, {}", human::ago(proof.at, now))
    });
    let kill = match facts.overview.kill.states.as_slice() {
        [] => {
            let tone = if facts.overview.kill.last_proof.is_some() { Tone::Ok } else { Tone::Warn };
            Tile::new("Kill switch", tone, "Ready", note)
        }
        [one] => Tile::new(
            "Kill switch",
            Tone::Warn,
            if one.mode == "full" { "Stopped" } else { "Read-only" },
            format!("{}, {note}", scope_name(&one.scope)),
        ),
        more => Tile::new("Kill switch", Tone::Warn, format!("{} engaged", more.len()), note),
    };
    let all = facts.overview.servers.len();
    let tone = if up == all && all > 0 { Tone::Ok } else { Tone::Warn };
    let tools: usize = facts.overview.servers.iter().map(|s| s.tools.len()).sum();
    let ledger = admin.ledger.state();
    let written = match &ledger.why {
        None => Tile::new(
            "Ledger",
            Tone::Ok,
            "Writing",
            format!("{}, {}", human::plural(ledger.last_seq, "event"), human::bytes(ledger.bytes)),
        ),
        Some(why) => Tile::new("Ledger", Tone::Fire, "Cannot be written", why.clone()),
    };
    vec![
        kill,
        Tile::new("Servers", tone, format!("{up} of {all} up"), human::plural(tools as u64, "tool")),
        Tile::new(
            "Calls, 24 h",
            Tone::Plain,
            human::count(facts.overview.totals.calls),
            format!("{} refused", human::count(facts.overview.totals.refused)),
        ),
        Tile::new("In flight", Tone::Plain, human::count(admin.feed.in_flight(None) as u64), "now"),
        Tile::new(
            "Clients",
            Tone::Plain,
            human::count(admin.feed.snapshot().clients.len() as u64),
            human::plural(admin.feed.snapshot().keys.len() as u64, "running key"),
        ),
        written,
    ]
}

fn hours(buckets: &[Bucket], now: Timestamp) -> Vec<String> {
    let quarter = buckets.len() / 4;
    let mut labels: Vec<String> =
        [0, 1, 2, 3].iter().filter_map(|n| buckets.get(n * quarter)).map(|b| human::minute(b.start)).collect();
    labels.push(human::minute(now));
    labels
}

fn finding(buckets: &[Bucket], totals: &Totals) -> String {
    let sum = |b: &Bucket| b.permitted + b.refused + b.upstream_error;
    let highest = buckets.iter().max_by_key(|b| sum(b));
    let peak = highest.map(|b| format!(", highest {} in the hour from {}", human::count(sum(b)), human::minute(b.start)));
    format!(
        "Calls per hour in the last 24 hours: {} in all, {} refused{}",
        human::count(totals.calls),
        human::count(totals.refused),
        peak.unwrap_or_default()
    )
}

fn row(bucket: &Bucket, now: Timestamp) -> Row {
    Row { at: Moment::when(bucket.start, now), permitted: bucket.permitted, refused: bucket.refused, errors: bucket.upstream_error }
}

fn reason(reason: &ReasonCount) -> Reason {
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "strangers".into());
    Reason {
        slug: reason.reason.clone(),
        count: human::count(reason.count),
        from: name(&reason.top_client),
        to: reason.top_tool.clone().unwrap_or_default(),
    }
}

fn line(event: &Event, now: Timestamp) -> LedgerLine {
    LedgerLine {
        at: Moment {
            datetime: event.ts.to_string(),
            text: if now.since_ms(event.ts) < 43_200_000 { human::minute(event.ts) } else { human::when(event.ts, now) },
        },
        action: event.action.clone().unwrap_or_default(),
        object: event.object.clone().unwrap_or_default(),
        by: event.operator.clone().unwrap_or_else(|| "lifeboat".into()),
    }
}
