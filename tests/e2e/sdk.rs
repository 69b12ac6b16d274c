//! Real clients against real servers: list, call, kill, release, in each SDK and era; and the ledger has the rows.

use serde_json::Value;

use crate::clients::{EVERY, Sdk};
use crate::harness::Lifeboat;
use crate::ledger;
use crate::rig::{everything, node_dir};

fn step<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    lines.iter().find(|line| line["step"] == name).unwrap_or_else(|| panic!("no step {name} in {lines:?}"))
}

fn tools(lines: &[Value]) -> Vec<&str> {
    step(lines, "list")["tools"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

#[test]
fn each_sdk_lists_and_calls_the_demo_in_both_eras() {
    let lifeboat = Lifeboat::start();
    let key = lifeboat.first_run().value("demo-client key").to_owned();
    for sdk in EVERY {
        let lines = sdk.run(&lifeboat, "demo", &key, &["list", "call", "read_graph", "{}"]);
        assert_eq!(step(&lines, "connect")["ok"], true, "{sdk:?}: {lines:?}");
        let modern = step(&lines, "connect")["protocol"] == "2026-07-28";
        assert_eq!(modern, sdk.is_auto(), "{sdk:?} must speak its era: {lines:?}");
        assert!(tools(&lines).contains(&"read_graph"), "{sdk:?}: {lines:?}");
        assert_eq!(step(&lines, "call")["ok"], true, "{sdk:?}: {lines:?}");
    }
    let rows = ledger::query(&lifeboat, &["--client", "demo-client", "--tool", "demo/read_graph"]);
    assert_eq!(rows.len(), EVERY.len(), "one row per read: {rows:?}");
    for row in &rows {
        assert_eq!((&row["kind"], &row["decision"], &row["status"]), (&"call".into(), &"permit".into(), &"ok".into()), "{row}");
        assert_eq!(row["class"], "read");
        assert!(row["request_id"].is_string() && row["revision"].is_string(), "{row}");
    }
}

#[test]
fn a_kill_reads_as_a_stop_in_each_sdk_and_a_release_brings_it_back() {
    let lifeboat = Lifeboat::start();
    let key = lifeboat.first_run().value("demo-client key").to_owned();
    let engaged = lifeboat.json(&["kill", "engage", "--reason", "runaway client"]);
    assert_eq!(engaged["effective"], true, "{engaged}");
    for sdk in EVERY {
        let lines = sdk.run(&lifeboat, "demo", &key, &["list", "call", "read_graph", "{}"]);
        assert!(tools(&lines).contains(&"read_graph"), "lists stay served: {sdk:?}");
        let call = step(&lines, "call");
        assert_eq!(call["code"], -31001, "{sdk:?}: {lines:?}");
        let message = call["message"].as_str().unwrap();
        assert!(message.contains("Stopped by an operator"), "{sdk:?} shows: {message}");
        assert_eq!(call["data"]["reason"], "kill.engaged", "{sdk:?}: {call}");
        assert_eq!(call["data"]["executed"], "no", "{sdk:?}: {call}");
    }
    let refused = ledger::query(&lifeboat, &["--client", "demo-client", "--status", "refused"]);
    assert_eq!(refused.iter().filter(|row| row["reason"] == "kill.engaged").count(), EVERY.len());
    lifeboat.json(&["kill", "release", "--reason", "the client is mended"]);
    for sdk in EVERY {
        let lines = sdk.run(&lifeboat, "demo", &key, &["call", "read_graph", "{}"]);
        assert_eq!(step(&lines, "call")["ok"], true, "{sdk:?} after the release: {lines:?}");
    }
}

/// Also PIT-22: an auto client falls back to the legacy era, because the refusal of its probe is relayed as the server wrote it.
#[test]
fn pit_22_server_everything_over_http_with_progress_and_cancel() {
    let lifeboat = Lifeboat::start();
    let (_server, url) = everything();
    lifeboat.json(&["server", "add", "everything", "--url", &url, "--plain-loopback"]);
    let key = lifeboat.client_for("everything", "explorer");
    for sdk in EVERY {
        let steps = [
            "list",
            "call",
            "echo",
            r#"{"message":"ahoy"}"#,
            "progress",
            "trigger-long-running-operation",
            r#"{"duration":1,"steps":4}"#,
            "cancel",
            "trigger-long-running-operation",
            r#"{"duration":20,"steps":4}"#,
            "500",
            "call",
            "get-structured-content",
            r#"{"location":"New York"}"#,
        ];
        let lines = sdk.run(&lifeboat, "everything", &key, &steps);
        assert_eq!(step(&lines, "connect")["protocol"], "2025-11-25", "{sdk:?}: {lines:?}");
        assert!(tools(&lines).contains(&"echo"), "{sdk:?}: {lines:?}");
        assert!(step(&lines, "call")["text"].as_str().unwrap().contains("ahoy"), "{sdk:?}: {lines:?}");
        let progress = step(&lines, "progress");
        assert_eq!(progress["progress"], 4, "{sdk:?}: {progress}");
        assert!(progress["spread_ms"].as_u64().unwrap() > 400, "progress must come while it happens: {sdk:?}: {progress}");
        let cancel = step(&lines, "cancel");
        assert!(cancel["ok"] == true && cancel["ms"].as_u64().unwrap() < 5000, "{sdk:?}: {cancel}");
        assert_eq!(lines.last().unwrap()["ok"], true, "the session lives on after a cancel: {sdk:?}: {lines:?}");
    }
}

#[test]
fn server_memory_over_stdio_keeps_what_each_sdk_writes() {
    let lifeboat = Lifeboat::start();
    let modules = node_dir().join("node_modules");
    let script = modules.join("@modelcontextprotocol/server-memory/dist/index.js");
    let vault = lifeboat.data().join("vaults/memory/memory.jsonl");
    let env = lifeboat.secret_file("memory.env", &format!("MEMORY_FILE_PATH={}\n", vault.display()));
    let command = format!("node {}", script.display());
    lifeboat.json(&[
        "server",
        "add",
        "memory",
        "--stdio",
        &command,
        "--env-file",
        env.to_str().unwrap(),
        "--dir",
        modules.to_str().unwrap(),
    ]);
    let key = lifeboat.client_for("memory", "librarian");
    for sdk in EVERY {
        let entity = format!(r#"{{"entities":[{{"name":"{sdk:?}","entityType":"sdk","observations":["was here"]}}]}}"#);
        let lines = sdk.run(&lifeboat, "memory", &key, &["list", "call", "create_entities", &entity, "call", "read_graph", "{}"]);
        assert_eq!(tools(&lines).len(), 9, "{sdk:?}: {lines:?}");
        let last = lines.last().unwrap();
        assert_eq!(last["ok"], true, "{sdk:?}: {lines:?}");
        assert!(last["text"].as_str().unwrap().contains(&format!("{sdk:?}")), "{sdk:?}: {last}");
    }
    let kept = std::fs::read_to_string(&vault).unwrap();
    assert_eq!(kept.lines().count(), EVERY.len(), "no write is lost:\n{kept}");
    let rows = ledger::query(&lifeboat, &["--tool", "memory/create_entities"]);
    for kind in ["call.intent", "call.outcome"] {
        assert_eq!(rows.iter().filter(|row| row["kind"] == kind).count(), EVERY.len(), "{kind}: {rows:?}");
    }
}

#[test]
fn a_wrong_key_is_an_error_and_reaches_no_tool() {
    let lifeboat = Lifeboat::start();
    let lines = Sdk::PythonAuto.run(&lifeboat, "demo", "lbk_nobody_nothing_none", &["call", "read_graph", "{}"]);
    assert_eq!(lines.last().unwrap()["ok"], false, "{lines:?}");
    assert!(ledger::query(&lifeboat, &["--tool", "demo/read_graph"]).is_empty());
}
