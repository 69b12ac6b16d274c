//! `schedules.toml`: when work is done by itself, in UTC. Without the file: a backup each night, a check each week, a drill each quarter, and on working days
//! the rotations that `credentials.toml` leaves to the schedule.

use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use croner::Cron;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;

/// The file of the schedules.
pub const FILE: &str = "schedules.toml";

/// The whole of `schedules.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Schedules {
    /// An archive of every vault.
    pub backup: Schedule,
    /// A drill that rebuilds the deployment.
    pub drill: Schedule,
    /// A comparison of every archive with its signed note.
    pub verify: Schedule,
    /// The rotation of each credential that is due and whose entry in `credentials.toml` says `rotate = "when-due"`; and the rotation plan, committed when
    /// it changed.
    pub rotate: Schedule,
}

impl Schedules {
    /// Each with the name of its work.
    pub fn all(&self) -> [(&'static str, &Schedule); 4] {
        [("backup", &self.backup), ("drill", &self.drill), ("verify", &self.verify), ("rotate", &self.rotate)]
    }

    /// The one of some work, to be changed.
    pub fn of(&mut self, job: &str) -> Option<&mut Schedule> {
        match job {
            "backup" => Some(&mut self.backup),
            "drill" => Some(&mut self.drill),
            "verify" => Some(&mut self.verify),
            "rotate" => Some(&mut self.rotate),
            _ => None,
        }
    }
}

impl Default for Schedules {
    fn default() -> Self {
        let of = |cron: &str| Schedule { cron: cron.to_owned(), paused: false };
        // Off the full hour, when everybody else's work begins.
        Self {
            backup: of("17 2 * * *"),
            drill: of("17 4 2 1,4,7,10 *"),
            verify: of("17 5 * * SUN"),
            // When those are there who must fetch a new key.
            rotate: of("17 9 * * MON-FRI"),
        }
    }
}

/// When one kind of work is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Minute, hour, day of month, month, day of week, in UTC.
    pub cron: String,
    /// Nothing is done, and nobody is told that it is overdue.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// A parsed schedule.
#[derive(Clone, Debug)]
pub struct Slots(Cron);

impl Slots {
    /// Reads five fields.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.split_whitespace().count() != 5 {
            return Err("must be five fields: minute, hour, day of month, month, day of week".to_owned());
        }
        let cron = Cron::from_str(text).map_err(|cause| format!("is no schedule: {cause}"))?;
        let slots = Self(cron);
        // Such as the 31st of February.
        if slots.after(Timestamp(0)).is_none() {
            return Err("names no day that there is".to_owned());
        }
        Ok(slots)
    }

    /// The first slot after a moment.
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let at = DateTime::<Utc>::from_timestamp_millis(at.0)?;
        let next = self.0.find_next_occurrence(&at, false).ok()?;
        Some(Timestamp(next.timestamp_millis()))
    }

    /// The newest slot that is not after a moment.
    pub fn until(&self, at: Timestamp) -> Option<Timestamp> {
        let at = DateTime::<Utc>::from_timestamp_millis(at.0)?;
        let last = self.0.find_previous_occurrence(&at, true).ok()?;
        Some(Timestamp(last.timestamp_millis()))
    }

    /// In words.
    pub fn describe(&self) -> String {
        self.0.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn slots_are_in_utc_and_know_the_calendar() {
        let quarterly = Slots::parse(&Schedules::default().drill.cron).unwrap();
        let mut now = at("2026-11-29T00:00:00Z");
        let mut dates = Vec::new();
        for _ in 0..4 {
            now = quarterly.after(now).unwrap();
            dates.push(now.to_string());
        }
        let right =
            ["2027-01-02T04:17:00.000Z", "2027-04-02T04:17:00.000Z", "2027-07-02T04:17:00.000Z", "2027-10-02T04:17:00.000Z"];
        assert_eq!(dates, right);
        let leap = Slots::parse("0 0 29 2 *").unwrap();
        assert_eq!(leap.after(at("2026-11-29T00:00:00Z")), Some(at("2028-02-29T00:00:00Z")));
        let daily = Slots::parse("17 2 * * *").unwrap();
        assert_eq!(daily.until(at("2026-11-29T02:17:00Z")), Some(at("2026-11-29T02:17:00Z")));
        assert_eq!(daily.until(at("2026-11-29T02:16:59Z")), Some(at("2026-11-28T02:17:00Z")));
    }

    #[test]
    fn what_never_comes_or_is_no_schedule_is_refused() {
        for bad in ["", "* * * *", "0 0 0 * * *", "60 0 * * *", "0 0 31 2 *", "@daily x y z w", "0 0 * * MOO"] {
            assert!(Slots::parse(bad).is_err(), "{bad}");
        }
    }
}
