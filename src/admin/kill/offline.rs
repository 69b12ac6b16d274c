//! Stopping while Lifeboat is not running or does not answer: the file alone, which a start reads before it listens and a watcher obeys at
//! once. Never opens the database.

use std::path::Path;

use super::control::covered;
use super::file::{self, Said};
use super::model::{Engaged, OrderBody};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::{self, Entropy};
use crate::policy::{KillEntry, KillOverlay, Mode, Scope};

/// What is known of the Lifeboat whose file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// Nothing listens, so nothing executes from this moment on.
    No,
    /// Something listens and does not answer. Its watcher obeys the file, but nobody can say so: engaged, unproven.
    Silent,
}

/// Adds an order to the file `KILL`, unless the file says as much already.
///
/// # Errors
/// `Invalid` when the order names two scopes; `Unavailable` when the file cannot be written.
pub fn engage_offline(
    data: &Path,
    by: &str,
    body: OrderBody,
    (now, entropy): (Timestamp, &dyn Entropy),
    running: Running,
) -> Verb<Engaged> {
    let order = body.into_order()?;
    let decision_id = ids::mint("kd", now, entropy);
    let entry = |scope, mode, by: &str, reason: String| KillEntry {
        decision_id: decision_id.clone(),
        scope,
        mode,
        since: now,
        by: by.into(),
        reason,
    };
    let before = match file::read(data) {
        Said::Nothing => KillOverlay::default(),
        Said::State(overlay) => overlay,
        Said::Order { scope, mode, reason } => KillOverlay::default().engage(entry(scope, mode, "file", reason)),
        Said::Unreadable(why) => KillOverlay::default().engage(entry(Scope::Everything, Mode::Full, "boot", why)),
    };
    let added = entry(order.scope.clone(), order.mode, by, order.reason);
    // A file that is written again with the same content counts as touched, and that stops everything.
    if !covered(&before, &added) || !matches!(file::read(data), Said::State(_)) {
        file::write(data, &before.engage(added)).map_err(|cause| Fault::unavailable(unwritten(data, &cause)).because(cause))?;
    }
    let effective = running == Running::No;
    Ok(Engaged {
        decision_id,
        scope: order.scope.text(),
        mode: order.mode.word().to_owned(),
        effective,
        effective_ms: effective.then_some(0),
        cut_in_flight: 0,
        proofs: Vec::new(),
        persisted: "file".to_owned(),
        at: now,
        by: by.to_owned(),
    })
}

/// Whoever reads this is in a hurry, and may stand in the wrong folder.
fn unwritten(data: &Path, cause: &std::io::Error) -> String {
    let path = file::path(data);
    if !data.exists() {
        return format!("nothing is stopped: there is no {}; name the data directory with --data or LIFEBOAT_DATA", data.display());
    }
    format!("nothing is stopped: {} cannot be written: {cause}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::SystemEntropy;

    #[test]
    fn the_file_alone_stops_the_next_start_and_keeps_what_was_there() {
        let data = tempfile::TempDir::new().unwrap();
        let order =
            |client: Option<&str>| OrderBody { reason: "r".into(), client: client.map(str::to_owned), ..OrderBody::default() };
        engage_offline(data.path(), "local:ana", order(Some("ci")), (Timestamp(1), &SystemEntropy), Running::No).unwrap();
        engage_offline(data.path(), "local:ana", order(None), (Timestamp(2), &SystemEntropy), Running::Silent).unwrap();
        let Said::State(overlay) = file::read(data.path()) else { panic!("not a state") };
        assert_eq!(overlay.entries.len(), 2);
        let written = std::fs::metadata(data.path().join(file::NAME)).unwrap().modified().unwrap();
        let again = engage_offline(data.path(), "local:ana", order(None), (Timestamp(3), &SystemEntropy), Running::Silent).unwrap();
        assert!(!again.effective && again.effective_ms.is_none(), "nobody proved it");
        assert_eq!(std::fs::metadata(data.path().join(file::NAME)).unwrap().modified().unwrap(), written, "not touched");
        let nowhere = Path::new("/nowhere/at/all");
        assert!(engage_offline(nowhere, "local:ana", order(None), (Timestamp(4), &SystemEntropy), Running::No).is_err());
    }
}
