//! Which archives a rebuild is made from: of each vault the newest whose file is the one its note speaks of. A damaged one is passed over and
//! said, never used; what a restore in place replaced is no recovery point.

use crate::admin::vaults::catalogue::{Catalogue, compare};
use crate::admin::vaults::folder::Folder;
use crate::admin::vaults::sidecar::Sidecar;

/// The archive of one vault.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Its note.
    pub note: Sidecar,
    /// Newer archives that were passed over, and why.
    pub damaged: Vec<String>,
}

/// The archive to use for a vault; `None` when there is none that is whole. Blocks while files are read.
pub fn choose(folder: &Folder, found: &Catalogue, vault: &str) -> Option<Chosen> {
    let mut damaged = Vec::new();
    for note in found.archives.iter().filter(|note| note.vault == vault && !note.safety) {
        match compare(folder, note) {
            Ok(()) => return Some(Chosen { note: note.clone(), damaged }),
            Err(why) => damaged.push(why.to_string()),
        }
    }
    None
}
