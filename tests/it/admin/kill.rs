//! The kill switch: every way in, every scope, what survives, what never releases.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::proxy::{call, modern};
use crate::support::TestApp;
use crate::support::wire::Reply;

async fn echo(app: &TestApp, key: &str) -> Reply {
    app.post(key, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes()).await
}

async fn write(app: &TestApp, key: &str) -> Reply {
    app.post(key, &modern("tools/call", "write_note"), call(1, "write_note", json!({})).to_string().as_bytes()).await
}

async fn until_engaged(app: &TestApp) -> Duration {
    let started = Instant::now();
    while app.api("GET", "/api/v1/kill", Value::Null).await["engaged"] != json!(true) {
        assert!(started.elapsed() < Duration::from_secs(3), "not engaged within 3 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

#[tokio::test]
async fn every_scope_and_mode_stops_what_it_names_and_nothing_else() {
    let app = TestApp::start().await;
    let cases = [
        (json!({"reason": "r"}), [true, true, true]),
        (json!({"reason": "r", "mode": "read-only"}), [false, true, false]),
        (json!({"reason": "r", "server": "up"}), [true, true, true]),
        (json!({"reason": "r", "tool": "up/write_note"}), [false, true, false]),
        (json!({"reason": "r", "client": "writer"}), [true, true, false]),
        (json!({"reason": "r", "client": "writer", "mode": "read-only"}), [false, true, false]),
    ];
    for (order, [writer_reads, writer_writes, reader_reads]) in cases {
        let engaged = app.engage(order.clone()).await;
        assert_eq!(engaged["effective"], json!(true), "{order}: {engaged}");
        assert_eq!(engaged["proofs"][0]["refused"], json!(true), "{order}: {engaged}");
        app.upstream.forget();
        for (stopped, reply) in [
            (writer_reads, echo(&app, &app.writer).await),
            (writer_writes, write(&app, &app.writer).await),
            (reader_reads, echo(&app, &app.reader).await),
        ] {
            assert_eq!(reply.code() == -31001, stopped, "{order}: {}", reply.json());
            if stopped {
                assert_eq!(reply.json()["error"]["data"]["executed"], "no");
                assert_eq!(reply.json()["error"]["data"]["retry"], "ask_operator");
            }
        }
        let mut release = order.clone();
        release.as_object_mut().expect("an object").remove("mode");
        app.api("POST", "/api/v1/kill/release", release).await;
        assert_eq!(echo(&app, &app.writer).await.code(), 0, "{order}");
    }
}

#[tokio::test]
async fn atk_p38_lists_ping_and_cancel_stay_while_everything_that_executes_is_refused() {
    let app = TestApp::start().await;
    app.engage(json!({"reason": "r"})).await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    app.upstream.forget();
    for (method, params, name) in [
        ("resources/read", json!({"uri": "x://y", "_meta": meta}), "x://y"),
        ("prompts/get", json!({"name": "p", "_meta": meta}), "p"),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}, "_meta": meta}),
            "",
        ),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let reply = app.post(&app.writer, &modern(method, name), body.as_bytes()).await;
        assert_eq!((reply.status, reply.code()), (200, -31001), "{method}: {}", reply.json());
    }
    assert_eq!(app.upstream.hits().len(), 0);
    for method in ["tools/list", "server/discover"] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}}).to_string();
        let reply = app.post(&app.writer, &modern(method, ""), body.as_bytes()).await;
        assert_eq!((reply.status, reply.code()), (200, 0), "{method}: {}", reply.json());
    }
}

#[tokio::test]
async fn touching_the_file_engages_and_removing_it_releases_nothing() {
    let app = TestApp::start().await;
    let file = app.data.path().join("KILL");
    std::fs::write(&file, "").expect("touched");
    until_engaged(&app).await;
    assert_eq!(echo(&app, &app.reader).await.reason(), "kill.engaged");
    assert_eq!(app.api("GET", "/api/v1/kill", Value::Null).await["states"][0]["by"], "file");
    std::fs::remove_file(&file).expect("removed");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(echo(&app, &app.reader).await.reason(), "kill.engaged");
    app.api("POST", "/api/v1/kill/release", json!({"reason": "over"})).await;
    assert!(!file.exists());
    assert_eq!(echo(&app, &app.reader).await.code(), 0);
}

