//! A clock that is wrong: a year ahead, an hour back, and back again, while calls are made.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::edge::handed::home;
use crate::harness::{Lifeboat, binary, text};
use crate::ledger;
use crate::rig::{Load, Scripted};

#[test]
fn flt_11_a_clock_that_jumps_stops_nothing_and_frees_nobody() {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    assert!(std::path::Path::new(&library).exists(), "{library} is missing: tests/run installs libfaketime");
    let home = home();
    let clock = home.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let log = std::fs::File::create(home.path().join("lifeboat.log")).unwrap();
    let child = Command::new(binary())
        .args(["up", "--demo", "--data", "lifeboat-data", "--admin", "127.0.0.1:0", "--proxy", "127.0.0.1:0"])
        .current_dir(home.path())
        .env("LD_PRELOAD", &library)
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let lifeboat = Lifeboat::adopt(home, child);
    let jump = |to: &str| std::fs::write(&clock, to).unwrap();
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let lasting = lifeboat.client_for("scripted", "lasting");
    let added = lifeboat.json(&["client", "add", "brief", "--role", "all-scripted", "--expires", "30"]);
    let brief = added["key"].as_str().unwrap().to_owned();
    let paced = lifeboat.json(&["client", "add", "paced", "--role", "all-scripted", "--rate", "20"]);
    let paced = paced["key"].as_str().unwrap().to_owned();
    let file = |name: &str, key: &str| lifeboat.secret_file(name, key);
    let flags = ["--connections", "4", "--tool", "echo", "--tool-mix", "1:1"];
    let steady =
        Load::start(&lifeboat, "scripted", &file("lasting.key", &lasting), "lasting", &[&["--rate", "100"], &flags[..]].concat());
    let expiring =
        Load::start(&lifeboat, "scripted", &file("brief.key", &brief), "brief", &[&["--rate", "20"], &flags[..]].concat());
    let began = Instant::now();
    let limited =
        Load::start(&lifeboat, "scripted", &file("paced.key", &paced), "paced", &[&["--rate", "100"], &flags[..]].concat());
    sleep(Duration::from_secs(1));
    for to in ["+365d", "-1h", "+0", "+365d", "+0"] {
        jump(to);
        sleep(Duration::from_millis(1_500));
        assert!(lifeboat.is_ready(), "{to}");
    }
    let seconds = began.elapsed().as_secs_f64();
    let (steady, expiring, limited) = (steady.finish(), expiring.finish(), limited.finish());

    let bad: Vec<_> = steady.iter().filter(|line| line["status"] != "ok").collect();
    assert!(bad.is_empty() && steady.len() > 500, "{} of {}: {:?}", bad.len(), steady.len(), bad.first());
    let refused = expiring.iter().filter(|line| line["http"] == 401).count();
    let served = expiring.iter().filter(|line| line["status"] == "ok").count();
    assert!(
        refused > 10 && served > 10 && refused + served == expiring.len(),
        "a year on the key is over, and only then: {refused} {served}"
    );
    // The limit counts by a clock that cannot be set: no jump gives calls away, none stops them.
    let through = limited.iter().filter(|line| line["status"] == "ok").count() as f64;
    let most = 20.0 * (seconds + 1.0) + 100.0;
    assert!(through <= most && through >= 20.0 * (seconds - 3.0), "{through} calls in {seconds} s at 20 a second");

    jump("+0");
    ledger::verified(&lifeboat);
    let events = ledger::query(&lifeboat, &["--client", "lasting"]);
    let order: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert!(order.windows(2).all(|pair| pair[0] > pair[1]), "newest first is by number, whatever the clock said");
    let log = std::fs::read_to_string(lifeboat.home().join("lifeboat.log")).unwrap();
    assert!(!log.contains("panicked"), "{}", text(log.as_bytes()));
}
