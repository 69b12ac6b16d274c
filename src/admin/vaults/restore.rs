//! Brings archives back into a directory that is empty or not there yet. Everything is unpacked beside it and compared; only a whole archive gets
//! the name. What was there before is never touched.

use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::archive::Staging;
use super::backup::{blocking, catalogue, kept};
use super::catalogue::{Catalogue, Unusable, extract};
use super::extract::{Extract, within};
use super::folder::Folder;
use super::sidecar::Sidecar;
use super::store;
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids;
use crate::base::secret::Secret;
use crate::config::vault::DEPLOYMENT;
use crate::crypto::archive::{Identities, Opened, Sink};

/// A restore, as an order.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestoreOrder {
    /// An archive's id, `latest`, or `latest:VAULT`.
    pub archive: String,
    /// Where to, as an absolute path: a directory that is empty or not there.
    pub to: String,
    /// Only this path of the archive, or what stands below it.
    pub path: Option<String>,
    /// The newest one that is not younger than this.
    pub at: Option<Timestamp>,
    /// Reads and compares everything, and writes nothing.
    pub dry_run: bool,
    /// Text of an age identity, for archives that this host keeps none for.
    #[schemars(with = "Option<String>")]
    pub identity: Option<Secret<String>>,
}

/// One archive that was brought back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RestoredArchive {
    /// Its id.
    pub id: String,
    /// Its vault.
    pub vault: String,
    /// Where its content lies now; none after a dry run.
    pub to: Option<String>,
    /// How many files were written, or would be.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was written after this moment is not in it.
    pub started_at: Timestamp,
    /// Whether everything of the source was in it.
    pub complete: bool,
}

/// What was brought back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Restored {
    /// By vault.
    pub archives: Vec<RestoredArchive>,
    /// Whether nothing was written, as asked.
    pub dry_run: bool,
}

/// Brings back one archive, or the newest of each vault.
///
/// # Errors
/// `NotFound` when there is no such archive; `Conflict` when the directory is not empty; `Invalid` when no identity opens it; `Denied` for a
/// hostile archive; `Stale`; `Unavailable` when it was changed.
pub async fn restore(admin: &Admin, actor: &Actor, order: RestoreOrder) -> Verb<Restored> {
    actor.need(Right::Administer, "restore.run")?;
    if !order.dry_run {
        actor.need_fresh_login(admin.clock.now())?;
    }
    let Ok(_turn) = admin.vaults.turn.try_lock() else {
        return Err(Fault::conflict("another backup or restore is not over yet"));
    };
    let to = PathBuf::from(&order.to);
    if !order.dry_run {
        empty(&to)?;
    }
    let (folder, found) = catalogue(admin).await?;
    let checks = store::checks(&admin.db).await?;
    let sound = |note: &Sidecar| checks.get(&note.id).is_none_or(|(_, fault)| fault.is_none());
    let chosen = choose(&folder, &found, &order, sound)?;
    let several = chosen.len() > 1 || order.archive == LATEST;
    let (mut keys, mut done) = (kept(admin).await?, Restored { archives: Vec::new(), dry_run: order.dry_run });
    let mut jobs = Vec::new();
    for note in chosen {
        // One that was given is the one that is used: whoever tries a key wants to know whether it opens.
        let texts: Vec<Secret<String>> = match order.identity.clone() {
            Some(given) => vec![given],
            None => keys.remove(&note.id).into_iter().collect(),
        };
        if texts.is_empty() {
            let message = format!("this host keeps no identity for {}; give the recovery identity as a file", note.id);
            return Err(Fault::invalid("identity", message));
        }
        let identities = Identities::read(&texts).map_err(|e| Fault::invalid("identity", e.to_string()))?;
        jobs.push((note, identities));
    }
    let (only, dry) = (order.path.clone(), order.dry_run);
    let id = ids::mint("rs", admin.clock.now(), admin.entropy.as_ref());
    let target = to.clone();
    done.archives = blocking(move || bring(&folder, jobs, &Aim { to: target, only, dry, several, id })).await?;
    let mut event = Event::action(&actor.name, "restore.run", order.archive);
    let ids: Vec<&str> = done.archives.iter().map(|one| one.id.as_str()).collect();
    event.params = Some(serde_json::json!({ "archives": ids, "to": order.to, "path": order.path, "dry_run": order.dry_run }));
    admin.record(event).await?;
    Ok(done)
}

const LATEST: &str = "latest";

/// The archives that an order means.
pub(super) fn choose(
    folder: &Folder,
    found: &Catalogue,
    order: &RestoreOrder,
    sound: impl Fn(&Sidecar) -> bool,
) -> Verb<Vec<Sidecar>> {
    let until = |note: &&Sidecar| order.at.is_none_or(|at| note.started_at <= at);
    let newest =
        |vault: &str| found.archives.iter().filter(until).find(|note| note.vault == vault && !note.safety && sound(note)).cloned();
    let none = || Fault::not_found(format!("there is no archive {}; see lifeboat backup list", order.archive));
    if let Some(vault) = order.archive.strip_prefix("latest:") {
        return newest(vault).map(|note| vec![note]).ok_or_else(none);
    }
    if order.archive != LATEST {
        let named = found.archives.iter().find(|note| is_named(folder, note, &order.archive));
        return named.map(|note| vec![note.clone()]).ok_or_else(none);
    }
    let mut vaults: Vec<&str> = found.archives.iter().map(|note| note.vault.as_str()).collect();
    vaults.sort_unstable();
    vaults.dedup();
    // The deployment's keys are not laid open beside everything else; whoever wants them names the vault.
    let chosen: Vec<Sidecar> = vaults.into_iter().filter(|vault| *vault != DEPLOYMENT).filter_map(newest).collect();
    if chosen.is_empty() { Err(none()) } else { Ok(chosen) }
}

