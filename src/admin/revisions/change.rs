//! What two states of the configuration differ in, and going back to an earlier one. Going back is a new commit: it takes nothing out of the
//! history, and touches neither the kill switch, nor a credential, nor what may be started on this host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::actor::Right;
use super::super::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::config::ConfigFault;
use crate::config::repo::{ChangeKind, Files, changes_between, unified};

/// The tree an editor works on.
const WORKING: &str = "working";
/// The commit that runs.
const RUNNING: &str = "running";
const HEAD: &str = "HEAD";

/// Which two states.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Between {
    /// A commit, `HEAD`, `running` or `working`; HEAD when not given.
    pub from: Option<String>,
    /// The same; when not given, HEAD, or the working tree where `from` is not given either.
    pub to: Option<String>,
}

/// One file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileDifference {
    /// Path inside `config/`.
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
    /// The difference in unified form; cut at 256 KiB.
    pub patch: String,
}

/// How two states differ.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The commit it was, or `working`.
    pub from: String,
    /// The commit it becomes, or `working`.
    pub to: String,
    /// By path.
    pub files: Vec<FileDifference>,
}

/// Back to an earlier commit, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackOrder {
    /// The commit to go back to.
    pub to: String,
    /// Why.
    pub reason: String,
    /// Only says what would change.
    pub dry_run: bool,
}

/// Gone back, or what that would change.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RolledBack {
    /// The commit whose state it is again.
    pub to: String,
    /// The new commit; none when nothing was done.
    pub commit: Option<String>,
    /// The revision that runs now.
    pub revision: String,
    /// What changed by it.
    pub files: Vec<FileDifference>,
}

/// How two states of the configuration differ.
///
/// # Errors
/// `NotFound` for an unknown commit.
pub async fn diff(admin: &Admin, actor: &Actor, between: Between) -> Verb<Difference> {
    actor.need(Right::Read, "config.diff")?;
    let (from, to) = match (between.from, between.to) {
        (None, None) => (HEAD.to_owned(), WORKING.to_owned()),
        (from, to) => (from.unwrap_or_else(|| HEAD.to_owned()), to.unwrap_or_else(|| HEAD.to_owned())),
    };
    let (from, before) = state(admin, &from).await?;
    let (to, after) = state(admin, &to).await?;
    Ok(Difference { from, to, files: differences(&before, &after)? })
}

/// Has the state of an earlier commit running again, by a new commit.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound` for an unknown commit; `Invalid` without a reason, or when that state is no valid configuration
/// any more; `Conflict` when it is the state at HEAD, or an editor's uncommitted work stands in the way.
pub async fn rollback(admin: &Admin, actor: &Actor, order: RollbackOrder) -> Verb<RolledBack> {
    actor.need(Right::Administer, "config.rollback")?;
    if !order.dry_run {
        actor.need_fresh_login(admin.clock.now())?;
    }
    let reason = order.reason.trim().to_owned();
    if reason.is_empty() && !order.dry_run {
        return Err(Fault::invalid("reason", "say why"));
    }
    let target = tree::at(&admin.repository, &order.to).await?;
    let head = tree::head(&admin.repository).await?;
    let files = differences(&head.files, &target.files)?;
    if files.is_empty() {
        return Err(Fault::conflict(format!("HEAD has the state of {} already", short(&target.commit))));
    }
    let faults = super::super::publish::faults_of(&target.files);
    if !faults.is_empty() {
        return Err(ConfigFault::join(&faults));
    }
    if order.dry_run {
        let revision = admin.feed.snapshot().revision.to_string();
        return Ok(RolledBack { to: target.commit, commit: None, revision, files });
    }
    let message = format!("Roll back to {}: {reason}", short(&target.commit));
    let made = tree::edit_files(admin, actor, &message, |now| Ok(changes_between(now, &target.files))).await?;
    let mut event = Event::action(&actor.name, "config.rollback", made.commit.clone());
    event.revision = Some(made.to_string());
    event.params = Some(serde_json::json!({ "to": target.commit, "reason": reason }));
    admin.record(event).await?;
    Ok(RolledBack { to: target.commit, revision: made.to_string(), commit: Some(made.commit), files })
}

/// The files of a state, and what to call it.
async fn state(admin: &Admin, word: &str) -> Verb<(String, Files)> {
    if word == WORKING {
        let files = tree::blocking(&admin.repository, |repository| repository.working_files()).await?;
        return Ok((WORKING.to_owned(), files));
    }
    let running = admin.feed.snapshot().revision.commit.clone();
    let head = tree::at(&admin.repository, if word == RUNNING { &running } else { word }).await?;
    Ok((head.commit, head.files))
}

fn differences(before: &Files, after: &Files) -> Verb<Vec<FileDifference>> {
    let changes = changes_between(before, after);
    let mut paths: Vec<&str> = changes.iter().map(|change| change.path()).collect();
    paths.sort_unstable();
    paths.into_iter().map(|path| difference(path, before.get(path), after.get(path))).collect()
}

fn difference(path: &str, before: Option<&Vec<u8>>, after: Option<&Vec<u8>>) -> Verb<FileDifference> {
    let kind = match (before, after) {
        (None, _) => ChangeKind::Added,
        (_, None) => ChangeKind::Removed,
        _ => ChangeKind::Changed,
    };
    let text = |bytes: Option<&Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    Ok(FileDifference {
        path: path.to_owned(),
        change: super::word(kind).to_owned(),
        patch: unified(path, &text(before), &text(after))?,
    })
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
