//! What the copies of the archives hold: how many, what they lack, and until when a bucket lets nobody remove them. Only looks.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backup::catalogue;
use super::catalogue::Catalogue;
use super::folder::Folder;
use super::places::Place;
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};

/// How long an answer of a bucket stands: it is asked over a network, and each question costs.
const STANDS_MS: i64 = 10 * 60_000;

/// One copy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CopyView {
    /// A directory, or `s3://BUCKET/PREFIX`.
    pub place: String,
    /// How many archives and notes it lacks; not known while it cannot be looked at.
    pub missing: Option<usize>,
    /// Until when the bucket lets nobody remove the newest archive, as it says itself: `compliance until DATE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Why it cannot be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// When it was looked at.
    pub at: Timestamp,
}

impl CopyView {
    /// What is wrong with it, in one sentence.
    pub fn wrong(&self) -> Option<String> {
        match (&self.fault, self.missing.unwrap_or_default()) {
            (Some(fault), _) => Some(format!("the copy {}: {fault}", self.place)),
            (None, 0) => None,
            (None, missing) => Some(format!("the copy {} lacks {missing} files", self.place)),
        }
    }
}

/// Every copy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CopyList {
    /// Whether each is in line.
    pub ok: bool,
    /// In the order of the configuration.
    pub copies: Vec<CopyView>,
}

/// What buckets answered.
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<String, CopyView>>);

impl Seen {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, CopyView>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is seen next is asked anew.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }
}

/// Every copy, looked at now.
///
/// # Errors
/// When the destination itself cannot be read.
pub async fn copies(admin: &Admin, actor: &Actor) -> Verb<CopyList> {
    actor.need(Right::Read, "backup.copies")?;
    admin.vaults.seen.forget();
    let copies = look(admin).await?;
    Ok(CopyList { ok: copies.iter().all(|copy| copy.wrong().is_none()), copies })
}

/// Every copy; what a bucket answered stands for ten minutes.
///
/// # Errors
/// When the destination itself cannot be read.
pub(super) async fn look(admin: &Admin) -> Verb<Vec<CopyView>> {
    let (folder, found) = catalogue(admin).await?;
    let mut views = Vec::new();
    for place in Place::copies(&admin.feed.snapshot().settings.recovery) {
        let (name, now) = (place.name(), admin.clock.now());
        let stands = |view: &&CopyView| (0..STANDS_MS).contains(&now.since_ms(view.at));
        let known = admin.vaults.seen.lock().get(&name).filter(stands).cloned();
        let view = match (known, &place) {
            (Some(view), _) => view,
            (None, Place::Directory(_)) => see(&place, &folder, &found, now).await,
            (None, Place::Bucket(_)) => {
                let view = see(&place, &folder, &found, now).await;
                admin.vaults.seen.lock().insert(name, view.clone());
                view
            }
        };
        views.push(view);
    }
    Ok(views)
}

/// The same for a page, which waits for no bucket: one that was not asked yet says so.
pub(super) async fn known(admin: &Admin) -> Vec<CopyView> {
    let Ok((folder, found)) = catalogue(admin).await else { return Vec::new() };
    let mut views = Vec::new();
    for place in Place::copies(&admin.feed.snapshot().settings.recovery) {
        match &place {
            Place::Directory(_) => views.push(see(&place, &folder, &found, admin.clock.now()).await),
            Place::Bucket(_) => {
                let seen = admin.vaults.seen.lock().get(&place.name()).cloned();
                views.push(seen.unwrap_or_else(|| CopyView {
                    place: place.name(),
                    missing: None,
                    lock: None,
                    fault: Some("not asked yet since the start or the last backup".to_owned()),
                    at: admin.clock.now(),
                }));
            }
        }
    }
    views
}

async fn see(place: &Place, folder: &Folder, found: &Catalogue, at: Timestamp) -> CopyView {
    let newest = found.archives.first().map(|note| note.file.as_str());
    let asked = async || -> Verb<(usize, Option<String>)> {
        let missing = place.missing(folder).await?;
        if !place.has_deny_list(folder).await? {
            return Err(Fault::conflict("its deny-list is not the one of this deployment: what was ended here may count there"));
        }
        // What is not there has no lock.
        let lock = if missing == 0 { place.lock(newest).await? } else { None };
        Ok((missing, lock))
    };
    let (missing, lock, fault) = match asked().await {
        Ok((missing, lock)) => (Some(missing), lock, None),
        Err(fault) => (None, None, Some(fault.to_string())),
    };
    CopyView { place: place.name(), missing, lock, fault, at }
}
