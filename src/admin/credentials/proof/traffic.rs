//! The traffic of a proof: clients that call at a fixed rate through the first TLS listener, each with the key it holds, and look for a new one five times a
//! second. Times and counts only; never keeps an answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::model::{Bucket, ProveOrder, Traffic};
use crate::admin::credentials::canary::{self, Target};
use crate::admin::{Admin, kill};
use crate::base::secret::Secret;
use crate::policy::feed::ProxyListener;

const LOOPS: u32 = 8;
/// How often a client looks for a new key.
const RELOAD: Duration = Duration::from_millis(200);
const COLUMNS: u64 = 60;

/// A key as a client holds it.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Its public name.
    pub kid: String,
    /// It.
    pub text: Secret<String>,
}

/// One request.
#[derive(Clone, Debug)]
struct Shot {
    at: Duration,
    took: Duration,
    new: bool,
    fault: Option<String>,
}

/// Traffic that runs, or is about to.
pub(super) struct Load<'a> {
    admin: &'a Admin,
    target: Target,
    rate: u32,
    first: String,
    held: watch::Sender<Shown>,
    shots: Mutex<Vec<Shot>>,
    /// When rotations began and ended.
    window: Mutex<(Option<Instant>, Option<Instant>)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Load<'a> {
    /// Clients that hold this key.
    pub(super) fn new(admin: &'a Admin, target: &Target, order: &ProveOrder, held: Shown) -> Self {
        let first = held.kid.clone();
        let held = watch::Sender::new(held);
        Self { admin, target: target.clone(), rate: order.rate, first, held, shots: Mutex::default(), window: Mutex::default() }
    }

    /// The clients find this key when they look next.
    pub(super) fn moves(&self, held: Shown) {
        self.held.send_replace(held);
    }

    /// The rotations begin.
    pub(super) fn begins(&self) {
        locked(&self.window).0 = Some(Instant::now());
    }

    /// The rotations are over, or were given up.
    pub(super) fn ends(&self) {
        locked(&self.window).1 = Some(Instant::now());
    }

    fn is_over(&self, begun: Instant, lasts: Duration) -> bool {
        begun.elapsed() >= lasts && locked(&self.window).1.is_some()
    }

    /// Calls for so long, and for as long as the rotations last.
    pub(super) async fn run(&self, lasts: Duration) -> Traffic {
        let begun = Instant::now();
        let listener = self.admin.feed.listeners().into_iter().next();
        if let Some(listener) = &listener {
            join_all((0..LOOPS).map(|number| self.client(listener, number, (begun, lasts)))).await;
        }
        self.count(begun)
    }

    async fn client(&self, listener: &ProxyListener, number: u32, (begun, lasts): (Instant, Duration)) {
        let pause = Duration::from_secs_f64(f64::from(LOOPS) / f64::from(self.rate));
        let mut due = begun + pause.mul_f64(f64::from(number) / f64::from(LOOPS));
        let (mut shown, mut looked) = (self.held.borrow().clone(), Instant::now());
        while !self.is_over(begun, lasts) {
            tokio::time::sleep_until(due.into()).await;
            if looked.elapsed() >= RELOAD {
                (shown, looked) = (self.held.borrow().clone(), Instant::now());
            }
            let (at, started) = (begun.elapsed(), Instant::now());
            let fault = self.shot(listener, &shown).await.err();
            let shot = Shot { at, took: started.elapsed(), new: shown.kid != self.first, fault };
            locked(&self.shots).push(shot);
            // What was late is made up for, but not all at once.
            due = (due + pause).max(Instant::now() - pause);
        }
    }

    async fn shot(&self, listener: &ProxyListener, shown: &Shown) -> Result<(), String> {
        let (request, body) = canary::request(&self.target.server, self.target.tool.as_deref(), shown.text.reveal());
        let manner = kill::manner(self.admin);
        let sent = self.admin.credentials.line.send(listener, (&manner, self.admin.feed.guests()), request, body);
        let (status, body) =
            tokio::time::timeout(Duration::from_secs(10), sent).await.map_err(|_| "no answer in 10 s".to_owned())??;
        canary::judged(status, &body).map(|_| ())
    }

    fn count(&self, begun: Instant) -> Traffic {
        let shots = locked(&self.shots).clone();
        let window = *locked(&self.window);
        let since = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(begun));
        let (from, to) = (since(window.0).unwrap_or_default(), since(window.1).unwrap_or(Duration::MAX));
        let failed: Vec<&Shot> = shots.iter().filter(|shot| shot.fault.is_some()).collect();
        let unauthorised = failed.iter().filter(|shot| shot.fault.as_deref().is_some_and(|why| why.contains("401"))).count();
        Traffic {
            loops: LOOPS,
            rate: self.rate,
            requests: shots.len() as u64,
            failed: failed.len() as u64,
            unauthorised: unauthorised as u64,
            first_failure: failed.first().and_then(|shot| shot.fault.clone()),
            moved: if shots.iter().rev().take(LOOPS as usize).all(|shot| shot.new) { LOOPS } else { 0 },
            p99_before_ms: p99(shots.iter().filter(|shot| shot.at < from)),
            p99_during_ms: p99(shots.iter().filter(|shot| shot.at >= from && shot.at <= to)),
            buckets: buckets(&shots),
        }
    }
}

