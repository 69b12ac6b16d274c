//! The scheduled work itself: the same verbs an operator uses, as Lifeboat itself.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::current;
use crate::admin::{Actor, Admin, credentials, drills, vaults};
use crate::base::fault::{Fault, Verb};
use crate::config::schedules::{Schedule, Schedules, Slots};
use crate::jobs::Job;

const HOUR_MS: i64 = 3_600_000;
const LOOK: Duration = Duration::from_secs(10);

/// The schedules as they were last read: a job is asked for its slots where nothing may wait.
#[derive(Default)]
pub(super) struct Watched(Mutex<Option<Schedules>>);

impl Watched {
    fn slots(&self, of: impl Fn(&Schedules) -> &Schedule) -> Option<Slots> {
        let schedules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let schedule = of(schedules.as_ref()?);
        if schedule.paused { None } else { Slots::parse(&schedule.cron).ok() }
    }

    fn set(&self, schedules: Schedules) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(schedules);
    }
}

/// Reads the schedules again and again, until `stop`.
pub(super) async fn watch(admin: &Arc<Admin>, watched: &Watched, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        watched.set(current(admin).await);
        let _ = stop.run_until_cancelled(tokio::time::sleep(LOOK)).await;
    }
}

fn actor() -> Actor {
    Actor::system("schedule")
}

/// An archive of every vault.
pub(super) struct Backup(pub(super) Arc<Admin>, pub(super) Arc<Watched>);

impl Job for Backup {
    fn name(&self) -> &'static str {
        "backup"
    }

    fn slots(&self) -> Option<Slots> {
        self.1.slots(|schedules| &schedules.backup)
    }

    // However late: one now is better than none.
    fn grace_ms(&self) -> i64 {
        i64::MAX
    }

    fn run(&self) -> Pin<Box<dyn Future<Output = Verb<String>> + Send + '_>> {
        Box::pin(async {
            let done = vaults::run(&self.0, &actor(), vaults::BackupOrder::default()).await?;
            if let Some(copy) = done.copies.first() {
                return Err(Fault::unavailable(format!("{} archives, but {copy}", done.archives.len())));
            }
            match done.failed.first() {
                None => Ok(format!("{} archives, {}; {}", done.archives.len(), done.set, pruned(&self.0).await)),
                Some(failed) => Err(Fault::unavailable(format!("vault {}: {}", failed.vault, failed.why))),
            }
        })
    }
}

/// Removing what no rule keeps is no reason for the backup to fail.
async fn pruned(admin: &Admin) -> String {
    match vaults::prune(admin, &actor(), vaults::PruneOrder::default()).await {
        Ok(done) => format!("{} older ones removed", done.removed),
        Err(fault) => format!("no older ones removed: {}", fault.message),
    }
}

/// A comparison of every archive with its note.
pub(super) struct Check(pub(super) Arc<Admin>, pub(super) Arc<Watched>);

impl Job for Check {
    fn name(&self) -> &'static str {
        "verify"
    }

    fn slots(&self) -> Option<Slots> {
        self.1.slots(|schedules| &schedules.verify)
    }

    // A week: then the next one is due.
    fn grace_ms(&self) -> i64 {
        7 * 24 * HOUR_MS
    }

    fn run(&self) -> Pin<Box<dyn Future<Output = Verb<String>> + Send + '_>> {
        Box::pin(async {
            let done = vaults::verify(&self.0, &actor()).await?;
            match done.faults.first() {
                None => Ok(format!("{} archives compared, {} opened", done.checked, done.opened)),
                Some(fault) => Err(Fault::unavailable(fault.clone())),
            }
        })
    }
}

/// A drill that rebuilds the deployment.
pub(super) struct Drill(pub(super) Arc<Admin>, pub(super) Arc<Watched>);

impl Job for Drill {
    fn name(&self) -> &'static str {
        "drill"
    }

    fn slots(&self) -> Option<Slots> {
        self.1.slots(|schedules| &schedules.drill)
    }

    // Two weeks; after that it is overdue, and somebody should know why.
    fn grace_ms(&self) -> i64 {
        14 * 24 * HOUR_MS
    }

    fn run(&self) -> Pin<Box<dyn Future<Output = Verb<String>> + Send + '_>> {
        Box::pin(async {
            let drill = drills::run(&self.0, &actor(), drills::DrillOrder::default()).await?;
            let said = format!("{}: {}", drill.id, drill.summary);
            if drill.passed { Ok(said) } else { Err(Fault::unavailable(said)) }
        })
    }
}

/// The rotation of what is due, and the plan on paper.
pub(super) struct Rotate(pub(super) Arc<Admin>, pub(super) Arc<Watched>);

impl Job for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn slots(&self) -> Option<Slots> {
        self.1.slots(|schedules| &schedules.rotate)
    }

    // However late: what is due stays due.
    fn grace_ms(&self) -> i64 {
        i64::MAX
    }

    fn run(&self) -> Pin<Box<dyn Future<Output = Verb<String>> + Send + '_>> {
        Box::pin(async {
            let done = credentials::rotate_due(&self.0, &actor()).await?;
            let said = done.sentence();
            if done.ok { Ok(said) } else { Err(Fault::unavailable(said)) }
        })
    }
}
