//! At the start, before any server has a process: a restore in place that did not end is ended. Which tree lies at the place decides: the new one
//! stays and the old one gets its name, or the old one stays and the new one goes. Never releases a kill, and never guesses.

use std::io;

use super::note::{self, Note};
use super::place::{self, node};
use crate::admin::Admin;
use crate::audit::Event;
use crate::base::fault::Verb;
use crate::config::paths::DataDir;

/// Which tree a restore that did not end has left at the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The one that was there.
    Old,
    /// The archive's.
    New,
}

/// Ends what an earlier process has left.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn settle(admin: &Admin) -> Verb<()> {
    let (notes, unread) = note::all(&admin.data);
    for path in unread {
        tracing::error!(path = %path.display(), "the note of a restore cannot be read; look at its vault, then remove the note");
    }
    for mut note in notes {
        if note.told.is_some() {
            if !is_open(admin, &note) {
                note.remove(&admin.data);
            }
            continue;
        }
        let told = tell(&note, finish(&note));
        tracing::error!(restore = note.id, vault = note.vault, "{told}");
        let mut event = Event::system("restore.settled", note.id.clone());
        event.params = Some(serde_json::json!({ "vault": note.vault, "archive": note.archive, "by": note.by, "found": told }));
        note.told = Some(told);
        // Written before it is recorded: twice in the ledger is better than never.
        note.write(&admin.data)?;
        admin.record(event).await?;
        if !is_open(admin, &note) {
            note.remove(&admin.data);
        }
    }
    Ok(())
}

/// Whether somebody must still look: a server that it stopped is stopped, or nobody was and the old tree still lies beside the new one.
fn is_open(admin: &Admin, note: &Note) -> bool {
    let mark = note.mark();
    let stopped = admin.feed.kill().entries.iter().any(|entry| entry.reason.starts_with(&mark));
    stopped || (note.servers.is_empty() && node(&note.kept).is_ok_and(|kept| kept.is_some())) || is_unclear(note)
}

fn is_unclear(note: &Note) -> bool {
    note.new.is_some() && node(&note.dir).is_ok_and(|dir| dir.is_some())
}

/// What needs somebody, one sentence each.
pub fn unsettled(admin: &Admin) -> Vec<String> {
    let (notes, unread) = note::all(&admin.data);
    let open = notes.into_iter().filter(|note| note.told.is_some() && is_open(admin, note));
    let mut all: Vec<String> = open.filter_map(|note| note.told).collect();
    all.extend(unread.into_iter().map(|path| format!("{} cannot be read as the note of a restore", path.display())));
    all
}

/// A restore of the vault has ended: what earlier ones left open is history.
pub(super) fn forget(data: &DataDir, vault: &str) {
    for old in note::all(data).0.into_iter().filter(|old| old.vault == vault && old.told.is_some() && !is_unclear(old)) {
        old.remove(data);
    }
}

/// Ends one restore on the disk. May be done again after it was cut off itself.
///
/// # Errors
/// When it cannot be told which tree lies at the place, or the disk refuses; nothing of either tree is lost then.
pub(super) fn finish(note: &Note) -> io::Result<Left> {
    let Some(new) = note.new else {
        place::discard(&note.dir, &note.tree, None)?;
        return Ok(Left::Old);
    };
    let there = node(&note.target)?;
    if there == Some(new) {
        if note.old.is_some() && node(&note.tree)? == note.old {
            place::keep(&note.tree, &note.kept)?;
        }
        place::carry(&note.kept, &note.target, &note.carry);
        place::tidy(&note.dir);
        return Ok(Left::New);
    }
    if there != note.old {
        return Err(io::Error::other("what lies there is neither what was there nor the archive's"));
    }
    place::discard(&note.dir, &note.tree, note.new)?;
    Ok(Left::Old)
}

fn tell(note: &Note, left: io::Result<Left>) -> String {
    let (id, vault, target) = (&note.id, &note.vault, note.target.display());
    let what = match left {
        Ok(Left::Old) => format!("{target} is as it was"),
        Ok(Left::New) => {
            let kept = if note.old.is_some() { format!("; what was there is {}", note.kept.display()) } else { String::new() };
            format!("{target} is the content of {}{kept}", note.archive)
        }
        Err(fault) => format!("look at {target} and {} by hand: {fault}", note.dir.display()),
    };
    let stopped = match note.servers.as_slice() {
        [] => String::new(),
        servers => format!(". If {} is still stopped, look, then release it", servers.join(", ")),
    };
    format!("the restore {id} of vault {vault} was cut off: {what}{stopped}")
}
