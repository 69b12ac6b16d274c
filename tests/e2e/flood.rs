//! Strangers at 10,000 requests a second: a client with a key is served, and the ledger hardly grows.

use crate::harness::{Lifeboat, sized, wait};
use crate::ledger;
use crate::rig::{Load, Scripted, load_summary};

#[test]
fn ten_thousand_strangers_a_second_stop_no_client_and_fill_no_ledger() {
    let lifeboat = Lifeboat::start();
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key_file = lifeboat.secret_file("loader.key", &lifeboat.client_for("scripted", "loader"));
    let before = ledger::verified(&lifeboat);
    let load = Load::start(&lifeboat, "scripted", &key_file, "keyed", &["--rate", "30", "--connections", "4", "--tool", "echo"]);
    let seconds = sized(5, 10);
    let flags = ["--no-key", "--rate", "10000", "--connections", "64", "--seconds", &seconds.to_string()];
    let flood = load_summary(&lifeboat, "scripted", &flags);
    let calls = load.finish();
    let refused = flood["answers"]["401"].as_u64().unwrap_or(0);
    println!("{} strangers refused a second: {flood}", refused / seconds);
    assert!(
        flood["answers"].as_object().unwrap().keys().all(|code| code == "401"),
        "a stranger gets 401 and nothing else: {flood}"
    );
    assert!(
        flood["sent"].as_u64() > Some(5_000 * seconds) && refused >= 1_000 * seconds,
        "the flood was one, and was refused: {flood}"
    );
    let good = calls.iter().filter(|line| line["status"] == "ok").count();
    assert_eq!(good, calls.len(), "every call with a key is served");
    let mut waits: Vec<u64> =
        calls.iter().map(|line| (line["done_ns"].as_u64().unwrap() - line["due_ns"].as_u64().unwrap()) / 1_000_000).collect();
    waits.sort_unstable();
    let p95 = waits[waits.len() * 95 / 100];
    // A fair turn serves each of the 64 connections of strangers once.
    let turn_ms = 64 * 1_000 * seconds / refused;
    println!("a turn of the strangers {turn_ms} ms, p95 of the calls with a key {p95} ms");
    assert!(p95 < 1_000.max(16 * turn_ms), "calls with a key waited: p95 {p95} ms of {waits:?}, a turn {turn_ms} ms");
    // Strangers are written down once a second.
    let counted = wait("every stranger is counted", 10, || {
        let events = ledger::query(&lifeboat, &[]);
        let rows = events.iter().filter(|event| event["kind"] == "auth.refused");
        let counted: u64 = rows.filter_map(|event| event["params"]["count"].as_u64()).sum();
        (counted >= refused).then_some(counted)
    });
    let grown = ledger::verified(&lifeboat) - before - calls.len() as u64;
    println!("{} calls with a key, p95 {p95} ms; the ledger grew by {grown} other lines", calls.len());
    assert!(grown <= 100, "the ledger grew by {grown} lines");
    let sent = flood["sent"].as_u64().unwrap();
    assert!(counted <= sent, "no stranger was counted twice: {counted}, of {refused} answered and {sent} sent");
}
