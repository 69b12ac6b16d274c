//! Calls and their events.

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::rig::{Rig, Script, Seen, json_answer, tool, until};

fn echo(request: &Seen) -> Script {
    json_answer(json!({"content": [], "x": 1}), request)
}

#[tokio::test]
async fn a_read_is_answered_and_recorded_once() {
    let rig = Rig::start(echo).await;
    let answer = rig.tool("look").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["result"]["x"], 1);
    let events = rig.events();
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(event.kind, "call");
    assert_eq!(event.request_id.as_deref(), answer.headers["lifeboat-request-id"].to_str().ok());
    assert_eq!((event.client.as_deref(), event.tool.as_deref(), event.grant.as_deref()), (Some("ci"), Some("look"), Some("r#1")));
    assert_eq!((event.status.as_deref(), event.executed.as_deref()), (Some("ok"), Some("yes")));
    assert_eq!(event.params, Some(json!({"text": {"type": "string", "size": 9}})));
    assert!(!serde_json::to_string(event).expect("JSON").contains("hunter2"));
}

#[tokio::test]
async fn a_write_is_recorded_before_it_is_sent_and_before_it_is_answered() {
    let rig = Rig::start(echo).await;
    assert_eq!(rig.tool("put").await.status, 200);
    let kinds: Vec<String> = rig.events().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["call.intent", "call.outcome"]);
}

#[tokio::test]
async fn atk_p04_what_no_grant_reaches_never_leaves() {
    let rig = Rig::start(echo).await;
    let refused = rig.tool("drop").await;
    assert_eq!((refused.status, refused.reason()), (200, json!("policy.class")));
    assert_eq!(refused.json()["error"]["code"], -31002);
    assert_eq!(refused.json()["id"], 7);
    assert_eq!(rig.tool("nope").await.reason(), "policy.unknown_tool");
    assert_eq!(rig.hits(), 0);
    let events = rig.events();
    assert!(events.iter().all(|event| event.decision.as_deref() == Some("refuse") && event.executed.as_deref() == Some("no")));
    assert_eq!(events.len(), 2);
}

#[tokio::test]
async fn an_unregistered_server_is_told_in_band() {
    let rig = Rig::start(echo).await;
    let mut request = rig.post(&tool("look").to_string(), &[]);
    *request.uri_mut() = request.uri().to_string().replace("/mcp/s", "/mcp/ghost").parse().expect("uri");
    let answer = rig.send(request).await;
    assert_eq!((answer.status, answer.reason()), (200, json!("policy.unknown_server")));
}

