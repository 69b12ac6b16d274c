//! Vaults and their archives: what is protected, the archives made of it, who can open them, and bringing them back. An archive counts when its
//! signed note lies beside it, and the note is written last.

mod add;
mod archive;
mod backup;
mod behind;
pub mod bucket;
pub mod catalogue;
mod command;
mod copies;
pub mod deny;
pub mod deployment;
mod elsewhere;
pub mod extract;
pub mod folder;
mod form;
pub mod live;
mod model;
mod pace;
pub mod pages;
pub mod places;
mod preset;
mod prune;
pub mod pruned;
mod recipients;
mod reencrypt;
pub mod report;
mod restore;
pub mod retention;
pub mod routes;
pub mod sidecar;
mod source;
mod store;
#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
mod tests_command;
#[cfg(test)]
mod tests_reencrypt;
#[cfg(test)]
mod tests_sources;
mod trusted;
pub mod walk;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use add::add;
pub use backup::{list, run, verify};
pub use command::end as end_commands;
pub(super) use command::stops as commands_stop;
pub use command::{ApproveVault, STATEMENTS as COMMAND_STATEMENTS, VaultApproved, approve, forget_approvals};
pub use elsewhere::{CopyList, CopyView, copies};
pub use live::{
    CleanOrder, Cleaned, KeptList, KeptTree, LiveDone, LiveOrder, LiveStep, clean, kept as list_kept, restore_live, settle,
    unsettled,
};
pub use model::{
    AddRecipient, AddVault, Archive, ArchiveList, Backup, BackupOrder, Checked, CommandView, Failed, Proof, ProveRecipient,
    RecipientList, RecipientView, VaultAdded, VaultList, VaultView,
};
pub use prune::{Held, HoldOrder, PruneDone, PruneOrder, hold, prune};
pub use recipients::{add as add_recipient, key_text, list as list_recipients, prove, read_key, remove as remove_recipient};
pub use reencrypt::{ReencryptDone, ReencryptOrder, reencrypt};
pub use restore::{RestoreOrder, Restored, restore};
pub use store::STATEMENTS;

use super::actor::Right;
use super::{Actor, Admin, credentials, servers, tree};
use crate::audit::Signer;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::config::paths::DataDir;
use crate::config::vault::DEPLOYMENT;
use crate::config::{Desired, UpstreamConfig, VaultConfig};
use crate::db::Db;

/// The ledger's newest signed head, beside the archives.
pub const CHECKPOINT: &str = "checkpoint.json";

/// What the verbs of archives remember.
pub struct Vaults {
    /// One run at a time.
    turn: tokio::sync::Mutex<()>,
    /// One at a time brings copies in line.
    copying: tokio::sync::Mutex<()>,
    signer: Signer,
    /// A credential that no snapshot holds was ended.
    revoked: tokio::sync::Notify,
    /// What buckets answered.
    seen: elsewhere::Seen,
    /// Ends a command that runs.
    stop: CancellationToken,
    /// Held while one runs.
    running: Arc<tokio::sync::Mutex<()>>,
}

impl Vaults {
    /// Signs with the instance's key.
    pub fn new(signer: Signer) -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            copying: tokio::sync::Mutex::default(),
            signer,
            revoked: tokio::sync::Notify::new(),
            seen: elsewhere::Seen::default(),
            stop: CancellationToken::new(),
            running: Arc::default(),
        }
    }
}

/// The destination of archives, and what it holds.
///
/// # Errors
/// When it cannot be read.
pub async fn destination(admin: &Admin) -> Verb<(folder::Folder, catalogue::Catalogue)> {
    backup::catalogue(admin).await
}

/// At the start: what a process that died has left of archives it was making is removed, plain copies first of all.
pub fn sweep(data: &DataDir) {
    let Ok(folder) = folder::Folder::open(&data.archives()) else { return };
    folder.sweep(archive::STAGING);
}

/// Copies of the destination that are not in line, and why.
pub async fn copies_behind(admin: &Admin) -> Vec<(String, String)> {
    let seen = elsewhere::look(admin).await.unwrap_or_default();
    seen.iter().filter_map(|copy| Some((copy.place.clone(), copy.wrong()?))).collect()
}

/// Texts of the identities that this host keeps for the newest archives.
///
/// # Errors
/// When they cannot be read or do not open.
pub async fn rolling(admin: &Admin) -> Verb<Vec<String>> {
    Ok(backup::kept(admin).await?.into_values().map(|text| text.reveal().clone()).collect())
}

