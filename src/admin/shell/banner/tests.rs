//! The exact words of the kill flow (guide 5), and that the worst wins.

use super::*;
use crate::admin::kill::{Proof, ProofAt, State, Status};

const NOW: Timestamp = Timestamp(1_795_000_000_000);

fn state(scope: &str, mode: &str, id: &str) -> State {
    State {
        scope: scope.into(),
        mode: mode.into(),
        since: NOW.plus_ms(-60_000),
        by: "jonas".into(),
        reason: "runaway client".into(),
        decision_id: id.into(),
    }
}

fn proof(id: &str, refused: [bool; 2]) -> Proof {
    let at = |name: &str, refused| ProofAt { listener: name.into(), refused, ms: 12 };
    let effective = refused == [true, true];
    Proof {
        decision_id: id.into(),
        kind: "order".into(),
        scope: "everything".into(),
        mode: "full".into(),
        at: NOW,
        by: "jonas".into(),
        effective,
        effective_ms: effective.then_some(12),
        cut_in_flight: 7,
        proofs: vec![at("proxy", refused[0]), at("edge", refused[1])],
    }
}

fn shown(states: Vec<State>, last_proof: Option<Proof>) -> Banner {
    banner(&Status { engaged: !states.is_empty(), states, last_proof }, 2, NOW).unwrap()
}

#[test]
fn nothing_stopped_shows_no_banner() {
    assert!(banner(&Status { engaged: false, states: Vec::new(), last_proof: None }, 2, NOW).is_none());
}

#[test]
fn a_proved_stop_says_how_long_it_took() {
    let banner = shown(vec![state("everything", "full", "kd_1")], Some(proof("kd_1", [true, true])));
    assert_eq!((banner.class, banner.claim.as_str()), ("stopped", "Stopped everywhere in 12 ms"));
    assert!(banner.detail.starts_with("Proved at 2 of 2 listeners · 7 calls in flight cut · "), "{}", banner.detail);
    assert!(banner.detail.ends_with(" UTC by jonas: runaway client"), "{}", banner.detail);
}

#[test]
fn an_unproven_stop_is_on_fire_and_names_who_was_silent() {
    let banner = shown(vec![state("everything", "full", "kd_1")], Some(proof("kd_1", [true, false])));
    assert_eq!((banner.class, banner.claim.as_str()), ("fire", "Engaged, unproven"));
    let words = "1 of 2 listeners proved in 5 s. edge did not answer. Fence it now: take it off the network or stop its process.";
    assert_eq!(banner.detail, words);
}

#[test]
fn a_proof_under_way_is_said_and_keeps_the_page_looking() {
    let fresh = State { since: NOW.plus_ms(-500), ..state("everything", "full", "kd_1") };
    let banner = shown(vec![fresh], Some(proof("kd_0", [true, true])));
    assert_eq!(banner.claim, "Stopping. 0 of 2 listeners proved.");
    assert!(banner.open);
}

#[test]
fn a_partial_stop_is_amber() {
    let proved = Proof { mode: "read-only".into(), ..proof("kd_1", [true, true]) };
    let banner = shown(vec![state("client ci-runner", "read-only", "kd_1")], Some(proved));
    assert_eq!((banner.class, banner.claim.as_str()), ("warn", "Read-only for ci-runner"));
    assert!(banner.detail.starts_with("Writes and destructive calls are stopped · proved at 2 of 2 in 12 ms"), "{}", banner.detail);
}

#[test]
fn the_worst_wins() {
    let states = vec![state("client ci-runner", "read-only", "kd_1"), state("everything", "full", "kd_2")];
    assert_eq!(shown(states.clone(), Some(proof("kd_2", [true, true]))).class, "stopped");
    let silent = Proof { mode: "read-only".into(), ..proof("kd_1", [false, true]) };
    assert_eq!(shown(states, Some(silent)).class, "fire");
}

#[test]
fn a_proof_of_the_full_stop_proves_nothing_of_what_is_left_of_it() {
    let banner = shown(vec![state("everything", "read-only", "kd_1")], Some(proof("kd_1", [true, true])));
    assert!(!banner.detail.contains("proved"), "{}", banner.detail);
    let fresh = State { since: NOW.plus_ms(-500), ..state("everything", "read-only", "kd_1") };
    assert_eq!(shown(vec![fresh], Some(proof("kd_1", [true, true]))).claim, "Read-only for everything");
}
