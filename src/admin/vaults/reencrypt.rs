//! Encrypts archives anew, to those who are recipients now. The new one is read back and noted before the old one goes; a crash in between
//! leaves both, and the next run ends it. Never takes back what somebody has read already.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::archive::{Link, Made, Workshop, landed, name_of, unmade};
use super::backup::{catalogue, copy, keep, kept, note_of, workshop};
use super::behind::behind;
use super::catalogue::compare;
use super::folder::{Folder, read_in_pieces};
use super::pace::{Beside, Paced};
use super::prune;
use super::sidecar::Sidecar;
use super::store;
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin, tree};
use crate::base::fault::{Fault, Verb};
use crate::base::ids;
use crate::base::secret::Secret;
use crate::crypto::archive::{Ephemeral, Identities, reencrypt as encrypt_anew};

/// What is to be encrypted anew, as an order.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReencryptOrder {
    /// Text of an age identity, for archives that this host keeps none for.
    #[schemars(with = "Option<String>")]
    pub identity: Option<Secret<String>>,
    /// Only says what would be done.
    pub dry_run: bool,
}

/// One archive.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reencrypted {
    /// Its id until now.
    pub id: String,
    /// Its vault.
    pub vault: String,
    /// `done`, `due` (in a dry run) or `failed`.
    pub state: String,
    /// Its id from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReencryptDone {
    /// Whether every archive now opens for the present recipients and for nobody else.
    pub ok: bool,
    /// Whether nothing was written, as asked.
    pub dry_run: bool,
    /// Those that opened for others.
    pub archives: Vec<Reencrypted>,
    /// Copies that are not in line now, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<String>,
}

/// Encrypts every archive anew that opens for others than the present recipients.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Conflict` while a backup or restore is not over; `Invalid` for an identity that is none. An archive that
/// cannot be encrypted anew is an answer: it stays as it is.
pub async fn reencrypt(admin: &Admin, actor: &Actor, order: ReencryptOrder) -> Verb<ReencryptDone> {
    actor.need(Right::Administer, "backup.reencrypt")?;
    if !order.dry_run {
        actor.need_fresh_login(admin.clock.now())?;
    }
    admin.need_ledger("backup.reencrypt")?;
    let Ok(turn) = admin.vaults.turn.try_lock() else {
        return Err(Fault::conflict("another backup or restore is not over yet"));
    };
    let given = order.identity.map(|text| Identities::read(std::slice::from_ref(&text)).map(|_| text)).transpose();
    let given = given.map_err(|e| Fault::invalid("identity", e.to_string()))?;
    let (folder, found) = catalogue(admin).await?;
    let workshop = workshop(admin, folder.clone(), tree::head(&admin.repository).await?.commit).await?;
    let mut keys = kept(admin).await?;
    let mut done = ReencryptDone { ok: true, dry_run: order.dry_run, archives: Vec::new(), copies: Vec::new() };
    let (mut seq, mut prev) = (found.seq, found.head.clone());
    let right: BTreeSet<&String> = workshop.recipients.iter().collect();
    let is_right = |note: &Sidecar| note.recipients.iter().collect::<BTreeSet<_>>() == right;
    // By content: what a crash left beside its successor only has to go.
    let there: HashMap<&str, &Sidecar> =
        found.archives.iter().filter(|note| is_right(note)).map(|note| (note.content(), note)).collect();
    // Oldest first, so that the chain goes on in the order of time.
    for note in found.archives.iter().rev().filter(|note| !is_right(note)) {
        let mut row = Reencrypted { id: note.id.clone(), vault: note.vault.clone(), state: "due".to_owned(), now: None, why: None };
        if !order.dry_run {
            let texts: Vec<Secret<String>> = given.clone().into_iter().chain(keys.remove(&note.id)).collect();
            let made = match there.get(note.content()) {
                // What a crash left: it takes over only when it is whole.
                Some(next) if is_whole(&folder, next).await => {
                    store::take_over(&admin.db, &note.id, &next.id).await.map(|()| next.id.clone())
                }
                _ => anew(admin, actor, (&workshop, note, texts), (&mut seq, &mut prev)).await,
            };
            let ended = match made {
                Ok(now) => prune::remove(admin, actor, &folder, vec![note.clone()]).await.map(|()| now),
                Err(fault) => Err(fault),
            };
            match ended {
                Ok(now) => (row.state, row.now) = ("done".to_owned(), Some(now)),
                Err(fault) => (row.state, row.why) = ("failed".to_owned(), Some(fault.to_string())),
            }
        }
        done.ok &= row.state == "done";
        done.archives.push(row);
    }
    drop(turn);
    if !order.dry_run && !done.archives.is_empty() {
        done.copies = copy(admin, &folder).await;
        done.ok &= done.copies.is_empty();
    }
    Ok(done)
}

async fn is_whole(folder: &Folder, note: &Sidecar) -> bool {
    let (folder, note) = (folder.clone(), note.clone());
    behind(move || Ok(compare(&folder, &note).is_ok())).await.unwrap_or(false)
}

type Chain<'a> = (&'a mut u64, &'a mut String);

async fn anew(
    admin: &Admin,
    actor: &Actor,
    (workshop, old, texts): (&Arc<Workshop>, &Sidecar, Vec<Secret<String>>),
    (seq, prev): Chain<'_>,
) -> Verb<String> {
    if texts.is_empty() {
        let message = format!("this host keeps no identity for {}; give one of {} as a file", old.id, old.recipients.join(", "));
        return Err(Fault::invalid("identity", message));
    }
    let identities = Identities::read(&texts).map_err(|e| Fault::invalid("identity", e.to_string()))?;
    let (shop, note, before, place) = (workshop.clone(), old.clone(), prev.clone(), *seq + 1);
    let made =
        behind(move || again(&shop, &note, &identities, &Link { set: &note.set, seq: place, prev: &before, safety: note.safety }))
            .await?;
    (*seq, *prev) = (made.note.seq, made.digest.clone());
    keep(admin, &made, Some(&old.id)).await?;
    note_of(admin, actor, "backup.reencrypt", &made.note).await?;
    Ok(made.note.id)
}

/// The same content in a new archive. Blocks.
fn again(workshop: &Workshop, old: &Sidecar, identities: &Identities, link: &Link<'_>) -> Verb<Made> {
    let id = ids::mint("ar", workshop.clock.now(), workshop.entropy.as_ref());
    workshop.need_room(old.bytes)?;
    let file = name_of(&old.vault, &id, old.started_at);
    let (partial, made) = workshop.folder.begin(&file, &id)?;
    let key = Ephemeral::generate();
    let mut recipients = workshop.recipients.clone();
    recipients.push(key.recipient());
    let (input, pace) = (workshop.folder.read(&old.file)?, Beside::new(&workshop.ledger));
    read_in_pieces(&input);
    let output = encrypt_anew(Paced::new(input, &pace), identities, workshop.output(made), &recipients).map_err(unmade)?;
    let bytes = landed(output)?;
    let note = Sidecar {
        id,
        file,
        bytes,
        sha256: String::new(),
        recipients: workshop.recipients.clone(),
        content: Some(old.content().to_owned()),
        seq: link.seq,
        prev: link.prev.to_owned(),
        ..old.clone()
    };
    workshop.admit(note, partial, key)
}
