//! subscriptions/listen, the news of a changed policy, requests in several rounds, and what a server may advertise.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use lifeboat::policy::{Mode, Snapshot};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::questions::{Talking, event};
use super::rig::{Rig, Script, json_answer, piece, until};

fn acknowledged(wanted: Value) -> Bytes {
    event(&json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": {"notifications": wanted, "_meta": {"io.modelcontextprotocol/subscriptionId": 7}}}))
}

fn tagged(method: &str, mut params: Value) -> Bytes {
    params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": 7});
    event(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

async fn listening() -> (Rig, mpsc::Sender<Bytes>) {
    let (events, stream) = mpsc::channel::<Bytes>(8);
    let stream = Mutex::new(Some(stream));
    let rig = Rig::start(move |_| stream.lock().expect("lock").take().map_or(Script::Hang, Script::Stream)).await;
    (rig, events)
}

/// Publishes a policy in which the tool `drop` counts as `class`.
fn publish(rig: &Rig, class: &str) {
    let old = rig.feed.snapshot();
    let mut config = old.servers["s"].config.clone();
    config.tools.insert("drop".into(), toml::from_str(&format!("class = \"{class}\"")).expect("a class"));
    let secrets = old.servers["s"].secrets.clone();
    let entry = lifeboat::policy::snapshot::ServerEntry { name: "s".into(), config, secrets };
    let mut snapshot = Snapshot::clone(&old);
    snapshot.servers.insert("s".into(), entry.into());
    rig.feed.publish(snapshot);
}

#[tokio::test]
async fn a_subscription_is_acknowledged_tagged_and_outlives_a_kill() {
    let (rig, events) = listening().await;
    let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": ["a://b"]});
    let answer = rig.modern("abcdefgh", "subscriptions/listen", None, json!({"notifications": wanted})).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.into_body();
    let first = acknowledged(wanted);
    events.send(first.clone()).await.expect("sent");
    assert_eq!(piece(&mut body).await, String::from_utf8_lossy(&first));
    rig.engage(Mode::Full);
    for sent in
        [tagged("notifications/tools/list_changed", json!({})), tagged("notifications/resources/updated", json!({"uri": "a://b"}))]
    {
        events.send(sent.clone()).await.expect("sent");
        assert_eq!(piece(&mut body).await, String::from_utf8_lossy(&sent));
    }
    drop(body);
    until("leaving ends it at the server", || events.is_closed()).await;
}

#[tokio::test]
async fn a_subscription_tells_only_what_its_client_reaches() {
    let (rig, events) = listening().await;
    let single = json!({"notifications": {"resourceSubscriptions": ["a://b"]}});
    let refused = rig.modern("narrowke", "subscriptions/listen", None, single).await;
    let text = refused.into_body().collect().await.expect("a body").to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("policy.no_grant"), "{text:?}");
    assert_eq!(rig.hits(), 0);
    let all = json!({"notifications": {"toolsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": []}});
    let mut body = rig.modern("narrowke", "subscriptions/listen", None, all).await.into_body();
    events.send(tagged("notifications/resources/updated", json!({"uri": "a://b"}))).await.expect("sent");
    events.send(tagged("notifications/prompts/list_changed", json!({}))).await.expect("sent");
    events.send(tagged("notifications/tasks", json!({"taskId": "t", "status": "working"}))).await.expect("sent");
    events.send(tagged("notifications/tools/list_changed", json!({}))).await.expect("sent");
    assert!(piece(&mut body).await.contains("tools/list_changed"));
}

#[tokio::test]
async fn pit_20_a_changed_policy_is_told_once_to_whoever_sees_a_difference() {
    let (server, speak) = Talking::with(&["GET"]);
    let rig = Rig::start(move |request| server.answer(request)).await;
    let session = rig.session("abcdefgh").await;
    let mut body = rig.listen(&session, "abcdefgh", None).await.into_body();
    for class in ["write", "destructive"].repeat(20) {
        publish(&rig, class);
    }
    publish(&rig, "write");
    let told = piece(&mut body).await;
    assert_eq!(told, "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n");
    publish(&rig, "read");
    tokio::time::sleep(Duration::from_millis(300)).await;
    speak["GET"].send(event(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}))).await.expect("sent");
    assert!(piece(&mut body).await.contains("notifications/message"), "another class that changes no list is no news");
    rig.engage(Mode::Full);
    tokio::time::sleep(Duration::from_millis(300)).await;
    speak["GET"].send(event(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}))).await.expect("sent");
    assert!(piece(&mut body).await.contains("notifications/message"), "a kill changes no list");
}

