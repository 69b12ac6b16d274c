//! What a server asks its client within a legacy session: elicitation, sampling, roots, and who may answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use lifeboat::policy::{Mode, Scope};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::rig::{Rig, Script, Seen, json_answer, piece, tool, until};

/// A server that begins numbered sessions, and on whose streams a test speaks: one for each tool, and `GET`.
pub(super) struct Talking {
    streams: Mutex<HashMap<String, mpsc::Receiver<Bytes>>>,
    sessions: Mutex<u32>,
}

impl Talking {
    pub(super) fn with(names: &[&str]) -> (Arc<Self>, HashMap<String, mpsc::Sender<Bytes>>) {
        let (mut speakers, mut streams) = (HashMap::new(), HashMap::new());
        for name in names {
            let (speaker, stream) = mpsc::channel(16);
            speakers.insert((*name).to_owned(), speaker);
            streams.insert((*name).to_owned(), stream);
        }
        (Arc::new(Self { streams: Mutex::new(streams), sessions: Mutex::new(0) }), speakers)
    }

    fn stream(&self, name: &str) -> Script {
        self.streams.lock().expect("lock").remove(name).map_or(Script::Json(405, Vec::new(), String::new()), Script::Stream)
    }

    pub(super) fn answer(&self, request: &Seen) -> Script {
        if request.method == "GET" {
            return self.stream("GET");
        }
        let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (message["method"].as_str(), message["params"]["name"].as_str()) {
            (Some("initialize"), _) => {
                let mut count = self.sessions.lock().expect("lock");
                *count += 1;
                let Script::Json(status, _, body) = json_answer(json!({"protocolVersion": "2025-11-25"}), request) else {
                    return Script::Hang;
                };
                Script::Json(status, vec![("mcp-session-id", format!("up-{count}"))], body)
            }
            (Some("tools/call"), Some(name)) => self.stream(name),
            (Some(method), _) if !method.starts_with("notifications/") => json_answer(json!({}), request),
            _ => Script::Json(202, Vec::new(), String::new()),
        }
    }
}

pub(super) fn event(value: &Value) -> Bytes {
    format!("event: message\ndata: {value}\n\n").into()
}

fn asks(id: Value, method: &str) -> Bytes {
    event(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"message": "who?"}}))
}

fn says(id: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {"n": 1}}})
}

async fn rig(names: &[&str]) -> (Rig, HashMap<String, mpsc::Sender<Bytes>>) {
    let (server, speakers) = Talking::with(names);
    (Rig::start(move |request| server.answer(request)).await, speakers)
}

#[tokio::test]
async fn pit_1_an_elicitation_goes_round_within_a_second_on_either_stream() {
    let (rig, speak) = rig(&["put", "GET"]).await;
    let session = rig.session("abcdefgh").await;
    let own = rig.listen(&session, "abcdefgh", None).await;
    let call = rig.client.request(rig.post_in(&session, "abcdefgh", &tool("put"))).await.expect("a head");
    for (stream, mut body, id) in [("put", call.into_body(), json!("q-1")), ("GET", own.into_body(), json!(9))] {
        let began = Instant::now();
        speak[stream].send(asks(id.clone(), "elicitation/create")).await.expect("asked");
        let seen = piece(&mut body).await;
        assert!(seen.contains("elicitation/create"), "{stream}: {seen}");
        assert_eq!(rig.send(rig.post_in(&session, "abcdefgh", &says(id.clone()))).await.status, 202, "{stream}");
        assert!(began.elapsed() < Duration::from_secs(1), "{stream}: {:?}", began.elapsed());
        let last = rig.seen.lock().expect("lock").last().expect("seen").clone();
        assert_eq!(serde_json::from_slice::<Value>(&last.body).expect("JSON"), says(id));
        assert_eq!(last.headers["mcp-session-id"], "up-1");
    }
}

#[tokio::test]
async fn pit_18_only_the_asked_session_answers_once_and_under_the_very_id() {
    let (rig, speak) = rig(&["look"]).await;
    let (session, second) = (rig.session("abcdefgh").await, rig.session("abcdefgh").await);
    let foreign = rig.session("otherkey").await;
    let call = rig.client.request(rig.post_in(&session, "abcdefgh", &tool("look"))).await.expect("a head");
    for (n, method) in ["sampling/createMessage", "roots/list", "elicitation/create", "ping"].into_iter().enumerate() {
        speak["look"].send(asks(json!(n + 70), method)).await.expect("asked");
    }
    let mut body = call.into_body();
    let mut seen = String::new();
    while seen.matches("jsonrpc").count() < 4 {
        seen.push_str(&piece(&mut body).await);
    }
    let before = rig.hits();
    for (session, kid, id, status) in [
        (&second, "abcdefgh", json!(70), 400),
        (&foreign, "otherkey", json!(70), 400),
        (&session, "otherkey", json!(70), 404),
        (&session, "abcdefgh", json!("70"), 400),
        (&session, "abcdefgh", json!(77), 400),
    ] {
        let answer = rig.send(rig.post_in(session, kid, &says(id.clone()))).await;
        assert_eq!(answer.status, status, "{kid} {id}");
        assert_eq!(answer.json()["id"], Value::Null, "an answer is not itself answered under its id");
    }
    assert_eq!(rig.hits(), before, "nothing of it reached the server");
    for n in 70..74 {
        assert_eq!(rig.send(rig.post_in(&session, "abcdefgh", &says(json!(n)))).await.status, 202, "{n}");
        assert_eq!(rig.send(rig.post_in(&session, "abcdefgh", &says(json!(n)))).await.status, 400, "{n} again");
    }
    assert_eq!(rig.hits(), before + 4);
}

