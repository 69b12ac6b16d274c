//! When a notice is tried again, and when it is given up. Pure.

use chrono::DateTime;

use crate::base::clock::Timestamp;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// The pauses before each attempt, as the Standard Webhooks specification advises.
const PAUSES_MS: [i64; 10] = [
    0,
    5 * SECOND_MS,
    5 * MINUTE_MS,
    30 * MINUTE_MS,
    2 * HOUR_MS,
    5 * HOUR_MS,
    10 * HOUR_MS,
    14 * HOUR_MS,
    20 * HOUR_MS,
    24 * HOUR_MS,
];
/// The longest that a receiver may ask for.
const LONGEST_MS: i64 = 24 * HOUR_MS;
/// What is older is news to nobody: a deployment that was brought back does not tell of it.
pub(super) const OLDEST_MS: i64 = 7 * 24 * HOUR_MS;
/// How long a receiver that fails is left alone.
const REST_MS: i64 = MINUTE_MS;

/// When the next attempt is due after `attempts` that failed; `None` when that was the last. `chance` spreads it over a tenth of the pause.
pub(super) fn next(attempts: u32, asked_ms: Option<i64>, now: Timestamp, chance: u8) -> Option<Timestamp> {
    let pause = *PAUSES_MS.get(usize::try_from(attempts).ok()?)?;
    let spread = pause / 10 * i64::from(chance) / 255;
    let asked = asked_ms.unwrap_or(0).clamp(0, LONGEST_MS);
    Some(now.plus_ms((pause + spread).max(asked)))
}

/// Until when a receiver is left alone that failed so many times in a row.
pub(super) fn rest(failures: u32, now: Timestamp) -> Timestamp {
    now.plus_ms(if failures <= 1 { PAUSES_MS[1] } else { REST_MS })
}

/// What `Retry-After` asks for, in milliseconds: seconds, or a date (RFC 9110 section 10.2.3).
pub(super) fn retry_after(text: &str, now: Timestamp) -> Option<i64> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds: i64 = text.parse().unwrap_or(i64::MAX);
        return Some(seconds.saturating_mul(SECOND_MS));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp(at.timestamp_millis()).since_ms(now).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_some_chance_and_end() {
        let now = Timestamp(1_000);
        let mut last = 0;
        for attempts in 1..10 {
            let (least, most) = (next(attempts, None, now, 0).unwrap(), next(attempts, None, now, 255).unwrap());
            let pause = PAUSES_MS[usize::try_from(attempts).unwrap()];
            assert_eq!((least.since_ms(now), most.since_ms(now)), (pause, pause + pause / 10));
            assert!(pause > last, "{attempts}");
            last = pause;
        }
        assert_eq!(next(10, None, now, 0), None);
        assert_eq!(next(10, Some(5), now, 0), None, "nobody keeps a notice for ever");
    }

    #[test]
    fn what_a_receiver_asks_for_counts_within_a_day() {
        let now = Timestamp::parse("1994-11-06T08:49:00Z").unwrap();
        assert_eq!(retry_after("120", now), Some(120_000));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(37_000));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:48:37 GMT", now), Some(0));
        for odd in ["", "soon", "-1", "1.5"] {
            assert_eq!(retry_after(odd, now), None, "{odd}");
        }
        let asked = |text| next(1, retry_after(text, now), now, 0).unwrap().since_ms(now);
        assert_eq!([asked("1"), asked("600"), asked("99999999999999999999")], [5_000, 600_000, 24 * HOUR_MS]);
    }
}
