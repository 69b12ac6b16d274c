//! The processes around a deployment: scripted upstream, npm servers, load. Each ends with its value, by id.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::harness::{Lifeboat, target, wait};

/// A child process that ends with this value.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The scripted upstream with its receive log.
pub struct Scripted {
    _child: Running,
    pub url: String,
    pub log: PathBuf,
}

impl Scripted {
    /// Starts it; `flags` as its own documentation says.
    pub fn start(home: &Path, flags: &[&str]) -> Self {
        let log = home.join("received.jsonl");
        let mut child =
            Command::new(env!("CARGO_BIN_EXE_scripted")).arg("--log").arg(&log).args(flags).stdout(Stdio::piped()).spawn().unwrap();
        let line = first_line(child.stdout.take().unwrap());
        let address = line.strip_prefix("listening ").unwrap_or_else(|| panic!("scripted said {line:?}")).to_owned();
        Self { _child: Running(child), url: format!("http://{address}/mcp"), log }
    }

    /// Starts it and registers it under `name`.
    pub fn behind(lifeboat: &Lifeboat, name: &str, flags: &[&str]) -> Self {
        let this = Self::start(lifeboat.home(), flags);
        lifeboat.json(&["server", "add", name, "--url", &this.url, "--plain-loopback"]);
        this
    }

    /// What it received and how its slow calls ended, oldest first.
    pub fn received(&self) -> Vec<Value> {
        lifeboat_peers::lines::read(&self.log)
    }

    /// The stamps of every `tools/call` it received.
    pub fn call_stamps(&self) -> Vec<u64> {
        let lines = self.received();
        let calls = lines.iter().filter(|line| line["event"] == "request" && line["method"] == "tools/call");
        calls.filter_map(|line| line["t_ns"].as_u64()).collect()
    }
}

/// The scripted authorization server.
pub struct Issuer {
    _child: Running,
    pub url: String,
}

impl Issuer {
    /// Starts it, with one key published.
    pub fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_issuer")).stdout(Stdio::piped()).spawn().unwrap();
        let line = first_line(child.stdout.take().unwrap());
        let address = line.strip_prefix("listening ").unwrap_or_else(|| panic!("issuer said {line:?}")).to_owned();
        Self { _child: Running(child), url: format!("http://{address}") }
    }

    /// `stage`, `activate` or `remove`.
    pub fn keys(&self, order: &str) {
        self.curl(&["--request", "POST", &format!("{}/keys/{order}", self.url)]);
    }

    /// A token of a client for a resource.
    pub fn token(&self, client: &str, resource: &str, scope: &str) -> String {
        let fields = [format!("client_id={client}"), format!("resource={resource}"), format!("scope={scope}")];
        let mut words = vec!["--data", "grant_type=client_credentials"];
        fields.iter().for_each(|field| words.extend(["--data-urlencode", field.as_str()]));
        let url = format!("{}/token", self.url);
        words.push(&url);
        let answer: Value = serde_json::from_str(&self.curl(&words)).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    fn curl(&self, words: &[&str]) -> String {
        let output = Command::new("curl").args(["--silent", "--show-error", "--fail"]).args(words).output().unwrap();
        assert!(output.status.success(), "curl {words:?}: {}", crate::harness::text(&output.stderr));
        crate::harness::text(&output.stdout)
    }
}

fn first_line(output: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// The folder with node_modules.
pub fn node_dir() -> PathBuf {
    let dir = target().join("e2e/node");
    assert!(dir.join("node_modules").exists(), "{} has no node_modules: tests/run installs them", dir.display());
    dir
}

/// The interpreter with PyPI `mcp`.
pub fn python() -> PathBuf {
    let python = target().join("e2e/venv/bin/python");
    assert!(python.exists(), "{} is missing: tests/run installs it", python.display());
    python
}

/// A free port of loopback, for programs that cannot pick one themselves; none is given twice.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    std::iter::repeat_with(free).find(|port| given.insert(*port)).unwrap()
}

/// npm `server-everything` over streamable HTTP at a port of loopback; waits until it listens.
pub fn everything_at(port: u16) -> Running {
    let script = node_dir().join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let child = Command::new("node")
        .arg(script)
        .arg("streamableHttp")
        .env("PORT", port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait("server-everything", 20, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    Running(child)
}

/// A load generator at work.
pub struct Load {
    child: Running,
    stop: Option<ChildStdin>,
    lines: BufReader<std::process::ChildStdout>,
    pub out: PathBuf,
}

impl Load {
    /// Calls at a fixed rate until `finish`; returns once the first answer came. `more` are further flags of `load`.
    pub fn start(lifeboat: &Lifeboat, server: &str, key_file: &Path, tag: &str, more: &[&str]) -> Self {
        let out = lifeboat.home().join(format!("{tag}.jsonl"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_load"))
            .args(["--url", &lifeboat.url(server), "--tag", tag, "--seconds", "3600", "--stop-on-eof"])
            .arg("--ca")
            .arg(lifeboat.ca())
            .arg("--key-file")
            .arg(key_file)
            .arg("--out")
            .arg(&out)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stop = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "started", "load got no answer");
        Self { child: Running(child), stop, lines, out }
    }

    /// Stops sending, waits for the answers that are due, and returns one line per call.
    pub fn finish(mut self) -> Vec<Value> {
        drop(self.stop.take());
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        assert!(self.child.0.wait().unwrap().success());
        lifeboat_peers::lines::read(&self.out)
    }
}

/// Milliseconds from when a call was due to its answer: the slowest call of each second, and of these seconds the one in the middle. What slows
/// the calls slows them in each second; a machine that is busy with something else spoils one.
pub fn slowest_of_a_usual_second_ms(lines: &[Value]) -> u64 {
    let ns = |line: &Value, name: &str| line[name].as_u64().unwrap();
    let first = lines.iter().map(|line| ns(line, "due_ns")).min().unwrap();
    let mut seconds: BTreeMap<u64, u64> = BTreeMap::new();
    for line in lines {
        let slowest = seconds.entry((ns(line, "due_ns") - first) / 1_000_000_000).or_default();
        *slowest = (*slowest).max((ns(line, "done_ns") - ns(line, "due_ns")) / 1_000_000);
    }
    let mut slowest: Vec<u64> = seconds.into_values().collect();
    slowest.sort_unstable();
    slowest[slowest.len() / 2]
}

/// Runs `load` in a mode that ends by itself and prints one JSON summary.
pub fn load_summary(lifeboat: &Lifeboat, server: &str, more: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["--url", &lifeboat.url(server)])
        .arg("--ca")
        .arg(lifeboat.ca())
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "load: {}", crate::harness::text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
