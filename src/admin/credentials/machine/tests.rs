//! Cases of the machine: each invariant that does not need a database, and every order in every state.

use serde_json::{Value, json};

use super::drain::judge;
use super::*;
use crate::admin::credentials::model::Rotation;

const NOW: Timestamp = Timestamp(1_000_000_000);

fn row(state: State) -> Rotation {
    Rotation {
        id: "rot_1".into(),
        credential: "client-key/ci".into(),
        state,
        hold: None,
        why: None,
        error: None,
        attempt: 0,
        next_try_at: None,
        old: vec!["old".into()],
        new: Some("new".into()),
        facts: Value::Null,
        to_fetch: true,
        fetched_at: Some(NOW),
        fetched_by: None,
        reason: "manual".into(),
        note: String::new(),
        holder: None,
        overlap_ms: 3_600_000,
        quiet_ms: 900_000,
        forced: false,
        overlap_until: Some(NOW.plus_ms(3_600_000)),
        verified_at: Some(NOW),
        draining_at: Some(NOW),
        started_by: "ana".into(),
        started_at: NOW,
        changed_at: NOW,
        ended_at: None,
        sealed: None,
        revoked: 0,
    }
}

fn later(minutes: i64) -> Timestamp {
    NOW.plus_ms(minutes * MINUTE_MS)
}

fn place(name: &str, old: Option<i64>, new: Option<i64>) -> Place {
    Place::new(name.into(), old.map(later), new.map(later))
}

fn drain(places: Vec<Place>) -> Drain {
    Drain { places, ..Drain::default() }
}

#[test]
fn every_state_has_one_way_on_and_comes_back_from_its_word() {
    for state in State::ALL {
        assert_eq!(State::of(state.word()), Some(state));
        assert_eq!(state.is_over(), matches!(state, State::Done | State::Cancelled | State::RolledBack), "{state:?}");
    }
    let mut state = State::Planned;
    let mut steps = Vec::new();
    while let Some(step) = state.step() {
        steps.push(step.word());
        state = step.leads_to();
    }
    assert_eq!(steps, ["mint", "install", "verify", "promote", "drain", "retire", "prove", "finish"]);
}

#[test]
fn i2_what_holds_is_entered_and_never_done_again() {
    for step in [Step::Install, Step::Promote, Step::Retire] {
        assert_eq!(act(step, Seen::Holds(json!(1)), None, NOW), Act::Enter(json!(1)), "{step:?}");
    }
    assert_eq!(act(Step::Install, Seen::Not, None, NOW), Act::Do);
    assert!(matches!(act(Step::Install, Seen::Waits("x".into()), None, NOW), Act::Wait(..)));
}

#[test]
fn what_must_not_be_before_a_moment_rests_until_then_and_waits_for_nobody() {
    let seen = |at| act(Step::Promote, Seen::NotBefore(at, "published".into()), None, NOW);
    assert_eq!(seen(later(5)), Act::Rest("published".into(), later(5)));
    // Never in the past, so that it makes no circle.
    assert_eq!(seen(later(-5)), Act::Rest("published".into(), NOW.plus_ms(1)));
    let rests = Rotation { next_try_at: Some(later(5)), why: Some("published".into()), ..row(State::Verified) };
    assert_eq!(todo(&rests, later(4)), Todo::Later(later(5)));
    assert_eq!(todo(&rests, later(5)), Todo::Look(Step::Verify), "and the proof that it works is made anew");
    assert_eq!(order(&rests, Order::RollBack, NOW), Ok(Ordered::Undone), "it can be given up meanwhile");
}

#[test]
fn what_ends_by_itself_is_over_when_it_ended_whoever_was_seen() {
    let row = Rotation { to_fetch: false, quiet_ms: 0, ..row(State::Draining) };
    let ends = |at| Drain { ends_at: Some(at), ..Drain::default() };
    assert_eq!(judge(&row, &ends(later(7)), NOW), Verdict::Going(later(7)));
    assert!(matches!(judge(&row, &ends(later(7)), later(7)), Verdict::Over(_)));
    // Also when the overlap is over first: somebody may hold of it what still counts.
    let over = Rotation { overlap_until: Some(NOW), ..row.clone() };
    assert_eq!(judge(&over, &ends(later(7)), NOW), Verdict::Going(later(7)));
    assert!(matches!(judge(&Rotation { forced: true, ..over }, &ends(later(7)), NOW), Verdict::Over(_)), "who forces it means it");
}

