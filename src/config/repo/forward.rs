//! Going forward to a commit that came from elsewhere: only to a descendant of HEAD, only when all of it may be read, and by compare-and-set.

use std::path::PathBuf;

use git2::{ErrorCode, Oid};

use super::{Head, Repository, bad, head_of, moved};
use crate::base::fault::{Fault, Verb};
use crate::config::{ConfigFault, Desired};

impl Repository {
    /// Where git keeps it, for the program that moves commits between hosts.
    pub fn git_dir(&self) -> PathBuf {
        self.root.join(".git")
    }

    /// What a reference holds.
    ///
    /// # Errors
    /// `NotFound` when it is not there; `Invalid` when its tree holds a link, a submodule, a bad name or too much.
    pub fn seen(&self, name: &str) -> Verb<Head> {
        let raw = self.raw()?;
        let id = raw.refname_to_id(name).map_err(|e| bad(e, "the remote has no branch main"))?;
        Ok(Head { commit: id.to_string(), files: self.files_of(&raw, id)? })
    }

    /// Moves HEAD from `expected` forward to `to`, and brings the working tree along.
    ///
    /// # Errors
    /// `Conflict` when HEAD is another commit by now, `to` does not descend from it, or an editor's uncommitted work stands in the way;
    /// `Invalid` when it is no valid configuration. Nothing is changed then.
    pub fn advance(&self, expected: &str, to: &str) -> Verb<()> {
        const WHAT: &str = "cannot go forward to the commit";
        let _turn = self.turn()?;
        let raw = self.raw()?;
        let old = self.expect_head(&raw, expected)?;
        let (name, from) = head_of(&raw)?;
        let id = Oid::from_str(to).map_err(|e| bad(e, WHAT))?;
        let descends = raw.graph_descendant_of(id, from).map_err(|e| bad(e, WHAT))?;
        if !descends {
            let ahead = raw.graph_descendant_of(from, id).unwrap_or(false);
            let message = if ahead {
                "the remote is behind: there is nothing to take; lifeboat config push brings it up to date"
            } else {
                "the remote and this host have both changed since they last met: bring them together in a clone, then pull"
            };
            return Err(Fault::conflict(message));
        }
        let new = self.files_of(&raw, id)?;
        Desired::read(&new).map_err(|faults| ConfigFault::join(&faults))?;
        self.refuse_edited(&old.files, &new)?;
        self.note_pending(&old.commit, id)?;
        match raw.reference_matching(&name, id, true, from, "lifeboat: pull") {
            Ok(_) => self.bring_in(&raw, &old.files, &new),
            Err(e) if e.code() == ErrorCode::Modified => Err(moved()),
            Err(e) => Err(bad(e, WHAT)),
        }
    }
}