#[tokio::test]
async fn atk_p39_a_restart_while_engaged_stays_engaged() {
    let app = TestApp::start().await;
    app.engage(json!({"reason": "first", "client": "reader"})).await;
    let app = app.restart().await;
    assert_eq!(echo(&app, &app.reader).await.reason(), "kill.engaged");
    assert_eq!(echo(&app, &app.writer).await.code(), 0);
    let states = app.api("GET", "/api/v1/kill", Value::Null).await;
    assert_eq!((&states["states"][0]["scope"], &states["states"][0]["reason"]), (&json!("client reader"), &json!("first")));
}

#[tokio::test]
async fn an_unreadable_kill_file_at_boot_means_engaged() {
    let app = TestApp::start().await;
    std::fs::write(app.data.path().join("KILL"), [0xff, 0xfe, b'{']).expect("written");
    until_engaged(&app).await;
    let app = app.restart().await;
    assert_eq!(echo(&app, &app.reader).await.reason(), "kill.engaged");
}

#[tokio::test]
async fn flt_09_engaging_works_while_another_process_holds_the_database() {
    let app = TestApp::start().await;
    let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1],isolation_level=None)\nc.execute('BEGIN EXCLUSIVE')\nprint('locked',flush=True)\nsys.stdin.read()\nc.execute('COMMIT')\n";
    let mut holder = tokio::process::Command::new("python3")
        .args(["-c", script])
        .arg(app.data.path().join("state.db"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 runs");
    let mut line = String::new();
    let mut out = tokio::io::BufReader::new(holder.stdout.take().expect("piped"));
    tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line).await.expect("locked");
    // A verb that waits for the database waits each time; a busy machine does not.
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        let engaged = app.engage(json!({"reason": "locked"})).await;
        quickest = quickest.min(started.elapsed());
        assert_eq!((&engaged["effective"], &engaged["persisted"]), (&json!(true), &json!("file")), "{engaged}");
        if quickest < Duration::from_secs(2) {
            break;
        }
    }
    assert!(quickest < Duration::from_secs(2), "{quickest:?}");
    assert_eq!(echo(&app, &app.reader).await.reason(), "kill.engaged");
    let (status, _) = app.api_status("POST", "/api/v1/kill/release", json!({"reason": "too early"})).await;
    assert_ne!(status, 200, "a release that the database does not know of must fail");
    assert_eq!(echo(&app, &app.reader).await.reason(), "kill.engaged");
    drop(holder.stdin.take());
    holder.wait().await.expect("the holder ends");
    let app = app.restart().await;
    assert_eq!(echo(&app, &app.reader).await.reason(), "kill.engaged");
    app.api("POST", "/api/v1/kill/release", json!({"reason": "over"})).await;
    assert_eq!(echo(&app, &app.reader).await.code(), 0);
}

#[tokio::test]
async fn a_release_to_read_only_lets_reads_start_first() {
    let app = TestApp::start().await;
    app.engage(json!({"reason": "r"})).await;
    app.api("POST", "/api/v1/kill/release", json!({"reason": "softly", "to": "read-only"})).await;
    assert_eq!(echo(&app, &app.writer).await.code(), 0);
    assert_eq!(write(&app, &app.writer).await.reason(), "kill.read_only");
    app.api("POST", "/api/v1/kill/release", json!({"reason": "wholly"})).await;
    assert_eq!(write(&app, &app.writer).await.code(), 0);
}

#[tokio::test]
async fn each_engage_and_release_is_an_audit_event() {
    let app = TestApp::start().await;
    let engaged = app.engage(json!({"reason": "why not"})).await;
    app.api("POST", "/api/v1/kill/release", json!({"reason": "enough"})).await;
    app.settle().await;
    let text = app.ledger_text();
    for action in ["\"kill.engage\"", "\"kill.release\""] {
        assert!(text.contains(action), "{action}");
    }
    assert!(text.contains(engaged["decision_id"].as_str().expect("an id")));
    assert_eq!(app.api("GET", "/api/v1/audit/verify", Value::Null).await["ok"], json!(true));
}
