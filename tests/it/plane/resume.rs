//! Resuming a legacy stream by the id of its last event.

use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::BodyExt;
use lifeboat::policy::Mode;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::questions::Talking;
use super::rig::{Rig, Script, json_answer, piece, tool, until};

const PRIMING: &str = "id: e-1\nretry: 50\ndata: \n\n";

fn answer(id: Value) -> Bytes {
    format!("id: e-2\nevent: message\ndata: {}\n\n", json!({"jsonrpc": "2.0", "id": id, "result": {"late": 1.50}})).into()
}

#[tokio::test]
async fn a_call_is_polled_as_2025_11_25_has_it_and_recorded_when_its_answer_comes() {
    let (server, speak) = Talking::with(&["put", "GET"]);
    let rig = Rig::start(move |request| server.answer(request)).await;
    let session = rig.session("abcdefgh").await;
    let call = rig.client.request(rig.post_in(&session, "abcdefgh", &tool("put"))).await.expect("a head");
    let request_id = call.headers()["lifeboat-request-id"].to_str().expect("text").to_owned();
    let mut speak = speak;
    speak["put"].send(PRIMING.into()).await.expect("sent");
    let mut body = call.into_body();
    assert_eq!(piece(&mut body).await, PRIMING, "the priming event passes byte for byte");
    drop(speak.remove("put"));
    assert_eq!(piece(&mut body).await, "", "the stream ends as the server ended it");
    until("the outcome is recorded", || rig.events().iter().any(|event| event.kind == "call.outcome")).await;
    assert_eq!(rig.events().last().expect("an event").status.as_deref(), Some("unknown"));
    let resumed = rig.listen(&session, "abcdefgh", Some("e-1")).await;
    assert_eq!(resumed.status(), 200);
    assert_eq!(rig.seen.lock().expect("lock").last().expect("seen").headers["last-event-id"], "e-1");
    speak["GET"].send(answer(json!(7))).await.expect("sent");
    let mut body = resumed.into_body();
    assert_eq!(piece(&mut body).await, String::from_utf8_lossy(&answer(json!(7))));
    let event = rig.events().into_iter().find(|event| event.action.as_deref() == Some("call.resumed")).expect("recorded");
    assert_eq!((event.kind.as_str(), event.request_id), ("system", Some(request_id)));
    assert_eq!((event.tool.as_deref(), event.status.as_deref(), event.executed.as_deref()), (Some("put"), Some("ok"), Some("yes")));
    speak["GET"].send(answer(json!(7))).await.expect("sent");
    speak["GET"].send(answer(json!(99))).await.expect("sent");
    speak["GET"]
        .send(Bytes::from_static(b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n"))
        .await
        .expect("sent");
    assert!(piece(&mut body).await.contains("notifications/message"), "each answer comes once, and only one that is due");
    let again = rig.listen(&session, "abcdefgh", Some("e-2")).await;
    assert_eq!(again.status(), 405, "the event of the resumed stream is known too");
}

#[tokio::test]
async fn pit_17_a_legacy_client_that_leaves_gets_its_answer_when_it_comes_back() {
    let (server, speak) = Talking::with(&["look", "GET"]);
    let rig = Rig::start(move |request| server.answer(request)).await;
    let session = rig.session("abcdefgh").await;
    let mut call = rig.client.request(rig.post_in(&session, "abcdefgh", &tool("look"))).await.expect("a head").into_body();
    speak["look"].send(PRIMING.into()).await.expect("sent");
    piece(&mut call).await;
    drop(call);
    let mut resumed = rig.listen(&session, "abcdefgh", Some("e-1")).await.into_body();
    speak["GET"].send(answer(json!(7))).await.expect("sent");
    assert!(piece(&mut resumed).await.contains("late"));
    assert!(rig.seen_of("notifications/cancelled").is_empty(), "leaving is no cancellation in this era");
}

#[tokio::test]
async fn pit_25_an_event_of_another_session_never_reaches_the_server() {
    let (server, speak) = Talking::with(&["look", "GET"]);
    let rig = Rig::start(move |request| server.answer(request)).await;
    let (session, foreign, second) = (rig.session("abcdefgh").await, rig.session("otherkey").await, rig.session("abcdefgh").await);
    let mut call = rig.client.request(rig.post_in(&session, "abcdefgh", &tool("look"))).await.expect("a head").into_body();
    speak["look"].send(PRIMING.into()).await.expect("sent");
    piece(&mut call).await;
    let before = rig.hits();
    for (session, kid) in [(&foreign, "otherkey"), (&second, "abcdefgh"), (&session, "otherkey")] {
        assert_eq!(rig.listen(session, kid, Some("e-1")).await.status(), 404, "{kid}");
    }
    assert_eq!(rig.listen(&session, "abcdefgh", Some("e-0")).await.status(), 404, "an event nobody has seen");
    let bearer = super::rig::bearer("otherkey");
    let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream"), ("last-event-id", "e-1")];
    assert_eq!(rig.send(rig.request("GET", "/mcp/s", &headers, "")).await.status, 404, "without any session");
    assert_eq!(rig.hits(), before);
    assert_eq!(rig.listen(&session, "abcdefgh", Some("e-1")).await.status(), 200);
}

#[tokio::test]
async fn pit_27_a_resumed_answer_is_withheld_while_its_tool_is_stopped() {
    let (server, speak) = Talking::with(&["put", "GET"]);
    let rig = Rig::start(move |request| server.answer(request)).await;
    let session = rig.session("abcdefgh").await;
    let mut call = rig.client.request(rig.post_in(&session, "abcdefgh", &tool("put"))).await.expect("a head").into_body();
    speak["put"].send(PRIMING.into()).await.expect("sent");
    piece(&mut call).await;
    drop(call);
    until("the end of the stream is recorded", || rig.events().iter().any(|event| event.kind == "call.outcome")).await;
    rig.engage(Mode::ReadOnly);
    let mut resumed = rig.listen(&session, "abcdefgh", Some("e-1")).await.into_body();
    speak["GET"].send(answer(json!(7))).await.expect("sent");
    let seen = piece(&mut resumed).await;
    assert!(seen.starts_with("id: e-2\n") && seen.contains("kill.read_only") && !seen.contains("late"), "{seen}");
    let event = rig.events().into_iter().find(|event| event.action.as_deref() == Some("call.resumed")).expect("recorded");
    assert_eq!((event.status.as_deref(), event.executed.as_deref()), (Some("cut"), Some("yes")));
}

#[tokio::test]
async fn a_resumed_list_is_filtered_like_any_other() {
    let (events, stream) = mpsc::channel::<Bytes>(8);
    let streams = Mutex::new(vec![stream]);
    let (server, _) = Talking::with(&[]);
    let rig = Rig::start(move |request| {
        let is_list = request.body.windows(10).any(|part| part == b"tools/list");
        match request.method.as_str() {
            "GET" => streams.lock().expect("lock").pop().map_or(Script::Hang, Script::Stream),
            _ if is_list => {
                let (sender, stream) = mpsc::channel(1);
                sender.try_send(Bytes::from(PRIMING)).expect("room");
                Script::Stream(stream)
            }
            _ => server.answer(request),
        }
    })
    .await;
    let session = rig.session("narrowke").await;
    let list = json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list"});
    let first = rig.client.request(rig.post_in(&session, "narrowke", &list)).await.expect("a head");
    assert_eq!(first.into_body().collect().await.expect("a body").to_bytes(), PRIMING);
    let mut resumed = rig.listen(&session, "narrowke", Some("e-1")).await.into_body();
    let tools = json!({"jsonrpc": "2.0", "id": "l", "result": {"tools": [{"name": "look"}, {"name": "put"}]}});
    events.send(format!("id: e-2\ndata: {tools}\n\n").into()).await.expect("sent");
    let seen = piece(&mut resumed).await;
    assert!(seen.contains("look") && !seen.contains("put"), "{seen}");
}

#[tokio::test]
async fn atk_p37_a_list_is_no_late_answer_to_a_call() {
    let (server, speak) = Talking::with(&["look", "GET"]);
    let rig = Rig::start(move |request| server.answer(request)).await;
    let session = rig.session("narrowke").await;
    let mut call = rig.client.request(rig.post_in(&session, "narrowke", &tool("look"))).await.expect("a head").into_body();
    speak["look"].send(PRIMING.into()).await.expect("sent");
    piece(&mut call).await;
    drop(call);
    let mut resumed = rig.listen(&session, "narrowke", Some("e-1")).await.into_body();
    // What a server replays when a list was asked for under the same id before.
    let tools = json!({"jsonrpc": "2.0", "id": 7, "result": {"tools": [{"name": "look"}, {"name": "put"}]}});
    speak["GET"].send(format!("id: e-2\ndata: {tools}\n\n").into()).await.expect("sent");
    let seen = piece(&mut resumed).await;
    assert!(seen.contains("upstream.unavailable") && !seen.contains("put"), "{seen}");
}

#[tokio::test]
async fn the_modern_era_has_neither_sessions_nor_resuming() {
    let rig = Rig::start(|request| json_answer(json!({"resultType": "complete"}), request)).await;
    let (body, headers) = super::rig::modern("tools/call", Some("look"), 7, json!({"name": "look"}));
    let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    headers.extend([("mcp-session-id", "somebody-else"), ("last-event-id", "e-1")]);
    let answer = rig.send(rig.post(&body, &headers)).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("mcp-session-id"));
    let seen = rig.seen.lock().expect("lock")[0].clone();
    assert!(!seen.headers.contains_key("mcp-session-id") && !seen.headers.contains_key("last-event-id"));
    let bearer = super::rig::bearer("abcdefgh");
    for method in ["GET", "DELETE"] {
        let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream"), ("mcp-protocol-version", "2026-07-28")];
        assert_eq!(rig.send(rig.request(method, "/mcp/s", &headers, "")).await.status, 405, "{method}");
    }
    assert_eq!(rig.hits(), 1);
}
