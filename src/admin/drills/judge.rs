//! Whether a drill ended as it should, and how that is said. Pure: from what was heard to the verdict.

use super::adapt::NOWHERE;
use super::model::Targets;
use super::order::{Fate, ISOLATE, Outcome, Scenario};
use super::steps::Step;

/// The judgement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// Whether it ended as its scenario should.
    pub passed: bool,
    /// `met`, `breached`, `failed` or `timed_out`.
    pub verdict: &'static str,
    /// In one sentence.
    pub summary: String,
}

/// What is judged.
pub(super) struct Case<'a> {
    /// What was lost.
    pub scenario: Scenario,
    /// How it ended; none when the process did not say.
    pub outcome: Option<&'a Outcome>,
    /// Whether its time was over.
    pub timed_out: bool,
    /// Every step, those around it too.
    pub steps: &'a [Step],
    /// Seconds until it served.
    pub rto: f64,
    /// Seconds of data lost.
    pub rpo: f64,
    /// What was promised.
    pub targets: Targets,
}

/// Judges.
pub(super) fn judge(case: &Case<'_>) -> Judged {
    let recovered = case.outcome.is_some_and(|outcome| outcome.recovered);
    let verdict = match (case.timed_out, recovered, within(case)) {
        (true, ..) => "timed_out",
        (_, false, _) => "failed",
        (_, true, false) => "breached",
        (_, true, true) => "met",
    };
    let (passed, summary) = match case.scenario {
        Scenario::HostLost | Scenario::StateLost | Scenario::ConfigLost => whole(case, recovered, verdict),
        Scenario::ArchiveCorrupt => corrupt(case, recovered),
        Scenario::KeyLost => key_lost(case, recovered),
        Scenario::PackageMissing => missing(case, recovered),
        Scenario::StaleBackup => stale(case, recovered),
    };
    let untouched = case.steps.iter().filter(|step| matches!(step.name.as_str(), TEARDOWN | UNTOUCHED)).all(|step| step.passed);
    if untouched {
        return Judged { passed, verdict, summary };
    }
    Judged {
        passed: false,
        verdict: "failed",
        summary: "the drill left something behind, or production changed while it ran".to_owned(),
    }
}

/// The step that removes the sandbox.
pub(super) const TEARDOWN: &str = "teardown";
/// The step that looks at production again.
pub(super) const UNTOUCHED: &str = "production-untouched";

#[expect(clippy::cast_precision_loss, reason = "a target of more than 2^52 seconds is no target")]
fn within(case: &Case<'_>) -> bool {
    case.rto <= case.targets.rto_seconds as f64 && case.rpo <= case.targets.rpo_seconds as f64
}

fn servers<'a>(case: &Case<'a>) -> &'a [Fate] {
    case.outcome.map(|outcome| outcome.servers.as_slice()).unwrap_or_default()
}

/// The first step that failed and matters: what a server that is not critical lacks is a warning.
fn failed<'a>(case: &Case<'a>) -> Option<&'a Step> {
    let lax: Vec<&str> = servers(case).iter().filter(|fate| !fate.critical).map(|fate| fate.name.as_str()).collect();
    let excused = |step: &Step| {
        let of_server = step.name.strip_prefix("definitions ").or_else(|| step.name.strip_prefix("call "));
        of_server.is_some_and(|name| lax.contains(&name))
    };
    decisive(case).find(|step| !step.passed && !excused(step))
}

/// The steps that can decide. Whether this host has network namespaces says nothing of the archives: it is told, and no drill fails of it.
fn decisive<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a Step> {
    case.steps.iter().filter(|step| step.name != ISOLATE)
}

