//! The policy under change and under faults: an invalid one never runs, a valid one runs at once, and nobody is answered in between.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lifeboat::admin::publish::publish;
use serde_json::{Value, json};

use crate::proxy::{call, modern};
use crate::support::{TestApp, alone};

const READS: &str = "[[grant]]\ntools = [\"up/echo\"]\nclasses = [\"read\"]\n";
const NOTHING: &str = "[[grant]]\ntools = [\"up/other\"]\nclasses = [\"read\"]\n";
const WRONG: &str = "[[grant]]\ntools = [\"up/echo\"\nclasses = \"all\"\n";

fn commit(app: &TestApp, text: &str) {
    let config = app.data.path().join("config");
    std::fs::write(config.join("roles/reader.toml"), text).expect("written");
    let author = ["-c", "user.name=ana", "-c", "user.email=ana@example.org", "-c", "safe.directory=*"];
    let output = Command::new("git").args(author).args(["commit", "-qam", "role"]).current_dir(config).output().expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_p42_an_invalid_policy_changes_nothing_and_is_told_everywhere() {
    let app = TestApp::start().await;
    let before = app.app.admin().feed.snapshot().revision.clone();
    commit(&app, WRONG);
    let fault = publish(app.app.admin()).await.expect_err("it is invalid");
    assert!(fault.to_string().contains("roles/reader.toml:"), "{fault}");
    assert_eq!(app.app.admin().feed.snapshot().revision, before);
    let echo = call(1, "echo", json!({})).to_string();
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), echo.as_bytes()).await;
    assert_eq!(reply.code(), 0, "the old policy decides: {}", reply.json());
    let reply =
        app.post(&app.reader, &modern("tools/call", "write_note"), call(2, "write_note", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.reason(), "policy.no_grant");
    let status = app.api("GET", "/api/v1/status", Value::Null).await;
    assert!(status["alerts"].to_string().contains("roles/reader.toml"), "{status}");
    let doctor = app.api("GET", "/api/v1/doctor", Value::Null).await;
    let check =
        doctor["checks"].as_array().expect("checks").iter().find(|check| check["name"] == "configuration").expect("a check");
    assert_eq!((&doctor["ok"], &check["state"]), (&json!(false), &json!("fail")));
    let health = app.api("GET", "/api/v1/health", Value::Null).await;
    assert_eq!(health["status"], "degraded");
    let standing = app.api("GET", "/api/v1/config/status", Value::Null).await;
    assert!(standing["applied"] == json!(false) && standing["refused"].to_string().contains("roles/reader.toml"), "{standing}");
    let told = app.events("kind=system&limit=5").await;
    assert!(told.iter().any(|event| event["action"] == "config.refused"), "{told:?}");
    let bare = app.bare("GET", "/health", &[], b"").await;
    assert!(
        bare.status == 200 && bare.json()["status"] == "degraded" && !bare.json().to_string().contains("reader"),
        "{}",
        bare.json()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_p41_a_policy_that_cannot_be_read_permits_nothing_more() {
    let app = TestApp::start().await;
    // The database goes away under it: what is in memory decides on, and health says so.
    app.app.admin().db.close().await;
    let echo = call(1, "echo", json!({})).to_string();
    let reply =
        app.post(&app.reader, &modern("tools/call", "write_note"), call(2, "write_note", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.reason(), "policy.no_grant");
    assert_eq!(app.post("lbk_unknown_key_x", &modern("tools/call", "echo"), echo.as_bytes()).await.status, 401);
    let health = app.api("GET", "/api/v1/health", Value::Null).await;
    assert_eq!(health["status"], "degraded");
    // A new policy cannot be composed without it, so the old one stays; a malformed one is no policy either.
    let before = app.app.admin().feed.snapshot().revision.clone();
    commit(&app, "[[grant]]\ntools = [\"up/*\"]\nclasses = [\"read\", \"write\"]\n");
    assert!(publish(app.app.admin()).await.is_err());
    commit(&app, "\u{0}\u{1}[[[");
    assert!(publish(app.app.admin()).await.is_err());
    assert_eq!(app.app.admin().feed.snapshot().revision, before);
    let reply =
        app.post(&app.reader, &modern("tools/call", "write_note"), call(3, "write_note", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.reason(), "policy.no_grant");
    // Nobody can be added to what cannot be written.
    let (status, _) = app.api_status("POST", "/api/v1/clients", json!({"name": "new", "roles": ["writer"]})).await;
    assert!(status >= 500 || status == 400, "{status}");
}

/// 300 calls a second and 100 reloads at full size.
#[tokio::test(flavor = "multi_thread")]
async fn flt_18_reloading_under_load_is_atomic() {
    if !alone("admin::reload::flt_18_reloading_under_load_is_atomic") {
        return;
    }
    let (reloads, pause) = if std::env::var_os("LIFEBOAT_LONG").is_some() { (100, 3) } else { (24, 20) };
    let app = Arc::new(TestApp::start().await);
    let stop = Arc::new(AtomicBool::new(false));
    let (permitted, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut load = Vec::new();
    for worker in 0..3 {
        let (app, stop, permitted, refused) = (app.clone(), stop.clone(), permitted.clone(), refused.clone());
        load.push(tokio::spawn(async move {
            let mut stream = crate::support::wire::connect(app.proxy, &app.ca).await;
            let mut id = worker * 1_000_000;
            while !stop.load(Ordering::SeqCst) {
                id += 1;
                let body = call(id, "echo", json!({})).to_string();
                let reply = app.on(&mut stream, &app.reader, &modern("tools/call", "echo"), body.as_bytes()).await;
                // One whole policy or the other decides; never a fault, and never a third answer.
                assert_eq!(reply.status, 200, "{}", reply.json());
                match reply.reason().as_str() {
                    "" if reply.code() == 0 => permitted.fetch_add(1, Ordering::SeqCst),
                    "policy.no_grant" => refused.fetch_add(1, Ordering::SeqCst),
                    _ => panic!("neither policy says this: {}", reply.json()),
                };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }));
    }
    let mut rss = 0;
    for round in 0..reloads {
        let (text, valid) = match round % 4 {
            0 => (NOTHING, true),
            2 => (READS, true),
            _ => (WRONG, false),
        };
        commit(&app, text);
        let before = app.app.admin().feed.snapshot().revision.clone();
        let published = publish(app.app.admin()).await;
        assert_eq!(published.is_ok(), valid, "round {round}: {published:?}");
        assert_eq!(app.app.admin().feed.snapshot().revision == before, !valid, "round {round}");
        // Both policies must be seen at work.
        let counter = if text == NOTHING { &refused } else { &permitted };
        let (seen, began) = (counter.load(Ordering::SeqCst), Instant::now());
        while valid && counter.load(Ordering::SeqCst) == seen {
            assert!(began.elapsed() < Duration::from_secs(30), "nobody is answered by the new policy");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if round == reloads / 4 {
            rss = rss_kib();
        }
    }
    stop.store(true, Ordering::SeqCst);
    for worker in load {
        worker.await.expect("no call failed");
    }
    let after = rss_kib();
    assert!(after <= rss + rss / 4 + 16_384, "{rss} KiB after a quarter, {after} KiB at the end");
    assert!(permitted.load(Ordering::SeqCst) > 0 && refused.load(Ordering::SeqCst) > 0);
}
