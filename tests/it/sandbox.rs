//! The real trampoline around a hostile server: what it cannot reach, and that nothing of it outlives a kill or Lifeboat.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use lifeboat::base::ids::Entropy;
use lifeboat::mcp::message::{Message, parse};
use lifeboat::policy::feed::Feed;
use lifeboat::policy::kill::KillOverlay;
use lifeboat::policy::snapshot::{ServerEntry, ServerSecrets, Snapshot};
use lifeboat::proxy::sandbox::{self, Params};
use lifeboat::proxy::upstream::stdio::{CancelWhy, RequestKey, StdioEvent, StdioParts, StdioServer};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const EXE: &str = env!("CARGO_BIN_EXE_lifeboat");
const WAIT: Duration = Duration::from_secs(20);

struct Zero;
impl Entropy for Zero {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

fn hostile() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostile");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/src/bin/hostile.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let built = Command::new(rustc).args(["--edition", "2024", "-o"]).arg(&path).arg(source).status().unwrap();
        assert!(built.success());
        (folder, path)
    });
    path
}

/// A data directory with something of everything in it.
fn data() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().canonicalize().unwrap().join("data");
    for name in [
        "keys/instance.key",
        "state.db",
        "KILL",
        "config/lifeboat.toml",
        "tls/server.key",
        "vaults/sibling/memory.jsonl",
        "audit/x",
    ] {
        let path = data.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "secret").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::set_permissions(path.parent().unwrap(), std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::fs::create_dir(data.join("run")).unwrap();
    (folder, data)
}

fn start(data: &Path, command: &Value) -> (Arc<StdioServer>, Arc<Feed>) {
    let config = serde_json::from_value(json!({"upstream": {"stdio": {"command": command}}})).unwrap();
    let secrets = ServerSecrets { approved: true, ..ServerSecrets::default() };
    let entry = Arc::new(ServerEntry { name: "x".into(), config, secrets });
    let (feed, _) = Feed::new(Snapshot::default(), KillOverlay::default());
    let parts = StdioParts {
        data: data.to_path_buf(),
        exe: EXE.into(),
        feed: feed.clone(),
        entropy: Arc::new(Zero),
        stop: CancellationToken::new(),
    };
    (StdioServer::start(entry, parts), feed)
}

