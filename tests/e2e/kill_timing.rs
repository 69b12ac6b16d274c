//! Time to kill, by the upstream's own receive log: an open loop of 300 calls a second that knows nothing of the kill, and rounds of engage and release.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use lifeboat_peers::lines::wall_ns;
use serde_json::{Value, json};

use crate::dashboard::sign_in;
use crate::harness::{Lifeboat, sized, wait};
use crate::https;
use crate::ledger;
use crate::rig::{Load, Running, Scripted};

/// An order, in wall-clock nanoseconds: when what gives it was started, and when it was given.
struct Order {
    begun: u64,
    ordered: u64,
}

impl Order {
    /// For those who need no program to give one.
    fn now() -> Self {
        let now = wall_ns();
        Self { begun: now, ordered: now }
    }
}

/// One engagement, in wall-clock nanoseconds.
struct Round {
    /// As in [`Order`].
    begun: u64,
    ordered: u64,
    /// When the order's answer said that it is effective.
    effective: u64,
    /// Just before the release.
    released: u64,
}

/// A deployment with a scripted upstream, a client, and its key file.
fn stage() -> (Lifeboat, Scripted, PathBuf) {
    let lifeboat = Lifeboat::start();
    let scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key = lifeboat.client_for("scripted", "loader");
    let key_file = lifeboat.secret_file("loader.key", &key);
    (lifeboat, scripted, key_file)
}

