//! Which archives are kept, and why. Pure. Only a verified archive fills a slot, so that a damaged one never pushes a good one out; and a clock that
//! looks wrong removes nothing.

use std::collections::BTreeSet;

use crate::base::clock::Timestamp;
use crate::config::settings::Retention;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// An archive this far in the future means that the clock was set back.
const SKEW_MS: i64 = 10 * 60_000;
/// More than this at once is asked for by name.
const MANY: usize = 10;
const FEW: usize = 3;

/// One archive of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: String,
    /// When it was finished.
    pub created_at: Timestamp,
    /// Whether it was read back, and no later check found it wanting.
    pub verified: bool,
    /// Why somebody holds it.
    pub held: Option<String>,
}

/// What becomes of one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Its id.
    pub id: String,
    /// Whether it stays.
    pub keep: bool,
    /// Why.
    pub why: String,
}

/// The archives of one vault, in any order; the answer is newest first.
///
/// # Errors
/// A sentence when the clock looks wrong: then nothing is to be removed.
pub fn plan(archives: &[Candidate], rules: &Retention, now: Timestamp) -> Result<Vec<Fate>, String> {
    let mut sorted: Vec<&Candidate> = archives.iter().collect();
    sorted.sort_by_key(|one| std::cmp::Reverse((one.created_at, one.id.clone())));
    if let Some(newest) = sorted.first().filter(|newest| newest.created_at.since_ms(now) > SKEW_MS) {
        return Err(format!(
            "{} is of {}, which is later than this host's clock: nothing is removed",
            newest.id, newest.created_at
        ));
    }
    let mut reasons: Vec<Vec<String>> = sorted.iter().map(|one| first_reasons(one, rules, now)).collect();
    for (count, name, slot) in slots(rules) {
        fill(&sorted, &mut reasons, count, name, slot);
    }
    let mut good: Vec<usize> = (0..sorted.len()).filter(|at| sorted[*at].verified).collect();
    if good.is_empty() {
        // Archives that are not whole are worth more than none.
        good = (0..sorted.len()).collect();
    }
    for (place, at) in good.iter().take(rules.min_verified.max(1) as usize).enumerate() {
        if reasons[*at].is_empty() {
            reasons[*at].push(format!("archive {} of the {} that always stay", place + 1, rules.min_verified.max(1)));
        }
    }
    let fate = |(one, why): (&&Candidate, Vec<String>)| {
        let keep = !why.is_empty();
        let why = if keep { why.join(", ") } else { "no rule keeps it".to_owned() };
        Fate { id: one.id.clone(), keep, why }
    };
    Ok(sorted.iter().zip(reasons).map(fate).collect())
}

fn first_reasons(one: &Candidate, rules: &Retention, now: Timestamp) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(why) = &one.held {
        reasons.push(format!("held: {why}"));
    }
    if now.since_ms(one.created_at) <= i64::from(rules.within_hours) * HOUR_MS {
        reasons.push(format!("younger than {} hours", rules.within_hours));
    }
    reasons
}

type Slot = fn(Timestamp) -> i64;

