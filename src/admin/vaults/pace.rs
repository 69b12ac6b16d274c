//! How an archive makes room for calls. What the ledger brings to the disk waits for whatever is on its way there, so while the ledger is being written
//! each piece of an archive is followed by a rest, of the disk as of the cores; while it is not, nobody waits for anything. Never decides what is written.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::audit::Ledger;
use crate::crypto::archive::{Pace, worked};

/// For so long after the ledger was written calls are taken to come.
const RECENT: Duration = Duration::from_millis(250);
/// How long a rest is, in times of what the piece before it took.
const RESTS: u32 = 3;
/// A disk that is slow itself is not made slower without end.
const LONGEST: Duration = Duration::from_millis(40);
/// How much is read between two rests.
const PIECE: usize = 256 * 1024;

/// The pace of an archive beside the ledger, for all of its threads.
pub(super) struct Beside {
    ledger: Ledger,
    seen: Mutex<Seen>,
}

/// How far the ledger was, and when it was last seen to move.
struct Seen {
    groups: u64,
    written_at: Option<Instant>,
}

impl Beside {
    /// Beside this ledger.
    pub(super) fn new(ledger: &Ledger) -> Self {
        let seen = Seen { groups: ledger.stats().groups, written_at: None };
        Self { ledger: ledger.clone(), seen: Mutex::new(seen) }
    }

    fn due(&self, took: Duration) -> Duration {
        let groups = self.ledger.stats().groups;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).due(groups, Instant::now(), took)
    }
}

impl Pace for Beside {
    fn is_due(&self) -> bool {
        !self.due(LONGEST).is_zero()
    }

    fn rest(&self, took: Duration) {
        let rest = self.due(took);
        if !rest.is_zero() {
            std::thread::park_timeout(rest);
        }
    }
}

impl Seen {
    /// How long to rest after a piece that took so long.
    fn due(&mut self, groups: u64, now: Instant, took: Duration) -> Duration {
        if groups != self.groups {
            (self.groups, self.written_at) = (groups, Some(now));
        }
        let calls_come = self.written_at.is_some_and(|at| now.saturating_duration_since(at) < RECENT);
        if calls_come { (took * RESTS).min(LONGEST) } else { Duration::ZERO }
    }
}

/// Reads at this pace.
pub(super) struct Paced<'a, R> {
    inner: R,
    pace: &'a dyn Pace,
    /// What the reading thread had worked when it was last given something: what it does with that is a part of the piece.
    worked: Duration,
}

impl<'a, R> Paced<'a, R> {
    /// Reads `inner` at the pace of `pace`.
    pub(super) fn new(inner: R, pace: &'a dyn Pace) -> Self {
        Self { inner, pace, worked: worked() }
    }
}

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(PIECE);
        // Another thread than the one before has worked less.
        let with_it = worked().saturating_sub(self.worked);
        let began = Instant::now();
        let count = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.pace.rest(with_it + began.elapsed());
        self.worked = worked();
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests_house::House;

    #[tokio::test(flavor = "multi_thread")]
    async fn it_rests_while_the_ledger_is_written_and_not_otherwise() {
        let house = House::open().await;
        let pace = Beside::new(&house.admin.ledger);
        let mut seen = pace.seen.lock().unwrap();
        let (began, took) = (Instant::now(), Duration::from_millis(2));
        let at = |ms: u64| began + Duration::from_millis(ms);
        let groups = seen.groups;
        assert_eq!(seen.due(groups, at(0), took), Duration::ZERO, "nothing was written since");
        assert_eq!(seen.due(groups + 1, at(10), took), Duration::from_millis(6));
        assert_eq!(seen.due(groups + 1, at(259), took), Duration::from_millis(6), "a moment ago");
        assert_eq!(seen.due(groups + 1, at(260), took), Duration::ZERO, "no call came any more");
        assert_eq!(seen.due(groups + 5, at(900), Duration::from_secs(1)), LONGEST);
        drop(seen);
        // A whole read goes through unchanged.
        let mut read = Vec::new();
        Paced::new(&[7u8; 600_000][..], &pace).read_to_end(&mut read).unwrap();
        assert_eq!(read, vec![7u8; 600_000]);
    }
}
