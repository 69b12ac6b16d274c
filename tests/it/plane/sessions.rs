//! Legacy sessions and the server's own stream.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use lifeboat::policy::Snapshot;
use serde_json::json;
use tokio::sync::mpsc;

use super::rig::{KEY, Rig, Script, Seen, bearer, json_answer, modern, piece, until};

fn initialize() -> String {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string()
}

fn with_session(request: &Seen) -> Script {
    let Script::Json(status, _, body) = json_answer(json!({"protocolVersion": "2025-06-18"}), request) else { return Script::Hang };
    Script::Json(status, vec![("mcp-session-id", "upstream-1".into())], body)
}

#[tokio::test]
async fn pit_25_the_proxy_shows_its_own_session_and_keeps_it_to_its_client() {
    let rig = Rig::start(with_session).await;
    let answer = rig.send(rig.post(&initialize(), &[])).await;
    let id = answer.headers["mcp-session-id"].to_str().expect("id").to_owned();
    assert_ne!(id, "upstream-1");
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    assert_eq!(rig.send(rig.post(&ping, &[("mcp-session-id", &id)])).await.status, 200);
    let seen = rig.seen.lock().expect("lock")[1].clone();
    assert_eq!(seen.headers["mcp-session-id"], "upstream-1");
    assert_eq!(seen.headers["mcp-protocol-version"], "2025-06-18");
    assert_eq!(rig.send(rig.post(&ping, &[("mcp-session-id", "upstream-1")])).await.status, 404);
    let mut foreign = rig.post(&ping, &[("mcp-session-id", &id)]);
    let other = format!("Bearer {}", KEY.replace("abcdefgh", "otherkey"));
    foreign.headers_mut().insert("authorization", other.parse().expect("header"));
    assert_eq!(rig.send(foreign).await.status, 404);
    let bearer = format!("Bearer {KEY}");
    let end = rig.request("DELETE", "/mcp/s", &[("authorization", &bearer), ("mcp-session-id", &id)], "");
    assert_eq!(rig.send(end).await.status, 200);
    assert_eq!(rig.seen.lock().expect("lock").last().expect("seen").method, "DELETE");
    assert_eq!(rig.send(rig.post(&ping, &[("mcp-session-id", &id)])).await.status, 404);
}

/// What a client without any grant on this server may ask of it.
fn of_an_outsider(rig: &Rig, session: &str) -> Vec<(String, Request<Full<Bytes>>)> {
    let mut all = Vec::new();
    for message in [
        serde_json::from_str(&initialize()).expect("JSON"),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": {"level": "debug"}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "content": {}}}),
        json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}}),
    ] {
        all.push((message.to_string(), rig.post_as("outsider", &message)));
    }
    for method in ["server/discover", "subscriptions/listen", "tools/list"] {
        let (body, headers) = modern(method, None, 7, json!({"notifications": {"toolsListChanged": true}}));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut request = rig.post(&body, &headers);
        request.headers_mut().insert("authorization", bearer("outsider").parse().expect("a header"));
        all.push((format!("modern {method}"), request));
    }
    let bearer = bearer("outsider");
    for method in ["GET", "DELETE"] {
        let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream")];
        all.push((method.to_owned(), rig.request(method, "/mcp/s", &headers, "")));
        let headers = [&headers[..], &[("mcp-session-id", session)]].concat();
        all.push((format!("{method} in a session"), rig.request(method, "/mcp/s", &headers, "")));
    }
    all
}

#[tokio::test]
async fn atk_p04_a_client_without_a_grant_on_a_server_has_no_business_there() {
    let rig = Rig::start(with_session).await;
    let session = rig.session("abcdefgh").await;
    let before = rig.hits();
    for (what, request) in of_an_outsider(&rig, &session) {
        let answer = rig.send(request).await;
        assert_eq!((answer.status, answer.reason()), (200, json!("policy.no_grant")), "{what}");
        assert!(!answer.headers.contains_key("mcp-session-id"), "{what}");
    }
    let ghost = rig.request("GET", "/mcp/ghost", &[("authorization", &bearer("outsider")), ("accept", "text/event-stream")], "");
    assert_eq!(rig.send(ghost).await.reason(), "policy.unknown_server");
    assert_eq!(rig.hits(), before, "nothing of it reached the server");
    assert!(rig.feed.snapshot().clients.contains_key("outsider"));
}

#[tokio::test]
async fn atk_p04_a_stream_ends_with_the_last_grant_of_its_client() {
    let (events, stream) = mpsc::channel::<Bytes>(8);
    let stream = std::sync::Mutex::new(Some(stream));
    let rig = Rig::start(move |request| match request.method.as_str() {
        "GET" => Script::Stream(stream.lock().expect("lock").take().expect("once")),
        _ => with_session(request),
    })
    .await;
    let session = rig.session("narrowke").await;
    let mut body = rig.listen(&session, "narrowke", None).await.into_body();
    events.send("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n".into()).await.expect("sent");
    assert!(piece(&mut body).await.contains("notifications/message"));
    let mut policy = Snapshot::clone(&rig.feed.snapshot());
    let without = policy.clients["outsider"].clone();
    policy.clients.insert("narrow".into(), without);
    rig.feed.publish(policy);
    assert_eq!(piece(&mut body).await, "", "it has ended");
}

