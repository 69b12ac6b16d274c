//! The whole app in this process, on free ports, with a data directory of its own and a scripted upstream.

pub(crate) mod program;
pub(crate) mod upstream;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use lifeboat::app::{App, Options};
use lifeboat::config::paths::DataDir;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use upstream::Upstream;
use wire::Reply;

/// Names the test that a process runs by itself.
const ALONE: &str = "LIFEBOAT_TEST_ALONE";

/// For a test that measures its whole process: true in a process that runs only this test. Elsewhere, where other tests may be running beside it,
/// begins such a process, waits for it, and fails as it fails.
pub(crate) fn alone(test: &str) -> bool {
    if std::env::var(ALONE).is_ok_and(|told| told == test) {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    let output = command.args([test, "--exact", "--nocapture"]).env(ALONE, test).output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
    false
}

/// A running Lifeboat with one HTTP server `up`, and clients `reader`, `writer` and `slow`.
pub(crate) struct TestApp {
    pub app: App,
    pub data: TempDir,
    pub upstream: Upstream,
    pub proxy: SocketAddr,
    pub ca: Vec<u8>,
    /// Key of a client that may read `up/echo`.
    pub reader: String,
    /// Key of a client that may read and write `up/*`.
    pub writer: String,
    /// Key of a client with two calls a second.
    pub slow: String,
}

const READER: &str = "[[grant]]\ntools = [\"up/echo\"]\nclasses = [\"read\"]\n";
const WRITER: &str = "[[grant]]\ntools = [\"up/*\"]\nclasses = [\"read\", \"write\"]\n";

impl TestApp {
    /// Starts it with the default settings.
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts it with extra lines in `lifeboat.toml`.
    pub(crate) async fn start_with(settings: &str) -> Self {
        let data = TempDir::new().expect("a temporary directory");
        Self::start_in_place(data, settings).await
    }

    /// Starts it in a directory that the test made.
    pub(crate) async fn start_in_place(data: TempDir, settings: &str) -> Self {
        let upstream = Upstream::start().await;
        let app = App::start(options(&data, settings)).await.expect("Lifeboat starts");
        let mut test = Self {
            proxy: app.proxy_address(),
            ca: std::fs::read(data.path().join("tls/ca.pem")).expect("the CA"),
            app,
            data,
            upstream,
            reader: String::new(),
            writer: String::new(),
            slow: String::new(),
        };
        test.api("POST", "/api/v1/servers", json!({"name": "up", "url": test.upstream.url(), "plain_loopback": true})).await;
        test.api("POST", "/api/v1/roles/reader", json!({"toml": READER})).await;
        test.api("POST", "/api/v1/roles/writer", json!({"toml": WRITER})).await;
        test.reader = test.add_client("reader", "reader", 0).await;
        test.writer = test.add_client("writer", "writer", 0).await;
        test.slow = test.add_client("slow", "reader", 2).await;
        test.upstream.forget();
        test
    }

    /// Adds a client and gives its key; a rate of 0 means no limit.
    pub(crate) async fn add_client(&self, name: &str, role: &str, rate: u32) -> String {
        let added = self.api("POST", "/api/v1/clients", json!({"name": name, "roles": [role], "rate": rate})).await;
        added["key"].as_str().expect("the key is shown once").to_owned()
    }

    /// Performs a verb as the local account; it must succeed.
    pub(crate) async fn api(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, value) = self.api_status(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {value}");
        value
    }

    /// Performs a verb as the local account.
    pub(crate) async fn api_status(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.app.local_call(method, path, &body).await.expect("the router answers")
    }

    /// Engages the kill switch.
    pub(crate) async fn engage(&self, order: Value) -> Value {
        self.api("POST", "/api/v1/kill/engage", order).await
    }

    /// Posts to the server `up` with a key.
    pub(crate) async fn post(&self, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.post_to("/mcp/up", key, headers, body).await
    }

    /// Posts to a path with a key.
    pub(crate) async fn post_to(&self, path: &str, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let bearer = format!("Bearer {key}");
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.bare("POST", path, &all, body).await
    }

    /// Sends a request just so.
    pub(crate) async fn bare(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        wire::request(self.proxy, &self.ca, method, path, headers, body).await
    }

    /// Posts to `up` on a connection that is open already.
    pub(crate) async fn on(&self, stream: &mut TlsStream<TcpStream>, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head = format!("POST /mcp/up HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {key}\r\n", self.proxy.port());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let bytes = [head.as_bytes(), body].concat();
        wire::exchange(stream, &bytes, Duration::from_secs(20)).await.expect("an answer comes")
    }

    /// Events that fit a query string, newest first.
    pub(crate) async fn events(&self, query: &str) -> Vec<Value> {
        let page = self.api("GET", &format!("/api/v1/audit?{query}"), Value::Null).await;
        page["events"].as_array().expect("events").clone()
    }

    /// The newest event about a call.
    pub(crate) async fn last_call(&self) -> Value {
        let events = self.events("limit=20").await;
        let call = |event: &&Value| matches!(event["kind"].as_str(), Some("call" | "call.outcome"));
        events.iter().find(call).cloned().unwrap_or(Value::Null)
    }

    /// Gives events that are written behind the answer (a cut stream, counted strangers) the time they are allowed.
    pub(crate) async fn settle(&self) {
        // The writer looks twice a second, and counts are written a second apart: the third look at the latest, however slow the disk.
        tokio::time::sleep(Duration::from_millis(2_600)).await;
    }

    /// Every line of the open segment.
    pub(crate) fn ledger_text(&self) -> String {
        let mut text = String::new();
        let mut names: Vec<_> =
            std::fs::read_dir(self.data.path().join("audit")).expect("the ledger").flatten().map(|entry| entry.path()).collect();
        names.sort();
        for path in
            names.iter().filter(|path| path.extension().is_some_and(|end| end == "jsonl") && !path.ends_with("checkpoints.jsonl"))
        {
            text.push_str(&std::fs::read_to_string(path).expect("text"));
        }
        text
    }

    /// Stops it and starts it again on the same data.
    pub(crate) async fn restart(self) -> Self {
        self.app.stop().await;
        let app = App::start(options(&self.data, "")).await.expect("Lifeboat starts again");
        Self { proxy: app.proxy_address(), app, ..self }
    }
}

fn options(data: &TempDir, settings: &str) -> Options {
    Options {
        data: DataDir::new(data.path().to_owned()),
        admin: Some("127.0.0.1:0".into()),
        proxy: Some("127.0.0.1:0".into()),
        hosts: Vec::new(),
        demo: false,
        settings: settings.to_owned(),
        exe: Some(env!("CARGO_BIN_EXE_lifeboat").into()),
    }
}
