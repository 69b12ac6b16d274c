//! Broken answers and broken connections: what writes is sent at most once, and no broken connection spoils the next call.

use std::time::{Duration, Instant};

use serde_json::json;

use super::site::{Act, Raw};
use super::{House, executed};
use crate::proxy::{call, modern};
use crate::support::upstream::{bytes_answer, status};

const BRISK: &str = "[upstream]\nhealth_seconds = 0\nbreaker_failures = 0\nanswer_ms = 1000\nbody_ms = 1000\n";

async fn with_raw() -> (House, Raw) {
    let (house, raw) = (House::start(BRISK).await, Raw::start().await);
    let (status, added) = house.add("raw", &raw.url(), json!({})).await;
    assert_eq!(status, 200, "{added}");
    (house, raw)
}

fn broken_answers() -> Vec<(&'static str, Act)> {
    let head = |framing: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{framing}\r\n\r\n");
    let part = r#"{"jsonrpc":"2.0","id":1,"result":{"content":["#;
    let length = format!("{}{part}", head("Content-Length: 500")).into_bytes();
    let chunked = format!("{}{:x}\r\n{part}\r\n", head("Transfer-Encoding: chunked"), part.len()).into_bytes();
    let oversized = format!("{}fffffffffffffffff\r\n{part}", head("Transfer-Encoding: chunked")).into_bytes();
    vec![
        ("closed without a byte", Act::Close),
        ("reset without a byte", Act::Reset(Vec::new())),
        ("reset in the body", Act::Reset(length.clone())),
        ("closed in the body", Act::Bytes(length.clone())),
        ("half closed in the body", Act::HalfClose(length)),
        ("chunks that stop", Act::Bytes(chunked.clone())),
        ("chunks that are reset", Act::Reset(chunked)),
        ("a chunk that is too large to be true", Act::Bytes(oversized)),
        ("garbage for a status line", Act::Bytes(b"\x00\xff lifeboat? never heard of it\r\n\r\n".to_vec())),
        ("half a head", Act::Bytes(b"HTTP/1.1 200 OK\r\nContent-Ty".to_vec())),
        (
            "both framings",
            Act::Bytes(format!("{}0\r\n\r\n", head("Content-Length: 5\r\nTransfer-Encoding: xchunked")).into_bytes()),
        ),
        ("an empty answer", Act::Bytes(head("Content-Length: 0").into_bytes())),
        ("only 100 Continue", Act::Continue),
        ("nothing", Act::Hang),
        ("a byte now and then", Act::Drip(head("Content-Length: 100000").into_bytes(), Duration::from_millis(1))),
    ]
}

#[tokio::test]
async fn flt_04_a_broken_answer_to_a_write_is_unknown_and_never_sent_twice() {
    let (house, raw) = with_raw().await;
    for (case, act) in broken_answers() {
        raw.will(vec![act]);
        let began = Instant::now();
        let reply = house.call("raw", "write_note").await;
        assert_eq!(reply.status, 200, "{case}");
        assert!(matches!(reply.reason().as_str(), "upstream.outcome_unknown" | "upstream.timeout"), "{case}: {}", reply.reason());
        let data = &reply.json()["error"]["data"];
        assert_eq!((data["executed"].as_str(), data["retry"].as_str()), (Some("unknown"), Some("no")), "{case}");
        assert_eq!(raw.calls().len(), 1, "{case}: sent once");
        assert!(began.elapsed() < Duration::from_secs(10), "{case}: {:?}", began.elapsed());
        let event = house.app.last_call().await;
        assert_eq!((event["kind"].as_str(), event["status"].as_str()), (Some("call.outcome"), Some("unknown")), "{case}");
        let next = house.call("raw", "write_note").await;
        assert_eq!((next.reason().as_str(), raw.calls().len()), ("", 2), "{case}: the next call is whole");
    }
}

#[tokio::test]
async fn flt_04_a_broken_answer_to_a_read_is_told_plainly_and_the_next_call_is_whole() {
    let (house, raw) = with_raw().await;
    for (case, act) in broken_answers() {
        raw.will(vec![act.clone(), act]);
        let reply = house.call("raw", "echo").await;
        assert!(reply.status == 200 && reply.code() == -31007, "{case}: {}", reply.json());
        assert!(raw.calls().len() <= 2, "{case}: once more at most");
        raw.will(Vec::new());
        assert_eq!(house.call("raw", "echo").await.reason(), "", "{case}: the next call is whole");
    }
}

#[tokio::test]
async fn flt_05_on_a_connection_that_was_closed_meanwhile_reads_are_sent_once_more_and_writes_never() {
    let (house, raw) = with_raw().await;
    for act in [Act::Close, Act::Reset(Vec::new())] {
        raw.will(Vec::new());
        assert_eq!(house.call("raw", "echo").await.reason(), "", "a connection that has served");
        raw.will(vec![act.clone()]);
        assert_eq!(house.call("raw", "echo").await.reason(), "");
        let calls = raw.calls();
        assert!(calls.len() == 2 && calls[0] != calls[1], "a read: once more, on another connection: {calls:?}");

        raw.will(vec![act.clone()]);
        let lost = house.call("raw", "write_note").await;
        assert_eq!((lost.reason().as_str(), executed(&lost).as_str()), ("upstream.outcome_unknown", "unknown"));
        assert_eq!(raw.calls().len(), 1, "a write: never again");

        // A fresh connection that breaks is no stale one: nothing is sent again.
        raw.will(vec![act]);
        let lost = house.call("raw", "echo").await;
        assert_eq!((lost.reason().as_str(), raw.calls().len()), ("upstream.unavailable", 1));
    }
}

