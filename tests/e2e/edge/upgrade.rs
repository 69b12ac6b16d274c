//! Restarts under load: the drain of one process, and the hand-over to the next on the same sockets.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lifeboat_peers::tls::Dialer;
use serde_json::Value;

use super::handed::{Sockets, home};
use super::streams::Listeners;
use crate::harness::{Lifeboat, sized, wait};
use crate::https;
use crate::ledger;
use crate::rig::{Load, Scripted};

const STREAMS: usize = 20;

fn listeners(lifeboat: &Lifeboat, key: &str) -> Listeners {
    let dialer = Dialer::new(&lifeboat.proxy, &lifeboat.ca(), &[]).unwrap();
    Listeners::start(dialer, "/mcp/scripted", key, STREAMS)
}

fn all_ok(calls: &[Value]) {
    let failed: Vec<&Value> = calls.iter().filter(|line| line["status"] != "ok").collect();
    assert!(failed.is_empty(), "{} of {} calls failed: {:?}", failed.len(), calls.len(), &failed[..failed.len().min(5)]);
}

fn slow_call(lifeboat: &Lifeboat, key: &str, ms: u64) -> std::thread::JoinHandle<std::io::Result<https::Answer>> {
    let (authority, ca) = (lifeboat.proxy.clone(), lifeboat.ca());
    let request = hyper::Request::post("/mcp/scripted")
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "slow_write");
    let body = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "slow_write", "arguments": {"ms": ms, "steps": 0},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    std::thread::spawn(move || https::send(&authority, &ca, request, body.to_string()))
}

#[test]
fn flt_02_a_stop_under_load_lets_calls_end_and_sends_listeners_on() {
    let mut lifeboat = Lifeboat::start();
    let settings = lifeboat.data().join("config/lifeboat.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    lifeboat.configure("lifeboat.toml", &text.replace("[listen]\n", "[listen]\ndrain_notice_ms = 1500\n"));
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key = lifeboat.client_for("scripted", "loader");
    let key_file = lifeboat.secret_file("loader.key", &key);
    // Whoever listens has calls in flight of its own while it comes back.
    let listeners = listeners(&lifeboat, &lifeboat.client_for("scripted", "listener"));
    let all_open = || (listeners.seen.open.load(Ordering::SeqCst) == STREAMS as u64).then_some(());
    wait("every stream", 30, all_open);
    let flags = ["--rate", "200", "--connections", "16", "--tool", "echo", "--tool-mix", "1:1", "--retry-connect"];
    let load = Load::start(&lifeboat, "scripted", &key_file, "drain", &flags);
    sleep(Duration::from_secs(2));
    let slow = slow_call(&lifeboat, &key, 4_000);
    sleep(Duration::from_millis(300));
    let stopped = Instant::now();
    lifeboat.signal("TERM");
    // Readiness drops first; calls are still taken while whoever routes here finds out.
    wait("/ready says no", 1, || {
        https::get(&lifeboat.proxy, &lifeboat.ca(), "/ready").is_ok_and(|answer| answer.status == 503).then_some(())
    });
    let streams_at_notice = listeners.seen.ended.load(Ordering::SeqCst);
    assert_eq!(streams_at_notice, 0, "streams go on until nobody new is accepted");
    let answer = slow.join().unwrap().expect("the call in flight has its answer");
    assert!(answer.status == 200 && answer.body.contains("slow and done"), "{}", answer.body);
    let status = lifeboat.wait_exit(40);
    let took = stopped.elapsed();
    assert_eq!(status.code(), Some(0));
    lifeboat.restart();
    wait("every stream again", 30, all_open);
    sleep(Duration::from_secs(1));
    let calls = load.finish();
    println!("stopped in {took:?}; {} calls", calls.len());
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(listeners.seen.broken.load(Ordering::SeqCst), 0, "streams end in order");
    // One that comes back before the last socket is closed is sent on once more.
    let ended = listeners.seen.ended.load(Ordering::SeqCst);
    assert!((STREAMS as u64..=2 * STREAMS as u64).contains(&ended), "each, at most twice: {ended}");
    all_ok(&calls);
    drop(listeners);
    ledger::verified(&lifeboat);
    let unknown = ledger::query(&lifeboat, &["--client", "loader", "--status", "unknown"]);
    assert_eq!(unknown.len(), 0, "no call lost its outcome: {unknown:?}");
}

#[test]
fn an_upgrade_on_handed_sockets_loses_no_call() {
    let sockets = Sockets::open();
    let home = home();
    let child = sockets.start(home.path());
    let mut lifeboat = Lifeboat::adopt(home, child);
    let _scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key = lifeboat.client_for("scripted", "loader");
    let key_file = lifeboat.secret_file("loader.key", &key);
    // Whoever listens has calls in flight of its own while it comes back.
    let listeners = listeners(&lifeboat, &lifeboat.client_for("scripted", "listener"));
    let all_open = || (listeners.seen.open.load(Ordering::SeqCst) == STREAMS as u64).then_some(());
    wait("every stream", 30, all_open);
    // No second attempt at anything: whoever connects waits in the backlog of a socket that never closes.
    let flags = ["--rate", "200", "--connections", "16", "--tool", "echo", "--tool-mix", "1:1"];
    let load = Load::start(&lifeboat, "scripted", &key_file, "upgrade", &flags);
    let mut gaps = Vec::new();
    for _ in 0..sized(2, 10) {
        sleep(Duration::from_secs(2));
        let began = Instant::now();
        lifeboat.signal("TERM");
        // Before the first one has ended: the second waits for the data directory.
        let next = sockets.start(lifeboat.home());
        let status = lifeboat.succeeded_by(next);
        gaps.push(began.elapsed());
        assert_eq!(status.code(), Some(0));
        wait("every stream again", 30, all_open);
    }
    sleep(Duration::from_secs(1));
    let calls = load.finish();
    let slowest = calls.iter().filter_map(|line| Some(line["done_ns"].as_u64()? - line["due_ns"].as_u64()?)).max().unwrap_or(0);
    println!("{} calls over upgrades of {gaps:?}; the slowest took {} ms", calls.len(), slowest / 1_000_000);
    assert!(calls.len() > 800, "{}", calls.len());
    all_ok(&calls);
    assert_eq!(listeners.seen.broken.load(Ordering::SeqCst), 0, "streams end in order");
    drop(listeners);
    ledger::verified(&lifeboat);
}

#[test]
fn sockets_without_a_name_are_refused() {
    let home = home();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let script = "exec \"$0\" up --data lifeboat-data --json 3<&0 0</dev/null";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(crate::harness::binary())
        .current_dir(home.path())
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "lifeboat.socket")
        .stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from(socket)))
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(said["error"]["message"].as_str().unwrap().contains("FileDescriptorName"), "{said}");
    assert!(!home.path().join("lifeboat-data").exists(), "nothing was begun");
}
