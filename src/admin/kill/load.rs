//! The kill state at start, read before any listener opens. Engaged if file or database says so, or if either cannot be read.

use std::path::Path;
use std::time::Duration;

use super::control::covered;
use super::file::{self, Said};
use super::store;
use crate::base::clock::Timestamp;
use crate::base::ids::{self, Entropy};
use crate::db::Db;
use crate::policy::{KillEntry, KillOverlay, Mode, Scope};

const DATABASE_WAIT: Duration = Duration::from_secs(4);

/// Reads both copies; `None` for a database that could not be opened. The epoch is higher than any before it.
pub async fn load(db: Option<&Db>, data: &Path, now: Timestamp, entropy: &dyn Entropy) -> KillOverlay {
    let entry = |scope, mode, by: &str, reason: String| KillEntry {
        decision_id: ids::mint("kd", now, entropy),
        scope,
        mode,
        since: now,
        by: by.to_owned(),
        reason,
    };
    let boot = |reason: String| vec![entry(Scope::Everything, Mode::Full, "boot", reason)];
    let from_file = match file::read(data) {
        Said::Nothing => Ok(KillOverlay::default()),
        Said::State(overlay) => Ok(overlay),
        Said::Order { scope, mode, reason } => Ok(KillOverlay { epoch: 0, entries: vec![entry(scope, mode, "file", reason)] }),
        Said::Unreadable(why) => Err(why),
    };
    let from_database = read_database(db).await;
    // Where a copy is lost, so is its epoch; the clock is later than any count that was started from it.
    let lost = u64::try_from(now.0).unwrap_or(0);
    let mut epoch = 0;
    let mut merged = KillOverlay::default();
    for copy in [from_file, from_database] {
        let (at, entries) = match copy {
            Ok(overlay) => (overlay.epoch, overlay.entries),
            Err(why) => (lost, boot(why)),
        };
        epoch = epoch.max(at);
        for one in entries {
            if !covered(&merged, &one) {
                merged = merged.engage(one);
            }
        }
    }
    KillOverlay { epoch: epoch + 1, entries: merged.entries }
}

async fn read_database(db: Option<&Db>) -> Result<KillOverlay, String> {
    let Some(db) = db else { return Err("the database could not be opened, so nobody knows what was stopped".into()) };
    match tokio::time::timeout(DATABASE_WAIT, store::read(db)).await {
        Ok(Ok(overlay)) => Ok(overlay),
        Ok(Err(fault)) => Err(fault.message),
        Err(_) => Err("the database did not answer, so nobody knows what was stopped".into()),
    }
}
