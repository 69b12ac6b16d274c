//! The traffic of a proof: clients that call at a fixed rate through the first listener, half of them with the key they hold, half with tokens that they get for
//! the secret they hold, and look for a new one five times a second. Times and counts only; never keeps an answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::SHADOW;
use super::model::{Bucket, ProveOrder, Traffic};
use crate::admin::clients::single::Form;
use crate::admin::credentials::canary::{self, Target};
use crate::admin::credentials::grants;
use crate::admin::{Admin, kill};
use crate::base::secret::Secret;
use crate::policy::feed::ProxyListener;

const LOOPS: u32 = 8;
/// How often a client looks for a new key.
const RELOAD: Duration = Duration::from_millis(200);
const COLUMNS: u64 = 60;
/// How long a token is called with, so that some outlive what is replaced meanwhile.
const TOKEN_AGE: Duration = Duration::from_secs(2);

/// A key or secret as a client holds it.
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

/// What half of the clients hold.
struct Holds {
    form: Form,
    first: String,
    now: watch::Sender<Shown>,
}

impl Holds {
    fn new(form: Form, shown: Shown) -> Self {
        Self { form, first: shown.kid.clone(), now: watch::Sender::new(shown) }
    }
}

/// A token that a client calls with for a while.
struct Token {
    text: Secret<String>,
    kid: String,
    since: Instant,
}

/// Traffic that runs, or is about to.
pub(super) struct Load<'a> {
    admin: &'a Admin,
    target: Target,
    rate: u32,
    keys: Holds,
    secrets: Holds,
    tokens: AtomicU64,
    shots: Mutex<Vec<Shot>>,
    /// When rotations began and ended.
    window: Mutex<(Option<Instant>, Option<Instant>)>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Load<'a> {
    /// Clients that hold this key, and clients that hold this secret.
    pub(super) fn new(admin: &'a Admin, target: &Target, order: &ProveOrder, (key, secret): (Shown, Shown)) -> Self {
        Self {
            admin,
            target: target.clone(),
            rate: order.rate,
            keys: Holds::new(Form::Key, key),
            secrets: Holds::new(Form::Secret, secret),
            tokens: AtomicU64::new(0),
            shots: Mutex::default(),
            window: Mutex::default(),
        }
    }

    /// The clients find this key or secret when they look next.
    pub(super) fn moves(&self, form: Form, held: Shown) {
        let holds = if form == Form::Key { &self.keys } else { &self.secrets };
        holds.now.send_replace(held);
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
        let holds = if number.is_multiple_of(2) { &self.keys } else { &self.secrets };
        let (mut shown, mut looked, mut token) = (holds.now.borrow().clone(), Instant::now(), None);
        while !self.is_over(begun, lasts) {
            tokio::time::sleep_until(due.into()).await;
            if looked.elapsed() >= RELOAD {
                (shown, looked) = (holds.now.borrow().clone(), Instant::now());
            }
            let (at, started) = (begun.elapsed(), Instant::now());
            let fault = self.shot(listener, (holds.form, &shown), &mut token).await.err();
            let shot = Shot { at, took: started.elapsed(), new: shown.kid != holds.first, fault };
            locked(&self.shots).push(shot);
            // What was late is made up for, but not all at once.
            due = (due + pause).max(Instant::now() - pause);
        }
    }

    async fn shot(&self, listener: &ProxyListener, (form, shown): (Form, &Shown), token: &mut Option<Token>) -> Result<(), String> {
        let bearer = match form {
            Form::Key => shown.text.clone(),
            Form::Secret => self.token(listener, shown, token).await?,
        };
        let (request, body) = canary::request(&self.target.server, self.target.tool.as_deref(), bearer.reveal());
        let manner = kill::manner(self.admin);
        let sent = self.admin.credentials.line.send(listener, (&manner, self.admin.feed.guests()), request, body);
        let (status, body) =
            tokio::time::timeout(Duration::from_secs(10), sent).await.map_err(|_| "no answer in 10 s".to_owned())??;
        canary::judged(status, &body).map(|_| ())
    }

    /// The token that a client calls with: the one it has, or a new one when that is old, or of a secret that it no longer holds.
    async fn token(&self, listener: &ProxyListener, shown: &Shown, held: &mut Option<Token>) -> Result<Secret<String>, String> {
        if let Some(token) = held.as_ref().filter(|token| token.kid == shown.kid && token.since.elapsed() < TOKEN_AGE) {
            return Ok(token.text.clone());
        }
        let asked = grants::ask(self.admin, listener, &self.target, (SHADOW, &shown.text)).await;
        let given = asked.map_err(|trouble| trouble.said)?;
        self.tokens.fetch_add(1, Ordering::Relaxed);
        let token = held.insert(Token { text: given.text, kid: shown.kid.clone(), since: Instant::now() });
        Ok(token.text.clone())
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
            tokens: Some(self.tokens.load(Ordering::Relaxed)),
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
