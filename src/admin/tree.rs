//! Reading and changing the desired state as one tree: every change is one commit by compare-and-set, checked whole before it is made.
//! Never leaves HEAD invalid.

use super::publish::{self, publish};
use super::{Actor, Admin};
use crate::audit::Event;
use crate::base::fault::{Fault, FaultKind, Verb};
use crate::config::repo::{Author, Change, Files, Head, Repository};
use crate::config::{ConfigFault, Desired};
use crate::policy::snapshot::Revision;

// Somebody else's commit in between is no reason to fail: the change is made again on top of it.
const ATTEMPTS: usize = 4;

pub(super) async fn blocking<T: Send + 'static>(
    repository: &Repository,
    work: impl FnOnce(&Repository) -> Verb<T> + Send + 'static,
) -> Verb<T> {
    let repository = repository.clone();
    let done = tokio::task::spawn_blocking(move || work(&repository)).await;
    done.map_err(|e| Fault::bug("reading config/ was interrupted").because(e))?
}

/// The tree at HEAD.
pub(super) async fn head(repository: &Repository) -> Verb<Head> {
    blocking(repository, Repository::head).await
}

/// The tree of a commit.
pub(super) async fn at(repository: &Repository, commit: &str) -> Verb<Head> {
    let commit = commit.to_owned();
    blocking(repository, move |repository| repository.at(&commit)).await
}

/// The author of an actor's commits.
pub(super) fn author(admin: &Admin, actor: &Actor) -> Author {
    Author { name: actor.name.clone(), at: admin.clock.now() }
}

/// A file to write.
pub(super) fn write(path: impl Into<String>, text: impl Into<Vec<u8>>) -> Change {
    Change::Put { path: path.into(), bytes: text.into() }
}

/// A file to remove.
pub(super) fn remove(path: impl Into<String>) -> Change {
    Change::Remove { path: path.into() }
}

/// The desired state of a tree.
pub(super) fn read(files: &Files) -> Verb<Desired> {
    Desired::read(files).map_err(|faults| ConfigFault::join(&faults))
}

/// The desired state at HEAD.
pub(super) async fn desired(admin: &Admin) -> Verb<Desired> {
    read(&head(&admin.repository).await?.files)
}

/// The desired state that counts: at HEAD, or, while HEAD is refused, the one that was applied last.
///
/// # Errors
/// When neither can be read.
pub(super) async fn standing(admin: &Admin) -> Verb<Desired> {
    match desired(admin).await {
        Err(fault) => {
            let commit = admin.feed.snapshot().revision.commit.to_string();
            let applied = async || read(&at(&admin.repository, &commit).await?.files);
            applied().await.map_err(|_| fault)
        }
        fine => fine,
    }
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
    edit_files(admin, actor, message, |files| change(&read(files)?, files)).await
}

/// The same where HEAD need not be right: what brings it back.
///
/// # Errors
/// As `edit`.
pub(super) async fn edit_files(
    admin: &Admin,
    actor: &Actor,
    message: &str,
    change: impl Fn(&Files) -> Verb<Vec<Change>>,
) -> Verb<Revision> {
    let mut last = Fault::conflict("config/ keeps changing under this change");
    for _ in 0..ATTEMPTS {
        let tree = head(&admin.repository).await?;
        let changes = change(&tree.files)?;
        if changes.is_empty() {
            return publish(admin).await;
        }
        let mut after = tree.files.clone();
        for one in &changes {
            match one {
                Change::Put { path, bytes } => drop(after.insert(path.clone(), bytes.clone())),
                Change::Remove { path } => drop(after.remove(path)),
            }
        }
        let faults = publish::faults_of(&after);
        if !faults.is_empty() {
            return Err(ConfigFault::join(&faults));
        }
        let (expected, by, text) = (tree.commit, author(admin, actor), message.to_owned());
        let made = blocking(&admin.repository, move |repository| repository.commit(&expected, &changes, &by, &text)).await;
        match made {
            Ok(commit) => return running(admin, actor, commit, message).await,
            Err(fault) if fault.kind == FaultKind::Conflict => last = fault,
            Err(fault) => return Err(fault),
        }
    }
    Err(last)
}

/// Has a commit running. Its verb records what was done only after that, so a commit that stands but does not run is recorded here.
async fn running(admin: &Admin, actor: &Actor, commit: String, message: &str) -> Verb<Revision> {
    let published = publish(admin).await;
    if let Err(fault) = &published {
        let mut event = Event::action(&actor.name, "config.commit", commit);
        event.params = Some(serde_json::json!({ "message": message, "running": false, "why": fault.to_string() }));
        admin.record(event).await?;
    }
    published
}
