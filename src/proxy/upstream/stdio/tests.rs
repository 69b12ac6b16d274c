//! A supervised child that misbehaves in every way it can. The trampoline is a script here, so that only the supervision is
//! tried; the real one is tried in tests/it/sandbox.rs.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::base::ids::Entropy;
use crate::mcp::message::parse;
use crate::policy::kill::KillOverlay;
use crate::policy::snapshot::{ServerSecrets, Snapshot};

const SERVER: &str = include_str!("tests.py");
const WAIT: Duration = Duration::from_secs(20);

struct Zero;
impl Entropy for Zero {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

/// Written by another process: this one could still hold the file open for writing while a test starts it.
fn fake_trampoline() -> PathBuf {
    static PATH: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PATH.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trampoline");
        let script = "#!/bin/sh\nIFS= read -r params\nshift 2\nexec setsid \"$@\"\n";
        let write = format!("cat > {0} && chmod 755 {0}", path.display());
        let mut shell = std::process::Command::new("sh").args(["-c", &write]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        (folder, path)
    });
    path.clone()
}

struct Rig {
    entry: Arc<ServerEntry>,
    server: Arc<StdioServer>,
    feed: Arc<Feed>,
    data: tempfile::TempDir,
}

fn rig(mode: &str, approved: bool) -> Rig {
    let data = tempfile::tempdir().unwrap();
    let command = json!(["python3", "-c", SERVER, mode, data.path().join("lives").to_str().unwrap()]);
    let config = serde_json::from_value(json!({"upstream": {"stdio": {"command": command}}})).unwrap();
    let secrets = ServerSecrets { approved, ..ServerSecrets::default() };
    let entry = Arc::new(ServerEntry { name: "s".into(), config, secrets });
    let (feed, _) = Feed::new(Snapshot::default(), KillOverlay::default());
    Rig { server: start(&entry, &feed, &data), entry, feed, data }
}

fn start(entry: &Arc<ServerEntry>, feed: &Arc<Feed>, data: &tempfile::TempDir) -> Arc<StdioServer> {
    let parts = StdioParts {
        data: data.path().to_path_buf(),
        exe: fake_trampoline(),
        feed: feed.clone(),
        entropy: Arc::new(Zero),
        stop: CancellationToken::new(),
    };
    StdioServer::start(entry.clone(), parts)
}

impl Rig {
    async fn call(&self, client: &str, id: &str, tool: &str, token: &str) -> StdioCall {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"who":"{client}"}},"_meta":{{"progressToken":{token}}}}}}}"#
        );
        let message = parse(text.into()).unwrap();
        self.server.request(RequestKey(format!("{client}/{id}")), &message).await.unwrap()
    }

    async fn pid(&self) -> Value {
        let mut call = self.call("x", "0", "pid", "0").await;
        json_of(next(&mut call).await)["result"]["pid"].clone()
    }
}

async fn next(call: &mut StdioCall) -> StdioEvent {
    tokio::time::timeout(WAIT, call.events.recv()).await.expect("an event in time").expect("an event")
}

fn json_of(event: StdioEvent) -> Value {
    match event {
        StdioEvent::Notification(text) | StdioEvent::Response(text) => serde_json::from_slice(&text).unwrap(),
        StdioEvent::Gone => panic!("the child is gone"),
    }
}

fn alive(pid: &Value) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[tokio::test]
async fn both_eras_are_learnt_and_the_handshake_is_kept_as_sent() {
    let rig = rig("both", true);
    let handshake = rig.server.ready(WAIT).await.unwrap();
    assert!(handshake.modern);
    assert_eq!(handshake.legacy_version.as_deref(), Some("2025-11-25"));
    let result = handshake.initialize_result.unwrap();
    assert!(result.starts_with(b"{\"protocolVersion\": \"2025-11-25\"") && result.ends_with(b"\"extra\": 1.50}"));
    assert_eq!(rig.feed.server("s").unwrap().state, "up");
    let tools = rig.server.rpc("tools/list", json!({})).await.unwrap();
    assert_eq!(tools["tools"][0]["name"], "echo");
    assert!(rig.server.rpc("no/such", json!({})).await.is_err());
}

#[tokio::test]
async fn a_child_that_dies_of_the_modern_question_is_asked_the_old_one() {
    let rig = rig("dies-of-discover", true);
    let handshake = rig.server.ready(WAIT).await.unwrap();
    assert!(!handshake.modern && handshake.initialize_result.is_some());
}