fn whole(case: &Case<'_>, recovered: bool, verdict: &str) -> (bool, String) {
    let lost = servers(case).iter().find(|fate| fate.critical && fate.state != "rebuilt");
    if let Some(fate) = lost {
        return (false, format!("critical server {} was not rebuilt: {}", fate.name, fate.detail));
    }
    if let Some(step) = failed(case) {
        return (false, format!("step {} failed: {}", step.name, step.detail));
    }
    if !recovered {
        let why = case.outcome.and_then(|outcome| outcome.fault.clone()).unwrap_or_else(|| "its process ended".to_owned());
        return (false, format!("it did not recover: {why}"));
    }
    let count = servers(case).iter().filter(|fate| fate.state == "rebuilt").count();
    let said =
        format!("rebuilt with {count} of {} servers in {:.1} s; {:.0} s of data lost", servers(case).len(), case.rto, case.rpo);
    (verdict == "met", said)
}

fn corrupt(case: &Case<'_>, recovered: bool) -> (bool, String) {
    let found = case.steps.iter().find(|step| step.name.starts_with("verify-archive") && !step.passed);
    match found {
        Some(step) if recovered => (true, format!("found and passed over: {}", step.detail)),
        Some(step) => (false, format!("found, but there is no older archive to go back to: {}", step.detail)),
        None => (false, "the damage was not found".to_owned()),
    }
}

fn key_lost(case: &Case<'_>, recovered: bool) -> (bool, String) {
    let stopped = decisive(case).find(|step| !step.passed);
    match stopped {
        Some(step) if !recovered && step.name == "unpack-deployment" && step.detail.contains("opens for age1") => {
            (true, format!("stopped at {}: {}", step.name, step.detail))
        }
        _ => (false, "an identity that opens nothing was not told apart".to_owned()),
    }
}

fn missing(case: &Case<'_>, recovered: bool) -> (bool, String) {
    let without: Vec<&Fate> = servers(case).iter().filter(|fate| fate.state == "skipped" && !fate.detail.is_empty()).collect();
    // Another server may have failed too, for want of what a drill does not give it.
    let named = |step: &&Step| step.name.starts_with("definitions ") && !step.passed && step.detail.contains(NOWHERE);
    let named = case.steps.iter().find(named);
    match named {
        Some(step) if recovered && !without.is_empty() => (true, format!("named: {}: {}", step.name, step.detail)),
        _ => (false, "the server without its program was not named, or there is no server to try it on".to_owned()),
    }
}