#[tokio::test]
async fn pit_20_a_subscription_is_told_what_was_acknowledged_and_nothing_else() {
    for (asked, is_told) in [(json!({"toolsListChanged": true}), true), (json!({"promptsListChanged": true}), false)] {
        let (rig, events) = listening().await;
        let mut body = rig.modern("abcdefgh", "subscriptions/listen", None, json!({"notifications": asked})).await.into_body();
        events.send(acknowledged(asked)).await.expect("sent");
        piece(&mut body).await;
        publish(&rig, "write");
        tokio::time::sleep(Duration::from_millis(400)).await;
        events.send(tagged("notifications/message", json!({}))).await.expect("sent");
        let seen = piece(&mut body).await;
        let due = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#;
        assert_eq!(seen.contains(due), is_told, "{seen}");
    }
}

#[tokio::test]
async fn a_request_in_several_rounds_keeps_its_state_byte_for_byte() {
    let state = r#""v1.\u00e9\/ AAEC+/=.sig""#;
    let asked = format!(
        r#"{{"resultType":"input_required","inputRequests":{{"q":{{"method":"elicitation/create","params":{{"message":"who?"}}}}}},"requestState":{state},"x":1.50}}"#
    );
    let sent = asked.clone();
    let rig = Rig::start(move |request| {
        let message: Value = serde_json::from_slice(&request.body).expect("JSON");
        let result =
            if message["params"]["inputResponses"].is_null() { sent.clone() } else { r#"{"resultType":"complete"}"#.into() };
        Script::Json(200, Vec::new(), format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, message["id"]))
    })
    .await;
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}"#;
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "put")];
    let first = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"put","arguments":{{}},{meta}}}}}"#);
    let answer = rig.send(rig.post(&first, &headers)).await;
    assert_eq!(String::from_utf8_lossy(&answer.body), format!(r#"{{"jsonrpc":"2.0","id":1,"result":{asked}}}"#));
    let second = format!(
        r#"{{"jsonrpc":"2.0","id":"two","method":"tools/call","params":{{"name":"put","arguments":{{}},"inputResponses":{{"q":{{"action":"accept","content":{{"n":1}}}}}},"requestState":{state},{meta}}}}}"#
    );
    assert_eq!(rig.send(rig.post(&second, &headers)).await.json()["result"]["resultType"], "complete");
    assert_eq!(rig.seen.lock().expect("lock")[1].body, second);
    rig.engage(Mode::ReadOnly);
    assert_eq!(rig.send(rig.post(&second, &headers)).await.reason(), json!("kill.read_only"), "each round is a call of its own");
    let other = format!(r#"{{"jsonrpc":"2.0","id":3,"result":{{"action":"accept"}},"x":{{{meta}}}}}"#);
    assert_eq!(rig.send(rig.post(&other, &headers)).await.status, 400, "the modern era knows no responses of clients");
    assert_eq!(rig.hits(), 2);
}

#[tokio::test]
async fn pit_28_what_a_client_cannot_reach_is_not_advertised_to_it() {
    let capabilities = r#"{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"completions":{},"tasks":{"list":{}},"logging":{},"extensions":{"io.modelcontextprotocol/tasks":{},"a/b":{"v":1.0}}}"#;
    let rig = Rig::start(move |request| {
        let message: Value = serde_json::from_slice(&request.body).expect("JSON");
        let rest = if message["method"] == "initialize" {
            r#""protocolVersion":"2025-11-25""#
        } else {
            r#""supportedVersions":["2026-07-28"],"ttlMs":999999,"cacheScope":"public","resultType":"complete""#
        };
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"capabilities":{capabilities},{rest}}}}}"#, message["id"]);
        Script::Json(200, Vec::new(), body)
    })
    .await;
    let initialize = json!({"jsonrpc": "2.0", "id": 7, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    for (kid, due) in
        [("abcdefgh", capabilities), ("narrowke", r#"{"tools":{"listChanged":true},"logging":{},"extensions":{"a/b":{"v":1.0}}}"#)]
    {
        let answer = rig.send(rig.post_as(kid, &initialize)).await;
        let text = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"capabilities":{due},"protocolVersion":"2025-11-25"}}}}"#);
        assert_eq!(String::from_utf8_lossy(&answer.body), text, "{kid}");
        let answer = rig.modern(kid, "server/discover", None, json!({})).await.into_body().collect().await.expect("a body");
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":7,"result":{{"capabilities":{due},"supportedVersions":["2026-07-28"],"ttlMs":10000,"cacheScope":"private","resultType":"complete"}}}}"#
        );
        assert_eq!(String::from_utf8_lossy(&answer.to_bytes()), text, "{kid}");
    }
}

