//! Refusals as clients read them.

use serde_json::Value;

use super::*;

fn body(refusal: &Refusal) -> Value {
    serde_json::from_slice(&refusal.to_body(Some(b"7"), "req_1")).expect("JSON")
}

#[test]
fn a_kill_says_so_in_band() {
    let refusal = Refusal::Killed { mode: Mode::Full, executed: Executed::No };
    let body = body(&refusal);
    assert_eq!(refusal.status(), StatusCode::OK);
    assert_eq!(body["id"], 7);
    assert_eq!(body["error"]["code"], -31001);
    assert_eq!(
        body["error"]["data"],
        json!({"reason": "kill.engaged", "request_id": "req_1", "executed": "no", "retry": "ask_operator"})
    );
}

#[test]
fn a_write_that_may_have_run_never_reads_as_try_again() {
    for failure in [Failure::Unavailable, Failure::Timeout] {
        for class in [Class::Write, Class::Destructive] {
            let refusal = Refusal::upstream(failure, Executed::Unknown, class, "the connection broke");
            let body = body(&refusal);
            assert_eq!(body["error"]["data"]["executed"], "unknown");
            assert_eq!(body["error"]["data"]["retry"], "no");
            let text = body["error"]["message"].as_str().expect("text").to_lowercase();
            assert!(!text.contains("try again") && text.contains("do not repeat"), "{text}");
        }
    }
    let lost = Refusal::upstream(Failure::Unavailable, Executed::Unknown, Class::Write, "x");
    assert_eq!(lost.reason(), "upstream.outcome_unknown");
}

#[test]
fn a_call_whose_key_was_revoked_is_told_in_band_and_never_to_try_again() {
    for executed in [Executed::No, Executed::Unknown] {
        let refusal = Refusal::Lapsed { executed };
        let body = body(&refusal);
        assert_eq!((refusal.status(), &body["error"]["code"]), (StatusCode::OK, &json!(-31002)));
        assert_eq!(body["error"]["data"]["reason"], "auth.revoked");
        assert_eq!(body["error"]["data"]["executed"], executed.word());
        assert_eq!(body["error"]["data"]["retry"], "ask_operator");
    }
}

#[test]
fn a_rate_refusal_carries_the_wait() {
    let body = body(&Refusal::Rate { after: Duration::from_millis(40) });
    assert_eq!(body["error"]["code"], -31003);
    assert_eq!(body["error"]["data"]["retry"], "after");
    assert_eq!(body["error"]["data"]["retry_after_ms"], 40);
}