#[test]
fn i4_the_old_one_ends_only_by_the_verdict_of_the_drain() {
    assert!(matches!(act(Step::Retire, Seen::Not, None, NOW), Act::Wait(..)), "without a verdict nothing ends");
    let act = |verdict: &Verdict| act(Step::Retire, Seen::Not, Some(verdict), NOW);
    assert_eq!(act(&Verdict::Going(later(1))), Act::Later(later(1)));
    assert!(matches!(act(&Verdict::Ended("x".into())), Act::Wait(..)));
    assert_eq!(act(&Verdict::Over("x".into())), Act::Do);
}

#[test]
fn i4_nothing_is_promoted_on_an_old_proof() {
    let stale = row(State::Verified);
    assert_eq!(todo(&stale, NOW), Todo::Look(Step::Promote));
    assert_eq!(todo(&stale, NOW.plus_ms(FRESH_MS)), Todo::Look(Step::Verify));
    assert_eq!(todo(&Rotation { verified_at: None, ..stale.clone() }, NOW), Todo::Look(Step::Verify));
    // A clock that was set back makes no proof fresh.
    assert_eq!(todo(&stale, NOW.plus_ms(-1)), Todo::Look(Step::Verify));
}

#[test]
fn the_old_one_stays_until_everybody_moved_and_it_has_rested() {
    let row = row(State::Draining);
    let all = |old, new| drain(vec![place("a", Some(1), Some(2)), place("b", old, new)]);
    let is_over = |drain: &Drain, at| matches!(judge(&row, drain, at), Verdict::Over(_));
    assert!(is_over(&all(Some(3), Some(4)), later(18)));
    assert!(!is_over(&all(Some(3), Some(4)), later(17)), "it must rest for 15 minutes");
    assert!(!is_over(&all(Some(5), Some(4)), later(50)), "b went back to the old one");
    assert!(!is_over(&all(Some(3), None), later(50)), "b never showed the new one");
    assert!(!is_over(&drain(vec![]), later(50)), "nobody was seen, so nobody knows");
    assert!(!is_over(&drain(vec![place("a", Some(1), None)]), later(50)));
    let unfetched = Rotation { fetched_at: None, ..row.clone() };
    assert!(!matches!(judge(&unfetched, &all(Some(3), Some(4)), later(30)), Verdict::Over(_)), "nobody has the new one");
    assert!(is_over(&Drain { ours: true, ..Drain::default() }, NOW));
}

#[test]
fn an_overlap_that_ends_asks_unless_it_was_forced() {
    let mut row = row(State::Draining);
    let still = drain(vec![place("10.4.2.17", Some(59), None), place("10.4.2.16", Some(1), Some(2))]);
    let Verdict::Ended(who) = judge(&row, &still, later(60)) else { panic!("the overlap is over") };
    assert!(who.contains("10.4.2.17") && !who.contains("10.4.2.16"), "{who}");
    row.holder = Some("the ci team".into());
    row.fetched_at = None;
    let Verdict::Ended(who) = judge(&row, &still, later(60)) else { panic!("the overlap is over") };
    assert!(who.contains("nobody has fetched") && who.contains("the ci team"), "{who}");
    row.forced = true;
    assert!(matches!(judge(&row, &still, later(60)), Verdict::Over(_)));
    assert!(!matches!(judge(&row, &still, later(59)), Verdict::Over(_)));
}

#[test]
fn i6_a_secret_that_is_not_taken_three_times_is_thrown_away() {
    let mut row = row(State::Minted);
    for attempt in 1..SAME_SECRET {
        let after = failed(&row, (Step::Install, true), Class::Transient, NOW);
        assert_eq!((after.state, after.attempt, after.discard), (State::Minted, attempt, false));
        row.attempt = after.attempt;
    }
    let after = failed(&row, (Step::Install, true), Class::Transient, NOW);
    assert_eq!((after.state, after.attempt, after.discard), (State::Planned, 0, true));
}

#[test]
fn a_failure_that_time_does_not_mend_waits_for_somebody() {
    let after = failed(&row(State::Installed), (Step::Verify, true), Class::Permanent, NOW);
    assert_eq!((after.state, after.hold, after.next_try_at), (State::Installed, Hold::Waiting, None));
    let after = failed(&row(State::Installed), (Step::Verify, true), Class::Transient, NOW);
    assert_eq!((after.hold, after.next_try_at), (Hold::Failed, Some(NOW.plus_ms(2_000))));
}

