//! What a restore in place writes down before it changes anything, so that the next start can tell what was done and end it: in `run/`, for the
//! owner alone, on the disk before the step it speaks of. Never decides what is done.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::place::Node;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;
use crate::crypto::files::{self, Readers};

/// One restore that is under way, or was when the process ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// `rs_…`.
    pub id: String,
    /// Which vault.
    pub vault: String,
    /// Which archive.
    pub archive: String,
    /// The vault's place.
    pub target: PathBuf,
    /// The directory in which the new tree waits.
    pub dir: PathBuf,
    /// The new tree in it; what lay at the place, once they were exchanged.
    pub tree: PathBuf,
    /// Where what lay at the place is kept.
    pub kept: PathBuf,
    /// The new tree, once it is whole.
    pub new: Option<Node>,
    /// What lay at the place, once nothing could change it.
    pub old: Option<Node>,
    /// Paths that are in no archive by order.
    pub carry: Vec<String>,
    /// Servers that are stopped for it.
    pub servers: Vec<String>,
    /// By whom.
    pub by: String,
    /// When it began.
    pub at: Timestamp,
    /// What a later start made of it.
    pub told: Option<String>,
}

const BEGINS: &str = "restore-";
const ENDS: &str = ".json";

impl Note {
    fn path(&self, data: &DataDir) -> PathBuf {
        data.run().join(format!("{BEGINS}{}{ENDS}", self.id))
    }

    /// Writes it down.
    ///
    /// # Errors
    /// `Unavailable`: then the step it speaks of must not be done.
    pub(super) fn write(&self, data: &DataDir) -> Verb<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| Fault::bug("a restore cannot be written down").because(e))?;
        files::write(&self.path(data), &text, Readers::Owner)
    }

    /// The restore is over, and nothing of it is in doubt.
    pub(super) fn remove(&self, data: &DataDir) {
        let gone = fs::remove_file(self.path(data)).and_then(|()| fs::File::open(data.run())?.sync_all());
        if let Err(fault) = gone
            && fault.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%fault, restore = self.id, "the note of a restore that is over stays");
        }
    }

    /// What the kills of this restore have as a reason.
    pub(super) fn reason(&self, text: &str) -> String {
        format!("{}{text}", self.mark())
    }

    /// What that reason begins with.
    pub(super) fn mark(&self) -> String {
        format!("restore {}: ", self.id)
    }
}

/// Every note, oldest first; and files that cannot be read as one.
pub(super) fn all(data: &DataDir) -> (Vec<Note>, Vec<PathBuf>) {
    let (mut notes, mut unread) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(data.run()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(BEGINS) || !name.ends_with(ENDS) {
            continue;
        }
        let read = fs::read(entry.path()).ok().and_then(|bytes| serde_json::from_slice::<Note>(&bytes).ok());
        match read {
            Some(note) => notes.push(note),
            None => unread.push(entry.path()),
        }
    }
    notes.sort_by(|one, other| one.id.cmp(&other.id));
    (notes, unread)
}
