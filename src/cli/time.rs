//! Times as people type them: RFC 3339, or how long ago (`30m`, `1h`, `2d`). Never guesses a day or a zone.

use crate::base::clock::{Clock, SystemClock, Timestamp};

/// A time of an option, as the API takes it; clap names the option when there is none.
///
/// # Errors
/// A sentence about what is taken.
pub(super) fn moment(text: &str) -> Result<String, String> {
    let taken = "a time is RFC 3339, such as 2026-11-22T03:14:02Z, or how long ago: 30m, 1h, 2d";
    at(text, SystemClock.now()).map(|at| at.to_string()).ok_or_else(|| taken.to_owned())
}

fn at(text: &str, now: Timestamp) -> Option<Timestamp> {
    const MINUTE: i64 = 60_000;
    let units = [("m", MINUTE), ("h", 60 * MINUTE), ("d", 24 * 60 * MINUTE)];
    let ago = units.into_iter().find_map(|(unit, ms)| {
        let digits = text.strip_suffix(unit).filter(|digits| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()))?;
        digits.parse::<i64>().ok()?.checked_mul(ms).and_then(i64::checked_neg)
    });
    match ago {
        Some(ms) => now.0.checked_add(ms).filter(|at| *at >= 0).map(Timestamp),
        None => Timestamp::parse(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_how_long_ago() {
        let now = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
        for (text, said) in [("30m", "2026-11-22T11:30:00Z"), ("1h", "2026-11-22T11:00:00Z"), ("2d", "2026-11-20T12:00:00Z")] {
            assert_eq!(at(text, now), Timestamp::parse(said), "{text}");
        }
        assert_eq!(at("2026-11-20T12:00:00Z", now), Timestamp::parse("2026-11-20T12:00:00Z"));
        for wrong in ["", "h", "-1h", "1w", "1.5h", "yesterday", "99999999999999d"] {
            assert_eq!(at(wrong, now), None, "{wrong}");
        }
    }
}
