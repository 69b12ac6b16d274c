//! There is one way to a server, whatever is asked: nothing gets there without a decision in the ledger, and nothing of one client reaches
//! another.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{call, modern};
use crate::support::TestApp;
use crate::support::upstream::{event, sse_answer, status};
use crate::support::wire;

fn meta() -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}})
}

fn every_method() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("tools/call", "echo", json!({"name": "echo", "arguments": {}, "_meta": meta()})),
        ("tools/list", "", json!({"_meta": meta()})),
        ("server/discover", "", json!({"_meta": meta()})),
        ("resources/list", "", json!({"_meta": meta()})),
        ("resources/templates/list", "", json!({"_meta": meta()})),
        ("resources/read", "x://y", json!({"uri": "x://y", "_meta": meta()})),
        ("prompts/list", "", json!({"_meta": meta()})),
        ("prompts/get", "p", json!({"name": "p", "_meta": meta()})),
        (
            "completion/complete",
            "",
            json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}, "_meta": meta()}),
        ),
    ]
}

#[tokio::test]
async fn pit_15_every_method_takes_the_same_way_and_leaves_its_decision() {
    let app = TestApp::start().await;
    for (method, name, params) in every_method() {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        app.upstream.forget();
        let stranger = app.bare("POST", "/mcp/up", &modern(method, name), body.as_bytes()).await;
        assert_eq!((stranger.status, app.upstream.hits().len()), (401, 0), "{method}");
        for key in [&app.reader, &app.writer] {
            app.upstream.forget();
            let reply = app.post(key, &modern(method, name), body.as_bytes()).await;
            let hits = app.upstream.hits().len();
            let id = reply.header("lifeboat-request-id").expect("an id").to_owned();
            let events: Vec<Value> =
                app.events("limit=50").await.into_iter().filter(|event| event["request_id"] == json!(id)).collect();
            assert_eq!(events.len(), 1, "{method}: {hits} requests at the server and {events:?}");
            assert_eq!(events[0]["method"], method);
            let permitted = events[0]["decision"] == "permit";
            assert!(hits <= usize::from(permitted), "{method}: {hits} requests, decision {}", events[0]["decision"]);
        }
    }
    // The reader's one grant names a tool: nothing else that executes is reached with it.
    for (method, name, params) in every_method()
        .into_iter()
        .filter(|(method, ..)| matches!(*method, "resources/read" | "prompts/get" | "completion/complete"))
    {
        app.upstream.forget();
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let reply = app.post(&app.reader, &modern(method, name), body.as_bytes()).await;
        assert_eq!((reply.reason().as_str(), app.upstream.hits().len()), ("policy.no_grant", 0), "{method}");
    }
}

#[tokio::test]
async fn pit_16_the_same_id_and_token_of_two_clients_never_mix() {
    let app = TestApp::start().await;
    app.upstream.script(|hit| {
        (hit.rpc() == "tools/call").then(|| {
            let who = hit.json()["params"]["arguments"]["who"].clone();
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "t", "progress": 1, "message": who}});
            let last = json!({"jsonrpc": "2.0", "id": hit.json()["id"], "result": {"content": [{"type": "text", "text": who}], "resultType": "complete"}});
            sse_answer(vec![(0, event(&progress)), (700, event(&last))], false)
        })
    });
    let mut streams = Vec::new();
    for (key, who) in [(&app.reader, "first-secret"), (&app.writer, "second-secret"), (&app.writer, "third-secret")] {
        let mut body = call(7, "echo", json!({"who": who}));
        body["params"]["_meta"]["progressToken"] = json!("t");
        let body = body.to_string();
        let mut head = format!(
            "POST /mcp/up HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n",
            app.proxy.port(),
            body.len()
        );
        for (name, value) in modern("tools/call", "echo") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = wire::connect(app.proxy, &app.ca).await;
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.expect("sent");
        streams.push((stream, who));
    }
    // The third leaves in the middle of its call; the others do not notice.
    let (mut third, _) = streams.pop().expect("three");
    let mut first_bytes = [0u8; 64];
    third.read_exact(&mut first_bytes).await.expect("its stream began");
    drop(third);
    for (mut stream, who) in streams {
        let mut seen = Vec::new();
        let read = async {
            let mut buffer = [0u8; 4096];
            while !String::from_utf8_lossy(&seen).contains("\"result\"") {
                let n = stream.read(&mut buffer).await.expect("it goes on");
                assert!(n > 0, "{who}: the stream ended early");
                seen.extend_from_slice(&buffer[..n]);
            }
        };
        tokio::time::timeout(Duration::from_secs(5), read).await.expect("the answer comes");
        let text = String::from_utf8_lossy(&seen).into_owned();
        let others = ["first-secret", "second-secret", "third-secret"].into_iter().filter(|other| *other != who);
        assert_eq!(text.matches(who).count(), 2, "{who}: {text}");
        assert!(others.into_iter().all(|other| !text.contains(other)), "{who} saw another: {text}");
    }
}