/// Runs the rounds under load; `engage` gives the order and returns once it is effective.
fn rounds(lifeboat: &Lifeboat, scripted: &Scripted, key_file: &Path, limit_ms: u64, mut engage: impl FnMut() -> Order) {
    let quick = ["--rate", "300", "--connections", "16", "--tool", "echo", "--tool-mix", "4:1"];
    let load = Load::start(lifeboat, "scripted", key_file, "quick", &quick);
    // Calls that are always in flight when the order comes.
    let slow = ["--rate", "2", "--connections", "8", "--tool", "slow", "--arguments", r#"{"ms":3000,"steps":6}"#];
    let held = Load::start(lifeboat, "scripted", key_file, "held", &slow);
    let mut done = Vec::new();
    for _ in 0..sized(8, 20) {
        sleep(Duration::from_millis(600));
        let Order { begun, ordered } = engage();
        let effective = wall_ns();
        sleep(Duration::from_millis(300));
        let released = wall_ns();
        lifeboat.json(&["kill", "release", "--reason", "next round"]);
        done.push(Round { begun, ordered, effective, released });
    }
    let calls = load.finish();
    let slow_calls = held.finish();
    judge(&done, &scripted.call_stamps(), limit_ms);
    ended(&done, &calls, &slow_calls, limit_ms);
    ended_upstream(&done, &scripted.received(), limit_ms);
}

/// No call begins later than the limit after the order, in half of the rounds not even after what gives the order was started, and none after
/// `effective`.
fn judge(rounds: &[Round], stamps: &[u64], limit_ms: u64) {
    assert!(stamps.len() > rounds.len() * 100, "the load must reach the upstream between the kills: {} calls", stamps.len());
    let (mut lateness, mut since_begun) = (Vec::new(), Vec::new());
    for (number, round) in rounds.iter().enumerate() {
        let last = stamps.iter().filter(|stamp| (round.ordered..round.released).contains(*stamp)).max();
        let late_ms = last.map_or(0, |stamp| (stamp - round.ordered) / 1_000_000);
        let after = stamps.iter().filter(|stamp| (round.effective..round.released).contains(*stamp)).count();
        assert_eq!(after, 0, "round {number}: calls began after the kill was effective");
        lateness.push(late_ms);
        since_begun.push(last.map_or(0, |stamp| (stamp - round.begun) / 1_000_000));
    }
    let answered: Vec<u64> = rounds.iter().map(|round| (round.effective - round.ordered) / 1_000_000).collect();
    println!("last call after the order, ms: {lateness:?}; answered after, ms: {answered:?}");
    lateness.sort_unstable();
    since_begun.sort_unstable();
    assert!(since_begun.last() <= Some(&(limit_ms + 2_000)), "an order took long to arrive: {since_begun:?}");
    assert!(
        since_begun[(since_begun.len() - 1) / 2] <= limit_ms,
        "calls began later than {limit_ms} ms after the start: {since_begun:?}"
    );
    assert!(
        lateness.last().is_some_and(|worst| *worst <= limit_ms),
        "calls began later than {limit_ms} ms after the order: {lateness:?}"
    );
}

/// Every call in flight at the order was ended and answered; calls while engaged were refused with the kill's own reason.
fn ended(rounds: &[Round], calls: &[Value], slow_calls: &[Value], limit_ms: u64) {
    let ns = |line: &Value, name: &str| line[name].as_u64().unwrap_or(0);
    for round in rounds {
        let inside = calls.iter().filter(|line| ns(line, "sent_ns") > round.effective && ns(line, "done_ns") < round.released);
        for line in inside {
            assert_eq!(line["code"], -31001, "a call while engaged: {line}");
        }
        let in_flight = slow_calls.iter().filter(|line| ns(line, "sent_ns") < round.ordered && ns(line, "done_ns") > round.ordered);
        for line in in_flight {
            let took_ms = (ns(line, "done_ns") - round.ordered) / 1_000_000;
            assert!(took_ms <= limit_ms + 500, "a call in flight went on for {took_ms} ms: {line}");
            assert!(line["code"] == -31001 || line["status"] == "ok", "a call in flight is answered: {line}");
        }
    }
    let cut = slow_calls.iter().filter(|line| line["code"] == -31001).count();
    assert!(cut >= rounds.len(), "calls in flight were cut in each round: {cut}");
}

/// Every slow call that the upstream had at the order was ended there too, and none went on to its own end.
fn ended_upstream(rounds: &[Round], received: &[Value], limit_ms: u64) {
    let ns = |line: &Value| line["t_ns"].as_u64().unwrap_or(0);
    let slow = || received.iter().filter(|line| line["name"] == "slow");
    let mut cut = 0;
    for begun in slow().filter(|line| line["event"] == "request") {
        let end = slow().find(|line| line["event"] != "request" && line["id"] == begun["id"]);
        let end = end.unwrap_or_else(|| panic!("a call in flight was never ended at the upstream: {begun}"));
        for round in rounds.iter().filter(|round| ns(begun) < round.ordered && ns(end) > round.ordered) {
            let took_ms = (ns(end) - round.ordered) / 1_000_000;
            assert!(took_ms <= limit_ms + 500, "the upstream worked on for {took_ms} ms: {begun} {end}");
            assert!(end["event"] != "done" || took_ms <= limit_ms, "{begun} {end}");
            cut += 1;
        }
    }
    assert!(cut >= rounds.len(), "calls were in flight at the upstream in each round: {cut}");
}

fn expect_effective(document: &Value) {
    assert_eq!(document["effective"], true, "{document}");
    assert!(document["proofs"].as_array().is_some_and(|proofs| !proofs.is_empty()), "{document}");
}

#[test]
fn flt_20_kill_by_cli_stops_within_100_ms() {
    let (lifeboat, scripted, key_file) = stage();
    rounds(&lifeboat, &scripted, &key_file, 100, || {
        let begun = wall_ns();
        let engaged = lifeboat.json(&["kill", "engage", "--reason", "runaway client"]);
        expect_effective(&engaged);
        Order { begun, ordered: ledger::millis(engaged["at"].as_str().unwrap()) as u64 * 1_000_000 }
    });
}

#[test]
fn flt_20_kill_by_button_stops_within_100_ms() {
    let (lifeboat, scripted, key_file) = stage();
    let cookies = sign_in(&lifeboat);
    let fields = [("scope", "everything"), ("mode", "full"), ("reason", "not known yet")];
    rounds(&lifeboat, &scripted, &key_file, 100, || {
        let order = Order::now();
        let answer = https::post_form(&lifeboat.admin, &lifeboat.ca(), "/kill/engage", &cookies, &fields).unwrap();
        assert_eq!(answer.status, 303, "{}", answer.body);
        order
    });
}

#[test]
fn flt_20_kill_by_api_stops_within_100_ms() {
    let (lifeboat, scripted, key_file) = stage();
    sign_in(&lifeboat);
    let key = lifeboat.json(&["operator", "key", "add", crate::pages::ADMIN])["key"].as_str().unwrap().to_owned();
    rounds(&lifeboat, &scripted, &key_file, 100, || {
        let order = Order::now();
        let answer =
            https::post_api(&lifeboat.admin, &lifeboat.ca(), "/api/v1/kill/engage", &key, &json!({"reason": "leaked key"}))
                .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        expect_effective(&serde_json::from_str(&answer.body).unwrap());
        order
    });
}

#[test]
fn flt_20_kill_by_file_stops_within_100_ms() {
    let (lifeboat, scripted, key_file) = stage();
    let file = lifeboat.data().join("KILL");
    rounds(&lifeboat, &scripted, &key_file, 100, || {
        let proof = || lifeboat.json(&["kill", "status"])["last_proof"].clone();
        let before = proof();
        let order = Order::now();
        std::fs::write(&file, "").unwrap();
        wait("engaged by the file, and proved", 5, || {
            let last = proof();
            (last["decision_id"] != before["decision_id"] && last["effective"] == true).then_some(())
        });
        order
    });
    assert!(!file.exists(), "a release takes the file away");
}

/// Another process that holds state.db for writing, until it is let go.
pub struct Holder(Running);

impl Holder {
    pub fn of(lifeboat: &Lifeboat) -> Self {
        let lock = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1],isolation_level=None,timeout=20)\nc.execute('BEGIN EXCLUSIVE')\nprint('locked',flush=True)\nsys.stdin.read()";
        let mut holder = Command::new("python3")
            .args(["-c", lock])
            .arg(lifeboat.data().join("state.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 6];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
        Self(Running(holder))
    }

    pub fn let_go(mut self) {
        drop(self.0.0.stdin.take());
        self.0.0.wait().unwrap();
    }
}

/// With state.db held by another process for the whole engagement, and the proxy saturated.
#[test]
fn flt_09_kill_with_state_db_locked_and_the_proxy_saturated_stops_within_500_ms() {
    let (lifeboat, scripted, key_file) = stage();
    let flood = ["--rate", "3000", "--connections", "32", "--tool", "echo"];
    let load = Load::start(&lifeboat, "scripted", &key_file, "flood", &flood);
    let mut done = Vec::new();
    for _ in 0..sized(4, 20) {
        sleep(Duration::from_secs(1));
        let holder = Holder::of(&lifeboat);
        let ordered = wall_ns();
        let engaged = lifeboat.json(&["kill", "engage", "--reason", "data leaving"]);
        let effective = wall_ns();
        expect_effective(&engaged);
        assert_eq!(engaged["persisted"], "file", "{engaged}");
        assert!(effective - ordered < 2_000_000_000, "the verb of the kill waits for no lock");
        println!("effective after {} ms, answered after {} ms", engaged["effective_ms"], (effective - ordered) / 1_000_000);
        sleep(Duration::from_millis(300));
        let released = wall_ns();
        holder.let_go();
        lifeboat.json(&["kill", "release", "--reason", "next round"]);
        done.push(Round { begun: ordered, ordered, effective, released });
    }
    let offered = load.finish().len();
    let stamps = scripted.call_stamps();
    println!("{offered} calls offered at 3,000/s, {} reached the upstream", stamps.len());
    judge(&done, &stamps, 500);
}

#[test]
fn a_kill_outlives_kill_9_and_the_loss_of_its_file() {
    let (mut lifeboat, scripted, key_file) = stage();
    let engaged = |lifeboat: &Lifeboat| lifeboat.json(&["kill", "status"])["engaged"] == true;
    let file = lifeboat.data().join("KILL");
    lifeboat.json(&["kill", "engage", "--reason", "leaked key"]);
    std::fs::remove_file(&file).unwrap();
    wait("the file is written again", 5, || file.exists().then_some(()));
    assert!(engaged(&lifeboat), "deleting KILL releases nothing");
    lifeboat.kill_9();
    lifeboat.restart();
    assert!(engaged(&lifeboat), "still engaged after kill -9");
    lifeboat.kill_9();
    std::fs::remove_file(&file).unwrap();
    lifeboat.restart();
    assert!(engaged(&lifeboat), "still engaged after kill -9 and without the file");
    let load = Load::start(&lifeboat, "scripted", &key_file, "after", &["--rate", "50", "--connections", "2", "--tool", "echo"]);
    sleep(Duration::from_millis(500));
    let calls = load.finish();
    assert!(!calls.is_empty() && calls.iter().all(|line| line["code"] == -31001), "{calls:?}");
    assert!(scripted.call_stamps().is_empty(), "no call reached the upstream");
}

/// What only the file knows (the database was locked) is engaged after a crash as well.
#[test]
fn a_kill_that_only_the_file_knows_outlives_kill_9() {
    let (mut lifeboat, _scripted, _key_file) = stage();
    let holder = Holder::of(&lifeboat);
    assert_eq!(lifeboat.json(&["kill", "engage", "--reason", "leaked key"])["persisted"], "file");
    lifeboat.kill_9();
    holder.let_go();
    lifeboat.restart();
    assert_eq!(lifeboat.json(&["kill", "status"])["engaged"], true);
}

/// SIGUSR2 is the order of last resort.
#[test]
fn the_signal_engages() {
    let lifeboat = Lifeboat::start();
    lifeboat.signal("USR2");
    wait("engaged by SIGUSR2", 5, || (lifeboat.json(&["kill", "status"])["engaged"] == true).then_some(()));
    assert!(lifeboat.data().join("KILL").exists());
}
