//! A deployment from archives, an identity and a public key alone: no database, no configuration, no catalogue. It is put together beside its
//! place, given its name when it is whole, and starts stopped. Never touches what is there already.

mod settle;
mod work;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::steps::Steps;
use crate::admin::vaults::catalogue::{self, Catalogue};
use crate::admin::vaults::deny::{self, DenyList};
use crate::admin::vaults::folder::Folder;
use crate::admin::vaults::places::{self, Place};
use crate::audit::PublicKey;
use crate::base::clock::{SharedClock, Timestamp};
use crate::base::fault::{Fault, Verb};
use crate::base::ids::{self, SharedEntropy};
use crate::base::secret::Secret;
use crate::config::BucketConfig;
use crate::config::paths::DataDir;
use crate::crypto::archive::Identities;
use crate::db::foreign::Facts;
use work::Work;

/// What the name of an unfinished one begins with.
const PLACE: &str = ".rebuild-";

/// What a rebuild is made from.
pub struct Source {
    /// Where the archives are.
    pub from: Place,
    /// Texts of age identities.
    pub identities: Vec<Secret<String>>,
    /// The key that the notes must be signed with.
    pub trust: PublicKey,
    /// Where the deployment goes.
    pub to: PathBuf,
    /// Where vaults go that lie outside of the data directory; `None` means where they were.
    pub outside: Option<PathBuf>,
    /// The configuration's bundle and the database to use instead of the archived ones.
    pub instead: (Option<PathBuf>, Option<PathBuf>),
    /// The time.
    pub clock: SharedClock,
    /// Chance.
    pub entropy: SharedEntropy,
}

/// One vault that was brought back.
#[derive(Clone, Debug, Serialize)]
pub struct Back {
    /// Its name.
    pub vault: String,
    /// The archive.
    pub archive: String,
    /// What was written after this moment is lost.
    pub started_at: Timestamp,
    /// Rows by database and table, and how many files.
    pub rows: BTreeMap<String, Facts>,
    /// How many files.
    pub files: u64,
}

/// What was rebuilt.
#[derive(Debug, Serialize)]
pub struct Rebuilt {
    /// Where it stands.
    pub to: String,
    /// The configuration's commit.
    pub head: String,
    /// By vault, the deployment first.
    pub vaults: Vec<Back>,
    /// Credentials that only the deny-list knew to be ended.
    pub denied: u64,
    /// What an operator must know.
    pub warnings: Vec<String>,
}

/// A folder that is removed unless it was given its place.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Rebuilds; every step is told to `steps`.
///
/// # Errors
/// The first thing that keeps it from being whole; nothing is left then.
pub async fn rebuild(source: Source, steps: &mut Steps) -> Verb<Rebuilt> {
    let place = steps.take("preflight", async { preflight(&source) }).await?;
    let keys = steps.take("unlock-key", async { unlock(&source) }).await?;
    let from = match &source.from {
        Place::Directory(path) => path.clone(),
        Place::Bucket(bucket) => steps.take("fetch-archives", fetch(bucket, &place.0, &source)).await?,
    };
    let (folder, found) = steps.take("find-archives", async { find(&from, &source) }).await?;
    let list = steps.take("read-deny-list", async { deny_list(&folder, &source) }).await?;
    let data = DataDir::new(place.0.join("content"));
    let mut warnings = found.faults.clone();
    if list.is_none() {
        warnings.push(format!("there is no {}: what was revoked after the backup counts again; revoke it anew", deny::FILE));
    }
    let mut work = Work { warnings, source, folder, found, keys, data, vaults: Vec::new(), root: None };
    let (chosen, unpacked) = work.deployment(steps).await?;
    let head = steps.take("restore-configuration", async { work.configuration(&unpacked) }).await?;
    steps.take("check-places", async { work.places() }).await?;
    steps.take("restore-keys", async { work.keys_and_certificates(&unpacked) }).await?;
    let db = steps.take("restore-state", work.state(&unpacked, &chosen.1)).await?;
    steps.take("restore-ledger", async { work.ledger(&unpacked) }).await?;
    for vault in work.wanted()? {
        work.vault(&vault, steps).await?;
    }
    let denied = steps.take("apply-deny-list", work.deny(&db, list.as_ref())).await?;
    steps.take("engage-kill", work.engage(&db, list.as_ref())).await?;
    db.close().await;
    steps.take("record", work.record(&head)).await?;
    let _ = fs::remove_dir_all(&unpacked);
    steps.take("put-in-place", async { work.put(&place.0) }).await?;
    Ok(Rebuilt { to: work.source.to.display().to_string(), head, vaults: work.vaults, denied, warnings: work.warnings })
}

