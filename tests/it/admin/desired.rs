//! The desired state: HEAD is the truth, an invalid HEAD changes nothing, revoking counts at once.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::proxy::{call, modern};
use crate::support::TestApp;

fn git(app: &TestApp, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=ana", "-c", "user.email=ana@example.org", "-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(app.data.path().join("config"))
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn every_verb_is_one_commit_by_its_actor() {
    let app = TestApp::start().await;
    let log = git(&app, &["log", "--format=%an|%s"]);
    assert!(log.lines().filter(|line| line.contains("client")).count() >= 3, "{log}");
    assert!(log.contains("local:"), "{log}");
    let shown = git(&app, &["show", "HEAD:clients/slow.toml"]);
    assert!(shown.contains("reader") && !shown.contains("lbk_"), "{shown}");
    let history = app.api("GET", "/api/v1/config/history", Value::Null).await;
    assert!(history.to_string().contains("slow") || history.to_string().contains("client"), "{history}");
}

#[tokio::test]
async fn an_invalid_head_is_refused_with_every_fault_and_the_last_revision_keeps_running() {
    let app = TestApp::start().await;
    let config = app.data.path().join("config");
    std::fs::write(config.join("roles/reader.toml"), "[[grant]]\ntools = [\"up/*\"]\nclases = [\"read\"]\n").expect("written");
    std::fs::write(config.join("clients/slow.toml"), "roles = [\"ghost\"]\n").expect("written");
    let (status, checked) = app.api_status("POST", "/api/v1/config/check", json!({})).await;
    let text = checked.to_string();
    assert!(text.contains("roles/reader.toml") && text.contains("ghost"), "{status} {text}");
    let (status, _) = app.api_status("POST", "/api/v1/config/commit", json!({"as": "ana", "message": "typo"})).await;
    assert_ne!(status, 200);
    git(&app, &["commit", "-qam", "typo"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.code(), 0, "{}", reply.json());
    let app = app.restart().await;
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.code(), 0, "after a restart: {}", reply.json());
    git(&app, &["revert", "--no-edit", "HEAD"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(app.api("POST", "/api/v1/config/check", json!({})).await["ok"], json!(true));
}

#[tokio::test]
async fn a_commit_never_sweeps_in_somebody_elses_edits() {
    let app = TestApp::start().await;
    let config = app.data.path().join("config");
    std::fs::write(config.join("roles/writer.toml"), "[[grant]]\ntools = [\"up/*\"]\nclasses = [\"read\"]\n").expect("written");
    app.add_client("later", "reader", 0).await;
    assert!(git(&app, &["show", "HEAD:roles/writer.toml"]).contains("write"));
    assert!(!std::fs::read_to_string(config.join("roles/writer.toml")).expect("read").contains("write"), "the edit is still there");
    let reply =
        app.post(&app.writer, &modern("tools/call", "write_note"), call(1, "write_note", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.code(), 0, "an edit counts only after config commit");
    app.api("POST", "/api/v1/config/commit", json!({"as": "ana", "message": "writer reads only"})).await;
    let reply =
        app.post(&app.writer, &modern("tools/call", "write_note"), call(1, "write_note", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.reason(), "policy.class");
    assert!(git(&app, &["log", "-1", "--format=%an %s"]).contains("ana writer reads only"));
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_100_ms() {
    let app = TestApp::start().await;
    let key = app.add_client("short", "reader", 0).await;
    let body = call(1, "echo", json!({})).to_string();
    assert_eq!(app.post(&key, &modern("tools/call", "echo"), body.as_bytes()).await.status, 200);
    let started = Instant::now();
    app.api("POST", "/api/v1/clients/short/revoke", json!({})).await;
    assert_eq!(app.post(&key, &modern("tools/call", "echo"), body.as_bytes()).await.status, 401);
    assert!(started.elapsed() < Duration::from_secs(2));
    let app = app.restart().await;
    assert_eq!(app.post(&key, &modern("tools/call", "echo"), body.as_bytes()).await.status, 401);
}
