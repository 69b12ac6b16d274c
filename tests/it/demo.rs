//! `up --demo` with the real program: it completes what is missing, and brings nothing back that was revoked.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::program::{Running, ask, start};

fn up(data: &Path) -> Running {
    start(data, &["up", "--demo"])
}

#[test]
fn a_revoked_demo_client_stays_revoked_and_a_stopped_lifeboat_says_so() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let first = up(&data);
    let (status, _) = ask(&data, &["status"]);
    assert_eq!(status["alerts"], serde_json::json!([]));
    assert_eq!(ask(&data, &["client", "revoke", "demo-client"]).1, Some(0));
    drop(first);
    let (stopped, _) = ask(&data, &["status"]);
    assert!(stopped["alerts"].to_string().contains("not running"), "{stopped}");
    let (page, exit) = ask(&data, &["audit", "query", "--limit", "500"]);
    let actions: Vec<&str> =
        page["events"].as_array().expect("events").iter().filter_map(|event| event["action"].as_str()).collect();
    assert!(exit == Some(0) && actions.contains(&"client.revoke"), "the ledger answers also now: {page}");
    let second = up(&data);
    let (client, _) = ask(&data, &["client", "show", "demo-client"]);
    assert_eq!(client["state"], "revoked", "{client}");
    std::fs::write(data.join("config/roles/demo.toml"), "[[grant]]\ntols = []\n").expect("edited");
    let (checked, exit) = ask(&data, &["config", "check"]);
    assert_eq!((&checked["ok"], exit), (&Value::Bool(false), Some(2)), "{checked}");
    let (edits, exit) = ask(&data, &["config", "diff"]);
    assert_eq!((&edits["files"][0]["path"], exit), (&Value::from("roles/demo.toml"), Some(0)), "{edits}");
    let (refused, exit) = ask(&data, &["config", "rollback", "HEAD", "--reason", "to where we are"]);
    assert_eq!((&refused["error"]["kind"], exit), (&Value::from("conflict"), Some(1)), "{refused}");
    drop(second);
}

#[test]
fn a_stop_whose_socket_is_gone_works_by_the_file_and_claims_no_proof() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = up(&data);
    let socket = data.join("run/lifeboat.sock");
    std::fs::rename(&socket, data.join("run/away.sock")).expect("moved");
    let (engaged, exit) = ask(&data, &["kill", "engage", "--reason", "no socket"]);
    assert_eq!((&engaged["effective"], exit), (&Value::Bool(false), Some(2)), "{engaged}");
    std::fs::rename(data.join("run/away.sock"), &socket).expect("moved back");
    let started = Instant::now();
    while ask(&data, &["kill", "status"]).0["engaged"] != true {
        assert!(started.elapsed() < Duration::from_secs(5), "the file stopped nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(running);
    let (stopped, exit) = ask(&data, &["kill", "engage", "--reason", "nobody runs"]);
    assert_eq!(
        (&stopped["effective"], &stopped["persisted"], exit),
        (&Value::Bool(true), &Value::from("file"), Some(0)),
        "{stopped}"
    );
}

#[test]
fn an_address_that_is_taken_is_said_and_the_next_start_may_name_another() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = taken.local_addr().expect("its address").to_string();
    for which in [["--admin", &address, "--proxy", "127.0.0.1:0"], ["--admin", "127.0.0.1:0", "--proxy", &address]] {
        let mut order = std::process::Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        let output = order.args(["up", "--demo"]).args(which).arg("--data").arg(&data).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&address) && !said.contains("panicked"), "{said}");
    }
    let _running = up(&data);
}