#[tokio::test]
async fn pit_12_atk_p32_the_upstream_leg_carries_nothing_of_the_client() {
    let rig = Rig::start(|request| {
        let Script::Json(_, _, body) = json_answer(json!({}), request) else { return Script::Hang };
        Script::Json(200, vec![("set-cookie", "a=b".into()), ("www-authenticate", "Basic".into())], body)
    })
    .await;
    let more = [("cookie", "c=d"), ("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("x-real-ip", "1.2.3.4")];
    let answer = rig.send(rig.post(&tool("look").to_string(), &more)).await;
    assert!(!answer.headers.contains_key("set-cookie") && !answer.headers.contains_key("www-authenticate"));
    let seen = rig.seen.lock().expect("lock")[0].clone();
    assert_eq!(seen.headers["host"], rig.upstream.to_string());
    assert_eq!(seen.headers["authorization"], "Bearer upstream");
    assert_eq!(seen.headers["accept-encoding"], "identity");
    for name in ["cookie", "x-forwarded-for", "forwarded", "x-real-ip", "origin", "mcp-session-id"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn pit_10_bodies_pass_byte_for_byte() {
    let odd =
        r#"{"jsonrpc":"2.0","id":7,"result":{ "big":18446744073709551615,"d":1.10,"structuredContent":{"z":1,"a":2},"_meta":{}}}"#;
    let rig = Rig::start(move |_| Script::Json(200, Vec::new(), odd.to_owned())).await;
    let message =
        r#"{ "jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"look","arguments":{"n":9007199254740993,"e":1e2}}}"#;
    let answer = rig.send(rig.post(message, &[])).await;
    assert_eq!(answer.body, odd);
    assert_eq!(rig.seen.lock().expect("lock")[0].body, message);
}

#[tokio::test]
async fn pit_6_pit_7_what_two_parsers_read_differently_is_refused() {
    let rig = Rig::start(echo).await;
    let cases = [
        r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look"}}]"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","name":"drop"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","Name":"drop"}}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"look"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look"}}x"#,
    ];
    for case in cases {
        assert_eq!(rig.send(rig.post(case, &[])).await.status, 400, "{case}");
    }
    assert_eq!(rig.hits(), 0);
    assert_eq!(rig.events().len(), cases.len());
}

#[tokio::test]
async fn pit_19_too_large_answers_and_requests_are_withheld() {
    let rig = Rig::with(
        |request| json_answer(json!({"text": "x".repeat(3000)}), request),
        "[limits]\nrequest = \"2 KiB\"\nresponse = \"2 KiB\"",
    )
    .await;
    let large = rig.tool("look").await;
    assert_eq!((large.status, large.reason()), (200, json!("size.response")));
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "look", "arguments": {"a": "x".repeat(4000)}}});
    let refused = rig.call(message).await;
    assert_eq!((refused.status, refused.json()["error"]["code"].clone()), (413, json!(-31006)));
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_reads_unknown() {
    let rig = Rig::start(|_| Script::Json(500, Vec::new(), "{}".into())).await;
    let answer = rig.tool("put").await;
    assert_eq!(answer.reason(), "upstream.outcome_unknown");
    assert_eq!(answer.json()["error"]["data"]["executed"], "unknown");
    assert_eq!(rig.hits(), 1);
    let outcome = rig.events().pop().expect("outcome");
    assert_eq!((outcome.status.as_deref(), outcome.executed.as_deref()), (Some("unknown"), Some("unknown")));
}

#[tokio::test]
async fn flt_03_a_server_that_never_answers_is_timed_out() {
    let rig = Rig::with(|_| Script::Hang, "[upstream]\nanswer_ms = 200").await;
    let mut took = Vec::new();
    for _ in 0..3 {
        let began = std::time::Instant::now();
        assert_eq!(rig.tool("look").await.reason(), "upstream.timeout");
        took.push(began.elapsed().as_millis());
    }
    took.sort_unstable();
    assert!(took[0] >= 150 && took[0] < 400 && took[2] < 3_000, "{took:?}");
}

#[tokio::test]
async fn nothing_runs_while_the_ledger_takes_nothing() {
    let rig = Rig::start(echo).await;
    *rig.ledger_full.lock().expect("lock") = true;
    let write = rig.tool("put").await;
    assert_eq!((write.reason(), write.json()["error"]["data"]["executed"].clone()), (json!("ledger.unavailable"), json!("no")));
    assert_eq!(rig.hits(), 0);
    assert_eq!(rig.tool("look").await.reason(), "ledger.unavailable");
}

#[tokio::test]
async fn a_list_shows_what_may_be_used() {
    let rig = Rig::start(|request| {
        let tools = json!([{"name": "look", "extra": {"z": 1}}, {"name": "drop"}, {"name": "put"}, {"name": "new"}]);
        json_answer(json!({"tools": tools}), request)
    })
    .await;
    let answer = rig.call(json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list"})).await;
    let names: Vec<Value> = answer.json()["result"]["tools"].as_array().expect("tools").iter().map(|t| t["name"].clone()).collect();
    assert_eq!(names, ["look", "put"]);
    assert_eq!(rig.events()[0].kind, "list");
}

#[tokio::test]
async fn pit_22_an_era_the_server_does_not_speak_is_told_by_its_own_answer() {
    let body = r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request"},"id":null}"#;
    let rig = Rig::start(move |_| Script::Json(400, Vec::new(), body.into())).await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta}}).to_string();
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "server/discover")];
    let answer = rig.send(rig.post(&message, &headers)).await;
    assert_eq!((answer.status, answer.body.as_ref()), (400, body.as_bytes()));
    assert_eq!(rig.seen.lock().expect("lock")[0].headers["mcp-method"], "server/discover");
}

