//! Making, listing and checking archives. One run at a time; a vault that fails does not keep the others from their archive.

use std::collections::HashMap;
use std::sync::Arc;

use super::archive::{Link, Made, Workshop};
use super::behind::behind;
use super::catalogue::{self, Catalogue};
use super::folder::Folder;
use super::model::{Archive, ArchiveList, Backup, BackupOrder, Checked, Failed};
use super::places::Place;
use super::sidecar::Sidecar;
use super::{Origin, Vault, all, command, recipients, store};
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids;
use crate::base::secret::Secret;
use crate::crypto::archive::Identities;

/// The context an archive's identity is sealed for.
fn context(archive: &str) -> String {
    format!("archive/{archive}")
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Verb<T> + Send + 'static) -> Verb<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Fault::bug("the work with archives was interrupted").because(e))?
}

/// What the destination holds.
pub(super) async fn catalogue(admin: &Admin) -> Verb<(Folder, Catalogue)> {
    let (root, key) = (admin.data.archives(), admin.vaults.signer.public().clone());
    blocking(move || {
        let folder = Folder::open(&root)?;
        let found = catalogue::read(&folder, &key)?;
        Ok((folder, found))
    })
    .await
}

/// What archives are made with now.
pub(super) async fn workshop(admin: &Admin, folder: Folder, head: String) -> Verb<Arc<Workshop>> {
    Ok(Arc::new(Workshop {
        data: admin.data.clone(),
        db: admin.db.clone(),
        repository: admin.repository.clone(),
        folder,
        recipients: recipients::keys(admin).await?,
        signer: admin.vaults.signer.clone(),
        ledger: admin.ledger.clone(),
        head,
        reserve: admin.feed.snapshot().settings.audit.reserve.0,
        clock: admin.clock.clone(),
        entropy: admin.entropy.clone(),
    }))
}

type Checks = HashMap<String, (Timestamp, Option<String>)>;

fn view(folder: &Folder, note: Sidecar, checks: &Checks) -> Archive {
    let check = checks.get(&note.id);
    let found = check.and_then(|(_, fault)| fault.clone());
    let path = folder.path(&note.file);
    let there = std::fs::metadata(&path).is_ok_and(|file| file.len() == note.bytes);
    let fault = found.or_else(|| (!there).then(|| "the file is gone or has another size".to_owned()));
    Archive {
        id: note.id,
        vault: note.vault,
        file: path.display().to_string(),
        bytes: note.bytes,
        created_at: note.created_at,
        verified: fault.is_none(),
        verified_at: check.map_or(note.verified_at, |(at, _)| *at),
        set: note.set,
        complete: note.complete,
        started_at: note.started_at,
        safety: note.safety,
        recipients: note.recipients,
        fault,
    }
}

/// Every archive with a note of this instance, newest first.
///
/// # Errors
/// When the destination or the database cannot be read.
pub async fn list(admin: &Admin, actor: &Actor) -> Verb<ArchiveList> {
    actor.need(Right::Read, "backup.list")?;
    let (folder, found) = catalogue(admin).await?;
    let (checks, kept) = (store::checks(&admin.db).await?, store::keys(&admin.db).await?);
    let mut faults = found.faults.clone();
    faults.extend(gone(&found, kept.keys()));
    Ok(ArchiveList { archives: found.archives.into_iter().map(|note| view(&folder, note, &checks)).collect(), faults })
}

/// Archives that this host keeps an identity for and that nothing speaks of any more: nothing stands behind the end of a chain, and only this host knows that
/// there was more.
fn gone<'a>(found: &Catalogue, kept: impl Iterator<Item = &'a String>) -> Vec<String> {
    let there = |id: &String| found.removed.contains(id) || found.archives.iter().any(|note| note.id == *id);
    let mut gone: Vec<&String> = kept.filter(|id| !there(id)).collect();
    gone.sort_unstable();
    gone.into_iter().map(|id| format!("{id} is gone, and nobody signed that")).collect()
}

/// Makes an archive of every vault, or of one.
///
/// # Errors
/// `Conflict` while another run is not over; `NotFound` for an unknown vault; `Unavailable` when nothing could be tried. A vault that fails is
/// an answer, not a fault.
pub async fn run(admin: &Admin, actor: &Actor, order: BackupOrder) -> Verb<Backup> {
    make(admin, actor, order, false).await
}