#[tokio::test]
async fn pit_21_a_server_is_looked_at_by_discover_and_then_by_initialize_never_by_ping() {
    let app = TestApp::start().await;
    app.api("POST", "/api/v1/servers/up/probe", Value::Null).await;
    let methods: Vec<String> = app.upstream.hits().iter().map(|hit| hit.rpc()).collect();
    assert_eq!(methods.first().map(String::as_str), Some("server/discover"), "{methods:?}");
    assert!(!methods.iter().any(|method| method == "ping" || method == "initialize"), "{methods:?}");
    app.upstream.forget();
    app.upstream.script(|hit| (hit.rpc() == "server/discover").then(|| status(http::StatusCode::BAD_REQUEST)));
    app.api("POST", "/api/v1/servers/up/probe", Value::Null).await;
    let methods: Vec<String> = app.upstream.hits().iter().map(|hit| hit.rpc()).collect();
    assert_eq!(methods[..2], ["server/discover", "initialize"], "{methods:?}");
    assert!(!methods.iter().any(|method| method == "ping"), "{methods:?}");
}

#[tokio::test]
async fn atk_p11_declared_headers_repeat_their_arguments() {
    let app = TestApp::start().await;
    let send = async |arguments: Value, params: &[(&str, &str)]| {
        app.upstream.forget();
        let mut headers = modern("tools/call", "write_note");
        headers.extend_from_slice(params);
        let reply = app.post(&app.writer, &headers, call(1, "write_note", arguments).to_string().as_bytes()).await;
        (reply.status, reply.code(), app.upstream.hits())
    };
    let eu = ("Mcp-Param-Region", "eu");
    for (arguments, params) in [
        (json!({"region": "eu"}), vec![eu]),
        (json!({"region": "eu", "n": 42}), vec![eu, ("Mcp-Param-N", "42.0")]),
        (json!({"n": 42.0}), vec![("mcp-param-n", "42")]),
        (json!({}), vec![]),
        (json!({"region": "eü"}), vec![("Mcp-Param-Region", "=?base64?ZcO8?=")]),
        (json!({"other": 1}), vec![("Mcp-Param-Undeclared", "anything")]),
    ] {
        let (status, code, hits) = send(arguments.clone(), &params).await;
        assert_eq!((status, code, hits.len()), (200, 0, 1), "{arguments} {params:?}");
        assert!(params.iter().all(|(name, value)| hits[0].headers.get(*name).is_some_and(|have| have == value)), "{params:?}");
    }
    for (arguments, params) in [
        (json!({"region": "eu"}), vec![("Mcp-Param-Region", "us")]),
        (json!({"region": "eu"}), vec![]),
        (json!({}), vec![eu]),
        (json!({"region": "eu"}), vec![eu, eu]),
        (json!({"region": "eu"}), vec![("Mcp-Param-Region", "EU")]),
        (json!({"n": 42}), vec![("Mcp-Param-N", "43")]),
        (json!({"n": 9_007_199_254_740_993_i64}), vec![("Mcp-Param-N", "9007199254740992")]),
    ] {
        let (status, code, hits) = send(arguments.clone(), &params).await;
        assert_eq!((status, code, hits.len()), (400, -32020, 0), "{arguments} {params:?}");
    }
    for value in ["eu\rX-Forged: 1", "eu\u{0}", "eu\r\n folded"] {
        let (status, _, hits) = send(json!({"region": "eu"}), &[("Mcp-Param-Region", value)]).await;
        assert_eq!((status, hits.len()), (400, 0), "{value:?}");
    }
    // A line end begins another header, which is not ours to pass on; what is no header at all is refused.
    let (status, _, hits) = send(json!({"region": "eu"}), &[("Mcp-Param-Region", "eu\r\nX-Forged: 1")]).await;
    assert_eq!((status, hits.len()), (200, 1));
    assert!(!hits[0].headers.contains_key("x-forged"));
}
