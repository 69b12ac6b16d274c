//! The deny-list: what is stopped and which credentials are revoked, signed, at the destination of the archives. It is written at each change
//! and applied by each rebuild, so that an older archive never brings back what was ended after it. A key never leaves it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::folder::Folder;
use super::{copies, places, sidecar, store};
use crate::admin::tokens::EVERYBODY;
use crate::admin::{Admin, servers};
use crate::audit::PublicKey;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::crypto::files::{self, Readers};
use crate::policy::KillOverlay;
use crate::policy::ended::EndedToken;
use crate::policy::tokens::Cuts;

/// Its name at a destination.
pub const FILE: &str = "deny-list.json";
const FORMAT: u32 = 1;
const DOMAIN: &str = "lifeboat-deny-list-v1\n";
const AGAIN: Duration = Duration::from_secs(15);

/// What a rebuild must not bring back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyList {
    /// 1.
    pub format: u32,
    /// When it was written.
    pub at: Timestamp,
    /// The credential epoch then.
    pub credential_epoch: u64,
    /// What was stopped then.
    pub kill: KillOverlay,
    /// Keys, secrets and public keys of clients that were revoked, and keys that signed tokens and are retired, by kid.
    pub client_keys: Vec<String>,
    /// Tokens that were ended before they expire.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<EndedToken>,
    /// Tokens that were issued before a moment are over; client `*` is everybody.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cuts: BTreeMap<String, Timestamp>,
    /// Operator keys that were revoked, by kid.
    pub operator_keys: Vec<String>,
    /// Operators that were disabled.
    pub operators: Vec<String>,
    /// SHA-256, in hex, of what each operator signs in with, as it is stored: what an archive has must still be it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sign_ins: BTreeMap<String, String>,
    /// The recovery codes that each operator has left, by the beginning of a digest of their stored hashes: one of an archive that is not among them
    /// was used or replaced. Absent in lists of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_codes: Option<BTreeMap<String, Vec<String>>>,
    /// What was kept for a server before a moment was taken back: its headers, variables and certificate.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub server_secrets: BTreeMap<String, Timestamp>,
    /// Id of the signing key.
    pub key: String,
    /// Ed25519 over the rest, base64.
    #[serde(default)]
    pub signature: String,
}

/// Reads the deny-list of a destination; `None` when there is none.
///
/// # Errors
/// `Invalid` when it is there and `key` did not sign it: then nobody knows what was revoked.
pub fn read(folder: &Folder, key: &PublicKey) -> Verb<Option<DenyList>> {
    let path = folder.path(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Fault::unavailable(format!("{} cannot be read", path.display())).because(e)),
    };
    let wrong = |why: String| Fault::invalid(FILE, why);
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|cause| wrong(format!("cannot be read: {cause}")))?;
    if value["format"].as_u64().is_some_and(|format| format > u64::from(FORMAT)) {
        return Err(wrong("was written by a newer Lifeboat".to_owned()));
    }
    if !key.verify(&sidecar::text(DOMAIN, &value), value["signature"].as_str().unwrap_or_default()) {
        return Err(wrong(format!("is not signed by this instance (key {})", key.id())));
    }
    serde_json::from_value(value).map(Some).map_err(|cause| wrong(format!("cannot be read: {cause}")))
}