#[tokio::test]
async fn pit_27_a_kill_covers_answers_by_the_class_of_the_call_they_continue() {
    let (rig, speak) = rig(&["put", "look", "GET"]).await;
    let session = rig.session("abcdefgh").await;
    let mut own = rig.listen(&session, "abcdefgh", None).await.into_body();
    let mut look = rig.client.request(rig.post_in(&session, "abcdefgh", &tool("look"))).await.expect("a head").into_body();
    let mut put = rig.client.request(rig.post_in(&session, "abcdefgh", &tool("put"))).await.expect("a head").into_body();
    for (stream, id, method) in [
        ("look", 1, "elicitation/create"),
        ("put", 2, "elicitation/create"),
        ("GET", 3, "sampling/createMessage"),
        ("GET", 4, "ping"),
    ] {
        speak[stream].send(asks(json!(id), method)).await.expect("asked");
    }
    piece(&mut look).await;
    piece(&mut put).await;
    let mut seen = String::new();
    while seen.matches("jsonrpc").count() < 2 {
        seen.push_str(&piece(&mut own).await);
    }
    rig.engage(Mode::ReadOnly);
    for (id, reason) in [(1, None), (2, Some("kill.read_only")), (3, Some("kill.read_only")), (4, None)] {
        let answer = rig.send(rig.post_in(&session, "abcdefgh", &says(json!(id)))).await;
        match reason {
            None => assert_eq!(answer.status, 202, "{id}"),
            Some(reason) => assert_eq!((answer.status, answer.reason()), (200, json!(reason)), "{id}"),
        }
    }
    speak["look"].send(asks(json!(5), "elicitation/create")).await.expect("asked");
    piece(&mut look).await;
    rig.engage_at(Scope::Tool { server: "s".into(), tool: "look".into() }, Mode::Full);
    assert_eq!(rig.send(rig.post_in(&session, "abcdefgh", &says(json!(5)))).await.reason(), json!("kill.engaged"));
    let told = rig.seen.lock().expect("lock").iter().filter(|seen| seen.body.windows(6).any(|part| part == b"accept")).count();
    assert_eq!(told, 2, "the answers to 1 and 4 alone reached the server");
}

#[tokio::test]
async fn an_answer_that_did_not_leave_may_be_given_again() {
    let (rig, speak) = rig(&["look"]).await;
    let session = rig.session("abcdefgh").await;
    let mut body = rig.client.request(rig.post_in(&session, "abcdefgh", &tool("look"))).await.expect("a head").into_body();
    speak["look"].send(asks(json!(1), "elicitation/create")).await.expect("asked");
    piece(&mut body).await;
    rig.engage(Mode::Full);
    assert_eq!(rig.send(rig.post_in(&session, "abcdefgh", &says(json!(1)))).await.reason(), json!("kill.engaged"));
    rig.feed.set_kill(rig.feed.kill().release(&Scope::Everything, None));
    assert_eq!(rig.send(rig.post_in(&session, "abcdefgh", &says(json!(1)))).await.status, 202);
    drop(body.collect().await);
}

#[tokio::test]
async fn atk_p26_a_request_on_a_modern_stream_and_broken_events_never_pass() {
    let odd = [
        ("a request", json!({"jsonrpc": "2.0", "id": 5, "method": "elicitation/create", "params": {}}).to_string()),
        ("another's response", json!({"jsonrpc": "2.0", "id": 8, "result": {"stolen": 1}}).to_string()),
    ];
    for (what, text) in odd {
        let (speaker, stream) = mpsc::channel::<Bytes>(8);
        let stream = Mutex::new(Some(stream));
        let rig = Rig::start(move |_| stream.lock().expect("lock").take().map_or(Script::Hang, Script::Stream)).await;
        let answer = rig.modern("abcdefgh", "tools/call", Some("look"), json!({"name": "look"})).await;
        speaker.send(format!("data: {text}\n\n").into()).await.expect("sent");
        // The last event: split anywhere, carriage returns only, its data on several lines.
        for part in ["\r\rdata: {\"jsonrpc\":\"2.0\",\rda", "ta: \"id\":7,\"result\":{\"w\":\"caf", "\u{e9}\"}}\r\r"] {
            speaker.send(Bytes::from(part)).await.expect("sent");
        }
        let text = String::from_utf8(answer.into_body().collect().await.expect("a body").to_bytes().to_vec()).expect("UTF-8");
        assert!(text.contains("caf\u{e9}") && !text.contains("elicitation") && !text.contains("stolen"), "{what}: {text}");
    }
}

#[tokio::test]
async fn atk_p26_a_stream_without_its_answer_and_one_endless_event_end_in_band() {
    for (what, parts, reason) in [
        (
            "no answer",
            vec!["data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n".to_owned()],
            "upstream.",
        ),
        ("an endless event", vec!["x".repeat(1 << 20); 3], "size.response"),
        ("no message", vec!["data: not JSON\n\n".to_owned()], "upstream."),
    ] {
        let (speaker, stream) = mpsc::channel::<Bytes>(8);
        let stream = Mutex::new(Some(stream));
        let rig = Rig::start(move |_| stream.lock().expect("lock").take().map_or(Script::Hang, Script::Stream)).await;
        let answer = rig.modern("abcdefgh", "tools/call", Some("look"), json!({"name": "look"})).await;
        for part in parts {
            drop(speaker.send(part.into()).await);
        }
        drop(speaker);
        let text = String::from_utf8_lossy(&answer.into_body().collect().await.expect("a body").to_bytes()).into_owned();
        assert!(text.contains(&format!("\"reason\":\"{reason}")), "{what}: {text}");
        assert!(text.len() < 10_000, "{what}: bounded");
        until("it is recorded", || rig.events().len() == 1).await;
    }
}
