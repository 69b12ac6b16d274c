//! What is to be done now. Pure: from the schedule, what was done, and the time.

use crate::base::clock::Timestamp;
use crate::config::schedules::Slots;

/// What a look at a schedule finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    No,
    /// This slot, and every older one with it.
    Run(Timestamp),
    /// This slot is too old to begin now.
    Skip(Timestamp),
}

/// The newest slot after `last` that has come. A clock that was set back finds its slots done already.
pub fn decide(slots: &Slots, last: Timestamp, now: Timestamp, grace_ms: i64) -> Due {
    match slots.until(now) {
        Some(slot) if slot > last && now.since_ms(slot) <= grace_ms => Due::Run(slot),
        Some(slot) if slot > last => Due::Skip(slot),
        _ => Due::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn rec_14_no_slot_runs_twice_or_never_whatever_the_clock_does() {
        let daily = Slots::parse("0 2 * * *").unwrap();
        let (first, second) = (at("2026-11-28T02:00:00Z"), at("2026-11-29T02:00:00Z"));
        let look = |last, now| decide(&daily, last, now, 26 * HOUR);
        assert_eq!(look(first, at("2026-11-29T01:59:59Z")), Due::No);
        assert_eq!(look(first, second), Due::Run(second));
        assert_eq!(look(second, at("2026-11-29T02:00:01Z")), Due::No);
        // Set back by two days, and forward again.
        assert_eq!(look(second, at("2026-11-27T02:00:00Z")), Due::No);
        assert_eq!(look(second, at("2026-11-30T02:00:00Z")), Due::Run(at("2026-11-30T02:00:00Z")));
        // A year forward is one run, not 365.
        assert_eq!(look(second, at("2027-12-30T03:00:00Z")), Due::Run(at("2027-12-30T02:00:00Z")));
        // And back from it: the slots of this year stay done until the clock has caught up with what was done.
        assert_eq!(look(at("2027-12-30T02:00:00Z"), at("2026-12-01T02:00:00Z")), Due::No);
    }

    #[test]
    fn rec_26_a_machine_that_slept_over_a_slot_catches_up_once_or_skips() {
        let quarterly = Slots::parse("17 4 2 1,4,7,10 *").unwrap();
        let (last, slot) = (at("2026-10-02T04:17:00Z"), at("2027-01-02T04:17:00Z"));
        let look = |now| decide(&quarterly, last, now, 14 * 24 * HOUR);
        assert_eq!(look(at("2027-01-10T00:00:00Z")), Due::Run(slot));
        assert_eq!(look(at("2027-02-10T00:00:00Z")), Due::Skip(slot));
    }
}
