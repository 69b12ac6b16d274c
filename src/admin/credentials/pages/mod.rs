//! The pages of credentials: the table here, one with the stepper of its rotation, the answer that shows a new secret, the plan. Pure.

mod detail;
mod once;
mod told;

pub use detail::{Facts, detail};
pub use once::{fetched, plan};

use askama::Template;

use super::model::Credential;
use super::proof::ProofLine;
use crate::admin::Actor;
use crate::admin::actor::Right;
use crate::admin::shell::{Shell, sentence};
use crate::base::clock::Timestamp;
use crate::web::form::encode;
use crate::web::human;
use crate::web::view::{Badge, Tone};

/// `/credentials`.
#[derive(Template)]
#[template(path = "credentials/page.html")]
pub struct CredentialsPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: CredentialsView,
}

/// What the table shows.
#[derive(Clone, Debug, Default)]
pub struct CredentialsView {
    /// `14 credentials, 2 need somebody`.
    pub tally: String,
    /// Role operator.
    pub may_operate: bool,
    /// All of them, what needs somebody first.
    pub rows: Vec<Row>,
    /// Proofs under traffic.
    pub proofs: Vec<ProofRow>,
}

/// One credential.
#[derive(Clone, Debug)]
pub struct Row {
    /// `KIND/NAME`.
    pub name: String,
    /// Its page.
    pub path: String,
    /// How it stands.
    pub badge: Badge,
    /// More of that.
    pub note: String,
    /// Who answers for it.
    pub owner: String,
    /// Age of the current version.
    pub age: String,
    /// When it was last used.
    pub used: String,
    /// When it is due.
    pub due: String,
    /// Whether it is over.
    pub dim: bool,
}

/// One proof.
#[derive(Clone, Debug)]
pub struct ProofRow {
    /// Its id.
    pub id: String,
    /// When.
    pub when: String,
    /// By whom.
    pub by: String,
    /// How it ended.
    pub badge: Badge,
}

/// The page of a credential.
pub fn path(name: &str) -> String {
    let (kind, rest) = name.split_once('/').unwrap_or((name, ""));
    format!("/credentials/{}/{}", encode(kind), encode(rest))
}

fn badge(one: &Credential) -> Badge {
    match one.state.as_str() {
        "ok" => Badge::new(Tone::Plain, "ok"),
        "rotating" if one.to_fetch => Badge::new(Tone::Warn, "to be fetched"),
        "rotating" => Badge::new(Tone::Sea, "rotating"),
        "retire_failed" => Badge::new(Tone::Fire, "old one not ended"),
        "ended" => Badge::new(Tone::Plain, "ended"),
        other => Badge::new(Tone::Warn, other),
    }
}

fn needs(one: &Credential) -> bool {
    one.to_fetch || matches!(one.state.as_str(), "due" | "overdue" | "stuck" | "retire_failed" | "missing")
}

impl Row {
    fn of(one: &Credential, now: Timestamp) -> Self {
        let current = one.versions.iter().find(|version| version.state == "current");
        let used = one.versions.iter().filter_map(|version| version.last_used).max();
        Self {
            path: path(&one.name),
            badge: badge(one),
            note: if one.note.is_empty() { String::new() } else { sentence(&one.note) },
            owner: one.owner.clone().unwrap_or_default(),
            age: current.and_then(|version| version.created_at).map(|at| human::ago(at, now)).unwrap_or_default(),
            used: used.map(|at| human::when(at, now)).unwrap_or_default(),
            due: match (one.due_at, one.rotates_at) {
                (Some(due), Some(at)) => format!("{}, by itself {}", human::day(due, now), human::day(at, now)),
                (due, _) => due.map(|at| human::day(at, now)).unwrap_or_default(),
            },
            dim: one.state == "ended",
            name: one.name.clone(),
        }
    }
}

/// The whole table.
pub fn page(shell: Shell, all: &[Credential], proofs: &[ProofLine], actor: &Actor) -> CredentialsPage {
    let now = shell.now;
    let mut sorted: Vec<&Credential> = all.iter().collect();
    sorted.sort_by_key(|one| (one.state == "ended", !needs(one)));
    let waiting = all.iter().filter(|one| needs(one)).count() as u64;
    let live = all.iter().filter(|one| one.state != "ended").count() as u64;
    let proof = |one: &ProofLine| ProofRow {
        id: one.id.clone(),
        when: human::when(one.made_at, now),
        by: one.made_by.clone(),
        badge: if one.passed { Badge::new(Tone::Ok, "proved") } else { Badge::new(Tone::Warn, "failed") },
    };
    let page = CredentialsView {
        tally: format!("{}, {} need somebody", human::plural(live, "credential"), human::count(waiting)),
        may_operate: actor.role.has(Right::Operate),
        rows: sorted.into_iter().map(|one| Row::of(one, now)).collect(),
        proofs: proofs.iter().map(proof).collect(),
    };
    CredentialsPage { shell, page }
}
