//! Stopping while Lifeboat is not running: the file alone, which the next start reads before it listens. Never opens the database.

use std::path::Path;

use super::file::{self, Said};
use super::model::{Engaged, OrderBody};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::{self, Entropy};
use crate::policy::{KillEntry, KillOverlay, Mode, Scope};

/// Adds an order to the file `KILL` of a Lifeboat that is not running. Nothing listens, so nothing executes from this moment on.
///
/// # Errors
/// `Invalid` when the order names two scopes; `Unavailable` when the file cannot be written.
pub fn engage_offline(data: &Path, by: &str, body: OrderBody, now: Timestamp, entropy: &dyn Entropy) -> Verb<Engaged> {
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
    let after = before.engage(entry(order.scope.clone(), order.mode, by, order.reason));
    file::write(data, &after)
        .map_err(|cause| Fault::unavailable("the file KILL cannot be written: nothing is stopped").because(cause))?;
    Ok(Engaged {
        decision_id,
        scope: order.scope.text(),
        mode: order.mode.word().to_owned(),
        effective: true,
        effective_ms: Some(0),
        cut_in_flight: 0,
        proofs: Vec::new(),
        persisted: "file".to_owned(),
        at: now,
        by: by.to_owned(),
    })
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
        engage_offline(data.path(), "local:ana", order(Some("ci")), Timestamp(1), &SystemEntropy).unwrap();
        engage_offline(data.path(), "local:ana", order(None), Timestamp(2), &SystemEntropy).unwrap();
        let Said::State(overlay) = file::read(data.path()) else { panic!("not a state") };
        assert_eq!(overlay.entries.len(), 2);
        assert!(engage_offline(Path::new("/nowhere/at/all"), "local:ana", order(None), Timestamp(3), &SystemEntropy).is_err());
    }
}
