//! The ledger through the whole app: what stands in it, what a stranger cannot do to it, what it does when it cannot be written.

use serde_json::{Value, json};

use crate::proxy::{call, modern};
use crate::support::TestApp;

#[tokio::test]
async fn a_write_stands_twice_and_a_read_once() {
    let app = TestApp::start().await;
    let write = app
        .post(
            &app.writer,
            &modern("tools/call", "write_note"),
            call(1, "write_note", json!({"text": "hidden-value"})).to_string().as_bytes(),
        )
        .await;
    let read = app.post(&app.writer, &modern("tools/call", "echo"), call(2, "echo", json!({})).to_string().as_bytes()).await;
    let events = app.events("limit=50").await;
    let kinds = |reply: &crate::support::wire::Reply| -> Vec<String> {
        let id = reply.header("lifeboat-request-id").expect("an id").to_owned();
        events
            .iter()
            .filter(|event| event["request_id"] == json!(id))
            .map(|event| event["kind"].as_str().expect("a kind").to_owned())
            .collect()
    };
    assert_eq!(kinds(&write), ["call.outcome", "call.intent"]);
    assert_eq!(kinds(&read), ["call"]);
    let outcome = events.iter().find(|event| event["kind"] == "call.outcome").expect("an outcome");
    for (field, value) in [
        ("client", "writer"),
        ("server", "up"),
        ("tool", "write_note"),
        ("class", "write"),
        ("decision", "permit"),
        ("grant", "writer#1"),
        ("status", "ok"),
        ("executed", "yes"),
    ] {
        assert_eq!(outcome[field], json!(value), "{outcome}");
    }
    assert!(outcome["revision"].as_str().is_some_and(|revision| revision.contains('+')), "{outcome}");
    assert!(outcome["latency_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{outcome}");
    assert!(!app.ledger_text().contains("hidden-value"), "parameters are shapes, not values");
    assert_eq!(
        app.api("GET", "/api/v1/audit/verify", Value::Null).await,
        json!({"ok": true, "segments": 1, "events": events_in(&app), "first_bad": null})
    );
}

fn events_in(app: &TestApp) -> usize {
    app.ledger_text().lines().count()
}

#[tokio::test]
async fn strangers_are_counted_not_listed() {
    let app = TestApp::start().await;
    app.settle().await;
    let before = events_in(&app);
    for _ in 0..40 {
        app.bare("POST", "/mcp/up", &modern("tools/call", "echo"), b"{}").await;
    }
    app.settle().await;
    let text = app.ledger_text();
    let rows: Vec<Value> = text
        .lines()
        .skip(before)
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|event: &Value| event["kind"] == "auth.refused")
        .collect();
    let counted: u64 = rows.iter().filter_map(|row| row["params"]["count"].as_u64()).sum();
    assert_eq!(counted, 40, "{rows:?}");
    assert!(rows.len() <= 9 * 5, "{}", rows.len());
}

#[tokio::test]
async fn the_index_can_be_lost_and_comes_back() {
    let app = TestApp::start().await;
    app.post(&app.reader, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes()).await;
    let before = app.events("client=reader").await;
    assert!(!before.is_empty());
    app.app.stop().await;
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = std::fs::remove_file(app.data.path().join("audit").join(name));
    }
    let app = app.restart().await;
    assert_eq!(app.events("client=reader").await, before);
}

#[tokio::test]
async fn flt_07_a_full_disk_refuses_loses_nothing_and_recovers() {
    if !nix_is_root() {
        // Only root can mount the small disk; as another account the ledger's own tests inject the same error.
        return;
    }
    let disk = tempfile::TempDir::new().expect("a directory");
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(disk.path()).status();
    assert!(mounted.expect("mount runs").success());
    let app = TestApp::start_in_place(disk, "[audit]\nreserve = \"1 MiB\"\n").await;
    let body = call(1, "write_note", json!({})).to_string();
    assert_eq!(app.post(&app.writer, &modern("tools/call", "write_note"), body.as_bytes()).await.code(), 0);
    let filler = app.data.path().join("filler");
    fill(&filler);
    let mut refused = None;
    for _ in 0..20_000 {
        let reply = app.post(&app.writer, &modern("tools/call", "write_note"), body.as_bytes()).await;
        if reply.code() != 0 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("a full disk refuses writes");
    assert_eq!((refused.code(), refused.reason().as_str()), (-31008, "ledger.unavailable"));
    let answered = app.upstream.count("tools/call");
    assert_eq!(app.engage(json!({"reason": "full"})).await["effective"], json!(true), "the kill works on a full disk");
    std::fs::remove_file(&filler).expect("freed");
    app.api("POST", "/api/v1/kill/release", json!({"reason": "freed"})).await;
    let started = std::time::Instant::now();
    while app.post(&app.writer, &modern("tools/call", "write_note"), body.as_bytes()).await.code() != 0 {
        assert!(started.elapsed().as_secs() < 5, "not recovered 5 s after space came back");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(app.api("GET", "/api/v1/audit/verify", Value::Null).await["ok"], json!(true));
    let intents = app.ledger_text().matches("\"call.intent\"").count();
    assert!(intents >= answered, "{intents} intents for {answered} writes that the upstream saw");
    app.app.stop().await;
    let path = app.data.keep();
    let _ = std::process::Command::new("umount").arg("-l").arg(&path).status();
}

fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("created");
    let block = vec![0u8; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&[0u8; 512]).is_ok() {}
}

fn nix_is_root() -> bool {
    std::process::Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

#[tokio::test]
async fn a_ledger_that_was_changed_runs_nothing_and_is_said_everywhere() {
    let app = TestApp::start().await;
    let body = call(1, "echo", json!({})).to_string();
    app.post(&app.reader, &modern("tools/call", "echo"), body.as_bytes()).await;
    app.app.stop().await;
    let segment = app.data.path().join("audit/00000001.jsonl");
    let text = std::fs::read_to_string(&segment).expect("the segment");
    std::fs::write(&segment, text.replacen("client.add", "client.ado", 1)).expect("changed");
    let app = app.restart().await;
    app.upstream.forget();
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), body.as_bytes()).await;
    assert_eq!((reply.code(), reply.reason().as_str()), (-31008, "ledger.unavailable"));
    assert_eq!(reply.json()["error"]["data"]["executed"], "no");
    assert_eq!(app.upstream.count("tools/call"), 0, "nothing runs that could not be written down");
    let status = app.api("GET", "/api/v1/status", Value::Null).await;
    assert!(status["alerts"].to_string().contains("ledger"), "{status}");
    let (answered, refused) = app.api_status("POST", "/api/v1/clients", json!({"name": "late", "roles": ["reader"]})).await;
    assert_eq!(answered, 503, "{refused}");
    let clients = app.api("GET", "/api/v1/clients", Value::Null).await;
    assert!(!clients.to_string().contains("late"), "no key was made that nobody saw: {clients}");
    assert_eq!(app.api("GET", "/api/v1/audit/verify", Value::Null).await["ok"], json!(false));
    assert_eq!(app.engage(json!({"reason": "evidence"})).await["effective"], json!(true), "stopping needs no ledger");
}
