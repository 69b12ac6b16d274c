//! The pages of a restore in place: what would happen, to be confirmed, and what happened. Pure.

use askama::Template;

use super::{KeptList, LiveDone};
use crate::admin::shell::Shell;
use crate::base::clock::Timestamp;
use crate::web::human;

/// `/vaults/live`.
#[derive(Template)]
#[template(path = "vaults/live.html")]
pub struct LivePage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: LiveView,
}

/// What the page shows.
#[derive(Clone, Debug)]
pub struct LiveView {
    /// Which vault.
    pub vault: String,
    /// Which archive.
    pub archive: String,
    /// Of when it is.
    pub when: String,
    /// `demo, notes`; empty when nobody is stopped.
    pub servers: String,
    /// Whether it is only to be confirmed.
    pub asks: bool,
    /// One sentence.
    pub summary: String,
    /// Whether that is good news.
    pub is_well: bool,
    /// What would happen, or happened.
    pub steps: Vec<StepRow>,
    /// Where what was there is kept.
    pub kept: String,
    /// As it was typed.
    pub reason: String,
    /// Whether the login is too old for it.
    pub stale: bool,
}

/// One step.
#[derive(Clone, Debug)]
pub struct StepRow {
    /// Its name.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
    /// How long it took.
    pub seconds: String,
}

/// The page of an answer; `stale` when the login is too old for the order that a look asks for.
pub fn page(shell: Shell, done: &LiveDone, reason: String, stale: bool) -> LivePage {
    let servers = done.servers.join(", ");
    let (is_well, summary) = summary(done, &servers);
    let row = |step: &super::LiveStep| StepRow {
        name: step.name.clone(),
        passed: step.passed,
        detail: step.detail.clone(),
        seconds: format!("{:.2} s", step.seconds),
    };
    let page = LiveView {
        vault: done.vault.clone(),
        archive: done.archive.clone(),
        when: human::when(done.started_at, shell.now),
        asks: done.dry_run,
        steps: done.steps.iter().map(row).collect(),
        kept: done.kept.clone().unwrap_or_default(),
        servers,
        summary,
        is_well,
        reason,
        stale,
    };
    LivePage { shell, page }
}

/// One sentence about a restore in which everything passed.
pub fn said(done: &LiveDone) -> String {
    let (_, summary) = summary(done, &done.servers.join(", "));
    let kept = done.kept.as_ref().map_or_else(String::new, |kept| format!(" What was there is kept: {kept}"));
    format!("{}: {summary}{kept}", done.vault)
}

fn summary(done: &LiveDone, servers: &str) -> (bool, String) {
    let is_stopped = !done.released && !servers.is_empty();
    match (done.dry_run, done.ok, is_stopped) {
        (true, _, false) => (true, "Nothing is changed yet. No server is known to use this vault: nobody is stopped.".to_owned()),
        (true, _, true) => (true, format!("Nothing is changed yet. Every call to {servers} is refused until it is over.")),
        (_, true, false) => (true, "It is back, compared, and nothing is stopped for it.".to_owned()),
        (_, true, true) => (true, format!("It is back and compared. {servers} was stopped before, and stays stopped.")),
        (_, false, true) => (false, format!("Not everything passed. {servers} stays stopped: look, then release it.")),
        (_, false, false) => (false, "Not everything passed.".to_owned()),
    }
}

/// What a restore has kept.
#[derive(Clone, Debug)]
pub struct KeptRow {
    /// The vault.
    pub vault: String,
    /// Where it lies.
    pub path: String,
    /// Its size and age.
    pub note: String,
}

/// What restores have kept, for the page of vaults.
pub fn kept(list: &KeptList, now: Timestamp) -> Vec<KeptRow> {
    let row = |tree: &super::KeptTree| KeptRow {
        vault: tree.vault.clone(),
        path: tree.path.clone(),
        note: format!("{}, {}", human::bytes(tree.bytes), human::ago(tree.at, now)),
    };
    list.kept.iter().map(row).collect()
}