fn io(what: &str) -> impl FnOnce(std::io::Error) -> Fault {
    let what = what.to_owned();
    move |cause| Fault::unavailable(format!("{what}: {cause}")).because(cause)
}

fn preflight(source: &Source) -> Verb<(Unfinished, String)> {
    let to = &source.to;
    let there = fs::symlink_metadata(to).is_ok();
    let empty = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
    if there && !empty {
        return Err(Fault::conflict(format!("{} is there already and not an empty directory; nothing was changed", to.display())));
    }
    let parent = to.parent().filter(|parent| parent.is_dir());
    let parent = parent.ok_or_else(|| Fault::invalid("to", format!("the folder above {} does not exist", to.display())))?;
    let id = ids::mint("rb", source.clock.now(), source.entropy.as_ref());
    let place = parent.join(format!("{PLACE}{id}"));
    let left = left_behind(parent);
    let made = fs::DirBuilder::new().mode(0o700).create(&place);
    made.map_err(io(&format!("{} cannot be made", place.display())))?;
    let unfinished = Unfinished(place);
    DataDir::new(unfinished.0.join("content")).create()?;
    fs::create_dir(unfinished.0.join("vaults")).map_err(io("no place for vaults"))?;
    Ok((unfinished, format!("put together beside {}{left}", to.display())))
}

/// What rebuilds that were cut off have left: keys and memories in plain, and nobody else looks for them.
fn left_behind(parent: &Path) -> String {
    let names = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
    let left = names.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PLACE)));
    let left: Vec<String> = left.map(|path| path.display().to_string()).collect();
    if left.is_empty() { String::new() } else { format!("; one that was cut off has left {}: remove it", left.join(", ")) }
}

fn unlock(source: &Source) -> Verb<(Identities, String)> {
    let keys = Identities::read(&source.identities).map_err(|e| Fault::invalid("identity", e.to_string()))?;
    let names = keys.recipients();
    let detail = format!("{} identities: {}", names.len(), names.join(", "));
    Ok((keys, detail))
}

/// Beside the place, on the same disk: what was fetched goes with what was put together.
async fn fetch(bucket: &BucketConfig, place: &Path, source: &Source) -> Verb<(PathBuf, String)> {
    let (to, begun) = (place.join("fetched"), Instant::now());
    fs::create_dir(&to).map_err(io("no place for what is fetched"))?;
    let got = places::fetch(bucket, &to, &source.trust).await?;
    let mib = got.bytes as f64 / 1_048_576.0;
    let detail = format!("{} files, {mib:.1} MiB at {:.1} MiB/s", got.files, mib / begun.elapsed().as_secs_f64().max(0.001));
    Ok((to, detail))
}

fn find(from: &Path, source: &Source) -> Verb<((Folder, Catalogue), String)> {
    let folder = Folder::open(from)?;
    let found = catalogue::read(&folder, &source.trust)?;
    if found.archives.is_empty() {
        let why = found.faults.first().map_or_else(|| "there is none".to_owned(), Clone::clone);
        return Err(Fault::not_found(format!("no archive of the trusted instance in {}: {why}", source.from.name())));
    }
    let detail = format!("{} archives signed by {}; {} faults", found.archives.len(), source.trust.id(), found.faults.len());
    Ok(((folder, found), detail))
}

fn deny_list(folder: &Folder, source: &Source) -> Verb<(Option<DenyList>, String)> {
    let list = deny::read(folder, &source.trust)?;
    let detail = list.as_ref().map_or_else(
        || "there is none: what was revoked after the backup is not known".to_owned(),
        |list| {
            format!(
                "of {}: {} client keys, {} operator keys, {} operators; those who sign in with something else since are disabled too",
                list.at,
                list.client_keys.len(),
                list.operator_keys.len(),
                list.operators.len()
            )
        },
    );
    Ok((list, detail))
}