fn call(tool: &str) -> Message {
    parse(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#).into()).unwrap()
}

/// Whether something still writes the time into that file.
fn beats(file: &Path) -> bool {
    let before = std::fs::read(file).ok();
    std::thread::sleep(Duration::from_millis(400));
    before.is_some() && std::fs::read(file).ok() != before
}

async fn until_it_beats(file: &Path) {
    let began = Instant::now();
    while !beats(file) {
        assert!(began.elapsed() < WAIT, "the hostile server started nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_server_reaches_nothing_but_its_vault() {
    let (_folder, data) = data();
    let _socket = std::os::unix::net::UnixListener::bind(data.join("run/lifeboat.sock")).unwrap();
    std::fs::set_permissions(data.join("run/lifeboat.sock"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(data.join("run"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let (server, feed) = start(&data, &json!([hostile(), data]));
    server.ready(WAIT).await.unwrap();
    let told = server.rpc("tools/call", json!({"name": "steal"})).await.unwrap();
    let lines: Vec<&str> = told["content"][0]["text"].as_str().unwrap().lines().collect();
    let got: Vec<&&str> = lines.iter().filter(|line| line.starts_with("GOT")).collect();
    let strength = sandbox::strength(Path::new(EXE));
    assert!(strength.confined(), "this machine confines nothing: {}", strength.sentence());
    assert_eq!(got, Vec::<&&str>::new());
    assert!(lines.contains(&"OWN vault can be written"), "{lines:?}");
    assert!(lines.iter().filter(|line| line.starts_with("denied")).count() >= 18, "{lines:?}");
    let state = feed.server("x").unwrap();
    assert_eq!(state.state, "up");
    assert!(state.sandbox.starts_with("confined by "), "{}", state.sandbox);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_its_group_and_session_dies_with_a_disobedient_server() {
    let (_folder, data) = data();
    let (server, _) = start(&data, &json!([hostile(), data]));
    server.ready(WAIT).await.unwrap();
    server.rpc("tools/call", json!({"name": "escape"})).await.unwrap();
    let mut other = server.request(RequestKey("other".into()), &call("deaf")).await.unwrap();
    let (escaped, deaf) = (data.join("vaults/x/escaped"), data.join("vaults/x/deaf"));
    until_it_beats(&escaped).await;
    until_it_beats(&deaf).await;
    let killed = server.request(RequestKey("killed".into()), &call("deaf")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    killed.cancel(CancelWhy::Kill);
    assert_eq!(tokio::time::timeout(WAIT, other.events.recv()).await.unwrap(), Some(StdioEvent::Gone));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(!beats(&escaped) && !beats(&deaf));
    server.ready(WAIT).await.unwrap();
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_lifeboat_leaves_no_orphan() {
    let (_folder, data) = data();
    let uid = sandbox::may_change().then(|| sandbox::uid_of("x"));
    let vault = sandbox::prepare_vault(&data, "x", uid).unwrap();
    // A shell stands in for Lifeboat: it starts the trampoline and is then killed.
    let script = r#"exec 3<&0; "$0" sandbox -- "$1" "$2" <&3 & wait"#;
    let mut parent = Command::new("sh");
    parent.args(["-c", script, EXE]).arg(hostile()).arg(&data).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut parent = parent.spawn().unwrap();
    let home = vault.to_str().unwrap().to_owned();
    let env = vec![("HOME".to_owned(), home), ("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    let params = Params { parent: parent.id(), data, vault: vault.clone(), uid, env, dirs: vec![], probe: false };
    let mut stdin = parent.stdin.take().unwrap();
    stdin.write_all(&params.line().unwrap()).unwrap();
    stdin.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"escape\"}}\n").unwrap();
    stdin.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{\"name\":\"deaf\"}}\n").unwrap();
    until_it_beats(&vault.join("escaped")).await;
    until_it_beats(&vault.join("deaf")).await;
    parent.kill().unwrap();
    parent.wait().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!beats(&vault.join("escaped")) && !beats(&vault.join("deaf")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_server_runs_confined_and_keeps_its_memory() {
    let (_folder, data) = data();
    let (server, feed) = start(&data, &json!(["@demo"]));
    let handshake = server.ready(WAIT).await.unwrap();
    assert!(handshake.modern && handshake.legacy_version.as_deref() == Some("2025-11-25"));
    let noted = server.rpc("tools/call", json!({"name": "add_note", "arguments": {"text": "rope"}})).await.unwrap();
    assert_eq!(noted["structuredContent"]["notes"], 1);
    let memory = data.join("vaults/x/memory.jsonl");
    assert_eq!(std::fs::read_to_string(&memory).unwrap(), "{\"type\":\"note\",\"text\":\"rope\"}\n");
    if sandbox::may_change() {
        use std::os::unix::fs::MetadataExt;
        assert_eq!(memory.metadata().unwrap().uid(), sandbox::uid_of("x"));
    }
    let slow = r#"{"jsonrpc":"2.0","id":"s","method":"tools/call","params":{"name":"slow_count","arguments":{"seconds":0.2},"_meta":{"progressToken":"t"}}}"#;
    let mut slow = server.request(RequestKey("s".into()), &parse(slow.into()).unwrap()).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(slow.events.recv().await, Some(StdioEvent::Notification(text)) if text.starts_with(b"{")));
    }
    assert!(matches!(slow.events.recv().await, Some(StdioEvent::Response(_))));
    // A killed call that obeys leaves the server running.
    let killed = server.request(RequestKey("k".into()), &call("slow_count")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    killed.cancel(CancelWhy::Kill);
    tokio::time::sleep(Duration::from_millis(2300)).await;
    assert_eq!(feed.server("x").unwrap().state, "up");
    server.shutdown().await;
}