#[tokio::test]
async fn each_method_exists_in_its_own_era_only() {
    let rig = Rig::start(|request| json_answer(json!({"resultType": "complete", "tools": [], "ok": 1}), request)).await;
    let removed =
        ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/list", "tasks/result"];
    for method in removed.into_iter().chain(["no/such"]) {
        let params = json!({"uri": "a://b", "level": "debug", "taskId": "t", "protocolVersion": "2025-11-25"});
        let answer = rig.modern("abcdefgh", method, Some("t"), params).await;
        assert_eq!(answer.status(), 404, "{method}");
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&body).expect("JSON")["error"]["code"], -32601, "{method}");
    }
    for method in ["notifications/initialized", "notifications/roots/list_changed"] {
        let body = json!({"jsonrpc": "2.0", "method": method}).to_string();
        let answer = rig.send(rig.post(&body, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)])).await;
        assert_eq!(answer.status, 404, "{method}");
    }
    for method in ["server/discover", "subscriptions/listen", "tasks/update"] {
        let answer = rig.call(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"taskId": "t"}})).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (404, json!(-32601)), "{method}");
    }
    assert_eq!(rig.hits(), 0);
    for (method, params) in [
        ("ping", json!({})),
        ("logging/setLevel", json!({"level": "debug"})),
        ("resources/subscribe", json!({"uri": "a://b"})),
        ("resources/unsubscribe", json!({"uri": "a://b"})),
        ("resources/read", json!({"uri": "a://b"})),
        ("prompts/get", json!({"name": "p"})),
        ("completion/complete", json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}})),
    ] {
        let before = rig.hits();
        let answer = rig.call(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).await;
        assert_eq!((answer.status, answer.json()["result"]["ok"].clone()), (200, json!(1)), "{method}");
        assert_eq!(rig.hits(), before + 1, "{method}");
        let needs_grant = !matches!(method, "ping" | "logging/setLevel");
        let narrow = rig.post_as("narrowke", &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
        assert_eq!(rig.send(narrow).await.json()["error"]["data"]["reason"] == "policy.no_grant", needs_grant, "{method}");
    }
}

#[tokio::test]
async fn a_method_unknown_to_a_session_does_not_end_it() {
    let (server, _) = Talking::with(&[]);
    let rig = Rig::start(move |request| server.answer(request)).await;
    let session = rig.session("abcdefgh").await;
    let unknown = json!({"jsonrpc": "2.0", "id": 4, "method": "no/such"});
    let answer = rig.send(rig.post_in(&session, "abcdefgh", &unknown)).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].clone(), answer.json()["id"].clone()),
        (200, json!(-32601), json!(4))
    );
    assert_eq!(rig.send(rig.post_in(&session, "otherkey", &unknown)).await.status, 404, "somebody else's session");
    assert_eq!(
        rig.send(rig.post_in(&session, "abcdefgh", &json!({"jsonrpc": "2.0", "id": 5, "method": "ping"}))).await.status,
        200
    );
}
