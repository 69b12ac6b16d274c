//! The kill state of a deployment that was rebuilt from archives: everything is stopped, above every epoch there was, and what the deny-list
//! had stopped stays so after that is released.

use std::path::Path;

use super::control::meant;
use super::{file, store};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::{self, Entropy};
use crate::db::Db;
use crate::policy::{KillEntry, KillOverlay, Mode, Scope};

/// Engages everything in the file and in the database. Gives how many narrower kills stay beneath it.
///
/// # Errors
/// `Unavailable` when one of the two cannot be written: then nothing may be served from it.
pub async fn engage_rebuilt(
    data: &Path,
    db: &Db,
    listed: Option<&KillOverlay>,
    (now, entropy): (Timestamp, &dyn Entropy),
) -> Verb<usize> {
    let stored = store::read(db).await?;
    // The list is newer than the archive: what it does not name was released since.
    let before = meant(listed.unwrap_or(&stored));
    let narrower = before.entries.iter().filter(|entry| entry.scope != Scope::Everything).count();
    let entry = KillEntry {
        decision_id: ids::mint("kd", now, entropy),
        scope: Scope::Everything,
        mode: Mode::Full,
        since: now,
        by: "rebuild".to_owned(),
        reason: "rebuilt from archives: fence the old host, check, then release".to_owned(),
    };
    let epoch = before.epoch.max(stored.epoch) + 1;
    let overlay = KillOverlay { epoch, ..before.engage(entry) };
    file::write(data, &overlay).map_err(|e| Fault::unavailable("the file KILL cannot be written").because(e))?;
    store::keep(db, &overlay, &[]).await?;
    Ok(narrower)
}
