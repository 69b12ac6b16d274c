//! The page of one report, to read and to print. Pure; never says of a server more than was seen.

use askama::Template;

use super::model::Signed;
use super::order::{self, REBUILT, SUBSTITUTED};
use super::pages::{StepRow, seconds, titled};
use crate::admin::shell::{Shell, sentence};
use crate::web::human;
use crate::web::view::{Badge, Tile, Tone};

/// `/drills/ID`.
#[derive(Template)]
#[template(path = "drills/report.html")]
pub struct ReportPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: ReportView,
}

/// One report.
#[derive(Clone, Debug)]
pub struct ReportView {
    /// Its id.
    pub id: String,
    /// `Rebuild drill of 29 Nov: passed`.
    pub title: String,
    /// When, by whom, what was lost.
    pub subtitle: String,
    /// How it ended.
    pub badge: Badge,
    /// Whether it ended as it should.
    pub passed: bool,
    /// In one sentence.
    pub summary: String,
    /// What it does not prove.
    pub limits: String,
    /// The figures.
    pub tiles: Vec<Tile>,
    /// What an operator must know.
    pub warnings: Vec<String>,
    /// Every step.
    pub steps: Vec<StepRow>,
    /// Every server.
    pub servers: Vec<ServerRow>,
    /// Digest of the report.
    pub sha256: String,
    /// Digest of the one before.
    pub prev: String,
    /// The signing key.
    pub key_public: String,
}

/// One server in a report.
#[derive(Clone, Debug)]
pub struct ServerRow {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub badge: Badge,
    /// Whether the drill cannot pass without it.
    pub critical: bool,
    /// What was seen.
    pub detail: String,
}

/// A stand-in is nothing that somebody must see to, and no proof of the server either.
fn seen(state: &str) -> Tone {
    match state {
        REBUILT => Tone::Ok,
        SUBSTITUTED => Tone::Plain,
        _ => Tone::Warn,
    }
}

/// What of the servers is not proved.
fn unproved(rebuilt: usize, substituted: usize, all: usize) -> String {
    let mut text = String::new();
    if substituted > 0 {
        text.push_str(" Remote servers were substituted: who may call their tools is proved, the servers themselves are not.");
    }
    if rebuilt + substituted < all {
        text.push_str(" Servers that were left out are not proved here.");
    }
    text
}

/// The page of one report.
#[expect(clippy::cast_precision_loss, reason = "seconds of a promise are few")]
pub fn report(shell: Shell, signed: &Signed) -> ReportPage {
    let drill = &signed.report;
    let tone = |good: bool| if good { Tone::Ok } else { Tone::Warn };
    let against = |value: f64, target: u64| {
        let met = if value <= target as f64 { "met" } else { "missed" };
        format!("target {}, {met}", seconds(target as f64))
    };
    let count = |state: &str| drill.servers.iter().filter(|server| server.state == state).count();
    let (rebuilt, substituted) = (count(REBUILT), count(SUBSTITUTED));
    let failed = drill.steps.iter().filter(|step| !step.passed).count();
    let (rto, rpo) = (drill.rto_seconds, drill.rpo_seconds);
    let targets = drill.targets;
    let tiles = vec![
        Tile::new(
            "Time to service (RTO)",
            tone(rto <= targets.rto_seconds as f64),
            seconds(rto),
            against(rto, targets.rto_seconds),
        ),
        Tile::new("Data lost (RPO)", tone(rpo <= targets.rpo_seconds as f64), seconds(rpo), against(rpo, targets.rpo_seconds)),
        Tile::new("Servers rebuilt", Tone::Plain, format!("{rebuilt} of {}", drill.servers.len()), "the others stand below"),
        Tile::new("Steps failed", tone(failed == 0), failed.to_string(), format!("of {}", drill.steps.len())),
    ];
    let server = |one: &order::Fate| ServerRow {
        name: one.name.clone(),
        badge: Badge::new(seen(&one.state), one.state.clone()),
        critical: one.critical,
        detail: one.detail.clone(),
    };
    let key = if drill.key == "recovery" {
        "the recovery identity that was brought along"
    } else {
        "the identities this host keeps for the newest archives, which does not prove that the recovery identity is at hand"
    };
    let left = unproved(rebuilt, substituted, drill.servers.len());
    let page = ReportView {
        id: drill.id.clone(),
        title: format!("Rebuild drill: {}", if drill.passed { "passed" } else { "not passed" }),
        subtitle: format!(
            "Lost: {}. {} {} to {} UTC, ordered by {}. Right is: {}.",
            titled(&drill.scenario),
            human::long_day(drill.started_at),
            human::clock(drill.started_at),
            human::clock(drill.ended_at),
            drill.by,
            drill.expected
        ),
        badge: Badge::new(tone(drill.passed), drill.verdict.clone()),
        passed: drill.passed,
        summary: sentence(&drill.summary).trim_end_matches('.').to_owned(),
        limits: format!("Opened with {key}; no other file was read.{left}"),
        tiles,
        warnings: drill.warnings.clone(),
        steps: drill.steps.iter().map(StepRow::of).collect(),
        servers: drill.servers.iter().map(server).collect(),
        sha256: signed.sha256.clone(),
        prev: signed.prev.clone().unwrap_or_else(|| "this is the first".to_owned()),
        key_public: signed.key_public.clone(),
    };
    ReportPage { shell, page }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_is_neither_a_proof_nor_an_alarm() {
        assert_eq!([seen("rebuilt"), seen("substituted"), seen("skipped")], [Tone::Ok, Tone::Plain, Tone::Warn]);
        assert_eq!(unproved(2, 0, 2), "");
        assert!(unproved(1, 1, 2).contains("substituted") && !unproved(1, 1, 2).contains("left out"));
        assert!(unproved(1, 1, 3).contains("substituted") && unproved(1, 1, 3).contains("left out"));
        assert_eq!(unproved(1, 0, 2), " Servers that were left out are not proved here.");
    }
}