/// The same of what a restore in place is about to replace: nothing takes it for the newest, and no place elsewhere is waited for.
///
/// # Errors
/// As `run`.
pub(super) async fn save(admin: &Admin, actor: &Actor, order: BackupOrder) -> Verb<Backup> {
    make(admin, actor, order, true).await
}

async fn make(admin: &Admin, actor: &Actor, order: BackupOrder, safety: bool) -> Verb<Backup> {
    actor.need(Right::Operate, "backup.run")?;
    admin.need_ledger("backup.run")?;
    let Ok(turn) = admin.vaults.turn.try_lock() else {
        return Err(Fault::conflict("another backup or restore is not over yet"));
    };
    let head = tree::head(&admin.repository).await?;
    let mut vaults = all(&tree::standing(admin).await?, &admin.data);
    // A command that hangs makes no directory wait. The deployment comes last: its ledger then knows of everything that the memories hold.
    vaults.sort_by_key(|vault| match vault.origin {
        Origin::Directory(_) => 0,
        Origin::Command(_) => 1,
        Origin::Deployment => 2,
    });
    if let Some(name) = &order.vault {
        vaults.retain(|vault| vault.name == *name);
        if vaults.is_empty() {
            return Err(Fault::not_found(format!("there is no vault {name}")));
        }
    }
    let (folder, found) = catalogue(admin).await?;
    let workshop = workshop(admin, folder.clone(), head.commit).await?;
    let set = ids::mint("rp", admin.clock.now(), admin.entropy.as_ref());
    let mut done = Backup { ok: true, set: set.clone(), archives: Vec::new(), failed: Vec::new(), copies: Vec::new() };
    let (mut seq, mut prev) = (found.seq, found.head);
    for vault in vaults {
        match one(admin, &workshop, &vault, Link { set: &set, seq: seq + 1, prev: &prev, safety }).await {
            Ok(made) => {
                (seq, prev) = (made.note.seq, made.digest);
                note_of(admin, actor, "backup.run", &made.note).await?;
                done.archives.push(view(&folder, made.note, &HashMap::new()));
            }
            Err(fault) => {
                done.ok = false;
                failed(admin, actor, &vault.name, &fault).await?;
                done.failed.push(Failed { vault: vault.name, why: fault.to_string() });
            }
        }
    }
    // A place elsewhere may take its time; what is here can be restored meanwhile.
    drop(turn);
    if !safety {
        done.copies = copy(admin, &folder).await;
    }
    done.ok &= done.copies.is_empty();
    Ok(done)
}

/// Brings the copies in line, and waits for none: whoever is at it looks at something else.
pub(super) fn copy_later(admin: &Arc<Admin>) {
    let admin = admin.clone();
    tokio::spawn(async move {
        if let Ok((folder, _)) = catalogue(&admin).await {
            // What is not in line is said by the next look at the copies.
            let _said = copy(&admin, &folder).await;
        }
    });
}

/// Brings the copies in line; what kept one from it.
pub(super) async fn copy(admin: &Admin, folder: &Folder) -> Vec<String> {
    let _turn = admin.vaults.copying.lock().await;
    let mut faults = Vec::new();
    for place in Place::copies(&admin.feed.snapshot().settings.recovery) {
        if let Err(fault) = place.bring_in_line(folder).await {
            tracing::warn!(%fault, "a copy of the archives is not in line");
            faults.push(fault.to_string());
        }
    }
    admin.vaults.seen.forget();
    faults
}

async fn one(admin: &Admin, workshop: &Arc<Workshop>, vault: &Vault, link: Link<'_>) -> Verb<Made> {
    let (workshop, vault_copy) = (workshop.clone(), vault.clone());
    let (set, seq, prev, safety) = (link.set.to_owned(), link.seq, link.prev.to_owned(), link.safety);
    let line = match &vault.origin {
        Origin::Command(config) => Some(command::ready(admin, &vault.name, config).await?),
        Origin::Deployment | Origin::Directory(_) => None,
    };
    // Held until the process is gone, whoever still waits for the archive.
    let running = match line {
        Some(_) => Some(admin.vaults.running.clone().lock_owned().await),
        None => None,
    };
    let work = move || {
        let made = workshop.make(&vault_copy, line, &Link { set: &set, seq, prev: &prev, safety });
        drop(running);
        made
    };
    let made = behind(work).await?;
    keep(admin, &made, None).await?;
    Ok(made)
}

