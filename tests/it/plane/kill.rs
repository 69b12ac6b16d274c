//! The kill switch as clients meet it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use lifeboat::config::Class;
use lifeboat::policy::principal::Canary;
use lifeboat::policy::{Mode, Principal};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::rig::{Rig, Script, json_answer, tool, until};

#[tokio::test]
async fn atk_p38_a_full_kill_stops_what_executes_and_serves_the_rest() {
    let rig = Rig::start(|request| json_answer(json!({"tools": []}), request)).await;
    rig.engage(Mode::Full);
    for message in [
        tool("look"),
        json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "x:y"}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "p"}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "t"}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "completion/complete", "params": {"ref": {"type": "ref/prompt", "name": "p"}}}),
    ] {
        let answer = rig.call(message.clone()).await;
        assert_eq!((answer.status, answer.reason()), (200, json!("kill.engaged")), "{message}");
        assert_eq!(answer.json()["error"]["data"]["executed"], "no");
    }
    assert_eq!(rig.hits(), 0);
    assert_eq!(rig.call(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await.json()["result"]["tools"], json!([]));
    assert_eq!(rig.call(json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await.status, 200);
    assert_eq!(rig.hits(), 2);
}

#[tokio::test]
async fn each_refusal_names_the_revision_it_was_made_under() {
    let rig = Rig::start(|request| json_answer(json!({}), request)).await;
    rig.engage(Mode::Full);
    assert_eq!(rig.tool("put").await.reason(), "kill.engaged");
    let no_session = rig.send(rig.post_in("none", "abcdefgh", &tool("look"))).await;
    assert_eq!(no_session.status, 404);
    let revision = rig.feed.snapshot().revision.to_string();
    let named: Vec<Option<String>> = rig.events().into_iter().map(|event| event.revision).collect();
    assert_eq!(named, [Some(revision.clone()), Some(revision)]);
}

#[tokio::test]
async fn read_only_lets_reads_through() {
    let rig = Rig::start(|request| json_answer(json!({}), request)).await;
    rig.engage(Mode::ReadOnly);
    assert_eq!(rig.tool("put").await.reason(), "kill.read_only");
    assert!(rig.tool("look").await.json()["error"].is_null());
}

#[tokio::test]
async fn a_call_in_flight_is_cut_and_told_so() {
    let rig = Rig::start(
        |request| if request.body.windows(9).any(|part| part == b"cancelled") { json_answer_empty() } else { Script::Hang },
    )
    .await;
    let request = rig.post(&tool("put").to_string(), &[]);
    let client = rig.client.clone();
    let call =
        tokio::spawn(async move { client.request(request).await.expect("response").collect().await.expect("body").to_bytes() });
    until("the call is in flight", || rig.hits() == 1 && rig.feed.in_flight(None) == 1).await;
    let began = Instant::now();
    rig.engage(Mode::Full);
    let body: Value = serde_json::from_slice(&call.await.expect("call")).expect("JSON");
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!(body["error"]["data"]["reason"], "kill.engaged");
    assert_eq!(body["error"]["data"]["executed"], "unknown");
    assert_eq!(rig.feed.in_flight(None), 0);
    let outcome = rig.events().pop().expect("outcome");
    assert_eq!((outcome.kind.as_str(), outcome.status.as_deref()), ("call.outcome", Some("cut")));
    until("the server is told", || rig.hits() == 2).await;
}

fn json_answer_empty() -> Script {
    Script::Json(202, Vec::new(), String::new())
}

#[tokio::test]
async fn pit_27_a_stream_in_flight_ends_with_the_refusal() {
    let (_events, stream) = mpsc::channel::<Bytes>(8);
    let stream = std::sync::Mutex::new(Some(stream));
    let rig = Rig::start(move |_| stream.lock().expect("lock").take().map_or_else(json_answer_empty, Script::Stream)).await;
    let response = rig.client.request(rig.post(&tool("look").to_string(), &[])).await.expect("head");
    rig.engage(Mode::Full);
    let text = response.into_body().collect().await.expect("body").to_bytes();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("kill.engaged") && text.contains("\"id\":7"), "{text}");
}

async fn canary(rig: &Rig, token: &str) -> Value {
    let principal = Principal {
        client: "ci".into(),
        kid: "canary".into(),
        token: None,
        canary: Some(Canary { class: Class::Write, stands_for: None }),
    };
    rig.feed.admit_canary(token.to_owned(), principal);
    let bearer = format!("Bearer {token}");
    let mut request = rig.post(&tool("look").to_string(), &[]);
    request.headers_mut().insert("authorization", bearer.parse().expect("header"));
    rig.send(request).await.reason()
}

#[tokio::test]
async fn a_canary_comes_back_with_the_kills_own_reason_and_never_runs() {
    let rig = Rig::start(|request| json_answer(json!({}), request)).await;
    assert_eq!(canary(&rig, "canary-1").await, "policy.no_grant");
    rig.engage(Mode::ReadOnly);
    assert_eq!(canary(&rig, "canary-2").await, "kill.read_only");
    *rig.ledger_full.lock().expect("lock") = true;
    rig.engage(Mode::Full);
    assert_eq!(canary(&rig, "canary-3").await, "kill.engaged");
    assert_eq!(rig.hits(), 0);
}