fn slots(rules: &Retention) -> [(u32, &'static str, Slot); 5] {
    [
        (rules.daily, "day", |at| at.0.div_euclid(DAY_MS)),
        // Weeks begin on Monday; 1970-01-01 was a Thursday.
        (rules.weekly, "week", |at| (at.0.div_euclid(DAY_MS) + 3).div_euclid(7)),
        (rules.monthly, "month", |at| month(at)),
        (rules.quarterly, "quarter", |at| month(at).div_euclid(3)),
        (rules.yearly, "year", |at| at.civil().0),
    ]
}

fn month(at: Timestamp) -> i64 {
    let (year, month, _) = at.civil();
    year * 12 + i64::from(month) - 1
}

/// The newest verified archive of each of the newest `count` slots that have one.
fn fill(sorted: &[&Candidate], reasons: &mut [Vec<String>], count: u32, name: &str, slot: Slot) {
    let mut filled = BTreeSet::new();
    for (one, reasons) in sorted.iter().zip(reasons) {
        if filled.len() >= count as usize {
            break;
        }
        if one.verified && filled.insert(slot(one.created_at)) {
            reasons.push(format!("newest of its {name}"));
        }
    }
}

/// Whether a plan removes so much that somebody should have asked for it.
pub fn is_much(going: usize, all: usize) -> bool {
    going > MANY || (going > FEW && going * 10 > all * 3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(hours: i64, verified: bool) -> Candidate {
        Candidate { id: format!("ar_{hours:06}"), created_at: Timestamp(hours * HOUR_MS), verified, held: None }
    }

    fn kept(archives: &[Candidate], now_hours: i64) -> Vec<String> {
        let fates = plan(archives, &Retention::default(), Timestamp(now_hours * HOUR_MS)).unwrap();
        fates.into_iter().filter(|fate| fate.keep).map(|fate| fate.id).collect()
    }

    #[test]
    fn rec_15_years_of_daily_archives_become_about_thirty() {
        let days = 3 * 365;
        let archives: Vec<Candidate> = (0..days).map(|day| candidate(day * 24 + 2, true)).collect();
        let kept = kept(&archives, days * 24);
        assert!((18..=34).contains(&kept.len()), "{}", kept.len());
    }

    #[test]
    fn rec_15_an_attacker_who_adds_archives_or_damages_them_pushes_no_good_one_out() {
        let now = 400 * 24;
        let good: Vec<Candidate> = (0..400).map(|day| candidate(day * 24 + 2, true)).collect();
        let before = kept(&good, now);
        let mut attacked = good.clone();
        attacked.extend((0..1_000).map(|n| Candidate { id: format!("ar_x{n}"), ..candidate(now - 1, false) }));
        let after = kept(&attacked, now);
        assert!(before.iter().all(|id| after.contains(id)), "unverified archives fill no slot");
        assert!(plan(&[candidate(now + 1, true), candidate(1, true)], &Retention::default(), Timestamp(now * HOUR_MS)).is_err());
    }

    #[test]
    fn a_held_archive_and_the_last_good_ones_stay() {
        let mut old: Vec<Candidate> = (0..5).map(|n| candidate(n, true)).collect();
        old[0].held = Some("incident 7".into());
        let fates = plan(&old, &Retention { yearly: 0, ..none() }, Timestamp(100_000 * HOUR_MS)).unwrap();
        let keep: Vec<bool> = fates.iter().map(|fate| fate.keep).collect();
        assert_eq!(keep, [true, true, true, false, true]);
        assert!(fates[4].why.contains("incident 7") && fates[3].why.contains("no rule"));
    }

    fn none() -> Retention {
        Retention { within_hours: 0, daily: 0, weekly: 0, monthly: 0, quarterly: 0, yearly: 0, min_verified: 3 }
    }

    #[test]
    fn much_is_asked_for_by_name() {
        assert!(!is_much(3, 3) && !is_much(4, 40) && is_much(4, 10) && is_much(11, 1_000));
    }

    proptest! {
        #[test]
        fn rec_15_the_plan_is_what_a_plain_reading_of_the_rules_keeps(
            hours in proptest::collection::btree_map(0i64..20_000, any::<bool>(), 0..60),
            counts in proptest::array::uniform5(0u32..6),
            within in 0u32..100,
        ) {
            let rules = Retention {
                within_hours: within, daily: counts[0], weekly: counts[1], monthly: counts[2], quarterly: counts[3],
                yearly: counts[4], min_verified: 3,
            };
            let archives: Vec<Candidate> = hours.iter().map(|(hours, verified)| candidate(*hours, *verified)).collect();
            let now = Timestamp(20_000 * HOUR_MS);
            let fates = plan(&archives, &rules, now).unwrap();
            prop_assert_eq!(fates.len(), archives.len());
            for fate in &fates {
                let one = archives.iter().find(|one| one.id == fate.id).unwrap();
                let young = now.since_ms(one.created_at) <= i64::from(within) * HOUR_MS;
                // Newest verified of its slot, and fewer than `count` newer slots that have a verified one.
                let slotted = slots(&rules).into_iter().any(|(count, _, slot)| {
                    let good = || archives.iter().filter(|other| other.verified);
                    let newest = good().filter(|other| slot(other.created_at) == slot(one.created_at)).max_by_key(|other| other.created_at);
                    let newer: BTreeSet<i64> = good().map(|other| slot(other.created_at)).filter(|other| *other > slot(one.created_at)).collect();
                    one.verified && newest.is_some_and(|newest| newest.id == one.id) && newer.len() < count as usize
                });
                let among = archives.iter().filter(|other| other.verified && other.created_at > one.created_at).count();
                let none = archives.iter().all(|other| !other.verified);
                let older = archives.iter().filter(|other| other.created_at > one.created_at).count();
                let minimum = one.verified && among < 3 || none && older < 3;
                prop_assert_eq!(fate.keep, young || slotted || minimum, "{:?}", one);
            }
        }
    }
}
