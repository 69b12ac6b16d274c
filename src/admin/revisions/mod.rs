//! The configuration's revisions: history, check, status, difference, committing what an editor changed, going back. HEAD is the only source
//! of truth.

mod change;
pub mod pages;
mod remote;
pub mod routes;
pub mod sides;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_remote;
mod transport;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use change::{Between, Difference, FileDifference, RollbackOrder, RolledBack, diff, rollback};
pub use remote::{Pull, PullOrder, Push, pull, push};

use super::actor::Right;
use super::policy;
use super::publish::{self, publish};
use super::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::config::repo::{Author, ChangeKind};

/// One commit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// Its id.
    pub commit: String,
    /// Who made it.
    pub author: String,
    /// When.
    pub at: Timestamp,
    /// What it says.
    pub message: String,
    /// Files it changed.
    pub files: Vec<String>,
}

/// Commits, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// The commits.
    pub commits: Vec<Commit>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Wrong {
    /// Path inside `config/`.
    pub file: String,
    /// From 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What a check of the working tree found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ConfigChecked")]
pub struct Checked {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Everything that is.
    pub faults: Vec<Wrong>,
}

/// A file that an editor changed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Edited {
    /// Path inside `config/`.
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
}

/// Where the configuration stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// The commit at HEAD.
    pub head: String,
    /// The running revision, `COMMIT+EPOCH`.
    pub revision: String,
    /// Whether HEAD runs.
    pub applied: bool,
    /// What is wrong with HEAD when it was refused.
    pub refused: Vec<String>,
    /// Edits that are not committed.
    pub edited: Vec<Edited>,
}

/// A commit of an editor's work, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CommitOrder {
    /// The author's name; the actor's when absent.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What it says.
    pub message: String,
}

/// An editor's work was committed and runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Committed {
    /// The new commit.
    pub commit: String,
    /// The running revision that holds it.
    pub revision: String,
}

/// The newest commits; with `after`, those before that commit.
///
/// # Errors
/// `NotFound` when `after` is no commit.
pub async fn history(admin: &Admin, actor: &Actor, limit: usize, after: Option<String>) -> Verb<History> {
    actor.need(Right::Read, "config.history")?;
    let found = tree::blocking(&admin.repository, move |repository| repository.history(limit, after.as_deref())).await?;
    let commits = found.into_iter().map(|c| Commit {
        commit: c.id,
        author: c.author,
        at: c.at,
        message: c.message.trim_end().to_owned(),
        files: c.files,
    });
    Ok(History { commits: commits.collect() })
}

/// Checks the working tree as it would be committed, and tries the cases in `policy-tests/` on it.
///
/// # Errors
/// When it cannot be read; what is wrong with it is an answer, not a fault.
pub async fn check(admin: &Admin, actor: &Actor) -> Verb<Checked> {
    actor.need(Right::Read, "config.check")?;
    let files = tree::blocking(&admin.repository, |repository| repository.working_files()).await?;
    let mut faults = publish::faults_of(&files);
    // What the policy is meant to decide can only be tried once it is one.
    if faults.is_empty() {
        faults = policy::faults_of(&files, &tree::read(&files)?);
    }
    let faults: Vec<Wrong> = faults.into_iter().map(|f| Wrong { file: f.file, line: f.line, message: f.message }).collect();
    Ok(Checked { ok: faults.is_empty(), faults })
}

/// Where HEAD, the running revision and the working tree stand.
///
/// # Errors
/// When the repository cannot be read.
pub async fn standing(admin: &Admin, actor: &Actor) -> Verb<Standing> {
    actor.need(Right::Read, "config.status")?;
    let (head, edited) =
        tree::blocking(&admin.repository, |repository| Ok((repository.head()?.commit, repository.working_changes()?))).await?;
    let running = admin.feed.snapshot().revision.clone();
    Ok(Standing {
        applied: running.commit == head,
        revision: running.to_string(),
        refused: admin.publisher.refused().map(|refused| refused.faults).unwrap_or_default(),
        edited: edited.into_iter().map(|e| Edited { path: e.path, change: word(e.kind).to_owned() }).collect(),
        head,
    })
}

/// Commits what an editor changed, and has it running.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Invalid` with every fault, or when there is nothing to commit or no message.
pub async fn commit(admin: &Admin, actor: &Actor, order: CommitOrder) -> Verb<Committed> {
    actor.need(Right::Administer, "config.commit")?;
    actor.need_fresh_login(admin.clock.now())?;
    let message = order.message.trim().to_owned();
    if message.is_empty() {
        return Err(Fault::invalid("message", "say what changes and why"));
    }
    let name = order.author.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| actor.name.clone());
    let author = Author { name, at: admin.clock.now() };
    let commit = tree::blocking(&admin.repository, move |repository| repository.commit_working(&author, &message)).await?;
    let published = publish(admin).await;
    let mut event = Event::action(&actor.name, "config.commit", commit.clone());
    event.revision = published.as_ref().ok().map(ToString::to_string);
    // The commit is made, whether or not it runs.
    admin.record(event).await?;
    let revision = published?;
    Ok(Committed { commit, revision: revision.to_string() })
}

fn word(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Changed => "changed",
        ChangeKind::Removed => "removed",
    }
}
