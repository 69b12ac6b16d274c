//! Brings an archive back into its place in the running deployment: what is there is archived, the servers that use it are stopped, old and new
//! change places in one step, everything is compared, and only then is the stop released. What was there is kept beside its place. Never half
//! done: whatever ends it, the place holds the old tree or the new one, and the next start says which.

mod kept;
mod model;
mod note;
mod order;
pub mod pages;
mod place;
mod reach;
mod settle;
mod stage;
mod tell;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_cut;
#[cfg(test)]
mod tests_place;
mod work;

use std::path::PathBuf;
use std::sync::Arc;

pub use kept::{CleanOrder, Cleaned, KeptList, KeptTree, clean, kept};
pub use model::{LiveDone, LiveOrder, LiveStep};
pub use settle::{settle, unsettled};

use super::backup::{blocking, catalogue, kept as identities};
use super::restore::{RestoreOrder, choose};
use super::sidecar::Sidecar;
use super::{Origin, Vault, all, store as archives, trusted};
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin, tree};
use crate::base::fault::{Fault, Verb};
use crate::base::ids;
use crate::base::secret::Secret;
use crate::crypto::archive::Identities;
use place::{BEFORE, Target, WAITING};
use reach::User;
use stage::Job;
use work::Work;

const LATEST: &str = "latest";

/// Everything that is settled before the first step.
struct Plan {
    id: String,
    vault: Vault,
    target: Target,
    archive: Sidecar,
    keys: Identities,
    users: Vec<User>,
    /// Why nobody is stopped, where nobody is.
    nobody: &'static str,
    folder: super::folder::Folder,
    reason: String,
}

/// Brings one archive back into its place.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Denied` for a hostile archive; `Invalid` without a reason or an identity; `NotFound` for an unknown
/// archive; `Conflict` when the place cannot take it; `Unavailable` when the archive of what is there, or the room for the new tree, cannot be
/// had. Nothing was stopped or changed then. What fails later is an answer.
pub async fn restore_live(admin: &Arc<Admin>, actor: &Actor, order: LiveOrder) -> Verb<LiveDone> {
    actor.need(Right::Administer, "restore.live")?;
    if !order.dry_run {
        // Its end is a release, and asks what a release asks.
        actor.need_fresh_login(admin.clock.now())?;
        if order.reason.trim().is_empty() {
            return Err(Fault::invalid("reason", "a restore in place needs a reason"));
        }
        admin.need_ledger("restore.live")?;
    }
    let plan = plan(admin, &order).await?;
    let work = Work::new(admin.clone(), actor.clone(), &order, plan);
    if order.dry_run {
        return work.look().await;
    }
    // In a task of its own: whoever asked may go away, and it is done all the same.
    let done = tokio::spawn(work.perform()).await;
    done.map_err(|e| Fault::bug("the restore was interrupted; the next start settles it").because(e))?
}

async fn plan(admin: &Admin, order: &LiveOrder) -> Verb<Plan> {
    if order.archive == LATEST {
        let message = "one vault at a time: name an archive, or latest:VAULT";
        return Err(Fault::invalid("archive", message));
    }
    let archive = chosen(admin, order).await?;
    let vault = vault_of(admin, &archive.vault).await?;
    let path = match &vault.origin {
        Origin::Directory(path) => path,
        Origin::Deployment => {
            let message = "the vault lifeboat is the deployment itself: lifeboat rebuild brings it back";
            return Err(Fault::invalid("archive", message));
        }
        Origin::Command(_) => {
            let message = "what a command wrote has no place here: bring it back with --to, and feed it to its system";
            return Err(Fault::invalid("archive", message));
        }
    };
    let path = std::path::absolute(path).map_err(|e| Fault::bug("a vault whose path is none").because(e))?;
    let also = trusted::owners(admin.data.root());
    let target = blocking(move || place::look(&path, &also)).await?;
    // One that was given is the one that is used: whoever tries a key wants to know whether it opens.
    let texts: Vec<Secret<String>> = match order.identity.clone() {
        Some(given) => vec![given],
        None => identities(admin).await?.remove(&archive.id).into_iter().collect(),
    };
    if texts.is_empty() {
        let message = format!("this host keeps no identity for {}; give the recovery identity as a file", archive.id);
        return Err(Fault::invalid("identity", message));
    }
    let keys = Identities::read(&texts).map_err(|e| Fault::invalid("identity", e.to_string()))?;
    let (folder, _) = catalogue(admin).await?;
    let (users, nobody) = reach::users(admin, &vault, &target.path);
    let id = ids::mint("rs", admin.clock.now(), admin.entropy.as_ref());
    Ok(Plan { id, vault, target, archive, keys, users, nobody, folder, reason: order.reason.trim().to_owned() })
}

/// The archive that is meant. What restores have made of what was there is what somebody wanted to be rid of: it is never the latest.
async fn chosen(admin: &Admin, order: &LiveOrder) -> Verb<Sidecar> {
    let (folder, found) = catalogue(admin).await?;
    let by_name = order.archive.strip_prefix("latest:");
    let checks = archives::checks(&admin.db).await?;
    let sound = |note: &Sidecar| checks.get(&note.id).is_none_or(|(_, fault)| fault.is_none());
    let wanted = RestoreOrder { archive: order.archive.clone(), at: order.at, ..RestoreOrder::default() };
    let one = choose(&folder, &found, &wanted, sound)?.into_iter().next();
    let one = one.ok_or_else(|| Fault::not_found(format!("there is no archive {}", order.archive)))?;
    if by_name.is_some() && !one.complete {
        let message = format!("the latest archive, {}, is partial; name it, or an older one, to bring back what it holds", one.id);
        return Err(Fault::conflict(message));
    }
    Ok(one)
}

async fn vault_of(admin: &Admin, name: &str) -> Verb<Vault> {
    let vaults = all(&tree::standing(admin).await?, &admin.data);
    let none = || Fault::not_found(format!("there is no vault {name} any more; bring its archive back with --to"));
    vaults.into_iter().find(|vault| vault.name == name).ok_or_else(none)
}

impl Plan {
    fn job(&self, reserve: u64) -> Job {
        Job {
            folder: self.folder.clone(),
            note: self.archive.clone(),
            keys: self.keys.clone(),
            target: self.target.clone(),
            dir: self.dir(),
            reserve,
        }
    }

    /// Where the new tree waits.
    fn dir(&self) -> PathBuf {
        self.target.path.with_file_name(format!("{WAITING}{}", self.id))
    }

    /// Where what was there is kept.
    fn kept(&self) -> PathBuf {
        let name = self.target.path.file_name().unwrap_or_default().to_string_lossy();
        self.target.path.with_file_name(format!("{name}{BEFORE}{}", self.id))
    }
}
