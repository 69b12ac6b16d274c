//! The page of drills: the list with what runs and what is scheduled. Pure.

use askama::Template;

use super::model::{DrillLine, Targets};
use super::order::Scenario;
use super::steps::Step;
use super::{Live, order};
use crate::admin::actor::Right;
use crate::admin::schedule::ScheduleView;
use crate::admin::shell::Shell;
use crate::base::clock::Timestamp;
use crate::web::human;
use crate::web::view::{Badge, Tone};

/// `/drills`.
#[derive(Template)]
#[template(path = "drills/page.html")]
pub struct DrillsPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: DrillsView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct DrillsView {
    /// `12 drills`.
    pub tally: String,
    /// The promised time.
    pub target: String,
    /// How many archives there are.
    pub archives: usize,
    /// Role operator.
    pub may_run: bool,
    /// Role admin.
    pub may_change: bool,
    /// What runs now.
    pub live: Option<LiveView>,
    /// Past ones.
    pub drills: Vec<DrillRow>,
    /// How long the last ones took.
    pub bars: Vec<Bar>,
    /// What can be lost.
    pub scenarios: Vec<Choice>,
    /// What is done by itself.
    pub schedules: Vec<Plan>,
}

/// A scenario to choose.
#[derive(Clone, Debug)]
pub struct Choice {
    /// In the form.
    pub word: &'static str,
    /// For people.
    pub title: &'static str,
}

/// The drill that runs.
#[derive(Clone, Debug)]
pub struct LiveView {
    /// Its id.
    pub id: String,
    /// What is lost.
    pub scenario: &'static str,
    /// Since it began.
    pub elapsed: String,
    /// Steps that have ended.
    pub steps: Vec<StepRow>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct StepRow {
    /// What was done.
    pub name: String,
    /// What was seen.
    pub detail: String,
    /// How long it took.
    pub seconds: String,
    /// Whether it passed.
    pub passed: bool,
}

impl StepRow {
    /// As it is shown.
    pub(super) fn of(step: &Step) -> Self {
        let name = step.name.replace('-', " ");
        Self { name, detail: step.detail.clone(), seconds: seconds(step.seconds), passed: step.passed }
    }
}

/// One past drill.
#[derive(Clone, Debug)]
pub struct DrillRow {
    /// Its id.
    pub id: String,
    /// When it began.
    pub when: String,
    /// What was lost.
    pub scenario: String,
    /// How it ended.
    pub badge: Badge,
    /// Time to service.
    pub rto: String,
    /// Data lost.
    pub rpo: String,
    /// Who ordered it.
    pub by: String,
    /// Whether there is a report.
    pub report: bool,
}

/// One bar of the trend.
#[derive(Clone, Debug)]
pub struct Bar {
    /// When.
    pub when: String,
    /// Of 600.
    pub width: String,
    /// How long.
    pub text: String,
}

/// One schedule.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the form.
    pub job: String,
    /// For people.
    pub title: &'static str,
    /// Whether it is well.
    pub badge: Badge,
    /// What came of the last.
    pub last: String,
    /// The next dates.
    pub next: Vec<String>,
    /// The fields.
    pub cron: String,
    /// In words.
    pub words: String,
    /// Whether nothing is done.
    pub paused: bool,
    /// Whether what was typed is wrong.
    pub bad: bool,
}

/// Seconds, as short as they can be read.
pub(super) fn seconds(value: f64) -> String {
    match value {
        small if small < 10.0 => format!("{small:.2} s"),
        some if some < 120.0 => format!("{some:.0} s"),
        many if many < 7_200.0 => format!("{:.0} min", many / 60.0),
        long => format!("{:.1} h", long / 3_600.0),
    }
}

fn title(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::HostLost => "The machine",
        Scenario::StateLost => "state.db",
        Scenario::ConfigLost => "The configuration",
        Scenario::ArchiveCorrupt => "The newest archive, damaged",
        Scenario::KeyLost => "The identity",
        Scenario::PackageMissing => "A server's program",
        Scenario::StaleBackup => "All recent archives",
    }
}

/// What was lost, for people.
pub(super) fn titled(word: &str) -> String {
    word.parse::<Scenario>().map_or_else(|_| word.to_owned(), |scenario| title(scenario).to_owned())
}

