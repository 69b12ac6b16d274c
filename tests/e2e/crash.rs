//! kill -9 under load, round after round: what a client or the upstream saw, the ledger holds.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Lifeboat, sized};
use crate::ledger;
use crate::rig::{Load, Scripted};

#[test]
fn flt_01_kill_9_under_load_loses_no_answered_call_and_hides_no_write() {
    let mut lifeboat = Lifeboat::start();
    let scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key = lifeboat.client_for("scripted", "loader");
    let key_file = lifeboat.secret_file("loader.key", &key);
    let flags = ["--rate", "300", "--connections", "16", "--tool", "echo", "--tool-mix", "1:1", "--timeout-ms", "5000"];
    let load = Load::start(&lifeboat, "scripted", &key_file, "crash", &flags);
    let mut ready = Vec::new();
    for round in 0..sized(6, 20) {
        sleep(Duration::from_millis(700 + 97 * (round % 7)));
        lifeboat.kill_9();
        ready.push(lifeboat.restart());
    }
    sleep(Duration::from_millis(500));
    let calls = load.finish();
    println!("ready again after {ready:?}");
    ledger::verified(&lifeboat);
    let events = ledger::query(&lifeboat, &["--client", "loader"]);
    answered_calls_stand_once(&calls, &events);
    writes_have_an_earlier_intent(&scripted.received(), &events);
    ready.sort_unstable();
    assert!(ready.last() < Some(&Duration::from_secs(10)), "the slowest start: {ready:?}");
    assert!(ready[ready.len() / 2] <= Duration::from_secs(2), "ready again in 2 s: {ready:?}");
}

fn answered_calls_stand_once(calls: &[Value], events: &[Value]) {
    let mut outcomes: HashMap<&str, Vec<&Value>> = HashMap::new();
    for event in events.iter().filter(|event| ledger::is_outcome(event)) {
        outcomes.entry(event["request_id"].as_str().unwrap_or_default()).or_default().push(event);
    }
    let answered: Vec<&Value> = calls.iter().filter(|line| line["request_id"].is_string()).collect();
    assert!(answered.len() > 200, "the load was answered between the crashes: {}", answered.len());
    for line in answered {
        let found = outcomes.get(line["request_id"].as_str().unwrap_or_default()).map_or(&[][..], Vec::as_slice);
        assert_eq!(found.len(), 1, "{line} stands {} times: {found:?}", found.len());
        if line["status"] == "ok" {
            assert_eq!(found[0]["status"], "ok", "{line}: {}", found[0]);
        }
    }
}

fn writes_have_an_earlier_intent(received: &[Value], events: &[Value]) {
    let intents = events.iter().filter(|event| event["kind"] == "call.intent");
    let intents: HashMap<&str, &Value> =
        intents.map(|event| (event["params_sha256"].as_str().unwrap_or_default(), event)).collect();
    let writes: Vec<&Value> = received.iter().filter(|line| line["name"] == "write_note").collect();
    assert!(writes.len() > 100, "the upstream saw writes: {}", writes.len());
    for write in writes {
        let digest = write["params_sha256"].as_str().unwrap_or_default();
        let intent = intents.get(digest).unwrap_or_else(|| panic!("no intent for {write}"));
        let seen_ms = i64::try_from(write["t_ns"].as_u64().unwrap_or(0) / 1_000_000).unwrap_or(i64::MAX);
        assert!(ledger::millis(intent["ts"].as_str().unwrap()) <= seen_ms, "{intent} is later than {write}");
    }
}
