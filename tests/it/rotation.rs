//! Credentials with the whole app: keys that are replaced under load, what leaked and ends at once, a certificate that changes under open connections, secrets
//! of receivers and servers against real counterparts, and a process that is killed half way.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;

use crate::alerts::receiver::{Manner, Receiver};
use crate::proxy::streams::open;
use crate::proxy::{call, modern};
use crate::support::TestApp;
use crate::support::program::{ask, start};
use crate::support::upstream::{event, sse_answer, status};
use crate::support::wire::{self, Reply};

const READER: &str = "/api/v1/credentials/client-key/reader";

async fn echo(app: &TestApp, key: &str) -> Reply {
    app.post(key, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes()).await
}

/// Commits what is said of credentials.
pub(crate) async fn say(app: &TestApp, text: &str) {
    std::fs::write(app.data.path().join("config/credentials.toml"), text).expect("written");
    app.api("POST", "/api/v1/config/commit", json!({"as": "ana", "message": "credentials: say how"})).await;
}

pub(crate) async fn state_of(app: &TestApp, path: &str) -> Value {
    app.api("GET", path, Value::Null).await["rotations"][0].clone()
}

pub(crate) async fn until(app: &TestApp, path: &str, state: &str) -> Value {
    let started = Instant::now();
    loop {
        let row = state_of(app, path).await;
        if row["state"] == state {
            return row;
        }
        assert!(started.elapsed() < Duration::from_secs(15), "not {state} in 15 s: {row}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flt_19_a_key_is_replaced_under_load_and_nobody_is_refused() {
    let app = Arc::new(TestApp::start().await);
    say(&app, "[[credential]]\nname = \"client-key/*\"\nquiet_seconds = 1\n").await;
    let held = watch::Sender::new(app.reader.clone());
    let (stop, failed, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (app, held, stop, failed, made) = (app.clone(), held.subscribe(), stop.clone(), failed.clone(), made.clone());
        clients.push(tokio::spawn(async move {
            let mut stream = wire::connect(app.proxy, &app.ca).await;
            let (mut key, mut looked) = (held.borrow().clone(), Instant::now());
            while !stop.load(Ordering::SeqCst) {
                if looked.elapsed() > Duration::from_millis(200) {
                    (key, looked) = (held.borrow().clone(), Instant::now());
                }
                let body = call(1, "echo", json!({})).to_string();
                let reply = app.on(&mut stream, &key, &modern("tools/call", "echo"), body.as_bytes()).await;
                made.fetch_add(1, Ordering::SeqCst);
                if (reply.status, reply.code()) != (200, 0) {
                    failed.fetch_add(1, Ordering::SeqCst);
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let rotated = app.api("POST", &format!("{READER}/rotate"), json!({"overlap": "1h"})).await;
    assert_eq!(rotated["state"], "draining", "{rotated}");
    let conflict = app.api_status("POST", &format!("{READER}/rotate"), json!({})).await;
    assert_eq!((conflict.0, &conflict.1["error"]["kind"]), (409, &json!("conflict")));
    let new = app.api("POST", &format!("{READER}/fetch"), Value::Null).await["secret"].as_str().expect("shown once").to_owned();
    assert_eq!(echo(&app, &app.reader).await.code(), 0, "the old one counts");
    held.send_replace(new.clone());
    let done = until(&app, READER, "done").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no client broke");
    }
    assert_eq!(failed.load(Ordering::SeqCst), 0, "of {}", made.load(Ordering::SeqCst));
    assert!(made.load(Ordering::SeqCst) > 100);
    assert_eq!((echo(&app, &app.reader).await.status, echo(&app, &new).await.status), (401, 200));
    let steps = app.api("GET", READER, Value::Null).await["steps"].clone();
    let proof = steps.as_array().expect("steps").iter().find(|step| step["step"] == "prove").expect("proved");
    assert_eq!(proof["evidence"]["rejected"][0]["status"], 401, "{proof}");
    assert_eq!(proof["evidence"]["window"]["new"]["refused"], 0, "{proof}");
    let kids: Vec<Value> = app.events("client=reader&limit=1000").await.iter().map(|event| event["kid"].clone()).collect();
    for kid in [&done["old"][0], &done["new"]] {
        assert!(kids.contains(kid), "{kid} is in the ledger");
    }
    assert!(!app.ledger_text().contains(new.split('_').nth(2).expect("a secret")), "the secret is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlap_that_ends_waits_and_says_for_whom() {
    let app = TestApp::start().await;
    say(&app, "[[credential]]\nname = \"client-key/*\"\nquiet_seconds = 1\nholder = \"the data team\"\n").await;
    assert_eq!(echo(&app, &app.reader).await.code(), 0);
    app.api("POST", &format!("{READER}/rotate"), json!({"overlap": "1m"})).await;
    let row = state_of(&app, READER).await;
    assert_eq!((&row["state"], &row["holder"]), (&json!("draining"), &json!("the data team")));
    let shown = app.api("GET", READER, Value::Null).await;
    assert_eq!((&shown["places"][0]["place"], &shown["places"][0]["moved"]), (&json!("127.0.0.1"), &json!(false)), "{shown}");
    assert_eq!(shown["credential"]["state"], "rotating");
    let back = app.api("POST", &format!("{READER}/order"), json!({"order": "rollback"})).await;
    assert_eq!(back["state"], "rolled_back");
    assert_eq!(echo(&app, &app.reader).await.code(), 0);
}

/// A call that has said that it is under way.
async fn streaming(app: &TestApp, key: &str) -> TlsStream<TcpStream> {
    let body = call(7, "echo", json!({"wait": true})).to_string();
    let mut stream = open(app, key, &body).await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("\"progress\":1") {
        let mut part = [0u8; 4096];
        let read = stream.read(&mut part).await.expect("it streams");
        assert!(read > 0);
        seen.extend_from_slice(&part[..read]);
    }
    // The end of the event may come alone.
    let mut rest = [0u8; 64];
    let _ = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut rest)).await;
    stream
}

/// What still comes until the call is told that its key was revoked.
async fn until_revoked(stream: &mut TlsStream<TcpStream>) -> String {
    let mut rest = Vec::new();
    while !String::from_utf8_lossy(&rest).contains("auth.revoked") {
        let mut part = [0u8; 4096];
        let read = stream.read(&mut part).await.expect("the stream ends well");
        assert!(read > 0, "{}", String::from_utf8_lossy(&rest));
        rest.extend_from_slice(&part[..read]);
    }
    String::from_utf8_lossy(&rest).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_within_100_ms_with_calls_and_streams_open() {
    let app = Arc::new(TestApp::start().await);
    app.upstream.script(|hit| {
        let waits = hit.json()["params"]["arguments"]["wait"] == true;
        let progress =
            event(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "t", "progress": 1}}));
        waits.then(|| sse_answer(vec![(0, progress)], true))
    });
    let (mut cut, mut other) = (streaming(&app, &app.reader).await, streaming(&app, &app.writer).await);
    // The last call that was accepted, by when it was sent.
    let (begun, last, stop) = (Instant::now(), Arc::new(std::sync::Mutex::new(Duration::ZERO)), Arc::new(AtomicBool::new(false)));
    let mut loops = Vec::new();
    for _ in 0..3 {
        let (app, last, stop) = (app.clone(), last.clone(), stop.clone());
        loops.push(tokio::spawn(async move {
            let mut stream = wire::connect(app.proxy, &app.ca).await;
            while !stop.load(Ordering::SeqCst) {
                let sent = begun.elapsed();
                let body = call(1, "echo", json!({})).to_string();
                let reply = app.on(&mut stream, &app.reader, &modern("tools/call", "echo"), body.as_bytes()).await;
                if reply.status == 200 && reply.code() == 0 {
                    let mut last = last.lock().expect("not poisoned");
                    *last = (*last).max(sent);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ordered = begun.elapsed();
    let done = app.api("POST", "/api/v1/credential-revoke", json!({"name": "client-key/reader", "reason": "leaked"})).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::SeqCst);
    for one in loops {
        one.await.expect("no loop broke");
    }
    let late = last.lock().expect("not poisoned").saturating_sub(ordered);
    assert!(late < Duration::from_millis(100), "a call was accepted {late:?} after the order");
    assert!(done["effective_ms"].as_u64().is_some_and(|ms| ms < 100) && done["open"] == json!([]), "{done}");
    assert!(done["cut_in_flight"].as_u64().is_some_and(|cut| cut >= 1), "{done}");
    let ended = tokio::time::timeout(Duration::from_secs(2), until_revoked(&mut cut)).await;
    assert!(ended.expect("the call in flight is cut at once").contains("\"executed\":\"unknown\""));
    let mut part = [0u8; 64];
    let still = tokio::time::timeout(Duration::from_millis(200), other.read(&mut part)).await;
    assert!(still.is_err(), "another client's call goes on");
    let text = app.ledger_text();
    let (evidence, action) = (text.find("\"credential.evidence\""), text.find("\"credential.revoke\""));
    assert!(evidence.is_some() && evidence < action, "evidence first");
    // The deny-list has it, so that no rebuild brings it back.
    let listed = async {
        let kid = done["keys"][0].as_str().expect("a kid");
        while !std::fs::read_to_string(app.data.path().join("archives/deny-list.json")).is_ok_and(|list| list.contains(kid)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), listed).await.expect("the deny-list names it");
    // And a normal rotation brings service back.
    let again = app.api("POST", &format!("{READER}/rotate"), json!({"reason": "leak", "fetch": true})).await;
    assert_eq!(echo(&app, again["secret"].as_str().expect("a key")).await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn flt_16_a_new_certificate_is_shown_and_open_connections_live_on() {
    let app = TestApp::start().await;
    let fingerprint = |stream: &tokio_rustls::client::TlsStream<tokio::net::TcpStream>| {
        stream.get_ref().1.peer_certificates().expect("shown")[0].to_vec()
    };
    let mut before = wire::connect(app.proxy, &app.ca).await;
    let rotated = app.api("POST", "/api/v1/credentials/tls/server/rotate", json!({})).await;
    assert_eq!(rotated["state"], "done", "{rotated}");
    let after = wire::connect(app.proxy, &app.ca).await;
    assert_ne!(fingerprint(&before), fingerprint(&after), "a new handshake gets the new one, by the same CA");
    let body = call(1, "echo", json!({})).to_string();
    let reply = app.on(&mut before, &app.reader, &modern("tools/call", "echo"), body.as_bytes()).await;
    assert_eq!((reply.status, reply.code()), (200, 0), "the open one lives on");
    let admin = wire::connect(app.app.admin_address(), &app.ca).await;
    assert_eq!(fingerprint(&admin), fingerprint(&after), "the dashboard shows it too");
    let files = ["tls/server.next.key", "tls/server.next.pem"];
    assert!(files.iter().all(|file| !app.data.path().join(file).exists()));
    let mode = std::fs::metadata(app.data.path().join("tls/server.key")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_under_traffic_is_signed_and_a_changed_byte_is_found() {
    let app = TestApp::start().await;
    let signed = app.api("POST", "/api/v1/credential-proofs", json!({"all": true, "seconds": 4, "rate": 60})).await;
    assert_eq!(signed["passed"], json!(true), "{signed}");
    assert_eq!((&signed["traffic"]["failed"], &signed["traffic"]["moved"]), (&json!(0), &json!(8)), "{signed}");
    assert!(signed["traffic"]["requests"].as_u64().is_some_and(|made| made > 100), "{signed}");
    assert_eq!((&signed["new_accepted"][0]["status"], &signed["old_rejected"][0]["status"]), (&json!(200), &json!(401)));
    let named = |name: &str| signed["credentials"].as_array().expect("all").iter().find(|one| one["name"] == name).cloned();
    assert_eq!(named("tls/server").expect("rotated")["state"], "done");
    let reader = named("client-key/reader").expect("begun");
    assert_eq!((&reader["state"], &reader["passed"]), (&json!("draining"), &json!(true)), "{reader}");
    let file = std::path::PathBuf::from(reader["file"].as_str().expect("a file"));
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(&file).expect("a key").trim().to_owned();
    assert_eq!((echo(&app, &key).await.code(), echo(&app, &app.reader).await.code()), (0, 0), "both count");
    let clients = app.api("GET", "/api/v1/clients", Value::Null).await.to_string();
    assert!(!clients.contains("lifeboat-proof"), "nothing of the proof's own client is left: {clients}");
    // Offline, by the file alone.
    let data = app.data.path();
    let path = data.join(format!("proofs/{}.json", signed["id"].as_str().expect("an id")));
    let verify = |path: &std::path::Path| ask(data, &["evidence", "verify", path.to_str().expect("text")]);
    let (answer, exit) = verify(&path);
    assert_eq!((exit, &answer["ok"]), (Some(0), &json!(true)), "{answer}");
    let text = std::fs::read(&path).expect("the proof");
    let changed = data.join("changed.json");
    for at in (0..text.len()).step_by(text.len() / 40) {
        let mut other = text.clone();
        // White space between values says nothing.
        if other[at].is_ascii_whitespace() {
            continue;
        }
        other[at] = if other[at] == b'1' { b'2' } else { b'1' };
        std::fs::write(&changed, &other).expect("written");
        assert_ne!(verify(&changed).1, Some(0), "byte {at}");
    }
    let svg = std::fs::read_to_string(path.with_extension("svg")).expect("the chart");
    assert!(svg.starts_with("<svg") && svg.contains("<title>") && !svg.contains("<script"));
    // Chained to the one before.
    let next = app.api("POST", "/api/v1/credential-proofs", json!({"seconds": 3, "rate": 40})).await;
    assert_eq!((&next["prev"], &next["passed"]), (&signed["sha256"], &json!(true)), "{next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_receiver_ends_when_the_receiver_has_the_new_one() {
    let app = TestApp::start().await;
    let pager = Receiver::start().await;
    let order = json!({"name": "pager", "url": pager.url(), "plain_loopback": true, "ca": pager.ca()});
    let first = app.api("POST", "/api/v1/alerts/receivers", order).await["secret"].as_str().expect("shown").to_owned();
    let path = "/api/v1/credentials/webhook/pager";
    let rotated = app.api("POST", &format!("{path}/rotate"), json!({"overlap": "1m", "fetch": true})).await;
    let second = rotated["secret"].as_str().expect("shown once").to_owned();
    assert_eq!(rotated["state"], "draining", "{rotated}");
    app.api("POST", "/api/v1/alerts/test", json!({})).await;
    let hit = pager.hits().pop().expect("a notice");
    assert!(hit.is_signed_by(&first) && hit.is_signed_by(&second), "either verifies");
    app.api("POST", &format!("{path}/order"), json!({"order": "retire"})).await;
    until(&app, path, "done").await;
    app.api("POST", "/api/v1/alerts/test", json!({})).await;
    let hit = pager.hits().pop().expect("a notice");
    assert!(!hit.is_signed_by(&first) && hit.is_signed_by(&second), "the new one alone");
    pager.always(Manner::status(500));
    let (refused, fault) = app.api_status("POST", &format!("{path}/rotate"), json!({})).await;
    assert_eq!((refused, &fault["error"]["kind"]), (409, &json!("conflict")), "what does not arrive is not rotated: {fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_is_tried_at_the_server_before_any_call_uses_it_and_the_old_one_must_be_refused() {
    let app = TestApp::start().await;
    // A server that takes what it is told to take.
    let taken = Arc::new(std::sync::Mutex::new(vec!["one".to_owned()]));
    let takes = taken.clone();
    app.upstream.script(move |hit| {
        let shown = hit.headers.get("x-api-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let known = takes.lock().expect("not poisoned").iter().any(|key| key == shown);
        (!known).then(|| status(http::StatusCode::UNAUTHORIZED))
    });
    let order = json!({"name": "keyed", "url": app.upstream.url(), "plain_loopback": true, "headers": "X-Api-Key: one"});
    app.api("POST", "/api/v1/servers", order).await;
    let path = "/api/v1/credentials/upstream/keyed%3Ax-api-key";
    let rotated = app.api("POST", &format!("{path}/rotate"), json!({"overlap": "now"})).await;
    assert_eq!((&rotated["state"], &rotated["hold"]), (&json!("planned"), &json!("waiting")), "{rotated}");
    let tried = app.api("POST", &format!("{path}/supply"), json!({"value": "two"})).await;
    assert_eq!((&tried["state"], &tried["hold"]), (&json!("installed"), &json!("failed")), "the server refuses it: {tried}");
    assert!(!tried.to_string().contains("\"two\""), "{tried}");
    taken.lock().expect("not poisoned").push("two".to_owned());
    let again = app.api("POST", &format!("{path}/order"), json!({"order": "resume"})).await;
    // Forced, the operator knows; else it would wait until the old one is refused.
    assert_eq!(again["state"], "done", "{again}");
    app.upstream.forget();
    app.api("POST", "/api/v1/credentials/upstream/keyed%3Ax-api-key/rotate", json!({"overlap": "1m"})).await;
    taken.lock().expect("not poisoned").push("three".to_owned());
    app.api("POST", &format!("{path}/supply"), json!({"value": "three"})).await;
    let row = until(&app, path, "draining").await;
    assert!(row["why"].is_null(), "{row}");
    app.api("POST", &format!("{path}/order"), json!({"order": "rollback"})).await;
    let last = || app.upstream.hits().last().and_then(|hit| hit.headers.get("x-api-key").cloned());
    app.api("POST", "/api/v1/servers/keyed/probe", json!({})).await;
    assert_eq!(last().as_ref().and_then(|value| value.to_str().ok()), Some("two"));
    let revoked = app.api("POST", "/api/v1/credential-revoke", json!({"name": "server/keyed"})).await;
    assert_eq!(revoked["upstream"], json!(["keyed:x-api-key"]), "{revoked}");
    let (probed, _) = app.api_status("POST", "/api/v1/servers/keyed/probe", json!({})).await;
    assert_ne!(probed, 200, "nothing is sent any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_is_proved_and_has_archives_before_the_old_one_goes() {
    let app = TestApp::start().await;
    let path = "/api/v1/credentials/recipient/recovery";
    let identity = age::x25519::Identity::generate();
    let rotated = app.api("POST", &format!("{path}/rotate"), json!({"overlap": "1h"})).await;
    assert_eq!(rotated["hold"], "waiting", "{rotated}");
    assert_eq!(app.api_status("POST", &format!("{path}/supply"), json!({"value": "age1nonsense"})).await.0, 400);
    let supplied = app.api("POST", &format!("{path}/supply"), json!({"value": identity.to_public().to_string()})).await;
    assert_eq!(supplied["state"], "installed", "it is added, and nobody has shown its identity: {supplied}");
    let called = supplied["facts"]["called"].as_str().expect("a name").to_owned();
    let asked = app.api("POST", &format!("/api/v1/recipients/{called}/prove"), json!({})).await;
    let sealed = base64(asked["challenge"].as_str().expect("a challenge"));
    let word = age::decrypt(&identity, &sealed).expect("it opens");
    let answer = json!({"answer": String::from_utf8(word).expect("text")});
    app.api("POST", &format!("/api/v1/recipients/{called}/prove"), answer).await;
    app.api("POST", &format!("{path}/order"), json!({"order": "resume"})).await;
    let row = until(&app, path, "draining").await;
    let waiting = app.api("GET", path, Value::Null).await;
    assert_eq!(row["hold"], Value::Null, "{waiting}");
    app.api("POST", "/api/v1/backup", json!({})).await;
    until(&app, path, "done").await;
    let recipients = app.api("GET", "/api/v1/recipients", Value::Null).await["recipients"].clone();
    assert_eq!((recipients.as_array().map(Vec::len), &recipients[0]["name"]), (Some(1), &json!(called)), "{recipients}");
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_outlives_kill_9_with_the_real_program() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = start(&data, &["up", "--demo"]);
    let (rotated, exit) = ask(&data, &["credential", "rotate", "client-key/demo-client", "--overlap", "1h"]);
    assert_eq!((exit, &rotated["state"]), (Some(0), &json!("draining")), "{rotated}");
    assert!(rotated.get("secret").is_none(), "{rotated}");
    // Dropping it is a kill -9.
    drop(running);
    let running = start(&data, &["up"]);
    let (shown, _) = ask(&data, &["credential", "show", "client-key/demo-client"]);
    assert_eq!((&shown["rotations"][0]["id"], &shown["rotations"][0]["state"]), (&rotated["id"], &json!("draining")), "{shown}");
    let (fetched, exit) = ask(&data, &["credential", "fetch", "client-key/demo-client"]);
    assert_eq!(exit, Some(0), "{fetched}");
    assert_eq!(ask(&data, &["credential", "fetch", "client-key/demo-client"]).1, Some(3), "once");
    let (ended, exit) = ask(&data, &["credential", "order", "client-key/demo-client", "retire"]);
    assert_eq!((exit, &ended["state"]), (Some(0), &json!("done")), "{ended}");
    let (due, exit) = ask(&data, &["credential", "due"]);
    assert_eq!((exit, &due["ok"]), (Some(0), &json!(true)), "{due}");
    let (list, _) = ask(&data, &["credential", "list"]);
    assert!(list["credentials"].as_array().is_some_and(|all| all.len() >= 5), "{list}");
    assert_eq!(ask(&data, &["credential", "show", "nonsense"]).1, Some(64));
    let (revoked, exit) = ask(&data, &["credential", "revoke", "client-key/demo-client", "--reason", "leaked"]);
    assert_eq!((exit, &revoked["keys"][0]), (Some(0), &fetched["version"]), "{revoked}");
    drop(running);
}