#[test]
fn what_could_not_be_ended_is_tried_for_ever_and_never_called_done() {
    let mut row = row(State::Draining);
    // What fails before anything was ended is no half-ended credential.
    assert_eq!(failed(&row, (Step::Retire, false), Class::Transient, NOW).state, State::Draining);
    for _ in 0..50 {
        let after = failed(&row, (Step::Retire, true), Class::Permanent, NOW);
        assert_eq!((after.state, after.hold), (State::RetireFailed, Hold::Failed));
        assert!(after.next_try_at.is_some_and(|at| at <= later(30)));
        (row.state, row.attempt) = (after.state, after.attempt);
    }
    assert_eq!(row.state.step(), Some(Step::Retire));
}

#[test]
fn i10_when_it_goes_on_stands_in_the_row() {
    let row = Rotation { next_try_at: Some(later(5)), hold: Some(Hold::Failed), ..row(State::Minted) };
    assert_eq!(todo(&row, later(4)), Todo::Later(later(5)));
    assert_eq!(todo(&row, later(5)), Todo::Look(Step::Install));
    assert_eq!(todo(&Rotation { hold: Some(Hold::Paused), ..row.clone() }, later(9)), Todo::Nothing);
    for state in [State::Done, State::Cancelled, State::RolledBack] {
        assert_eq!(todo(&Rotation { state, ..row.clone() }, later(9)), Todo::Nothing);
    }
}

#[test]
fn each_order_is_followed_where_it_makes_sense_and_nowhere_else() {
    use State::*;
    let all = [
        (Order::Cancel, vec![Planned, Minted]),
        (Order::RollBack, vec![Installed, Verified, Promoted, Draining]),
        (Order::Extend(1_000), vec![Promoted, Draining]),
        (Order::Retire, vec![Promoted, Draining, RetireFailed]),
        (Order::Pause, vec![Planned, Minted, Installed, Verified, Promoted, Draining, Retired, RetireFailed, Proved]),
        (Order::Resume, vec![]),
    ];
    for (given, fits) in all {
        for state in State::ALL {
            let followed = order(&row(state), given, NOW);
            assert_eq!(followed.is_ok(), fits.contains(&state), "{given:?} in {state:?}: {followed:?}");
        }
    }
    let held = Rotation { hold: Some(Hold::Failed), ..row(Draining) };
    assert_eq!(order(&held, Order::Resume, NOW), Ok(Ordered::Freed));
    assert_eq!(order(&row(Draining), Order::Extend(60_000), NOW), Ok(Ordered::Until(later(61))));
    let over = Rotation { overlap_until: Some(NOW), ..row(Draining) };
    assert_eq!(order(&over, Order::Extend(60_000), later(10)), Ok(Ordered::Until(later(11))), "from now on, not from then");
}

mod generated {
    use proptest::prelude::*;

    use super::*;

    fn any_place() -> impl Strategy<Value = (Option<i64>, Option<i64>)> {
        (proptest::option::of(0i64..120), proptest::option::of(0i64..120))
    }

    proptest! {
        /// I4: without force, and before anybody else's word, the old one never ends while some place used it after the new one, or lately.
        #[test]
        fn the_old_one_never_ends_under_somebody(
            all in proptest::collection::vec(any_place(), 0..6), at in 0i64..240, fetched in any::<bool>(), over in any::<bool>()
        ) {
            let places: Vec<Place> = all.iter().map(|(old, new)| place("p", *old, *new)).collect();
            let row = Rotation {
                fetched_at: fetched.then_some(NOW),
                overlap_until: Some(if over { NOW } else { later(1_000) }),
                ..row(State::Draining)
            };
            if let Verdict::Over(_) = judge(&row, &drain(places), later(at)) {
                prop_assert!(fetched && !all.is_empty());
                for (old, new) in all {
                    prop_assert!(new.is_some_and(|new| old.is_none_or(|old| old < new && old + 15 <= at)));
                }
            }
        }

        /// Whatever fails how often, a rotation is never over by failing, and is always looked at again or waits for somebody.
        #[test]
        fn failing_never_ends_a_rotation(fails in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..30)) {
            let mut row = row(State::Minted);
            for (acted, permanent) in fails {
                let step = row.state.step().expect("open");
                let class = if permanent { Class::Permanent } else { Class::Transient };
                let after = failed(&row, (step, acted), class, NOW);
                prop_assert!(!after.state.is_over());
                prop_assert!(after.next_try_at.is_some() || after.hold == Hold::Waiting);
                (row.state, row.attempt) = (after.state, after.attempt);
            }
        }
    }
}
