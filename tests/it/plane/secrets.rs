//! A stdio server that runs all the time gets another secret: it is looked at with it in its one place, goes on with the old one, and changes to it; no call fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lifeboat::base::secret::Secret;
use lifeboat::policy::Snapshot;
use lifeboat::policy::snapshot::ServerEntry;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::rig::{Rig, until};

/// Does not start with a variable that is wrong, and says which one it has. Two of it never run: each makes a file that must not be there.
const SERVER: &str = r#"
import json, os, sys
token = os.environ.get("API_TOKEN", "old")
if token == "wrong":
    sys.exit("this token opens nothing")
alone = os.open("alone", os.O_CREAT | os.O_EXCL)
try:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        results = {
            "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": token, "version": "1"}},
            "tools/list": {"tools": [{"name": "look", "inputSchema": {"type": "object"}}]},
            "tools/call": {"content": [{"type": "text", "text": token}]},
        }
        answer = {"jsonrpc": "2.0", "id": message["id"]}
        if message["method"] in results:
            answer["result"] = results[message["method"]]
        else:
            answer["error"] = {"code": -32601, "message": "no such method"}
        print(json.dumps(answer), flush=True)
finally:
    os.unlink("alone")
"#;

fn with(rig: &Rig, token: &str) -> Arc<ServerEntry> {
    let now = rig.feed.snapshot().servers["s"].clone();
    let mut secrets = now.secrets.clone();
    secrets.env = vec![("API_TOKEN".to_owned(), Secret::new(token.to_owned()))];
    Arc::new(ServerEntry { name: now.name.clone(), config: now.config.clone(), secrets })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_runs_gets_another_secret_and_no_call_fails() {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("made");
    if nix::unistd::geteuid().is_root() {
        for path in [folder.path(), data.as_path()] {
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o711)).expect("opened");
        }
    }
    let command = json!(["python3", "-c", SERVER]);
    let rig = Arc::new(Rig::stdio(&format!("[upstream.stdio]\ncommand = {command}\n"), &data).await);
    until("it is up", || rig.feed.server("s").is_some_and(|state| state.state == "up")).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let session = rig.session("abcdefgh").await;
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let (rig, stop, answered, session) = (rig.clone(), stop.clone(), answered.clone(), session.clone());
            tokio::spawn(async move {
                let mut heard = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let message = json!({"jsonrpc": "2.0", "id": caller, "method": "tools/call", "params": {"name": "look", "arguments": {}}});
                    let answer = rig.send(rig.post_in(&session, "abcdefgh", &message)).await;
                    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                    heard.push(said["result"]["content"][0]["text"].as_str().map_or_else(|| said.to_string(), str::to_owned));
                    answered.fetch_add(1, Ordering::SeqCst);
                    // No faster than one client may call.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                heard
            })
        })
        .collect();
    until("calls", || answered.load(Ordering::SeqCst) > 20).await;
    for _ in 0..2 {
        let seen = rig.feed.probe(with(&rig, "new")).await.expect("it is looked at while it runs");
        assert_eq!((seen.server_info.as_str(), seen.tools.len()), ("new 1", 1));
        let wrong = rig.feed.probe(with(&rig, "wrong")).await.expect_err("a wrong one is seen");
        assert!(wrong.contains("opens nothing"), "{wrong}");
    }
    let now = rig.feed.snapshot();
    let mut servers = now.servers.clone();
    servers.insert("s".to_owned(), with(&rig, "new"));
    rig.feed.publish(Snapshot { servers, ..Snapshot::clone(&now) });
    let before = answered.load(Ordering::SeqCst);
    until("more calls", || answered.load(Ordering::SeqCst) > before + 40).await;
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        let heard = caller.await.expect("it called");
        let odd: Vec<&String> = heard.iter().filter(|text| !["old", "new"].contains(&text.as_str())).collect();
        assert!(odd.is_empty(), "{} of {} failed: {odd:?}", odd.len(), heard.len());
        assert!(heard.first().is_some_and(|text| text == "old") && heard.last().is_some_and(|text| text == "new"), "{heard:?}");
    }
}