#[tokio::test]
async fn pit_4_a_session_the_server_lost_is_404_not_an_empty_success() {
    let rig = Rig::start(|request| {
        if request.headers.contains_key("mcp-session-id") {
            return Script::Json(400, Vec::new(), r#"{"error":"Bad Request: No valid session ID provided"}"#.into());
        }
        with_session(request)
    })
    .await;
    let id = rig.send(rig.post(&initialize(), &[])).await.headers["mcp-session-id"].to_str().expect("id").to_owned();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    assert_eq!(rig.send(rig.post(&ping, &[("mcp-session-id", &id)])).await.status, 404);
}

#[tokio::test]
async fn pit_5_a_server_without_sessions_and_streams_works() {
    let rig = Rig::start(|request| match request.method.as_str() {
        "GET" => Script::Json(405, Vec::new(), String::new()),
        _ => json_answer(json!({"protocolVersion": "2025-11-25"}), request),
    })
    .await;
    assert!(!rig.send(rig.post(&initialize(), &[])).await.headers.contains_key("mcp-session-id"));
    let bearer = format!("Bearer {KEY}");
    let get = rig.request("GET", "/mcp/s", &[("authorization", &bearer), ("accept", "text/event-stream")], "");
    assert_eq!(rig.send(get).await.status, 405);
}

#[tokio::test]
async fn pit_18_a_response_that_nobody_asked_for_stays_here() {
    let (events, stream) = mpsc::channel::<Bytes>(8);
    let stream = std::sync::Mutex::new(Some(stream));
    let rig = Rig::start(move |request| match request.method.as_str() {
        "GET" => Script::Stream(stream.lock().expect("lock").take().expect("once")),
        _ if request.body.windows(10).any(|part| part == b"initialize") => with_session(request),
        _ => Script::Json(202, Vec::new(), String::new()),
    })
    .await;
    let id = rig.send(rig.post(&initialize(), &[])).await.headers["mcp-session-id"].to_str().expect("id").to_owned();
    let response = json!({"jsonrpc": "2.0", "id": 77, "result": {}}).to_string();
    assert_eq!(rig.send(rig.post(&response, &[("mcp-session-id", &id)])).await.status, 400);
    assert_eq!(rig.hits(), 1);
    let bearer = format!("Bearer {KEY}");
    let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream"), ("mcp-session-id", &id)];
    let open = rig.client.request(rig.request("GET", "/mcp/s", &headers, "")).await.expect("pit_3: head before any event");
    assert_eq!(open.status(), 200);
    let question = "data: {\"jsonrpc\":\"2.0\",\"id\":77,\"method\":\"elicitation/create\",\"params\":{}}\n\n";
    events.send(Bytes::from(question)).await.expect("send");
    let mut body = open.into_body();
    assert_eq!(body.frame().await.expect("frame").expect("data").into_data().expect("data"), question);
    assert_eq!(rig.send(rig.post(&response, &[("mcp-session-id", &id)])).await.status, 202);
    assert_eq!(rig.send(rig.post(&response, &[("mcp-session-id", &id)])).await.status, 400);
}

#[tokio::test]
async fn a_stream_ends_with_its_key_and_with_its_server() {
    for gone in ["key expires", "key revoked", "server removed"] {
        let (events, stream) = mpsc::channel::<Bytes>(8);
        let stream = std::sync::Mutex::new(Some(stream));
        let rig = Rig::start(move |request| match request.method.as_str() {
            "GET" => Script::Stream(stream.lock().expect("lock").take().expect("once")),
            _ => with_session(request),
        })
        .await;
        let id = rig.send(rig.post(&initialize(), &[])).await.headers["mcp-session-id"].to_str().expect("id").to_owned();
        let bearer = format!("Bearer {KEY}");
        let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream"), ("mcp-session-id", &id)];
        let mut snapshot = lifeboat::policy::Snapshot::clone(&rig.feed.snapshot());
        if gone == "key expires" {
            let soon = lifeboat::base::clock::Clock::now(&lifeboat::base::clock::SystemClock).plus_ms(3_000);
            snapshot.keys.get_mut("abcdefgh").expect("the key").expires_at = Some(soon);
            rig.feed.publish(snapshot.clone());
        }
        let open = rig.client.request(rig.request("GET", "/mcp/s", &headers, "")).await.expect("a head");
        assert_eq!(open.status(), 200, "{gone}");
        let mut body = open.into_body();
        let note = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n";
        events.send(Bytes::from(note)).await.expect("send");
        assert!(body.frame().await.expect("frame").is_ok(), "{gone}: the stream serves first");
        match gone {
            "key expires" => tokio::time::sleep(std::time::Duration::from_millis(3_100)).await,
            "key revoked" => {
                snapshot.keys.clear();
                rig.feed.publish(snapshot);
            }
            _ => {
                snapshot.servers.clear();
                rig.feed.publish(snapshot);
            }
        }
        drop(events.send(Bytes::from(note)).await);
        let end = tokio::time::timeout(std::time::Duration::from_secs(2), body.frame()).await.expect("the stream ends");
        assert!(end.is_none(), "{gone}: the stream went on");
    }
}

#[tokio::test]
async fn atk_p25_streams_that_a_server_never_opens_are_bounded_too() {
    let rig = std::sync::Arc::new(Rig::start(|_| Script::Hang).await);
    let refused = std::sync::Arc::new(std::sync::Mutex::new(0));
    let bearer = format!("Bearer {KEY}");
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (rig, refused) = (rig.clone(), refused.clone());
        let request = rig.request("GET", "/mcp/s", &[("authorization", &bearer), ("accept", "text/event-stream")], "");
        waiting.spawn(async move {
            if rig.send(request).await.reason() == "rate.concurrency" {
                *refused.lock().expect("lock") += 1;
            }
        });
    }
    until("eight of forty are refused", || *refused.lock().expect("lock") == 8).await;
    until("the others are on their way", || rig.hits() >= 32).await;
    assert_eq!(rig.hits(), 32, "no more than its calls in flight wait at the server");
}
