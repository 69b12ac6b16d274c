//! Lets a failing server rest: after some failures in a row its calls are refused at once, until one call has tried it again. Only a server's own
//! failures count, never a client's errors, a tool's errors or a call that was cancelled. Never sends anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::pipeline::Outcome;
use super::super::refuse::{Executed, Failure, Refusal};
use crate::config::settings::Upstream;
use crate::policy::feed::{Breaker as Told, Feed};

/// The breaker of one server.
pub(super) struct Breaker {
    name: Arc<str>,
    feed: Arc<Feed>,
    inner: Mutex<Inner>,
}

struct Inner {
    phase: Phase,
    /// Rises with each change of phase: a call that began before it has no say any more.
    turn: u64,
    /// Whether the last failure was that the server could not be reached.
    unreached: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// The next call tries the server.
    Half,
    /// A call is trying it.
    Trying,
}

/// What the end of a call says about its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    Ill { reached: bool },
}

/// The breaker opened or closed: what the ledger is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Calls are refused from now on.
    Opened,
    /// Calls are sent again.
    Closed,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new(name: Arc<str>, feed: Arc<Feed>) -> Arc<Self> {
        let inner = Inner { phase: Phase::Closed { failures: 0 }, turn: 0, unreached: false };
        let breaker = Self { name, feed, inner: Mutex::new(inner) };
        breaker.tell(Told::Closed);
        Arc::new(breaker)
    }

    /// Lets a call pass.
    ///
    /// # Errors
    /// How long the server still rests.
    pub(super) fn admit(self: &Arc<Self>, limits: &Upstream) -> Result<Pass, Duration> {
        let mut inner = self.lock();
        let now = Instant::now();
        match inner.phase {
            Phase::Open { until } if now < until => return Err(until - now),
            // Somebody else is finding out.
            Phase::Trying => return Err(Duration::from_millis(limits.breaker_rest_ms)),
            Phase::Open { .. } | Phase::Half => {
                inner.turn(Phase::Trying);
                self.tell(Told::HalfOpen);
            }
            Phase::Closed { .. } => {}
        }
        Ok(Pass { breaker: self.clone(), turn: inner.turn, tries: inner.phase == Phase::Trying })
    }

    /// A look at the server found it well. Where it could not be reached before, that is what was wrong; where it was reached and failed,
    /// only a call can tell.
    pub(super) fn seen_well(&self) -> Option<Change> {
        let mut inner = self.lock();
        if !matches!(inner.phase, Phase::Open { .. } | Phase::Half) {
            return None;
        }
        if inner.unreached {
            inner.turn(Phase::Closed { failures: 0 });
            self.tell(Told::Closed);
            return Some(Change::Closed);
        }
        inner.turn(Phase::Half);
        self.tell(Told::HalfOpen);
        None
    }

    fn judge(&self, turn: u64, verdict: Verdict, limits: &Upstream) -> Option<Change> {
        let mut inner = self.lock();
        if inner.turn != turn {
            return None;
        }
        let failures = match (inner.phase, verdict) {
            (Phase::Closed { .. }, Verdict::Well) => {
                inner.phase = Phase::Closed { failures: 0 };
                return None;
            }
            (Phase::Trying, Verdict::Well) => {
                inner.turn(Phase::Closed { failures: 0 });
                self.tell(Told::Closed);
                return Some(Change::Closed);
            }
            (Phase::Closed { failures }, Verdict::Ill { .. }) => failures.saturating_add(1),
            (Phase::Trying, Verdict::Ill { .. }) => u32::MAX,
            (Phase::Open { .. } | Phase::Half, _) => return None,
        };
        inner.unreached = matches!(verdict, Verdict::Ill { reached: false });
        if limits.breaker_failures == 0 || failures < limits.breaker_failures {
            inner.phase = Phase::Closed { failures };
            return None;
        }
        let was_closed = matches!(inner.phase, Phase::Closed { .. });
        inner.turn(Phase::Open { until: Instant::now() + Duration::from_millis(limits.breaker_rest_ms) });
        self.tell(Told::Open);
        was_closed.then_some(Change::Opened)
    }

    fn give_back(&self, turn: u64) {
        let mut inner = self.lock();
        if inner.turn == turn && inner.phase == Phase::Trying {
            inner.turn(Phase::Half);
        }
    }

    fn tell(&self, told: Told) {
        self.feed.set_breaker(&self.name, told);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn turn(&mut self, phase: Phase) {
        self.phase = phase;
        self.turn += 1;
    }
}

/// Leave for one call. Dropped without a verdict (the call was cancelled, cut or never sent) it says nothing about the server.
pub struct Pass {
    breaker: Arc<Breaker>,
    turn: u64,
    tries: bool,
}

impl Pass {
    /// What the end of the call says about the server.
    pub fn judge(self, outcome: &Result<Outcome, Refusal>, limits: &Upstream) -> Option<Change> {
        self.breaker.judge(self.turn, verdict(outcome)?, limits)
    }

    /// The answer of a call that tries the server has begun: others need not wait for its end.
    pub fn begun(&mut self, limits: &Upstream) -> Option<Change> {
        if !std::mem::take(&mut self.tries) {
            return None;
        }
        let change = self.breaker.judge(self.turn, Verdict::Well, limits);
        self.turn += u64::from(change.is_some());
        change
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.tries {
            self.breaker.give_back(self.turn);
        }
    }
}