/// Keeps what opens an archive, sealed, while it is one of the two newest of its vault; in place of that of another, when there was one.
pub(super) async fn keep(admin: &Admin, made: &Made, instead: Option<&str>) -> Verb<()> {
    let (id, text) = (&made.note.id, made.identity.reveal().as_bytes());
    let sealed = admin.sealer.seal(&context(id), text, admin.entropy.as_ref())?;
    // What a restore replaced has a row of its own: it ends no key of an archive that somebody may want.
    let among = if made.note.safety { format!("{}/safety", made.note.vault) } else { made.note.vault.clone() };
    store::keep_key(&admin.db, (id, instead), &among, &sealed, made.note.created_at).await
}

/// Tells the ledger of an archive that was made.
pub(super) async fn note_of(admin: &Admin, actor: &Actor, action: &str, note: &Sidecar) -> Verb<()> {
    let mut event = Event::action(&actor.name, action, note.id.clone());
    event.params = Some(serde_json::json!({
        "vault": note.vault, "set": note.set, "sha256": note.sha256, "bytes": note.bytes, "complete": note.complete,
    }));
    admin.record(event).await
}

async fn failed(admin: &Admin, actor: &Actor, vault: &str, fault: &Fault) -> Verb<()> {
    tracing::warn!(vault, %fault, "a vault has no new archive");
    let mut event = Event::action(&actor.name, "backup.failed", vault);
    event.params = Some(serde_json::json!({ "why": fault.to_string() }));
    admin.record(event).await
}

/// Identities that this host keeps for the newest archives.
pub(super) async fn kept(admin: &Admin) -> Verb<HashMap<String, Secret<String>>> {
    let mut open = HashMap::new();
    for (archive, sealed) in store::keys(&admin.db).await? {
        let text = admin.sealer.open(&context(&archive), &sealed)?;
        open.insert(archive, Secret::new(String::from_utf8_lossy(text.reveal()).into_owned()));
    }
    Ok(open)
}

/// Compares every archive with its note, and reads those to their end that this host has an identity for.
///
/// # Errors
/// When the destination or the database cannot be read; what is wrong with an archive is an answer.
pub async fn verify(admin: &Admin, actor: &Actor) -> Verb<Checked> {
    actor.need(Right::Operate, "backup.verify")?;
    let (folder, found) = catalogue(admin).await?;
    let mut done = Checked { ok: true, checked: 0, opened: 0, faults: found.faults.clone() };
    let mut keys = kept(admin).await?;
    done.faults.extend(gone(&found, keys.keys()));
    for place in Place::copies(&admin.feed.snapshot().settings.recovery) {
        done.faults.extend(place.faults(&found.archives).await);
    }
    for note in found.archives {
        let (folder, key) = (folder.clone(), keys.remove(&note.id));
        let (id, opens) = (note.id.clone(), key.is_some());
        let found = behind(move || Ok(look(&folder, &note, key))).await?;
        done.checked += 1;
        done.opened += usize::from(opens && found.is_none());
        store::set_check(&admin.db, &id, admin.clock.now(), found.as_deref()).await?;
        done.faults.extend(found);
    }
    done.ok = done.faults.is_empty();
    let mut event = Event::action(&actor.name, "backup.verify", "archives");
    event.params = Some(serde_json::json!({ "checked": done.checked, "opened": done.opened, "faults": done.faults }));
    admin.record(event).await?;
    Ok(done)
}

fn look(folder: &Folder, note: &Sidecar, key: Option<Secret<String>>) -> Option<String> {
    let looked = match key.map(|key| Identities::read(&[key])) {
        Some(Ok(keys)) => catalogue::extract(folder, note, &keys, &mut ()).map(|_| ()),
        _ => catalogue::compare(folder, note),
    };
    looked.err().map(|fault| fault.to_string())
}
