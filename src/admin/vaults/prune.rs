//! Removing archives that no rule keeps. What goes is signed as gone first, then its file is removed, then its note: a crash in between is finished
//! by the next run.

use std::collections::BTreeMap;
use std::fs;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup::{blocking, catalogue, copy};
use super::folder::Folder;
use super::retention::{self, Candidate};
use super::sidecar::{self, Sidecar};
use super::{pruned, store};
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};

/// A removal, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PruneOrder {
    /// Only says what would go, and why the others stay.
    pub dry_run: bool,
    /// Removes even when that is much at once.
    pub much: bool,
}

/// What became, or would become, of one archive.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PruneFate {
    /// Its id.
    pub id: String,
    /// Its vault.
    pub vault: String,
    /// `kept` or `removed`.
    pub fate: String,
    /// Why.
    pub why: String,
}

/// What a removal did, or would do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PruneDone {
    /// Whether nothing was removed, as asked.
    pub dry_run: bool,
    /// How many went, or would go.
    pub removed: usize,
    /// Every archive, newest first, by vault.
    pub archives: Vec<PruneFate>,
}

/// A hold, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HoldOrder {
    /// Why the archive stays; without a reason the hold ends.
    pub reason: Option<String>,
}

/// Whether an archive is held.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// Its id.
    pub archive: String,
    /// Why it stays; none when it is not held.
    pub reason: Option<String>,
}

/// Removes archives that no rule keeps.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Conflict` when the clock looks wrong, when it is much at once and nobody said so, or while a backup runs.
pub async fn prune(admin: &Admin, actor: &Actor, order: PruneOrder) -> Verb<PruneDone> {
    actor.need(Right::Administer, "backup.prune")?;
    if !order.dry_run {
        actor.need_fresh_login(admin.clock.now())?;
    }
    let Ok(turn) = admin.vaults.turn.try_lock() else {
        return Err(Fault::conflict("another backup or restore is not over yet"));
    };
    let (folder, found) = catalogue(admin).await?;
    let (checks, holds) = (store::checks(&admin.db).await?, store::holds(&admin.db).await?);
    let rules = admin.feed.snapshot().settings.recovery.keep.clone();
    if !order.dry_run {
        let (folder, unfinished) = (folder.clone(), found.unfinished.clone());
        blocking(move || unfinished.iter().try_for_each(|note| finish(&folder, note))).await?;
    }
    let mut by_vault: BTreeMap<&str, Vec<Candidate>> = BTreeMap::new();
    for note in &found.archives {
        let whole = fs::metadata(folder.path(&note.file)).is_ok_and(|file| file.len() == note.bytes);
        let candidate = Candidate {
            id: note.id.clone(),
            created_at: note.created_at,
            verified: whole && note.complete && !note.safety && checks.get(&note.id).is_none_or(|(_, fault)| fault.is_none()),
            held: holds.get(&note.id).cloned(),
        };
        by_vault.entry(&note.vault).or_default().push(candidate);
    }
    let mut archives = Vec::new();
    for (vault, candidates) in by_vault {
        let fates = retention::plan(&candidates, &rules, admin.clock.now()).map_err(Fault::conflict)?;
        archives.extend(fates.into_iter().map(|fate| PruneFate {
            id: fate.id,
            vault: vault.to_owned(),
            fate: if fate.keep { "kept" } else { "removed" }.to_owned(),
            why: fate.why,
        }));
    }
    let going: Vec<&str> = archives.iter().filter(|one| one.fate == "removed").map(|one| one.id.as_str()).collect();
    if !order.dry_run && !order.much && retention::is_much(going.len(), archives.len()) {
        let (count, all) = (going.len(), archives.len());
        return Err(Fault::conflict(format!("{count} of {all} archives would go; look with --dry-run, then say --much")));
    }
    let removed = going.len();
    if !order.dry_run {
        let notes: Vec<Sidecar> = found.archives.iter().filter(|note| going.contains(&note.id.as_str())).cloned().collect();
        remove(admin, actor, &folder, notes).await?;
        drop(turn);
        // What is not in line now is said at the next backup.
        let _said = copy(admin, &folder).await;
    }
    Ok(PruneDone { dry_run: order.dry_run, removed, archives })
}

/// Signs archives as removed, and removes them.
///
/// # Errors
/// When it cannot be signed, or a file stays; the next pruning ends it.
pub(super) async fn remove(admin: &Admin, actor: &Actor, folder: &Folder, notes: Vec<Sidecar>) -> Verb<()> {
    for note in notes {
        let (folder, signer, told) = (folder.clone(), admin.vaults.signer.clone(), (admin.clock.now(), actor.name.clone()));
        let mut event = Event::action(&actor.name, "backup.prune", note.id.clone());
        event.params = Some(serde_json::json!({ "vault": note.vault, "created_at": note.created_at, "sha256": note.sha256 }));
        blocking(move || {
            let path = folder.path(&note.path());
            let bytes = fs::read(&path).map_err(|e| Fault::unavailable(format!("{} cannot be read", path.display())).because(e))?;
            pruned::add(&folder, &note, sidecar::digest(&bytes), (told.0, &told.1), &signer)?;
            finish(&folder, &note)
        })
        .await?;
        admin.record(event).await?;
    }
    Ok(())
}

/// Removes the files of an archive that is signed as gone.
///
/// # Errors
/// When one of them stays.
pub(super) fn finish(folder: &Folder, note: &Sidecar) -> Verb<()> {
    for path in [folder.path(&note.file), folder.path(&note.path())] {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Fault::unavailable(format!("{} cannot be removed: {e}", path.display())).because(e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Holds an archive, or ends the hold.
///
/// # Errors
/// `NotFound` for an unknown archive.
pub async fn hold(admin: &Admin, actor: &Actor, archive: &str, order: HoldOrder) -> Verb<Held> {
    actor.need(Right::Operate, "backup.hold")?;
    let (_, found) = catalogue(admin).await?;
    if !found.archives.iter().any(|note| note.id == archive) {
        return Err(Fault::not_found(format!("there is no archive {archive}; see lifeboat backup list")));
    }
    let reason = order.reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    store::set_hold(&admin.db, archive, reason.as_deref(), admin.clock.now(), &actor.name).await?;
    let mut event = Event::action(&actor.name, if reason.is_some() { "backup.hold" } else { "backup.unhold" }, archive);
    event.params = Some(serde_json::json!({ "reason": reason }));
    admin.record(event).await?;
    Ok(Held { archive: archive.to_owned(), reason })
}