impl DrillRow {
    fn of(drill: &DrillLine, now: Timestamp) -> Self {
        let badge = match (drill.state.as_str(), drill.passed) {
            ("running", _) => Badge::new(Tone::Sea, "running"),
            (_, Some(true)) => Badge::new(Tone::Ok, "passed"),
            (_, Some(false)) => Badge::new(Tone::Warn, "failed"),
            _ => Badge::new(Tone::Warn, "interrupted"),
        };
        let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), seconds);
        Self {
            id: drill.id.clone(),
            when: human::when(drill.started_at, now),
            scenario: titled(&drill.scenario),
            badge,
            rto: shown(drill.rto_seconds),
            rpo: shown(drill.rpo_seconds),
            by: drill.by.clone(),
            report: drill.passed.is_some(),
        }
    }
}

impl Plan {
    fn of(view: &ScheduleView, now: Timestamp, bad: Option<&(String, String)>) -> Self {
        let badge = match (view.paused, view.overdue) {
            (true, _) => Badge::new(Tone::Warn, "paused"),
            (_, true) => Badge::new(Tone::Warn, "overdue"),
            _ => Badge::new(Tone::Ok, "on schedule"),
        };
        let last = match (view.last_due, &view.last_state) {
            (Some(due), Some(state)) => {
                let reason = view.last_reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
                format!("{state}, due {}{reason}", human::when(due, now))
            }
            _ => "not yet".to_owned(),
        };
        let typed = bad.filter(|(job, _)| *job == view.job).map(|(_, cron)| cron.clone());
        Self {
            job: view.job.clone(),
            title: match view.job.as_str() {
                "backup" => "Backup by itself",
                "verify" => "Check of archives by itself",
                "rotate" => "Rotation of what is due by itself",
                _ => "Drill by itself",
            },
            badge,
            last,
            next: view.next.iter().map(|at| format!("{} {} UTC", human::long_day(*at), human::minute(*at))).collect(),
            bad: typed.is_some(),
            cron: typed.unwrap_or_else(|| view.cron.clone()),
            words: view.words.clone(),
            paused: view.paused,
        }
    }
}

/// What the list page is made of.
pub struct Facts<'a> {
    /// Past drills.
    pub drills: &'a [DrillLine],
    /// The one that runs.
    pub live: Option<Live>,
    /// What was promised.
    pub targets: Targets,
    /// How many archives there are.
    pub archives: usize,
    /// What is done by itself.
    pub schedules: &'a [ScheduleView],
    /// A schedule that was typed wrong: whose, and what.
    pub bad: Option<(String, String)>,
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a promise are few")]
fn promised(targets: Targets) -> String {
    seconds(targets.rto_seconds as f64)
}

/// The whole page.
pub fn page(mut shell: Shell, facts: &Facts<'_>, role: crate::admin::OperatorRole) -> DrillsPage {
    let now = shell.now;
    shell.refresh = facts.live.is_some();
    let live = facts.live.as_ref().map(|live| LiveView {
        id: live.id.clone(),
        scenario: title(live.scenario),
        elapsed: seconds(live.since.elapsed().as_secs_f64()),
        steps: live.steps.iter().map(StepRow::of).collect(),
    });
    let word = Scenario::HostLost.word();
    let trend = facts.drills.iter().filter(|drill| drill.scenario == word && drill.passed == Some(true));
    let longest = trend.clone().filter_map(|drill| drill.rto_seconds).fold(0.0, f64::max).max(0.001);
    let bar = |drill: &DrillLine| {
        let rto = drill.rto_seconds.unwrap_or_default();
        Bar { when: human::when(drill.started_at, now), width: format!("{:.1}", rto / longest * 600.0), text: seconds(rto) }
    };
    let page = DrillsView {
        tally: human::plural(facts.drills.len() as u64, "drill"),
        target: promised(facts.targets),
        archives: facts.archives,
        may_run: role.has(Right::Operate),
        may_change: role.has(Right::Administer),
        live,
        drills: facts.drills.iter().map(|drill| DrillRow::of(drill, now)).collect(),
        bars: trend.take(8).map(bar).collect(),
        scenarios: order::Scenario::ALL.into_iter().map(|one| Choice { word: one.word(), title: title(one) }).collect(),
        schedules: facts.schedules.iter().map(|view| Plan::of(view, now, facts.bad.as_ref())).collect(),
    };
    DrillsPage { shell, page }
}