/// Its id, its path as `backup list` shows it, or the name of its file: as a whole, for a part could be another's.
fn is_named(folder: &Folder, note: &Sidecar, name: &str) -> bool {
    let file = note.file.rsplit('/').next();
    note.id == name || file == Some(name) || folder.path(&note.file) == Path::new(name)
}

struct Aim {
    to: PathBuf,
    only: Option<String>,
    dry: bool,
    several: bool,
    id: String,
}

fn bring(folder: &Folder, jobs: Vec<(Sidecar, Identities)>, aim: &Aim) -> Verb<Vec<RestoredArchive>> {
    if aim.dry {
        return jobs.iter().map(|(note, keys)| dry(folder, note, keys, aim)).collect();
    }
    let parent = aim.to.parent().filter(|parent| parent.is_dir());
    let parent = parent.ok_or_else(|| Fault::invalid("to", format!("the folder above {} does not exist", aim.to.display())))?;
    let staging = Staging::new(parent, &aim.id)?;
    let root = staging.path().join("content");
    let unwritten = |e: std::io::Error| Fault::unavailable(format!("{} cannot be written: {e}", aim.to.display())).because(e);
    fs::create_dir(&root).map_err(unwritten)?;
    let mut done = Vec::new();
    for (note, keys) in &jobs {
        let (from, to) =
            if aim.several { (root.join(&note.vault), aim.to.join(&note.vault)) } else { (root.clone(), aim.to.clone()) };
        if aim.several {
            fs::create_dir(&from).map_err(unwritten)?;
        }
        let mut sink = Extract::new(&from, aim.only.clone());
        let opened = extract(folder, note, keys, &mut sink).map_err(Unusable::into_fault)?;
        found_it(aim, sink.files, &opened)?;
        sink.settle().map_err(unwritten)?;
        done.push(told(note, Some(to), (sink.files, sink.bytes)));
    }
    place(&root, &aim.to)?;
    Ok(done)
}

/// Gives the unpacked directory its name: in one step, so that it is there whole or not at all.
///
/// # Errors
/// `Conflict` when something is there by now.
pub(super) fn place(from: &Path, to: &Path) -> Verb<()> {
    empty(to)?;
    // An empty directory is replaced by the rename itself.
    fs::rename(from, to).map_err(|e| Fault::unavailable(format!("{} cannot be written: {e}", to.display())).because(e))?;
    let parent = to.parent().map(fs::File::open);
    parent.map_or(Ok(()), |parent| parent?.sync_all()).map_err(|e| Fault::unavailable("the restore is not on the disk").because(e))
}

fn empty(to: &Path) -> Verb<()> {
    if !to.is_absolute() {
        return Err(Fault::invalid("to", "must be an absolute path"));
    }
    match fs::symlink_metadata(to) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(found) if found.is_dir() && fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none()) => Ok(()),
        _ => Err(Fault::conflict(format!("{} is there already and not an empty directory; nothing was changed", to.display()))),
    }
}

struct Count<'a> {
    only: Option<&'a str>,
    files: u64,
    bytes: u64,
}

impl Sink for Count<'_> {
    fn dir(&mut self, _: &str, _: u32, _: u64) -> std::io::Result<()> {
        Ok(())
    }

    fn file(&mut self, path: &str, size: u64, _: (u32, u64), _: &mut dyn std::io::Read) -> std::io::Result<()> {
        if within(self.only, path) {
            self.files += 1;
            self.bytes += size;
        }
        Ok(())
    }
}

fn dry(folder: &Folder, note: &Sidecar, keys: &Identities, aim: &Aim) -> Verb<RestoredArchive> {
    let mut sink = Count { only: aim.only.as_deref(), files: 0, bytes: 0 };
    let opened = extract(folder, note, keys, &mut sink).map_err(Unusable::into_fault)?;
    found_it(aim, sink.files, &opened)?;
    Ok(told(note, None, (sink.files, sink.bytes)))
}

fn found_it(aim: &Aim, files: u64, opened: &Opened) -> Verb<()> {
    match &aim.only {
        Some(path) if files == 0 && !opened.manifest.entries.iter().any(|entry| entry.path == *path) => {
            Err(Fault::not_found(format!("there is no {path} in {}", opened.meta.id)))
        }
        _ => Ok(()),
    }
}

fn told(note: &Sidecar, to: Option<PathBuf>, (files, bytes): (u64, u64)) -> RestoredArchive {
    RestoredArchive {
        id: note.id.clone(),
        vault: note.vault.clone(),
        to: to.map(|to| to.display().to_string()),
        files,
        bytes,
        started_at: note.started_at,
        complete: note.complete,
    }
}
