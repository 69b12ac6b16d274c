//! Numbers, sizes and times in the words of the dashboard. Pure; the present moment is always a parameter.

use crate::base::clock::Timestamp;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// `1204102` as `1,204,102`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + 6);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 call`, `2 calls`.
pub fn plural(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {one}s", count(n)) }
}

/// `31 B`, `4.1 kB`, `2.0 MB`.
pub fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{}.{} kB", n / 1_000, n / 100 % 10),
        _ => format!("{}.{} MB", n / 1_000_000, n / 100_000 % 10),
    }
}

/// A duration of a call: `0.3 ms`, `38 ms`, `30.0 s`.
pub fn latency(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1_000.0),
    }
}

/// How long ago, in one unit: `now`, `40 s ago`, `12 min ago`, `6 h ago`, `9 days ago`.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    match now.since_ms(then) / 1000 {
        i64::MIN..5 => "now".into(),
        s @ 5..120 => format!("{s} s ago"),
        s @ 120..7_200 => format!("{} min ago", s / 60),
        s @ 7_200..172_800 => format!("{} h ago", s / 3_600),
        s => format!("{} days ago", s / 86_400),
    }
}

/// How long until, in the same units.
pub fn until(then: Timestamp, now: Timestamp) -> String {
    match then.since_ms(now) / 1000 {
        i64::MIN..1 => "over".into(),
        s @ 1..120 => format!("in {s} s"),
        s @ 120..7_200 => format!("in {} min", s / 60),
        s @ 7_200..172_800 => format!("in {} h", s / 3_600),
        s => format!("in {} days", s / 86_400),
    }
}

/// `03:14:02`.
pub fn clock(at: Timestamp) -> String {
    let s = at.ms_of_day() / 1000;
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

/// `03:14:02.008`.
pub fn clock_ms(at: Timestamp) -> String {
    format!("{}.{:03}", clock(at), at.ms_of_day() % 1000)
}

/// `03:14`.
pub fn minute(at: Timestamp) -> String {
    clock(at).chars().take(5).collect()
}

/// `22 Nov`, with the year when it is not this one.
pub fn day(at: Timestamp, now: Timestamp) -> String {
    let (year, month, day) = at.civil();
    let name = MONTHS[(month.clamp(1, 12) - 1) as usize];
    if year == now.civil().0 { format!("{day} {name}") } else { format!("{day} {name} {year}") }
}

/// `22 Nov 03:14`.
pub fn when(at: Timestamp, now: Timestamp) -> String {
    format!("{} {}", day(at, now), minute(at))
}

/// `Sun 22 Nov 2026`.
pub fn long_day(at: Timestamp) -> String {
    let (year, month, day) = at.civil();
    let weekday = DAYS[usize::try_from(at.0.div_euclid(86_400_000).rem_euclid(7)).unwrap_or(0)];
    format!("{weekday} {day} {} {year}", MONTHS[(month.clamp(1, 12) - 1) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_like_the_guide() {
        assert_eq!([count(0), count(999), count(1_000), count(1_204_102)], ["0", "999", "1,000", "1,204,102"]);
        assert_eq!([plural(1, "call"), plural(0, "call"), plural(2_000, "call")], ["1 call", "0 calls", "2,000 calls"]);
        assert_eq!([bytes(31), bytes(4_130), bytes(2_000_000)], ["31 B", "4.1 kB", "2.0 MB"]);
        assert_eq!([latency(0.31), latency(38.2), latency(30_000.0)], ["0.3 ms", "38 ms", "30.0 s"]);
    }

    #[test]
    fn times_read_like_the_guide() {
        let now = Timestamp::parse("2026-11-22T03:15:20Z").unwrap();
        let then = Timestamp::parse("2026-11-22T03:14:02.008Z").unwrap();
        assert_eq!((ago(then, now), clock_ms(then)), ("77 s ago".into(), "03:14:02.008".into()));
        assert_eq!(ago(Timestamp(now.0 - 9 * 86_400_000), now), "9 days ago");
        assert_eq!(long_day(now), "Sun 22 Nov 2026");
        assert_eq!(when(Timestamp::parse("2025-08-31T09:14:00Z").unwrap(), now), "31 Aug 2025 09:14");
        assert_eq!(until(now.plus_ms(21 * 3_600_000), now), "in 21 h");
    }
}
