//! How an archive makes room for calls. What the ledger brings to the disk waits for whatever is on its way there, so while the ledger is being written
//! each piece of an archive is followed by a rest; while it is not, nobody waits for anything. Never decides what is written.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::audit::Ledger;

/// For so long after the ledger was written calls are taken to come.
const RECENT: Duration = Duration::from_millis(250);
/// How long a rest is, in times of what the piece before it took.
const RESTS: u32 = 3;
/// A disk that is slow itself is not made slower without end.
const LONGEST: Duration = Duration::from_millis(40);
/// How much is read between two rests.
const PIECE: usize = 256 * 1024;

/// Looks at the ledger.
pub(super) struct Pace {
    ledger: Ledger,
    groups: u64,
    written_at: Option<Instant>,
}

impl Pace {
    /// Beside this ledger.
    pub(super) fn beside(ledger: &Ledger) -> Self {
        Self { ledger: ledger.clone(), groups: ledger.stats().groups, written_at: None }
    }

    /// After a piece that took so long: rests when calls come. Blocks.
    pub(super) fn rest(&mut self, took: Duration) {
        let rest = self.due(self.ledger.stats().groups, Instant::now(), took);
        if !rest.is_zero() {
            std::thread::park_timeout(rest);
        }
    }

    fn due(&mut self, groups: u64, now: Instant, took: Duration) -> Duration {
        if groups != self.groups {
            (self.groups, self.written_at) = (groups, Some(now));
        }
        let calls_come = self.written_at.is_some_and(|at| now.saturating_duration_since(at) < RECENT);
        if calls_come { (took * RESTS).min(LONGEST) } else { Duration::ZERO }
    }
}

/// Reads at this pace.
pub(super) struct Paced<R> {
    inner: R,
    pace: Pace,
}

impl<R> Paced<R> {
    /// Reads `inner` beside a ledger.
    pub(super) fn new(inner: R, ledger: &Ledger) -> Self {
        Self { inner, pace: Pace::beside(ledger) }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(PIECE);
        let began = Instant::now();
        let count = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.pace.rest(began.elapsed());
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
        let mut pace = Pace::beside(&house.admin.ledger);
        let (began, took) = (Instant::now(), Duration::from_millis(2));
        let at = |ms: u64| began + Duration::from_millis(ms);
        let groups = pace.groups;
        assert_eq!(pace.due(groups, at(0), took), Duration::ZERO, "nothing was written since");
        assert_eq!(pace.due(groups + 1, at(10), took), Duration::from_millis(6));
        assert_eq!(pace.due(groups + 1, at(259), took), Duration::from_millis(6), "a moment ago");
        assert_eq!(pace.due(groups + 1, at(260), took), Duration::ZERO, "no call came any more");
        assert_eq!(pace.due(groups + 5, at(900), Duration::from_secs(1)), LONGEST);
        // A whole read goes through unchanged.
        let mut read = Vec::new();
        Paced::new(&[7u8; 600_000][..], &house.admin.ledger).read_to_end(&mut read).unwrap();
        assert_eq!(read, vec![7u8; 600_000]);
    }
}
