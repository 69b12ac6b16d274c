//! Asks a URL elsewhere again and again while alerts are looked for: when it is no longer asked, somebody there notices. Never asks when the last
//! look at the alerts failed or is long ago.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::memory::{locked, running};
use super::post::{self, Answered};
use super::receivers::WatchdogView;
use crate::admin::Admin;
use crate::base::clock::Timestamp;
use crate::config::alerts::WatchdogConfig;

/// How often the task looks whether it is time.
const TICK: Duration = Duration::from_secs(5);
/// A look is made each minute; three that are missing are no accident.
const FRESH_MS: i64 = 3 * 60_000;
/// So many failures in a row are an alert.
pub(super) const SILENT: u32 = 3;

/// What it saw; of this process only.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// When it asked last.
    pub asked: Option<Timestamp>,
    /// When it was last answered.
    pub ok: Option<Timestamp>,
    /// How many failed in a row.
    pub failures: u32,
    /// Why the last one failed.
    pub why: Option<String>,
}

/// What a page shows of it; `None` when it is not configured.
pub(super) fn view(admin: &Admin, config: &WatchdogConfig) -> Option<WatchdogView> {
    let url = config.url.clone()?;
    let watch = locked(&admin.alerts.watch).clone();
    let every_seconds = config.every_seconds;
    Some(WatchdogView { url, every_seconds, last_ok: watch.ok, failures: watch.failures, why: watch.why })
}

/// The task that asks. Runs until `stop`.
pub async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
        if stop.run_until_cancelled(turn(&admin)).await.is_none() {
            return;
        }
    }
}

/// Asks when it is time; whether it did.
pub(super) async fn turn(admin: &Admin) -> bool {
    let config = running(admin).await.watchdog.clone();
    let Some(target) = config.target() else {
        // What failed before it was taken out is nobody's trouble any more.
        *locked(&admin.alerts.watch) = Watch::default();
        return false;
    };
    let now = admin.clock.now();
    let pause = i64::try_from(config.every_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let asked = locked(&admin.alerts.watch).asked;
    if !is_healthy(admin, now) || asked.is_some_and(|at| (0..pause).contains(&now.since_ms(at))) {
        return false;
    }
    let answered = match target {
        Ok(target) => post::knock(&target, &admin.alerts.lookup).await,
        Err(wrong) => Answered::failed(format!("{}: {}", wrong.key, wrong.message)),
    };
    let mut watch = locked(&admin.alerts.watch);
    watch.asked = Some(now);
    if answered.is_ok() {
        (watch.ok, watch.failures, watch.why) = (Some(now), 0, None);
    } else {
        watch.failures = watch.failures.saturating_add(1);
        tracing::warn!(watchdog.failures = watch.failures, watchdog.why = answered.why, "the watchdog of alerts was not answered");
        watch.why = Some(answered.why);
    }
    true
}

/// Whether the last look at the alerts ended well, and not long ago.
fn is_healthy(admin: &Admin, now: Timestamp) -> bool {
    locked(&admin.alerts.looked).is_some_and(|at| now.since_ms(at) <= FRESH_MS)
}
