//! Reading and changing the desired state as one tree: every change is one commit by compare-and-set, checked whole before it is made.
//! Never leaves HEAD invalid.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::publish::{self, publish};
use super::{Actor, Admin};
use crate::base::fault::{Fault, FaultKind, Verb};
use crate::config::Desired;
use crate::config::repo::{Author, Change, Repository};
use crate::policy::snapshot::Revision;

/// Files of a tree by path.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// One commit's tree.
pub(super) struct Tree {
    /// The commit's id.
    pub commit: String,
    /// Its files.
    pub files: Files,
}

// Somebody else's commit in between is no reason to fail: the change is made again on top of it.
const ATTEMPTS: usize = 4;

async fn blocking<T: Send + 'static>(
    repository: &Arc<Repository>,
    work: impl FnOnce(&Repository) -> Verb<T> + Send + 'static,
) -> Verb<T> {
    let repository = repository.clone();
    let done = tokio::task::spawn_blocking(move || work(&repository)).await;
    done.map_err(|e| Fault::bug("reading config/ was interrupted").because(e))?
}

/// The tree at HEAD.
pub(super) async fn head(repository: &Arc<Repository>) -> Verb<Tree> {
    blocking(repository, |repository| {
        let head = repository.head()?;
        Ok(Tree { commit: head.commit, files: head.files })
    })
    .await
}

/// The tree of a commit.
pub(super) async fn at(repository: &Arc<Repository>, commit: &str) -> Verb<Tree> {
    let commit = commit.to_owned();
    blocking(repository, move |repository| {
        let tree = repository.at(&commit)?;
        Ok(Tree { commit: tree.commit, files: tree.files })
    })
    .await
}

/// The commit at HEAD.
pub(super) async fn head_id(repository: &Arc<Repository>) -> Verb<String> {
    blocking(repository, Repository::head_id).await
}

/// The author of an actor's commits.
pub(super) fn author(actor: &Actor) -> Author {
    Author { name: actor.name.clone(), email: format!("{}@lifeboat.invalid", actor.name.replace(':', ".")) }
}

/// A file to write.
pub(super) fn write(path: impl Into<String>, text: impl Into<Vec<u8>>) -> Change {
    Change::Write { path: path.into(), bytes: text.into() }
}

/// A file to remove.
pub(super) fn remove(path: impl Into<String>) -> Change {
    Change::Remove { path: path.into() }
}

/// A section's file as TOML.
pub(super) fn section<T: serde::Serialize>(path: String, value: &T) -> Verb<Change> {
    let text = toml::to_string(value).map_err(|e| Fault::bug(format!("{path} cannot be written as TOML")).because(e))?;
    Ok(write(path, text))
}

/// Makes one commit and has it running: `change` says what to change, given the desired state at HEAD.
///
/// # Errors
/// What `change` says; `Invalid` when HEAD is wrong or would be; `Conflict` when others keep being first.
pub(super) async fn edit(
    admin: &Admin,
    actor: &Actor,
    message: &str,
    change: impl Fn(&Desired, &Files) -> Verb<Vec<Change>>,
) -> Verb<Revision> {
    for _ in 0..ATTEMPTS {
        let tree = head(&admin.repository).await?;
        let desired = Desired::read(&tree.files).map_err(|faults| publish::invalid("HEAD", &faults))?;
        let changes = change(&desired, &tree.files)?;
        if changes.is_empty() {
            return publish(admin).await;
        }
        let mut after = tree.files.clone();
        for one in &changes {
            match one {
                Change::Write { path, bytes } => drop(after.insert(path.clone(), bytes.clone())),
                Change::Remove { path } => drop(after.remove(path)),
            }
        }
        let faults = publish::faults_of(&after);
        if !faults.is_empty() {
            return Err(publish::invalid("The change", &faults));
        }
        let (expected, by, text) = (tree.commit, author(actor), message.to_owned());
        let made = blocking(&admin.repository, move |repository| repository.commit(&expected, &changes, &by, &text)).await;
        match made {
            Ok(_) => return publish(admin).await,
            Err(fault) if fault.kind == FaultKind::Conflict => {}
            Err(fault) => return Err(fault),
        }
    }
    Err(Fault::conflict("config/ keeps changing under this change; try again"))
}
