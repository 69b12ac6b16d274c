//! The configuration and its remote: push, pull. What comes from there runs only as a fast forward that is a valid configuration, and starts no
//! program that was not approved on this host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::actor::Right;
use super::super::publish::{self, publish};
use super::super::{Actor, Admin, tree};
use super::transport::{self, Pushed, SEEN};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::config::ConfigFault;
use crate::config::repo::changes_between;

/// The configuration was taken to the remote.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ConfigPushed")]
pub struct Push {
    /// Whether the remote's `main` has HEAD.
    pub ok: bool,
    /// HEAD.
    pub commit: String,
    /// The branch it went to when the remote's `main` has gone another way.
    pub branch: Option<String>,
}

/// A pull, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PullOrder {
    /// Takes it even when it removes more than half of the files.
    pub much: bool,
}

/// The configuration was taken from the remote.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ConfigPulled")]
pub struct Pull {
    /// HEAD now.
    pub commit: String,
    /// The running revision.
    pub revision: String,
    /// Files that changed by it.
    pub files: Vec<String>,
}

fn remote(admin: &Admin) -> Verb<String> {
    let remote = admin.feed.snapshot().settings.config.remote.clone();
    remote.ok_or_else(|| Fault::invalid("lifeboat.toml: config.remote", "names no remote; set it, then config commit"))
}

/// Takes HEAD to the remote. Never forces: where the remote has gone another way, HEAD goes to a branch of its own and the answer says so.
///
/// # Errors
/// `Denied` without role admin; `Invalid` without a remote; `Unavailable` when it does not answer.
pub async fn push(admin: &Admin, actor: &Actor) -> Verb<Push> {
    actor.need(Right::Administer, "config.push")?;
    let (remote, commit) = (remote(admin)?, tree::head(&admin.repository).await?.commit);
    let host = host_name();
    let aside = format!("lifeboat/{host}/{}", commit.get(..12).unwrap_or(&commit));
    let pushed = transport::push(&admin.repository.git_dir(), &remote, &aside).await;
    let mut event = Event::action(&actor.name, "config.push", commit.clone());
    let said = match &pushed {
        Ok(Pushed::There) => "there".to_owned(),
        Ok(Pushed::Aside(branch)) => format!("aside, to {branch}"),
        Err(fault) => fault.to_string(),
    };
    event.params = Some(serde_json::json!({ "ended": said }));
    admin.record(event).await?;
    let branch = match pushed? {
        Pushed::There => None,
        Pushed::Aside(branch) => Some(branch),
    };
    Ok(Push { ok: branch.is_none(), commit, branch })
}

/// The name of this host as a part of a branch's name.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain: String = name.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    if plain.is_empty() { "host".to_owned() } else { plain }
}

/// Takes what the remote has and runs it, where that is a fast forward.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Invalid` with every fault when it is no valid configuration; `Conflict` when both have gone their own way, the
/// remote's history was rewritten, it removes more than half of the files, or an editor's uncommitted work stands in the way. Nothing is
/// changed then.
pub async fn pull(admin: &Admin, actor: &Actor, order: PullOrder) -> Verb<Pull> {
    actor.need(Right::Administer, "config.pull")?;
    actor.need_fresh_login(admin.clock.now())?;
    let remote = remote(admin)?;
    let head = tree::head(&admin.repository).await?;
    transport::fetch(&admin.repository.git_dir(), &remote).await?;
    let seen = tree::blocking(&admin.repository, |repository| repository.seen(SEEN)).await?;
    let revision = admin.feed.snapshot().revision.to_string();
    if seen.commit == head.commit {
        return Ok(Pull { commit: head.commit, revision, files: Vec::new() });
    }
    let changes = changes_between(&head.files, &seen.files);
    let gone = head.files.keys().filter(|path| !seen.files.contains_key(*path)).count();
    if !order.much && (seen.files.is_empty() || gone * 2 > head.files.len()) {
        let all = head.files.len();
        return Err(Fault::conflict(format!("it would remove {gone} of {all} files; look at it, then say --much")));
    }
    let faults = publish::faults_of(&seen.files);
    if !faults.is_empty() {
        return Err(ConfigFault::join(&faults));
    }
    let (from, to) = (head.commit.clone(), seen.commit.clone());
    let (before, after) = (from.clone(), to.clone());
    tree::blocking(&admin.repository, move |repository| repository.advance(&before, &after)).await?;
    let published = publish(admin).await;
    let mut event = Event::action(&actor.name, "config.pull", to.clone());
    event.revision = published.as_ref().ok().map(ToString::to_string);
    event.params = Some(serde_json::json!({ "from": from }));
    admin.record(event).await?;
    let mut files: Vec<String> = changes.iter().map(|change| change.path().to_owned()).collect();
    files.sort_unstable();
    Ok(Pull { commit: to, revision: published?.to_string(), files })
}
