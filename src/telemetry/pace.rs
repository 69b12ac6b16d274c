//! How often a thing that may happen without end is logged: once a second, with the count of what was left unsaid. Never logs by itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const REST: Duration = Duration::from_secs(1);

/// The pace of one sentence.
#[derive(Debug, Default)]
pub struct Pace(Mutex<(Option<Instant>, u64)>);

impl Pace {
    /// Whether it may be said now, and then how often it was not said since the last time.
    pub fn turn(&self) -> Option<u64> {
        self.turn_at(Instant::now())
    }

    fn turn_at(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, unsaid) = *said;
        if last.is_some_and(|last| now.saturating_duration_since(last) < REST) {
            said.1 += 1;
            return None;
        }
        *said = (Some(now), 0);
        Some(unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flt_12_a_thing_that_goes_on_is_said_once_a_second_and_counted() {
        let (pace, begun) = (Pace::default(), Instant::now());
        let said: Vec<_> = (0..100).filter_map(|n| pace.turn_at(begun + Duration::from_millis(n * 50))).collect();
        assert_eq!(said, [0, 19, 19, 19, 19]);
    }
}
