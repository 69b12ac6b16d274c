//! What restores in place have kept beside the places of vaults: listed with size and age, and removed when somebody says so. Never removes
//! anything but a tree with the name of a restore.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::BEFORE;
use super::{blocking, vault_of};
use crate::admin::actor::Right;
use crate::admin::vaults::{Origin, all, trusted};
use crate::admin::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};

/// A tree that made room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptTree {
    /// The vault whose place it had.
    pub vault: String,
    /// The restore.
    pub restore: String,
    /// Where it lies.
    pub path: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it made room.
    pub at: Timestamp,
}

/// All of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct KeptList {
    /// By vault, oldest first.
    pub kept: Vec<KeptTree>,
}

/// A removal, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CleanOrder {
    /// Only says what would go.
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Cleaned {
    /// Which vault.
    pub vault: String,
    /// What went, or would go.
    pub removed: Vec<KeptTree>,
    /// Whether nothing was removed, as asked.
    pub dry_run: bool,
}

/// Every tree that a restore has kept.
///
/// # Errors
/// When the configuration cannot be read.
pub async fn kept(admin: &Admin, actor: &Actor) -> Verb<KeptList> {
    actor.need(Right::Read, "vault.kept")?;
    let mut places = Vec::new();
    for vault in all(&tree::standing(admin).await?, &admin.data) {
        if let Origin::Directory(path) = vault.origin {
            places.push((vault.name, path));
        }
    }
    blocking(move || Ok(KeptList { kept: places.iter().flat_map(|(vault, path)| beside(vault, path)).collect() })).await
}

/// Removes what restores have kept of one vault.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound` for an unknown vault; `Conflict` while a backup or restore runs; `Unavailable` when one of them stays.
pub async fn clean(admin: &Admin, actor: &Actor, vault: &str, order: CleanOrder) -> Verb<Cleaned> {
    actor.need(Right::Administer, "vault.clean")?;
    if !order.dry_run {
        actor.need_fresh_login(admin.clock.now())?;
    }
    let Ok(_turn) = admin.vaults.turn.try_lock() else {
        return Err(Fault::conflict("another backup or restore is not over yet"));
    };
    let Origin::Directory(path) = vault_of(admin, vault).await?.origin else {
        return Err(Fault::invalid("vault", "the deployment is never restored in place: nothing is kept of it"));
    };
    let (name, dry_run) = (vault.to_owned(), order.dry_run);
    let also = trusted::owners(admin.data.root());
    let removed = blocking(move || {
        let path = std::path::absolute(path).map_err(|e| Fault::bug("a vault whose path is none").because(e))?;
        let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
        // What is removed is removed by its path.
        let found = beside(&name, &trusted::own_folder(parent, &also)?.join(last));
        for tree in found.iter().filter(|_| !dry_run) {
            gone(Path::new(&tree.path))?;
        }
        Ok(found)
    })
    .await?;
    if !dry_run {
        super::settle::forget(&admin.data, vault);
        let mut event = Event::action(&actor.name, "vault.clean", vault);
        event.params = Some(serde_json::json!({ "removed": removed.iter().map(|tree| &tree.path).collect::<Vec<_>>() }));
        admin.record(event).await?;
    }
    Ok(Cleaned { vault: vault.to_owned(), removed, dry_run })
}

fn gone(path: &Path) -> Verb<()> {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let removed = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|e| Fault::unavailable(format!("{} cannot be removed: {e}", path.display())).because(e))
}

fn beside(vault: &str, path: &Path) -> Vec<KeptTree> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let begins = format!("{}{BEFORE}", name.to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(restore) = name.to_str().and_then(|name| name.strip_prefix(&begins)) else { continue };
        let is_ours = restore.len() == 29 && restore.starts_with("rs_") && restore[3..].bytes().all(|b| b.is_ascii_alphanumeric());
        let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
        if is_ours {
            found.push(KeptTree {
                vault: vault.to_owned(),
                restore: restore.to_owned(),
                path: entry.path().display().to_string(),
                bytes: size(entry.path()),
                at: Timestamp(meta.ctime().saturating_mul(1000)),
            });
        }
    }
    found.sort_by(|one, other| one.restore.cmp(&other.restore));
    found
}

fn size(path: PathBuf) -> u64 {
    let (mut bytes, mut open) = (0u64, vec![path]);
    while let Some(path) = open.pop() {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path())),
            Ok(meta) if meta.is_file() => bytes = bytes.saturating_add(meta.len()),
            _ => {}
        }
    }
    bytes
}