#[tokio::test]
async fn a_child_that_hangs_on_the_modern_question_is_asked_the_old_one() {
    let rig = rig("hangs-on-discover", true);
    let began = Instant::now();
    let handshake = rig.server.ready(WAIT).await.unwrap();
    assert!(!handshake.modern && handshake.legacy_version.is_some());
    assert!(began.elapsed() >= Duration::from_secs(5));
}

/// Each life's first message, one after another.
fn first_words(rig: &Rig) -> Vec<String> {
    std::fs::read_to_string(rig.data.path().join("lives")).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn pit_22_a_child_that_keeps_one_era_is_started_in_the_one_that_serves_everybody() {
    let rig = rig("keeps-one-era", true);
    let handshake = rig.server.ready(WAIT).await.unwrap();
    assert!(!handshake.modern && handshake.initialize_result.is_some(), "clients of both eras can initialize");
    assert_eq!(first_words(&rig), ["server/discover", "initialize"]);
    let mut dying = rig.call("ana", "1", "die", "1").await;
    assert_eq!(next(&mut dying).await, StdioEvent::Gone);
    assert_eq!(rig.server.ready(WAIT).await.unwrap(), handshake);
    assert_eq!(first_words(&rig), ["server/discover", "initialize", "initialize"], "the way that worked is kept");
}

#[tokio::test]
async fn pit_22_a_child_that_never_takes_the_handshake_serves_the_modern_era_alone() {
    let rig = rig("modern-only", true);
    let handshake = rig.server.ready(WAIT).await.unwrap();
    assert_eq!(handshake, Handshake { modern: true, ..Handshake::default() });
    assert_eq!(first_words(&rig), ["server/discover", "initialize", "server/discover"]);
    assert_eq!(rig.server.rpc("tools/list", json!({})).await.unwrap()["tools"][0]["name"], "echo");
    let mut dying = rig.call("ana", "1", "die", "1").await;
    assert_eq!(next(&mut dying).await, StdioEvent::Gone);
    assert_eq!(rig.server.ready(WAIT).await.unwrap(), handshake);
    assert_eq!(first_words(&rig)[3..], ["server/discover"], "the way that worked is kept");
}

#[test]
fn words_are_changed_when_they_do_not_work() {
    use super::handshake::Words;
    // A server that was replaced by another is asked everything again, and nothing is tried without an end.
    let failing = std::iter::successors(Some(Words::Question), |words| Some(words.after_failure(false)));
    assert_eq!(failing.take(4).collect::<Vec<_>>(), [Words::Question, Words::Both, Words::HandshakeOnce, Words::Both]);
    assert_eq!(Words::HandshakeOnce.after_failure(true), Words::Both, "it may have been something else");
    assert_eq!(Words::Both.after_failure(true), Words::Both);
}

#[tokio::test]
async fn pit_16_two_clients_with_the_same_id_and_token_never_mix() {
    let rig = rig("both", true);
    rig.server.ready(WAIT).await.unwrap();
    let mut ana = rig.call("ana", "7", "slow", "\"t\"").await;
    let mut ben = rig.call("ben", "7", "slow", "\"t\"").await;
    for (call, name) in [(&mut ana, "ana"), (&mut ben, "ben")] {
        let progress = json_of(next(call).await);
        assert_eq!(progress["params"]["progressToken"], "t");
        assert_eq!(progress["params"]["message"], name);
    }
    rig.server.cancel_by_key(&RequestKey("ana/7".into()), "enough").await;
    let cancelled = json_of(next(&mut ana).await);
    assert_eq!((&cancelled["id"], &cancelled["error"]["message"]), (&json!(7), &json!("cancelled: enough")));
    let answer = json_of(next(&mut ben).await);
    assert_eq!((&answer["id"], &answer["result"]["who"]), (&json!(7), &json!("ben")));
}

#[tokio::test]
async fn only_id_and_token_are_changed_on_the_way_in_and_out() {
    let rig = rig("both", true);
    rig.server.ready(WAIT).await.unwrap();
    let text =
        "{ \"id\" : \"a\\u0062\",\"jsonrpc\":\"2.0\", \"x\":[1.00,1e5],\n\"method\":\"tools/call\",\"params\":{\"name\":\"raw\"}}";
    let message = parse(text.into()).unwrap();
    let mut call = rig.server.request(RequestKey("k".into()), &message).await.unwrap();
    let StdioEvent::Response(answer) = next(&mut call).await else { panic!("no response") };
    // The child gives the line back as text, in a response with unknown members and odd numbers.
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    assert!(answer.starts_with("{\"x\": 1.0e2, \"id\":\"a\\u0062\", \"jsonrpc\":\"2.0\""), "{answer}");
    let seen: Value = serde_json::from_str(&answer).unwrap();
    let line = seen["result"]["line"].as_str().unwrap();
    assert!(
        line.starts_with("{ \"id\" : ")
            && line.ends_with(",\"jsonrpc\":\"2.0\", \"x\":[1.00,1e5], \"method\":\"tools/call\",\"params\":{\"name\":\"raw\"}}\n")
    );
    assert!(call.events.recv().await.is_none());
}

#[tokio::test]
async fn a_killed_call_that_does_not_end_costs_the_child_its_life() {
    let rig = rig("both", true);
    rig.server.ready(WAIT).await.unwrap();
    let pid = rig.pid().await;
    let deaf = rig.call("ana", "1", "deaf", "1").await;
    let mut other = rig.call("ben", "1", "deaf", "1").await;
    assert_eq!(json_of(next(&mut other).await)["method"], "notifications/progress");
    let began = Instant::now();
    deaf.cancel(CancelWhy::Kill);
    assert_eq!(next(&mut other).await, StdioEvent::Gone);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
    assert!(!alive(&pid));
    rig.server.ready(WAIT).await.unwrap();
    assert_ne!(rig.pid().await, pid);
}

#[tokio::test]
async fn a_killed_call_that_ends_leaves_the_child_alone() {
    let rig = rig("both", true);
    rig.server.ready(WAIT).await.unwrap();
    let pid = rig.pid().await;
    let mut polite = rig.call("ana", "1", "slow", "1").await;
    next(&mut polite).await;
    polite.cancel(CancelWhy::Kill);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(rig.pid().await, pid);
}

#[tokio::test]
async fn a_call_killed_before_it_was_written_never_reaches_the_child() {
    let rig = rig("both", true);
    rig.server.ready(WAIT).await.unwrap();
    let mut asleep = rig.call("ana", "1", "sleep", "1").await;
    next(&mut asleep).await;
    // The child reads nothing for a second: the first of these fills the pipe, the second stays behind it.
    let text = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"ping","params":{{"fill":"{}"}}}}"#, "x".repeat(300_000));
    let mut filling = rig.server.request(RequestKey("f".into()), &parse(text.into()).unwrap()).await.unwrap();
    let behind = rig.call("ana", "3", "count", "3").await;
    behind.cancel(CancelWhy::Kill);
    next(&mut asleep).await;
    next(&mut filling).await;
    let mut count = rig.call("ana", "4", "count", "4").await;
    assert_eq!(json_of(next(&mut count).await)["result"]["count"], 1);
}

