//! The pages of revisions: history with drift, and two states side by side. Pure.

use askama::Template;

use super::sides::{self, Row};
use super::{Difference, History, Standing};
use crate::admin::OperatorRole;
use crate::admin::actor::Right;
use crate::admin::shell::Shell;
use crate::base::clock::Timestamp;
use crate::web::human;
use crate::web::view::{Badge, Tone};

const SHORT: usize = 12;

fn short(commit: &str) -> String {
    commit.get(..SHORT).unwrap_or(commit).to_owned()
}

/// `COMMIT+EPOCH` with a short commit.
fn brief(revision: &str) -> String {
    revision.split_once('+').map_or_else(|| short(revision), |(commit, epoch)| format!("{}+{epoch}", short(commit)))
}

/// `/revisions`.
#[derive(Template)]
#[template(path = "revisions/page.html")]
pub struct RevisionsPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: RevisionsView,
}

/// What the page shows.
#[derive(Clone, Debug)]
pub struct RevisionsView {
    /// What runs.
    pub revision: String,
    /// What should.
    pub head: String,
    /// Whether the two are one, and nobody edits.
    pub badge: Badge,
    /// Edits that are not committed.
    pub edited: Vec<String>,
    /// What is wrong with HEAD.
    pub refused: Vec<String>,
    /// Newest first.
    pub commits: Vec<CommitRow>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// One commit.
#[derive(Clone, Debug)]
pub struct CommitRow {
    /// Its id, short.
    pub short: String,
    /// When it was made.
    pub when: String,
    /// First line of what it says.
    pub message: String,
    /// Who made it.
    pub author: String,
    /// Files it changed.
    pub files: String,
    /// Whether it runs.
    pub running: bool,
}

fn row(commit: &super::Commit, running: &str, now: Timestamp) -> CommitRow {
    let files = match commit.files.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    CommitRow {
        short: short(&commit.commit),
        when: human::when(commit.at, now),
        message: commit.message.lines().next().unwrap_or_default().to_owned(),
        author: commit.author.clone(),
        files,
        running: running.starts_with(&commit.commit),
    }
}

/// The whole page.
pub fn page(shell: Shell, history: &History, standing: &Standing, full: usize) -> RevisionsPage {
    let badge = match (standing.applied, standing.edited.is_empty(), standing.refused.is_empty()) {
        (_, _, false) => Badge::new(Tone::Warn, "HEAD is refused"),
        (false, ..) => Badge::new(Tone::Warn, "HEAD does not run"),
        (true, false, _) => Badge::new(Tone::Warn, "edited"),
        (true, true, _) => Badge::new(Tone::Ok, "in sync"),
    };
    let page = RevisionsView {
        revision: brief(&standing.revision),
        head: short(&standing.head),
        badge,
        edited: standing.edited.iter().map(|one| format!("{} {}", one.path, one.change)).collect(),
        refused: standing.refused.clone(),
        commits: history.commits.iter().map(|one| row(one, &standing.revision, shell.now)).collect(),
        next: history.commits.last().filter(|_| history.commits.len() == full).map(|one| one.commit.clone()),
    };
    RevisionsPage { shell, page }
}

/// `/revisions/diff`.
#[derive(Template)]
#[template(path = "revisions/diff.html")]
pub struct DiffPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: DiffView,
}

/// Two states.
#[derive(Clone, Debug)]
pub struct DiffView {
    /// The left one.
    pub from: String,
    /// The right one.
    pub to: String,
    /// `2 files`.
    pub tally: String,
    /// Role admin.
    pub may_change: bool,
    /// By path.
    pub files: Vec<FileView>,
    /// Going back to the right one, where that can be.
    pub back: Option<Back>,
}

/// One file.
#[derive(Clone, Debug)]
pub struct FileView {
    /// Its path.
    pub path: String,
    /// Added, changed or removed.
    pub change: String,
    /// Two columns.
    pub rows: Vec<Row>,
}

/// Going back.
#[derive(Clone, Debug)]
pub struct Back {
    /// The commit.
    pub commit: String,
    /// The same, short.
    pub short: String,
    /// What was typed.
    pub reason: String,
}

/// The page of two states; `back` with what was typed when the right one is an earlier commit.
pub fn diff(shell: Shell, difference: &Difference, back: Option<String>, role: OperatorRole) -> DiffPage {
    let file = |one: &super::FileDifference| FileView {
        path: one.path.clone(),
        change: one.change.clone(),
        rows: sides::rows(&one.patch),
    };
    let page = DiffView {
        from: short(&difference.from),
        to: short(&difference.to),
        tally: human::plural(difference.files.len() as u64, "file"),
        may_change: role.has(Right::Administer),
        files: difference.files.iter().map(file).collect(),
        back: back.map(|reason| Back { commit: difference.to.clone(), short: short(&difference.to), reason }),
    };
    DiffPage { shell, page }
}
