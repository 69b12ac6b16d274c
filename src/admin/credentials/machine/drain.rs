//! When the old version may end: when everybody who showed it shows the new one and it has rested, or when the overlap is over and somebody wants it so.
//! Pure; never guesses that nobody needs it because nobody was seen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::credentials::model::Rotation;
use crate::base::clock::Timestamp;
use crate::policy::places::OTHERS;

/// How often it is looked at who moved.
const LOOK_MS: i64 = 2_000;

/// One place that showed a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CredentialPlace")]
pub struct Place {
    /// An address, or what else names it.
    pub place: String,
    /// When it last showed the old version.
    pub old_last: Option<Timestamp>,
    /// When it last showed the new version.
    pub new_last: Option<Timestamp>,
    /// Requests with the new version.
    pub new_calls: u64,
    /// Requests that were refused with 401, whichever version they showed.
    pub refused: u64,
    /// Whether it uses the new version and no longer the old one.
    pub moved: bool,
}

impl Place {
    /// A place by what was seen there.
    pub fn new(place: String, old_last: Option<Timestamp>, new_last: Option<Timestamp>) -> Self {
        // Of places that are not told apart, one may use the new version while another uses the old one.
        let is_one = place != OTHERS;
        let moved = new_last.is_some_and(|new| old_last.is_none_or(|old| is_one && old < new));
        Self { place, old_last, new_last, new_calls: 0, refused: 0, moved }
    }
}

/// What is known of who uses which version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// Nobody but Lifeboat holds the old version.
    pub ours: bool,
    /// Every place that showed the old or the new version.
    pub places: Vec<Place>,
    /// From when on nothing of the old version counts by itself, where that is known: then nobody has to be seen moving.
    pub ends_at: Option<Timestamp>,
}

/// Whether the old version may end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may, and why.
    Over(String),
    /// Not yet; when to look again.
    Going(Timestamp),
    /// The overlap is over and it is still needed: by whom.
    Ended(String),
}

/// Judges.
pub fn judge(row: &Rotation, drain: &Drain, now: Timestamp) -> Verdict {
    if drain.ours {
        return Verdict::Over("nobody but Lifeboat held the old one".to_owned());
    }
    let until = row.overlap_until.unwrap_or(now);
    if row.forced && until <= now {
        return Verdict::Over("the overlap was ended".to_owned());
    }
    if let Some(end) = drain.ends_at {
        return if end <= now { Verdict::Over(format!("the last of it ended by itself at {end}")) } else { Verdict::Going(end) };
    }
    let fetched = !row.to_fetch || row.fetched_at.is_some();
    let (all_moved, used) =
        (drain.places.iter().all(|place| place.moved), drain.places.iter().any(|place| place.new_last.is_some()));
    let last_old = drain.places.iter().filter_map(|place| place.old_last).max();
    let rests_since = last_old.max(row.draining_at).unwrap_or(now);
    let rested = rests_since.plus_ms(row.quiet_ms);
    if fetched && used && all_moved {
        return if rested <= now {
            Verdict::Over(format!("all moved; unused since {rests_since}"))
        } else {
            Verdict::Going(soon(now, rested))
        };
    }
    if until <= now {
        return Verdict::Ended(who(drain, fetched, row.holder.as_deref()));
    }
    Verdict::Going(soon(now, until))
}

fn soon(now: Timestamp, until: Timestamp) -> Timestamp {
    now.plus_ms(LOOK_MS).min(until.max(now.plus_ms(1)))
}

/// In a sentence, whom the end of the old version would hit.
fn who(drain: &Drain, fetched: bool, holder: Option<&str>) -> String {
    let holder = holder.map(|holder| format!(" ({holder})")).unwrap_or_default();
    if !fetched {
        return format!("the overlap is over and nobody has fetched the new one{holder}");
    }
    let still: Vec<&str> = drain.places.iter().filter(|place| !place.moved).map(|place| place.place.as_str()).collect();
    match still.as_slice() {
        [] => format!("the overlap is over and nobody has used the new one yet{holder}"),
        still => format!("the overlap is over and still on the old one: {}{holder}", still.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_not_told_apart_have_not_moved_while_one_of_them_used_the_old_version() {
        let moved = |place: &str, old: Option<i64>, new: Option<i64>| {
            Place::new(place.to_owned(), old.map(Timestamp), new.map(Timestamp)).moved
        };
        assert!(moved("10.0.0.1", Some(1), Some(2)) && moved(OTHERS, None, Some(2)));
        assert!(!moved(OTHERS, Some(1), Some(2)) && !moved("10.0.0.1", Some(2), Some(2)));
    }
}