#[tokio::test]
async fn flt_05_a_server_that_restarts_between_calls_loses_none() {
    let authority = super::site::Authority::new();
    let house = House::start(BRISK).await;
    let identity = authority.issue("localhost");
    let site = super::site::Site::start(super::site::tls13(&identity)).await;
    assert_eq!(house.add("far", &site.url(), json!({"ca": authority.pem})).await.0, 200);
    site.upstream.forget();
    for round in 1..=10 {
        assert_eq!(house.call("far", "write_note").await.reason(), "", "round {round}");
        site.restart(super::site::tls13(&identity));
        // The end of the old connection has arrived once a new one is made.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(site.upstream.count("tools/call"), 10, "each write came once");
}

#[tokio::test]
async fn pit_4_a_restart_in_mid_session_never_yields_an_empty_success() {
    let house = House::start(BRISK).await;
    let app = &house.app;
    let began = |hit: &crate::support::upstream::Hit| {
        (hit.rpc() == "initialize").then(|| {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}});
            let mut answer = bytes_answer(
                "application/json",
                json!({"jsonrpc": "2.0", "id": hit.json()["id"], "result": result}).to_string().into_bytes(),
            );
            answer.headers_mut().insert("mcp-session-id", "before".parse().expect("a value"));
            answer
        })
    };
    let plain = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2025-11-25"),
    ];
    let forgotten =
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: No valid session ID provided"}}"#;
    for case in 0..5 {
        app.upstream.script(move |hit| {
            began(hit).or_else(|| {
                (hit.rpc() == "tools/call").then(|| match case {
                    0 => status(http::StatusCode::NOT_FOUND),
                    1 => {
                        let mut answer = bytes_answer("application/json", forgotten.into());
                        *answer.status_mut() = http::StatusCode::BAD_REQUEST;
                        answer
                    }
                    2 => status(http::StatusCode::OK),
                    3 => status(http::StatusCode::ACCEPTED),
                    _ => bytes_answer("application/json", b"{}".to_vec()),
                })
            })
        });
        let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
        let first = app.post(&app.writer, &plain, initialize.to_string().as_bytes()).await;
        let session = first.header("mcp-session-id").expect("a session").to_owned();
        let mut headers = plain.to_vec();
        headers.push(("Mcp-Session-Id", session.as_str()));
        let write = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "write_note", "arguments": {}}});
        let reply = app.post(&app.writer, &headers, write.to_string().as_bytes()).await;
        match case {
            // The client begins a new session and sends the write again.
            0 | 1 => assert_eq!(reply.status, 404, "case {case}"),
            _ => assert_eq!((reply.status, reply.reason().as_str()), (200, "upstream.outcome_unknown"), "case {case}"),
        }
        assert!(reply.json()["result"].is_null(), "case {case}");
    }
}

#[tokio::test]
async fn one_server_that_holds_every_call_holds_no_other_servers_calls() {
    let settings =
        "[upstream]\nhealth_seconds = 0\nbreaker_failures = 0\nanswer_ms = 20000\ncalls = 8\n[limits]\nconcurrency = 0\n";
    let (house, raw) = (House::start(settings).await, Raw::start().await);
    assert_eq!(house.add("raw", &raw.url(), json!({})).await.0, 200);
    raw.will(vec![Act::Hang; 8]);
    let held: Vec<_> = (0..8)
        .map(|_| {
            let (address, ca, key) = (house.app.proxy, house.app.ca.clone(), house.key.clone());
            tokio::spawn(async move {
                let bearer = format!("Bearer {key}");
                let mut headers = modern("tools/call", "echo");
                headers.push(("Authorization", &bearer));
                let body = call(1, "echo", json!({})).to_string();
                crate::support::wire::request(address, &ca, "POST", "/mcp/raw", &headers, body.as_bytes()).await
            })
        })
        .collect();
    super::until("eight calls hang", || async { raw.calls().len() == 8 }).await;
    let full = house.call("raw", "write_note").await;
    assert_eq!((full.reason().as_str(), executed(&full).as_str()), ("upstream.unavailable", "no"));
    assert_eq!(full.json()["error"]["data"]["retry"], "after");
    assert_eq!(raw.calls().len(), 8, "nothing more is sent to it");
    for _ in 0..20 {
        assert_eq!(house.call("up", "echo").await.reason(), "", "another server answers as ever");
    }
    held.iter().for_each(tokio::task::JoinHandle::abort);
    super::until("its places are given back", || async { house.call("raw", "echo").await.reason().is_empty() }).await;
}