/// Writes what is stopped and revoked now to the destination and to copies in directories.
///
/// # Errors
/// When it cannot be written. A database that does not answer is no reason: what the list holds already stays in it.
pub async fn push(admin: &Admin) -> Verb<()> {
    let (root, signer) = (admin.data.archives(), admin.vaults.signer.clone());
    let revoked = store::revoked(&admin.db).await;
    let (kill, epoch) = (admin.feed.kill(), admin.feed.snapshot().revision.epoch);
    let (denied, at) = (admin.publisher.denied(), admin.clock.now());
    let (ended, cuts) = (admin.feed.ended().all(), cuts(&admin.feed.snapshot().tokens.cuts));
    let emptied = servers::emptied(&admin.db, &admin.sealer).await.unwrap_or_default();
    let copied = admin.feed.snapshot().settings.recovery.copies.clone();
    super::backup::blocking(move || {
        let folder = Folder::open(&root)?;
        let before = match read(&folder, signer.public()) {
            Ok(before) => before.unwrap_or_default(),
            Err(fault) => {
                tracing::error!(%fault, "the deny-list was not this instance's; it is written anew");
                DenyList::default()
            }
        };
        let revoked = revoked.unwrap_or_else(|_| store::Revoked {
            operators: before.operators.clone(),
            sign_ins: before.sign_ins.clone(),
            codes: before.recovery_codes.clone(),
            ..store::Revoked::default()
        });
        let mut list = DenyList {
            format: FORMAT,
            at: before.at,
            credential_epoch: epoch.max(before.credential_epoch),
            kill: KillOverlay::clone(&kill),
            client_keys: union(before.client_keys.clone(), revoked.client_keys.into_iter().chain(denied)),
            tokens: tokens(before.tokens.clone(), ended, at),
            cuts: latest(before.cuts.clone(), cuts),
            operator_keys: union(before.operator_keys.clone(), revoked.operator_keys),
            operators: union(Vec::new(), revoked.operators),
            sign_ins: revoked.sign_ins,
            recovery_codes: revoked.codes,
            server_secrets: latest(before.server_secrets.clone(), emptied),
            key: signer.public().id(),
            signature: before.signature.clone(),
        };
        if list == before && copied.iter().all(|path| is_there(&folder, path.as_ref())) {
            return Ok(());
        }
        list.at = at;
        list.signature = String::new();
        let value = serde_json::to_value(&list).map_err(|e| Fault::bug("the deny-list cannot be written").because(e))?;
        list.signature = signer.sign(&sidecar::text(DOMAIN, &value));
        replace(&folder, &list)?;
        let failed = copied.iter().filter_map(|path| copies::bring_deny_list(&folder, path.as_ref()).err()).next();
        // The primary has it; a copy that does not is tried again.
        failed.map_or(Ok(()), Err)
    })
    .await
}

/// Whether a copy has the list as it is here.
fn is_there(folder: &Folder, copy: &std::path::Path) -> bool {
    fs::read(folder.path(FILE)).ok().is_some_and(|here| fs::read(copy.join(FILE)).is_ok_and(|there| there == here))
}

/// Tokens that would count still.
fn tokens(before: Vec<EndedToken>, more: Vec<EndedToken>, now: Timestamp) -> Vec<EndedToken> {
    let mut all: Vec<EndedToken> = before.into_iter().chain(more).filter(|token| token.expires_at > now).collect();
    all.sort_unstable_by(|a, b| a.jti.cmp(&b.jti));
    all.dedup_by(|a, b| a.jti == b.jti);
    all
}

fn cuts(cuts: &Cuts) -> BTreeMap<String, Timestamp> {
    let clients = cuts.clients.iter().map(|(client, before)| (client.to_string(), *before));
    clients.chain(cuts.everyone.map(|before| (EVERYBODY.to_owned(), before))).collect()
}

fn latest(mut before: BTreeMap<String, Timestamp>, more: BTreeMap<String, Timestamp>) -> BTreeMap<String, Timestamp> {
    for (client, at) in more {
        let kept = before.entry(client).or_insert(at);
        *kept = (*kept).max(at);
    }
    before
}

fn union(before: Vec<String>, more: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = before.into_iter().chain(more).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn replace(folder: &Folder, list: &DenyList) -> Verb<()> {
    let mut bytes = serde_json::to_vec_pretty(list).map_err(|e| Fault::bug("the deny-list cannot be written").because(e))?;
    bytes.push(b'\n');
    files::write(&folder.path(FILE), &bytes, Readers::Owner)
}

/// Brings the list to every bucket that lacks it, each on its own: one that hangs keeps no other from it.
///
/// # Errors
/// When one of them does not get it.
pub async fn send(admin: &Admin) -> Verb<()> {
    let buckets = admin.feed.snapshot().settings.recovery.buckets.clone();
    if buckets.is_empty() {
        return Ok(());
    }
    let folder = Folder::open(&admin.data.archives())?;
    let sent = futures_util::future::join_all(buckets.iter().map(|bucket| places::send_deny_list(&folder, bucket))).await;
    sent.into_iter().collect()
}

/// The task that writes it at each kill, release and revocation, and at the start. Runs until `stop`.
pub async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    let (mut kill, mut snapshot) = (admin.feed.watch_kill(), admin.feed.watch_snapshot());
    loop {
        kill.mark_unchanged();
        snapshot.mark_unchanged();
        let late = |fault: &Fault| tracing::warn!(%fault, "the deny-list is not at its destination");
        let written = push(&admin).await.inspect_err(late).is_ok();
        // What waits for a bucket is dropped for the next change: the list that is sent then holds this one too.
        let again = async {
            let sent = send(&admin).await.inspect_err(late).is_ok();
            if written && sent {
                std::future::pending::<()>().await;
            } else {
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            told = kill.changed() => if told.is_err() { return },
            told = snapshot.changed() => if told.is_err() { return },
            () = admin.vaults.revoked.notified() => {}
            () = again => {}
        }
    }
}
