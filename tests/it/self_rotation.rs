//! Clients that replace their own key through the proxy, with the whole app: under load, once at a time, only where their file allows it, and never past a stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::proxy::{call, modern};
use crate::support::TestApp;
use crate::support::wire::{self, Reply};

const PATH: &str = "/credential/rotate";
const READER: &str = "/api/v1/credentials/client-key/reader";

/// Lets `reader` and `slow` replace their keys, and has old keys end soon after their last use.
async fn allow(app: &TestApp) {
    let config = app.data.path().join("config");
    for name in ["reader", "slow"] {
        let file = config.join(format!("clients/{name}.toml"));
        let text = std::fs::read_to_string(&file).expect("its file");
        std::fs::write(&file, format!("self_rotation = true\n{text}")).expect("written");
    }
    std::fs::write(config.join("credentials.toml"), "[[credential]]\nname = \"client-key/*\"\nquiet_seconds = 1\n")
        .expect("written");
    app.api("POST", "/api/v1/config/commit", json!({"as": "ana", "message": "clients: may replace their keys"})).await;
}

async fn ask(app: &TestApp, key: &str, body: &str) -> Reply {
    let kind: &[(&str, &str)] = if body.is_empty() { &[] } else { &[("Content-Type", "application/json")] };
    app.post_to(PATH, key, kind, body.as_bytes()).await
}

async fn echo(app: &TestApp, key: &str) -> Reply {
    app.post(key, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes()).await
}

fn reason(reply: &Reply) -> String {
    reply.json()["error"]["reason"].as_str().unwrap_or_default().to_owned()
}

