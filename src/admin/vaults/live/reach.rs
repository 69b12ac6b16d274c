//! Which servers use a vault: the one that is named, and every stdio server whose folder or directories reach its place. Only looks.

use std::path::{Path, PathBuf};

use crate::admin::Admin;
use crate::admin::vaults::Vault;
use crate::config::UpstreamConfig;

/// A server that must not work on the vault while it is exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    /// Its name.
    pub name: String,
    /// Whether its process is ours to end.
    pub is_child: bool,
}

const UNKNOWN: &str = "no server is known to use it: nobody is stopped";
const DOWN: &str = "Lifeboat is not running: there is no process and nobody can call";

/// The servers of the running policy that use what lies at `target`; and what is said where there is none.
pub(super) fn users(admin: &Admin, vault: &Vault, target: &Path) -> (Vec<User>, &'static str) {
    // A proxy tells how it can confine servers before it starts one: without that this is one command on the files.
    if admin.feed.sandbox().sentence.is_empty() && admin.feed.listeners().is_empty() {
        return (Vec::new(), DOWN);
    }
    let snapshot = admin.feed.snapshot();
    let mut found = Vec::new();
    for (name, entry) in &snapshot.servers {
        let (is_child, reaches) = match &entry.config.upstream {
            UpstreamConfig::Http(_) => (false, false),
            UpstreamConfig::Stdio(stdio) => {
                let own = admin.data.vault(name);
                let mut places = stdio.dirs.iter().map(PathBuf::from).chain([own]);
                (true, places.any(|place| touches(&place, target)))
            }
        };
        if reaches || vault.server.as_ref() == Some(name) {
            found.push(User { name: name.clone(), is_child });
        }
    }
    (found, UNKNOWN)
}

/// As the place of the vault is told: no link above it, whether anything lies there or not.
fn real(path: &Path) -> PathBuf {
    let above = || Some(std::fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
    std::fs::canonicalize(path).ok().or_else(above).unwrap_or_else(|| path.to_owned())
}

fn touches(place: &Path, target: &Path) -> bool {
    let place = real(place);
    place.starts_with(target) || target.starts_with(&place)
}