#[tokio::test]
async fn a_child_that_ends_takes_its_calls_with_it_and_starts_again() {
    let rig = rig("both", true);
    rig.server.ready(WAIT).await.unwrap();
    for tool in ["die", "huge"] {
        let mut call = rig.call("ana", "1", tool, "1").await;
        assert_eq!(next(&mut call).await, StdioEvent::Gone, "{tool}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        rig.server.ready(WAIT).await.unwrap();
    }
    assert!(rig.pid().await.is_number());
}

#[tokio::test]
async fn what_belongs_to_no_call_goes_nowhere() {
    let rig = rig("both", true);
    rig.server.ready(WAIT).await.unwrap();
    let mut call = rig.call("ana", "1", "noise", "\"t\"").await;
    let answer = json_of(next(&mut call).await);
    assert_eq!(answer["result"], json!({"ping": {}, "sampling": -32601}));
    assert!(call.events.recv().await.is_none());
}

#[tokio::test]
async fn a_forgotten_call_is_answered_to_nobody() {
    let rig = rig("both", true);
    rig.server.ready(WAIT).await.unwrap();
    drop(rig.call("ana", "1", "echo", "1").await);
    let mut call = rig.call("ana", "1", "echo", "1").await;
    assert_eq!(json_of(next(&mut call).await)["result"]["who"], "ana");
    assert!(rig.server.shared.table().find(&RequestKey("ana/1".into())).is_none());
}

#[tokio::test]
async fn what_was_not_approved_is_not_started() {
    let rig = rig("both", false);
    let fault = rig.server.ready(Duration::from_secs(2)).await.unwrap_err();
    assert!(fault.contains("not approved"), "{fault}");
    assert_eq!(rig.feed.server("s").unwrap().state, "unapproved");
    rig.server.shutdown().await;
}

#[tokio::test]
async fn a_server_that_keeps_failing_is_down_with_its_last_words() {
    let rig = rig("never", true);
    let fault = rig.server.ready(WAIT).await.unwrap_err();
    assert!(fault.contains("ended with status 3") && fault.contains("no database"), "{fault}");
    assert_eq!(rig.feed.server("s").unwrap().state, "down");
}

#[tokio::test]
async fn shutdown_lets_a_child_end_in_order_and_kills_one_that_does_not() {
    for mode in ["both", "ignores-the-end"] {
        let rig = rig(mode, true);
        rig.server.ready(WAIT).await.unwrap();
        let pid = rig.pid().await;
        assert!(alive(&pid));
        let began = Instant::now();
        rig.server.shutdown().await;
        assert!(!alive(&pid), "{mode}");
        assert!(began.elapsed() < Duration::from_secs(6), "{mode}");
        assert!(rig.server.ready(Duration::from_millis(10)).await.is_err());
    }
}

#[tokio::test]
async fn two_children_never_share_a_vault() {
    let rig = rig("ignores-the-end", true);
    rig.server.ready(WAIT).await.unwrap();
    let old = rig.pid().await;
    let next = start(&rig.entry, &rig.feed, &rig.data);
    assert!(next.ready(Duration::from_millis(500)).await.is_err());
    assert!(alive(&old));
    let Rig { server, entry, feed, data } = rig;
    // Dropping it is enough.
    drop(server);
    next.ready(WAIT).await.unwrap();
    assert!(!alive(&old));
    assert_eq!(feed.server("s").unwrap().state, "up");
    let replaced = Rig { server: next, entry, feed, data };
    assert_ne!(replaced.pid().await, old);
}

#[tokio::test]
async fn a_turn_is_lent_while_calls_wait_and_none_fails() {
    let rig = rig("both", true);
    rig.server.ready(WAIT).await.unwrap();
    let stop = CancellationToken::new();
    let (server, stopped) = (rig.server.clone(), stop.clone());
    let calls = tokio::spawn(async move {
        let mut answered = 0;
        while !stopped.is_cancelled() {
            // As the proxy does it.
            server.ready(Duration::from_secs(10)).await.unwrap();
            let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"who":"x"}}}"#;
            let mut call = server.request(RequestKey("x/1".into()), &parse(text.into()).unwrap()).await.unwrap();
            assert_eq!(json_of(next(&mut call).await)["result"]["who"], "x");
            answered += 1;
        }
        answered
    });
    let mut before = rig.pid().await;
    for _ in 0..3 {
        let lent = rig.server.lend().await.unwrap();
        assert!(!alive(&before), "two processes in one vault");
        let trial = start(&rig.entry, &rig.feed, &rig.data);
        trial.ready(WAIT).await.unwrap();
        trial.shutdown().await;
        drop(lent);
        rig.server.ready(WAIT).await.unwrap();
        let after = rig.pid().await;
        assert_ne!(after, before);
        before = after;
    }
    assert_eq!(rig.feed.server("s").unwrap().state, "up");
    stop.cancel();
    assert!(calls.await.unwrap() > 3);
}

#[tokio::test]
async fn a_turn_is_not_lent_under_a_call_and_the_call_goes_on() {
    let rig = rig("both", true);
    rig.server.ready(WAIT).await.unwrap();
    let pid = rig.pid().await;
    let mut call = rig.call("a", "1", "deaf", "\"t\"").await;
    next(&mut call).await;
    assert!(rig.server.lend().await.is_err_and(|why| why.contains("under way")));
    rig.server.ready(WAIT).await.unwrap();
    assert_eq!(rig.pid().await, pid, "its process lives on");
    drop(call);
    // Somebody who no longer waits gets nothing, and keeps nothing.
    drop(rig.server.lend().await.unwrap());
    rig.server.ready(WAIT).await.unwrap();
    assert_ne!(rig.pid().await, pid);
}
