//! The deployment as a vault: configuration, state, keys, certificates, ledger. The recovery identity is never part of it, nor what opens
//! other archives.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tokio::runtime::Handle;

use super::source::whole_file;
use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;
use crate::config::repo::Repository;
use crate::crypto::archive::{ArchiveFault, Pace, Writer};
use crate::db::Db;
use crate::db::foreign::{self, Facts};

/// The configuration's repository, in git's bundle format.
pub const BUNDLE: &str = "config.bundle";
/// Runtime state.
pub const STATE: &str = "state.db";
/// Tables that an archive must not hold.
const FORGOTTEN: [&str; 2] = ["archive_keys", "sessions"];
/// Keys that stay: the identity that opens this very archive, and what was shown once.
const KEPT_BACK: [&str; 2] = ["recovery.key", "first-run.txt"];

/// What is to be archived, in the order it is read: checkpoints before the segments they speak of.
pub(super) struct Prepared {
    files: Vec<(String, PathBuf)>,
    /// What state.db holds.
    pub facts: Facts,
}

/// Copies state and configuration into `staging`, and lists the rest. Blocks.
///
/// # Errors
/// When one of them cannot be copied.
pub(super) fn prepare(data: &DataDir, db: &Db, repository: &Repository, staging: &Path) -> Verb<Prepared> {
    let (bundle, state) = (staging.join(BUNDLE), staging.join(STATE));
    fs::write(&bundle, repository.bundle()?).map_err(|e| Fault::unavailable("the configuration cannot be copied").because(e))?;
    let facts = Handle::current().block_on(copy_state(db, &state))?;
    let mut files = vec![(BUNDLE.to_owned(), bundle), (STATE.to_owned(), state)];
    for (name, folder) in [("keys", data.keys()), ("tls", data.tls())] {
        let kept = names(&folder)?.into_iter().filter(|file| !KEPT_BACK.contains(&file.as_str()));
        files.extend(kept.map(|file| (format!("{name}/{file}"), folder.join(&file))));
    }
    files.extend(ledger(&data.audit())?);
    Ok(Prepared { files, facts })
}

/// A copy of state.db without what an archive must not hold, and what is in it.
///
/// # Errors
/// When it cannot be written.
pub(super) async fn copy_state(db: &Db, to: &Path) -> Verb<Facts> {
    db.copy_to(to).await?;
    foreign::forget(to, &FORGOTTEN).await?;
    foreign::facts(to).await
}

/// Regular files of a folder that are whole: what is being written begins with a dot or ends with `.tmp`.
fn names(folder: &Path) -> Verb<Vec<String>> {
    let bad = |e| Fault::unavailable(format!("{} cannot be read", folder.display())).because(e);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(bad)? {
        let entry = entry.map_err(bad)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.file_type().map_err(bad)?.is_file() && !name.starts_with('.') && !name.ends_with(".tmp") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn ledger(folder: &Path) -> Verb<Vec<(String, PathBuf)>> {
    let names = names(folder)?;
    let segments = names.iter().filter(|name| name.ends_with(".jsonl.zst") || is_open_segment(name));
    let ordered = names.iter().filter(|name| *name == "checkpoints.jsonl").chain(segments);
    Ok(ordered.map(|name| (format!("audit/{name}"), folder.join(name))).collect())
}

fn is_open_segment(name: &str) -> bool {
    name.strip_suffix(".jsonl").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Prepared {
    /// Writes everything; whether it is complete.
    ///
    /// # Errors
    /// When the archive cannot be written.
    pub(super) fn feed<W: Write + Send + 'static>(self, writer: &mut Writer<W>, pace: &dyn Pace) -> Result<bool, ArchiveFault> {
        let mut complete = true;
        for folder in ["keys", "tls", "audit"] {
            writer.dir(folder, 0o700, 0)?;
        }
        for (name, path) in &self.files {
            // A segment that was closed since the folder was listed lies there compressed; one that aged out left a tombstone.
            let path = if path.exists() { path.clone() } else { path.with_extension("jsonl.zst") };
            if !path.exists() {
                writer.skip(name, "it is gone");
                continue;
            }
            let zipped = path.extension().is_some_and(|end| end == "zst") && !name.ends_with(".zst");
            let name = if zipped { format!("{name}.zst") } else { name.clone() };
            complete &= whole_file((&mut *writer, pace), &name, &path, (mode(&name), 0))?;
        }
        Ok(complete)
    }
}

fn mode(name: &str) -> u32 {
    if name == "tls/ca.pem" { 0o644 } else { 0o600 }
}