/// A copy of state.db without what an archive must not hold.
///
/// # Errors
/// When it cannot be written.
pub async fn copy_state(admin: &Admin, to: &std::path::Path) -> Verb<()> {
    deployment::copy_state(&admin.db, to).await.map(|_| ())
}

/// The public key that this instance signs with, as `rebuild --trust` takes it.
pub fn trust(admin: &Admin) -> String {
    key_text(admin.vaults.signer.public())
}

/// Ed25519 of this instance over a text, base64.
pub(in crate::admin) fn sign(admin: &Admin, text: &str) -> String {
    admin.vaults.signer.sign(text)
}

/// Tells the deny-list that an operator's credential was ended.
pub fn tell_revoked(admin: &Admin) {
    admin.vaults.revoked.notify_one();
}

/// Ends what a deny-list names in a database that was brought back. Gives how many credentials that were.
///
/// # Errors
/// When the database does not answer.
pub async fn apply_deny_list(db: &Db, list: &deny::DenyList, now: Timestamp) -> Verb<u64> {
    let dropped = servers::deny_kept(db, &list.server_secrets).await?;
    credentials::rebuilt(db, &list.server_secrets, now).await?;
    Ok(dropped + store::deny(db, list, now).await?)
}

/// What a vault is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The deployment itself.
    Deployment,
    /// A directory or a file.
    Directory(PathBuf),
    /// What a command writes.
    Command(Box<VaultConfig>),
}

impl Origin {
    /// The word in notes.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Directory(_) => "directory",
            Self::Command(_) => "command",
        }
    }
}

/// One vault, configured or there by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vault {
    /// Its name.
    pub name: String,
    /// What is read.
    pub origin: Origin,
    /// The server whose memory it is.
    pub server: Option<String>,
    /// Paths that are left out.
    pub exclude: Vec<String>,
    /// Whether a file in `vaults/` says so.
    pub configured: bool,
}

/// Every vault of a desired state: the deployment, what is configured, and the own folder of each stdio server that no file speaks of.
pub fn all(desired: &Desired, data: &DataDir) -> Vec<Vault> {
    let mut found = vec![Vault {
        name: DEPLOYMENT.to_owned(),
        origin: Origin::Deployment,
        server: None,
        exclude: Vec::new(),
        configured: false,
    }];
    for (name, vault) in &desired.vaults {
        found.push(Vault {
            name: name.clone(),
            origin: match &vault.path {
                Some(path) => Origin::Directory(PathBuf::from(path)),
                None => Origin::Command(Box::new(vault.clone())),
            },
            server: vault.server.clone(),
            exclude: vault.exclude.clone(),
            configured: true,
        });
    }
    for (name, server) in &desired.servers {
        let own = matches!(server.upstream, UpstreamConfig::Stdio(_));
        if own && !desired.vaults.contains_key(name) && name != DEPLOYMENT {
            found.push(Vault {
                name: name.clone(),
                origin: Origin::Directory(data.vault(name)),
                server: Some(name.clone()),
                // What a server keeps for a moment.
                exclude: vec!["tmp".to_owned()],
                configured: false,
            });
        }
    }
    found
}

/// Every vault.
///
/// # Errors
/// When the configuration or the archives cannot be read.
pub async fn vaults(admin: &Admin, actor: &Actor) -> Verb<VaultList> {
    actor.need(Right::Read, "vault.list")?;
    let (desired, archives) = (tree::standing(admin).await?, list(admin, actor).await?.archives);
    let approved = command::approvals(admin).await?;
    let view = |vault: Vault| {
        let mut verified = archives.iter().filter(|one| one.vault == vault.name && one.verified && !one.safety).peekable();
        let last_archive = verified.peek().map(|one| one.created_at);
        let source = vault.origin.word().to_owned();
        let archives = verified.count();
        let (path, command) = match &vault.origin {
            Origin::Deployment => (None, None),
            Origin::Directory(path) => (Some(path.display().to_string()), None),
            Origin::Command(config) => (None, Some(CommandView::of(config, approved.get(&vault.name)))),
        };
        VaultView {
            name: vault.name,
            source,
            path,
            command,
            server: vault.server,
            configured: vault.configured,
            last_archive,
            archives,
        }
    };
    Ok(VaultList { vaults: all(&desired, &admin.data).into_iter().map(view).collect() })
}