async fn until(app: &TestApp, state: &str) -> Value {
    let started = Instant::now();
    loop {
        let row = app.api("GET", READER, Value::Null).await["rotations"][0].clone();
        if row["state"] == state {
            return row;
        }
        assert!(started.elapsed() < Duration::from_secs(15), "not {state} in 15 s: {row}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Calls with the key that is held, until it is told to stop; counts what was made and what failed.
fn load(
    app: &Arc<TestApp>,
    held: watch::Receiver<String>,
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicUsize; 2]>,
) -> tokio::task::JoinHandle<()> {
    let app = app.clone();
    tokio::spawn(async move {
        let mut stream = wire::connect(app.proxy, &app.ca).await;
        while !stop.load(Ordering::SeqCst) {
            let key = held.borrow().clone();
            let body = call(1, "echo", json!({})).to_string();
            let reply = app.on(&mut stream, &key, &modern("tools/call", "echo"), body.as_bytes()).await;
            counts[0].fetch_add(1, Ordering::SeqCst);
            counts[1].fetch_add(usize::from((reply.status, reply.code()) != (200, 0)), Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_replaces_its_own_key_under_load_and_nobody_is_refused() {
    let app = Arc::new(TestApp::start().await);
    allow(&app).await;
    let held = watch::Sender::new(app.reader.clone());
    let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
    let loops: Vec<_> = (0..6).map(|_| load(&app, held.subscribe(), stop.clone(), counts.clone())).collect();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let given = ask(&app, &app.reader, "{\"overlap\":\"1h\"}").await;
    assert_eq!((given.status, given.header("cache-control")), (200, Some("no-store")), "{:?}", given.json());
    let given = given.json();
    let new = given["key"].as_str().expect("the key").to_owned();
    assert_eq!(new.split('_').nth(1), given["kid"].as_str());
    assert!(given["old_valid_until"].as_str().is_some() && given["expires_at"].is_null(), "{given}");
    let row = app.api("GET", READER, Value::Null).await["rotations"][0].clone();
    assert_eq!(
        (&row["state"], &row["started_by"], &row["fetched_by"]),
        (&json!("draining"), &json!("client:reader"), &json!("client:reader"))
    );
    assert!(row["note"].as_str().is_some_and(|note| note.starts_with("asked by the client itself")), "{row}");
    assert_eq!(echo(&app, &app.reader).await.code(), 0, "the old one counts");
    let again = ask(&app, &new, "").await;
    assert_eq!((again.status, reason(&again).as_str()), (409, "rotation.open"), "{:?}", again.json());
    held.send_replace(new.clone());
    let done = until(&app, "done").await;
    stop.store(true, Ordering::SeqCst);
    for one in loops {
        one.await.expect("no loop broke");
    }
    assert_eq!(counts[1].load(Ordering::SeqCst), 0, "of {}", counts[0].load(Ordering::SeqCst));
    assert!(counts[0].load(Ordering::SeqCst) > 100);
    assert_eq!((echo(&app, &app.reader).await.status, echo(&app, &new).await.status), (401, 200));
    assert_eq!(ask(&app, &app.reader, "").await.status, 401, "what has ended asks for nothing");
    let text = app.ledger_text();
    assert!(text.contains("\"operator\":\"client:reader\"") && text.contains("credential/rotate"), "the ledger has it");
    assert!(!text.contains(new.split('_').nth(2).expect("a secret")), "and not the key");
    // The successor may ask in its turn; revoking it alone names what was asked for with it.
    let third = ask(&app, &new, "").await.json();
    let revoked = app
        .api(
            "POST",
            "/api/v1/credential-revoke",
            json!({"name": format!("key/{}", done["new"].as_str().expect("a kid")), "reason": "stolen"}),
        )
        .await;
    let open = revoked["open"].to_string();
    assert!(
        open.contains(third["kid"].as_str().expect("a kid")) && open.contains("credential revoke client-key/reader"),
        "{revoked}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_ask_is_told_so_and_nothing_is_changed() {
    let app = TestApp::start().await;
    allow(&app).await;
    let denied = ask(&app, &app.writer, "").await;
    assert_eq!((denied.status, reason(&denied).as_str()), (403, "rotation.denied"), "{:?}", denied.json());
    let stranger = ask(&app, "lbk_nobodyno_secretsecret_check1", "").await;
    assert!(stranger.status == 401 && stranger.header("www-authenticate").is_some(), "{stranger:?}");
    assert_eq!(app.bare("POST", PATH, &[], b"").await.status, 401);
    let get = app.bare("GET", PATH, &[("Authorization", &format!("Bearer {}", app.reader))], b"").await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    for (body, status, slug) in [
        ("{", 400, "wire.malformed"),
        ("[]", 400, "wire.malformed"),
        ("{\"overlap\":\"1h\",\"overlap\":\"2h\"}", 400, "wire.malformed"),
        ("{\"force\":true}", 400, "wire.malformed"),
        ("{\"overlap\":\"now\"}", 400, "rotation.overlap"),
        ("{\"overlap\":\"8d\"}", 400, "rotation.overlap"),
        ("{\"overlap\":\"soon\"}", 400, "rotation.overlap"),
    ] {
        let reply = ask(&app, &app.reader, body).await;
        assert_eq!((reply.status, reason(&reply).as_str()), (status, slug), "{body}: {:?}", reply.json());
    }
    let plain = app.post_to(PATH, &app.reader, &[("Content-Type", "text/plain")], b"{\"overlap\":\"1h\"}").await;
    assert_eq!(plain.status, 400);
    assert_eq!(ask(&app, &app.reader, &format!("{{\"overlap\":\"{}\"}}", "1".repeat(2_000))).await.status, 413);
    assert_eq!(app.post_to("/credential/rotate?overlap=1h", &app.reader, &[], b"").await.status, 400);
    for scope in [json!({"client": "reader"}), json!({})] {
        let mut order = scope.clone();
        order["reason"] = json!("look");
        app.engage(order.clone()).await;
        let killed = ask(&app, &app.reader, "").await;
        assert_eq!((killed.status, reason(&killed).as_str()), (403, "kill.engaged"), "{scope}: {:?}", killed.json());
        app.api("POST", "/api/v1/kill/release", order).await;
    }
    assert_eq!(app.api("GET", READER, Value::Null).await["rotations"], json!([]), "nothing was begun");
    assert_eq!(echo(&app, &app.reader).await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_own_rate_bounds_how_often_it_asks() {
    let app = TestApp::start().await;
    allow(&app).await;
    // A client with two calls a second and four at once.
    let mut statuses = Vec::new();
    let began = std::time::Instant::now();
    // On a slow machine its rate fills up again meanwhile.
    while statuses.len() < 60 && statuses.last() != Some(&429) {
        let reply = ask(&app, &app.slow, "{\"overlap\":\"now\"}").await;
        if reply.status == 429 {
            assert!(reply.header("retry-after").is_some() && reason(&reply) == "rate.client", "{:?}", reply.json());
        }
        statuses.push(reply.status);
    }
    let due = 4.0 + 2.0 * began.elapsed().as_secs_f64() + 1.0;
    assert!((statuses.len() - 1) as f64 <= due, "{} answers, and at most {due} were due", statuses.len() - 1);
    assert_eq!((statuses[0], statuses.last()), (400, Some(&429)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_cannot_become_a_key() {
    let app = TestApp::start().await;
    let added = app.api("POST", "/api/v1/clients", json!({"name": "agent", "roles": ["reader"], "oauth": true})).await;
    let file = app.data.path().join("config/clients/agent.toml");
    let text = std::fs::read_to_string(&file).expect("its file");
    std::fs::write(&file, format!("self_rotation = true\n{text}")).expect("written");
    app.api("POST", "/api/v1/config/commit", json!({"as": "ana", "message": "clients: may replace its key"})).await;
    let resource = format!("https://localhost:{}/mcp/up", app.proxy.port());
    let form = format!(
        "grant_type=client_credentials&client_id=agent&client_secret={}&resource={}",
        added["secret"].as_str().expect("a secret"),
        resource.replace(':', "%3A").replace('/', "%2F")
    );
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let token =
        app.bare("POST", "/oauth/token", &kind, form.as_bytes()).await.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(echo(&app, &token).await.code(), 0);
    let refused = ask(&app, &token, "").await;
    // It counts at the path of its resource and nowhere else.
    assert_eq!(refused.status, 401, "{:?}", refused.json());
    assert!(refused.json().get("key").is_none());
}