fn verdict(outcome: &Result<Outcome, Refusal>) -> Option<Verdict> {
    match outcome {
        // An error that the server itself answers with is an answer.
        Ok(outcome) if matches!(outcome.status, "ok" | "tool_error" | "upstream_error") => Some(Verdict::Well),
        Err(Refusal::ResponseSize { .. } | Refusal::NoSession) => Some(Verdict::Well),
        Err(Refusal::Upstream { failure: Failure::Declined, .. }) => None,
        Err(Refusal::Upstream { executed, .. }) => Some(Verdict::Ill { reached: *executed != Executed::No }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::super::super::exchange::Whole;
    use super::super::super::pipeline::Answer;
    use super::*;
    use crate::config::Class;
    use crate::policy::{KillOverlay, Mode, Snapshot};

    const LIMITS: Upstream = Upstream {
        connect_ms: 1,
        answer_ms: 1,
        start_wait_ms: 1,
        body_ms: 1,
        calls: 1,
        breaker_failures: 3,
        breaker_rest_ms: 1_000,
        health_seconds: 0,
    };

    fn breaker() -> (Arc<Breaker>, Arc<Feed>) {
        let (feed, _) = Feed::new(Snapshot::default(), KillOverlay::default());
        (Breaker::new("s".into(), feed.clone()), feed)
    }

    fn ended(status: &'static str) -> Result<Outcome, Refusal> {
        let answer = Answer::Whole(Whole::empty(StatusCode::OK));
        Ok(Outcome { answer, status, executed: Executed::Yes })
    }

    fn failed(failure: Failure, executed: Executed) -> Result<Outcome, Refusal> {
        Err(Refusal::upstream(failure, executed, Class::Read, "x"))
    }

    fn call(breaker: &Arc<Breaker>, outcome: &Result<Outcome, Refusal>) -> Option<Change> {
        breaker.admit(&LIMITS).unwrap_or_else(|_| unreachable!("it is not open")).judge(outcome, &LIMITS)
    }

    #[tokio::test(start_paused = true)]
    async fn flt_03_it_opens_after_failures_in_a_row_and_closes_by_one_good_call() {
        let (breaker, feed) = breaker();
        let late = failed(Failure::Timeout, Executed::Unknown);
        for outcome in [&late, &late, &ended("ok"), &late, &late] {
            assert_eq!(call(&breaker, outcome), None, "not in a row");
        }
        assert_eq!(call(&breaker, &late), Some(Change::Opened));
        assert_eq!(feed.breaker("s"), Some(Told::Open));
        assert!(breaker.admit(&LIMITS).err().is_some_and(|rest| rest <= Duration::from_secs(1)));
        tokio::time::advance(Duration::from_millis(1_001)).await;
        let trying = breaker.admit(&LIMITS).unwrap_or_else(|_| unreachable!());
        assert!(breaker.admit(&LIMITS).is_err(), "one call tries, the others wait");
        assert_eq!(trying.judge(&late, &LIMITS), None, "it stays open");
        assert!(breaker.admit(&LIMITS).is_err());
        tokio::time::advance(Duration::from_millis(1_001)).await;
        assert_eq!(call(&breaker, &ended("tool_error")), Some(Change::Closed));
        assert_eq!(feed.breaker("s"), Some(Told::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_opens_for_what_is_not_the_servers_failure() {
        let (breaker, _) = breaker();
        let innocent = [
            ended("tool_error"),
            ended("upstream_error"),
            ended("cancelled"),
            Err(Refusal::NoSession),
            Err(Refusal::Killed { mode: Mode::Full, executed: Executed::Unknown }),
            Err(Refusal::ResponseSize { limit: 1, executed: Executed::Yes }),
            failed(Failure::Declined, Executed::No),
        ];
        for outcome in innocent.iter().cycle().take(50) {
            assert_eq!(call(&breaker, outcome), None);
        }
        for _ in 0..50 {
            drop(breaker.admit(&LIMITS).unwrap_or_else(|_| unreachable!()));
        }
        assert!(breaker.admit(&LIMITS).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_is_cancelled_leaves_the_next_one_free() {
        let (breaker, _) = breaker();
        for _ in 0..3 {
            call(&breaker, &failed(Failure::Unavailable, Executed::Unknown));
        }
        tokio::time::advance(Duration::from_millis(1_001)).await;
        drop(breaker.admit(&LIMITS).unwrap_or_else(|_| unreachable!()));
        let mut next = breaker.admit(&LIMITS).unwrap_or_else(|_| unreachable!("free again"));
        assert_eq!(next.begun(&LIMITS), Some(Change::Closed), "a stream that has begun closes it");
        assert!(breaker.admit(&LIMITS).is_ok());
        drop(next);
        assert!(breaker.admit(&LIMITS).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_closes_it_only_where_the_server_could_not_be_reached() {
        let (breaker, feed) = breaker();
        for _ in 0..3 {
            call(&breaker, &failed(Failure::Unavailable, Executed::No));
        }
        assert_eq!(breaker.seen_well(), Some(Change::Closed));
        for _ in 0..3 {
            call(&breaker, &failed(Failure::Timeout, Executed::Unknown));
        }
        assert_eq!((breaker.seen_well(), feed.breaker("s")), (None, Some(Told::HalfOpen)));
        assert_eq!(call(&breaker, &ended("ok")), Some(Change::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn without_failures_set_it_never_opens() {
        let (breaker, _) = breaker();
        let limits = Upstream { breaker_failures: 0, ..LIMITS };
        for _ in 0..100 {
            let pass = breaker.admit(&limits).unwrap_or_else(|_| unreachable!());
            assert_eq!(pass.judge(&failed(Failure::Timeout, Executed::Unknown), &limits), None);
        }
    }
}
