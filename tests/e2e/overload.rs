//! Five times as many calls as can be served, a client that takes all it can get, and hours of everything at once: who keeps to its limits
//! is served as before.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Lifeboat, sized, wait};
use crate::ledger;
use crate::rig::{Load, Scripted, slowest_of_a_usual_second_ms};

/// Milliseconds from `from` to the answer of each line, sorted.
fn waits(lines: &[&Value], from: &str) -> Vec<u64> {
    let mut waits: Vec<u64> = lines
        .iter()
        .map(|line| line["done_ns"].as_u64().unwrap().saturating_sub(line[from].as_u64().unwrap()) / 1_000_000)
        .collect();
    waits.sort_unstable();
    waits
}

fn part(sorted: &[u64], percent: usize) -> u64 {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// Calls that were served in a usual second: the median of the whole seconds between the first and the last of a load.
fn goodput(lines: &[Value]) -> u64 {
    let done: Vec<u64> = lines.iter().filter(|line| line["status"] == "ok").map(|line| line["done_ns"].as_u64().unwrap()).collect();
    let (first, last) = (done.iter().min().unwrap() + 1_000_000_000, done.iter().max().unwrap() - 500_000_000);
    let mut seconds = vec![0; ((last - first) / 1_000_000_000) as usize];
    for at in done.into_iter().filter(|at| *at >= first) {
        if let Some(second) = seconds.get_mut(((at - first) / 1_000_000_000) as usize) {
            *second += 1;
        }
    }
    seconds.sort_unstable();
    seconds[seconds.len() / 2]
}

#[test]
fn flt_21_five_times_the_calls_leave_the_goodput_and_the_dashboard_as_they_were() {
    let lifeboat = Lifeboat::start();
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key_file = lifeboat.secret_file("loader.key", &lifeboat.client_for("scripted", "loader"));
    // Each call takes 200 ms at the server and 32 of a client are in flight: some 160 a second, whatever the machine can do.
    let flags = ["--tool", "slow", "--arguments", r#"{"ms":200,"steps":0}"#];
    let seconds = sized(8, 20);
    let run = |tag: &str, rate: &str, connections: &str| {
        let load = Load::start(
            &lifeboat,
            "scripted",
            &key_file,
            tag,
            &[&["--rate", rate, "--connections", connections], &flags[..]].concat(),
        );
        let mut slowest = Duration::ZERO;
        for _ in 0..seconds {
            sleep(Duration::from_secs(1));
            let asked = Instant::now();
            assert_eq!(crate::https::get(&lifeboat.admin, &lifeboat.ca(), "/health").unwrap().status, 200);
            slowest = slowest.max(asked.elapsed());
        }
        (load.finish(), slowest)
    };
    let (calm, _) = run("calm", "150", "32");
    let peak = goodput(&calm);
    let (crowd, slowest) = run("crowd", "800", "200");
    let kept = goodput(&crowd);
    let refused: Vec<&Value> = crowd.iter().filter(|line| line["reason"] == "rate.concurrency").collect();
    let fast = waits(&refused, "sent_ns");
    println!(
        "goodput {peak}/s calm, {kept}/s among five times the calls; {} refused in {} ms (half), {} ms (95 %); /health in {slowest:?}",
        refused.len(),
        part(&fast, 50),
        part(&fast, 95)
    );
    assert!(kept * 10 >= peak * 9, "goodput fell from {peak}/s to {kept}/s");
    assert!(refused.len() > 100, "it was an overload");
    assert!(part(&fast, 50) < 100, "half of the refusals took more than {} ms", part(&fast, 50));
    assert!(crowd.iter().all(|line| line["status"] == "ok" || line["reason"] == "rate.concurrency"), "nothing else went wrong");
    assert!(slowest < Duration::from_secs(3), "the dashboard took {slowest:?}");
}

#[test]
fn flt_22_a_client_that_takes_all_it_can_get_slows_the_others_little() {
    let lifeboat = Lifeboat::start();
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let quiet = lifeboat.secret_file("quiet.key", &lifeboat.client_for("scripted", "quiet"));
    // With the rate that everybody has.
    let loud = lifeboat.json(&["client", "add", "loud", "--role", "all-scripted"])["key"].as_str().unwrap().to_owned();
    let loud = lifeboat.secret_file("loud.key", &loud);
    let seconds = sized(6, 30);
    let steady = |tag: &str| {
        let load = Load::start(&lifeboat, "scripted", &quiet, tag, &["--rate", "40", "--connections", "8", "--tool", "echo"]);
        sleep(Duration::from_secs(seconds));
        load.finish()
    };
    let alone = steady("alone");
    let noise = Load::start(&lifeboat, "scripted", &loud, "noise", &["--rate", "160", "--connections", "16", "--tool", "echo"]);
    let among = steady("among");
    let noise = noise.finish();
    let (before, after) = (slowest_of_a_usual_second_ms(&alone), slowest_of_a_usual_second_ms(&among));
    let refused = noise.iter().filter(|line| line["reason"] == "rate.client").count();
    println!(
        "slowest of a second {before} ms alone, {after} ms beside a client with 80 % of the calls; {refused} of its {} refused",
        noise.len()
    );
    assert!(among.iter().all(|line| line["status"] == "ok"), "who keeps to its limits is never refused for another");
    assert!(refused * 2 > noise.len(), "the loud one is held to its own rate: {refused} of {}", noise.len());
    // Half as much again, or what a shared machine adds by itself.
    assert!(after <= (before * 3 / 2).max(before + 80), "slowest of a second {before} ms alone, {after} ms beside the loud client");
}

fn descriptors(lifeboat: &Lifeboat) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", lifeboat.pid())).unwrap().count()
}

#[test]
fn flt_23_hours_of_everything_at_once_grow_nothing() {
    let lifeboat = Lifeboat::start();
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key_file = lifeboat.secret_file("loader.key", &lifeboat.client_for("scripted", "loader"));
    let flags = ["--rate", "50", "--connections", "8", "--tool", "echo", "--tool-mix", "4:1"];
    let load = Load::start(&lifeboat, "scripted", &key_file, "soak", &flags);
    let turn = |round: u64| {
        lifeboat.json(&["kill", "engage", "--reason", "soak", "--client", "loader"]);
        lifeboat.json(&["kill", "release", "--reason", "soak", "--client", "loader"]);
        let name = format!("passing-{round}");
        lifeboat.json(&["client", "add", &name, "--role", "all-scripted"]);
        lifeboat.json(&["client", "revoke", &name]);
        lifeboat.json(&["kill", "status"]);
    };
    let rounds = sized(2, 120);
    (0..rounds.min(10)).for_each(turn);
    sleep(Duration::from_secs(sized(2, 60)));
    let (memory, open, begun) = (lifeboat.rss_kib(), descriptors(&lifeboat), Instant::now());
    for round in 0..rounds {
        turn(100 + round);
        sleep(Duration::from_secs(sized(1, 15)));
    }
    let grown = lifeboat.rss_kib().saturating_sub(memory);
    println!("{grown} KiB more after {:?}; {open} descriptors before, {} after", begun.elapsed(), descriptors(&lifeboat));
    assert!(grown < 16 * 1024 + 1024 * begun.elapsed().as_secs() / 3_600, "{grown} KiB more");
    wait("the descriptors are as many as before", 40, || (descriptors(&lifeboat) <= open + 8).then_some(()));
    let wal = std::fs::metadata(lifeboat.data().join("state.db-wal")).map_or(0, |meta| meta.len());
    assert!(wal <= 64 << 20, "the write-ahead log has {wal} bytes");
    let calls = load.finish();
    let bad: Vec<&Value> = calls.iter().filter(|line| line["status"] != "ok" && line["code"] != -31001).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert!(calls.len() as u64 > sized(150, 50_000), "the load went on: {}", calls.len());
    ledger::verified(&lifeboat);
}