fn p99<'a>(shots: impl Iterator<Item = &'a Shot>) -> f64 {
    let mut all: Vec<f64> = shots.map(|shot| shot.took.as_secs_f64() * 1e3).collect();
    all.sort_by(f64::total_cmp);
    let place = (all.len() * 99).div_ceil(100).saturating_sub(1);
    all.get(place).map_or(0.0, |ms| (ms * 100.0).round() / 100.0)
}

fn buckets(shots: &[Shot]) -> Vec<Bucket> {
    let ms = |shot: &Shot| u64::try_from(shot.at.as_millis()).unwrap_or(u64::MAX);
    let last = shots.iter().map(ms).max().unwrap_or(0);
    let width = (last / COLUMNS + 1).max(50);
    let count = usize::try_from(last / width + 1).unwrap_or(1);
    let mut all: Vec<Bucket> = (0..count as u64).map(|n| Bucket { at_ms: n * width, ..Bucket::default() }).collect();
    for shot in shots {
        let Some(bucket) = usize::try_from(ms(shot) / width).ok().and_then(|place| all.get_mut(place)) else { continue };
        match (&shot.fault, shot.new) {
            (Some(_), _) => bucket.failed += 1,
            (None, true) => bucket.new += 1,
            (None, false) => bucket.old += 1,
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shot(at: u64, took: u64, new: bool, fault: Option<&str>) -> Shot {
        Shot { at: Duration::from_millis(at), took: Duration::from_millis(took), new, fault: fault.map(str::to_owned) }
    }

    #[test]
    fn every_request_stands_in_one_bucket() {
        let shots: Vec<Shot> = (0..1_000).map(|n| shot(n * 10, 1, n >= 500, (n == 700).then_some("x"))).collect();
        let all = buckets(&shots);
        assert!(all.len() <= 61, "{}", all.len());
        assert_eq!(all.iter().map(|b| b.old + b.new + b.failed).sum::<u64>(), 1_000);
        assert_eq!((all.iter().map(|b| b.old).sum::<u64>(), all.iter().map(|b| b.failed).sum::<u64>()), (500, 1));
        assert!(buckets(&[]).len() == 1);
    }

    #[test]
    fn one_slow_request_in_a_hundred_is_not_the_99th() {
        let shots: Vec<Shot> = (0..100).map(|n| shot(n, if n == 50 { 900 } else { 2 }, false, None)).collect();
        assert_eq!(p99(shots.iter()), 2.0);
        assert_eq!(p99(std::iter::empty()), 0.0);
    }
}