fn stale(case: &Case<'_>, recovered: bool) -> (bool, String) {
    if recovered && !within(case) {
        return (true, format!("rebuilt, and {:.0} s of data lost is more than {} s", case.rpo, case.targets.rpo_seconds));
    }
    (false, "too old a backup was not said to be one".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, passed: bool, detail: &str) -> Step {
        Step { name: name.into(), seconds: 0.1, passed, detail: detail.into() }
    }

    fn outcome(recovered: bool, critical: bool, state: &str) -> Outcome {
        let fate = Fate { name: "memory".into(), state: state.into(), critical, detail: "d".into(), replaced: Vec::new() };
        Outcome { recovered, servers: vec![fate], ..Outcome::default() }
    }

    fn judged(scenario: Scenario, outcome: &Outcome, steps: &[Step], rpo: f64) -> Judged {
        let targets = Targets { rto_seconds: 10, rpo_seconds: 100 };
        judge(&Case { scenario, outcome: Some(outcome), timed_out: false, steps, rto: 1.0, rpo, targets })
    }

    #[test]
    fn a_drill_passes_only_with_every_critical_server_and_within_its_targets() {
        let good = [step("start", true, ""), step(TEARDOWN, true, "")];
        let host = Scenario::HostLost;
        assert_eq!(judged(host, &outcome(true, true, "rebuilt"), &good, 5.0).verdict, "met");
        assert!(judged(host, &outcome(true, true, "rebuilt"), &good, 5.0).passed);
        assert!(!judged(host, &outcome(true, true, "skipped"), &good, 5.0).passed, "critical");
        assert!(judged(host, &outcome(true, false, "skipped"), &good, 5.0).passed, "not critical");
        let late = judged(host, &outcome(true, true, "rebuilt"), &good, 101.0);
        assert_eq!((late.passed, late.verdict), (false, "breached"));
        assert_eq!(judged(host, &outcome(false, true, "rebuilt"), &good, 5.0).verdict, "failed");
        let damaged = [step("verify-archive memory", false, "changed")];
        assert!(!judged(host, &outcome(true, true, "rebuilt"), &damaged, 5.0).passed, "the newest archive is damaged");
        let lax = [step("definitions memory", false, "drift")];
        assert!(judged(host, &outcome(true, false, "skipped"), &lax, 5.0).passed);
        let left = [step(TEARDOWN, false, "a process is left")];
        assert!(!judged(host, &outcome(true, true, "rebuilt"), &left, 5.0).passed);
    }

    #[test]
    fn a_host_without_network_namespaces_fails_no_drill_and_excuses_none() {
        let shared = step(ISOLATE, false, "no network namespace here (EPERM)");
        let good = outcome(true, true, "rebuilt");
        for scenario in [Scenario::HostLost, Scenario::StateLost, Scenario::ConfigLost] {
            let alone = [shared.clone(), step("start", true, ""), step(TEARDOWN, true, "")];
            let judged_alone = judged(scenario, &good, &alone, 5.0);
            assert_eq!((judged_alone.passed, judged_alone.verdict), (true, "met"), "{}", judged_alone.summary);
            let also = [shared.clone(), step("start", false, "no port")];
            let judged_also = judged(scenario, &good, &also, 5.0);
            assert!(!judged_also.passed && judged_also.summary.contains("start"), "{}", judged_also.summary);
        }
        let damaged = [shared.clone(), step("verify-archive memory", false, "changed")];
        assert!(judged(Scenario::ArchiveCorrupt, &good, &damaged, 5.0).passed);
        assert!(!judged(Scenario::ArchiveCorrupt, &good, std::slice::from_ref(&shared), 5.0).passed);
        let locked = [shared.clone(), step("unpack-deployment", false, "ar_1 opens for age1x; the identity given is age1y")];
        assert!(judged(Scenario::KeyLost, &outcome(false, true, "rebuilt"), &locked, 5.0).passed);
        let gone = [shared.clone(), step("definitions memory", false, &format!("there is no {NOWHERE} here"))];
        assert!(judged(Scenario::PackageMissing, &outcome(true, true, "skipped"), &gone, 5.0).passed);
        assert!(judged(Scenario::StaleBackup, &good, std::slice::from_ref(&shared), 101.0).passed);
    }

    #[test]
    fn a_critical_server_is_not_rebuilt_by_its_stand_in() {
        let good = [step("start", true, "")];
        assert!(!judged(Scenario::HostLost, &outcome(true, true, "substituted"), &good, 5.0).passed);
        assert!(judged(Scenario::HostLost, &outcome(true, false, "substituted"), &good, 5.0).passed);
    }

    #[test]
    fn an_injected_fault_passes_only_when_it_was_found() {
        let none = [step("start", true, "")];
        let damaged = [step("verify-archive memory", false, "changed")];
        let good = outcome(true, true, "rebuilt");
        assert!(judged(Scenario::ArchiveCorrupt, &good, &damaged, 5.0).passed);
        assert!(!judged(Scenario::ArchiveCorrupt, &good, &none, 5.0).passed);
        let locked = [step("unpack-deployment", false, "ar_1 opens for age1x; the identity given is age1y")];
        assert!(judged(Scenario::KeyLost, &outcome(false, true, "rebuilt"), &locked, 5.0).passed);
        assert!(!judged(Scenario::KeyLost, &good, &none, 5.0).passed);
        let gone = [step("definitions memory", false, &format!("there is no {NOWHERE} here"))];
        assert!(judged(Scenario::PackageMissing, &outcome(true, true, "skipped"), &gone, 5.0).passed);
        let other = [step("definitions other", false, "it wants a token")];
        assert!(
            !judged(Scenario::PackageMissing, &outcome(true, true, "skipped"), &other, 5.0).passed,
            "another fault is not this one"
        );
        assert!(!judged(Scenario::PackageMissing, &good, &none, 5.0).passed);
        assert!(judged(Scenario::StaleBackup, &good, &none, 101.0).passed);
        assert!(!judged(Scenario::StaleBackup, &good, &none, 5.0).passed);
    }
}