#[tokio::test]
async fn atk_p26_nothing_but_an_error_comes_with_an_error_status() {
    for body in [
        r#"[{"jsonrpc":"2.0","id":7,"result":{"content":[]}}]"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]},"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"Result":{},"result":{"content":[]}}"#,
        r#"{"content":[]}"#,
    ] {
        let rig = Rig::start(move |_| Script::Json(400, Vec::new(), body.into())).await;
        let answer = rig.tool("look").await;
        assert!(answer.status == 400 && answer.json()["error"]["code"] == -32000, "{body}: {}", answer.json());
    }
}

#[tokio::test]
async fn atk_p31_without_a_session_nobody_cancels_by_an_id() {
    let rig = Rig::start(|_| Script::Json(202, Vec::new(), String::new())).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    assert_eq!(rig.call(cancel).await.status, 202);
    assert_eq!(rig.hits(), 0, "another client's call may have the same id");
}

#[tokio::test]
async fn pit_11_notifications_are_accepted_without_a_body() {
    let rig = Rig::start(|_| Script::Json(200, Vec::new(), String::new())).await;
    let answer = rig.call(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!(answer.status, 202);
    assert!(answer.body.is_empty() && !answer.headers.contains_key("content-type"));
}

#[tokio::test]
async fn pit_1_events_pass_one_by_one_and_foreign_responses_do_not() {
    let (events, stream) = mpsc::channel::<Bytes>(8);
    let stream = std::sync::Mutex::new(Some(stream));
    let rig = Rig::start(move |_| Script::Stream(stream.lock().expect("lock").take().expect("once"))).await;
    let response = rig.client.request(rig.post(&tool("look").to_string(), &[])).await.expect("head before any event");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut body = response.into_body();
    let progress =
        "id: 1\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1}}\r\n\r\n";
    let foreign = "data: {\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}\n\n";
    let last = "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"ok\":1}}\n\n";
    events.send(Bytes::from(progress)).await.expect("send");
    let first = body.frame().await.expect("frame").expect("data").into_data().expect("data");
    assert_eq!(first, progress);
    events.send(Bytes::from(foreign)).await.expect("send");
    events.send(Bytes::from(last)).await.expect("send");
    let rest = body.collect().await.expect("rest").to_bytes();
    assert_eq!(rest, last);
    assert_eq!(rig.events()[0].status.as_deref(), Some("ok"));
}

#[tokio::test]
async fn pit_17_a_client_that_leaves_is_recorded_and_its_call_is_given_up() {
    let (events, stream) = mpsc::channel::<Bytes>(8);
    let stream = std::sync::Mutex::new(Some(stream));
    let rig = Rig::start(move |_| Script::Stream(stream.lock().expect("lock").take().expect("once"))).await;
    let response = rig.client.request(rig.post(&tool("put").to_string(), &[])).await.expect("head");
    drop(response);
    until("the upstream connection closes", || events.is_closed()).await;
    until("the outcome is recorded", || rig.events().len() == 2).await;
    assert_eq!(rig.events()[1].executed.as_deref(), Some("unknown"));
}

#[tokio::test]
async fn pit_17_a_client_that_leaves_before_any_answer_is_noticed() {
    let rig = Rig::start(|_| Script::Hang).await;
    let (client, request) = (rig.client.clone(), rig.post(&tool("look").to_string(), &[]));
    let call = tokio::spawn(async move { client.request(request).await.map(|response| response.status()) });
    until("the call is at the server", || rig.hits() == 1).await;
    call.abort();
    until("the outcome is recorded", || rig.events().len() == 1).await;
    assert_eq!(rig.events()[0].executed.as_deref(), Some("unknown"));
    assert_eq!(rig.feed.in_flight(None), 0);
}

#[tokio::test]
async fn atk_p40_over_its_rate_a_client_is_refused_in_band_with_its_own_id() {
    let rig = Rig::with(echo, "[limits]\nrate = 1\nburst = 2").await;
    assert!(rig.tool("look").await.json()["error"].is_null());
    assert!(rig.tool("look").await.json()["error"].is_null());
    let refused = rig.tool("look").await;
    assert_eq!((refused.status, refused.reason(), refused.json()["id"].clone()), (200, json!("rate.client"), json!(7)));
    assert!(refused.json()["error"]["data"]["retry_after_ms"].as_u64().expect("wait") <= 1000);
    assert_eq!(rig.hits(), 2);
    assert_eq!(rig.events()[2].tool.as_deref(), Some("look"));
    let bearer = format!("Bearer {}", super::rig::KEY);
    for method in ["GET", "DELETE"] {
        let request = rig.request(method, "/mcp/s", &[("authorization", &bearer), ("accept", "text/event-stream")], "");
        assert_eq!(rig.send(request).await.reason(), json!("rate.client"), "{method}");
    }
    assert_eq!(rig.hits(), 2);
}

#[tokio::test]
async fn atk_p20_a_compressed_answer_is_not_passed_on() {
    let rig = Rig::start(|request| {
        let Script::Json(status, _, body) = echo(request) else { return Script::Hang };
        Script::Json(status, vec![("content-encoding", "gzip".into())], body)
    })
    .await;
    assert_eq!(rig.tool("look").await.reason(), "upstream.unavailable");
}

#[tokio::test]
async fn atk_p28_a_redirect_is_not_followed() {
    let rig = Rig::start(|_| Script::Json(307, vec![("location", "http://127.0.0.1:1/".into())], String::new())).await;
    assert_eq!(rig.tool("look").await.reason(), "upstream.unavailable");
    assert_eq!(rig.hits(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_ran_nothing() {
    let rig = Rig::start(echo).await;
    let mut desired: lifeboat::config::ServerConfig =
        toml::from_str("[upstream.http]\nurl = \"http://127.0.0.1:1/mcp\"\nplain_loopback = true").expect("server");
    let old = rig.feed.snapshot();
    let mut entry =
        lifeboat::policy::snapshot::ServerEntry { name: "s".into(), config: desired.clone(), secrets: Default::default() };
    desired.tools.clone_from(&old.servers["s"].config.tools);
    entry.config = desired;
    let snapshot = lifeboat::policy::Snapshot {
        revision: old.revision.clone(),
        settings: old.settings.clone(),
        servers: [("s".to_owned(), std::sync::Arc::new(entry))].into(),
        clients: old.clients.clone(),
        keys: old.keys.clone(),
        assertions: old.assertions.clone(),
        tokens: old.tokens.clone(),
        definitions: old.definitions.clone(),
    };
    rig.feed.publish(snapshot);
    let answer = rig.tool("put").await;
    assert_eq!((answer.reason(), answer.json()["error"]["data"]["executed"].clone()), (json!("upstream.unavailable"), json!("no")));
    assert_eq!(answer.json()["error"]["data"]["retry"], "after");
    assert_eq!(rig.feed.server("s").expect("state").state, "down");
}

#[tokio::test]
async fn a_probe_sees_the_tools_and_their_classes() {
    let rig = Rig::start(|request| {
        let message: Value = serde_json::from_slice(&request.body).expect("JSON");
        match (message["method"].as_str().expect("method"), message["params"]["cursor"].as_str()) {
            ("server/discover", _) => Script::Json(400, Vec::new(), "{}".into()),
            ("initialize", _) => {
                json_answer(json!({"protocolVersion": "2025-06-18", "serverInfo": {"name": "n", "version": "2"}}), request)
            }
            ("tools/list", None) => {
                json_answer(json!({"tools": [{"name": "a", "annotations": {"readOnlyHint": true}}], "nextCursor": "2"}), request)
            }
            ("tools/list", Some("2")) => json_answer(json!({"tools": [{"name": "b"}]}), request),
            _ => Script::Json(202, Vec::new(), String::new()),
        }
    })
    .await;
    let server = rig.feed.snapshot().servers["s"].clone();
    let probed = rig.feed.probe(server).await.expect("probed");
    assert_eq!((probed.server_info.as_str(), probed.protocol.as_str()), ("n 2", "2025-06-18"));
    let tools: Vec<_> = probed.tools.iter().map(|tool| (tool.name.as_str(), tool.class.word())).collect();
    assert_eq!(tools, [("a", "read"), ("b", "destructive")]);
}
