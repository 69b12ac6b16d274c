//! Tasks of both eras: whose they are, what they count as, and what a kill does to them.

use std::sync::Mutex;

use http_body_util::BodyExt;
use lifeboat::policy::{Mode, Scope};
use serde_json::{Value, json};

use super::rig::{Answer, Rig, Script, Seen, json_answer, until};

/// A server whose tools all become tasks, numbered across its clients.
fn server(begun: &Mutex<u32>, request: &Seen) -> Script {
    let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let is_modern = request.headers.get("mcp-protocol-version").is_some_and(|version| version == "2026-07-28");
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            let Script::Json(status, _, body) = json_answer(json!({"protocolVersion": "2025-11-25"}), request) else {
                return Script::Hang;
            };
            let n = begun.lock().expect("lock");
            Script::Json(status, vec![("mcp-session-id", format!("up-{n}"))], body)
        }
        "tools/call" => {
            let mut n = begun.lock().expect("lock");
            *n += 1;
            let id = format!("task-{n}");
            let result = if is_modern {
                json!({"resultType": "task", "taskId": id, "status": "working", "ttlMs": null, "createdAt": "", "lastUpdatedAt": ""})
            } else {
                json!({"task": {"taskId": id, "status": "working", "ttl": 60000, "createdAt": "", "lastUpdatedAt": ""}})
            };
            json_answer(result, request)
        }
        "tasks/list" => {
            let n = *begun.lock().expect("lock");
            let tasks: Vec<Value> =
                (1..=n).map(|n| json!({"taskId": format!("task-{n}"), "status": "working", "x": 1.5})).collect();
            json_answer(json!({"tasks": tasks, "nextCursor": "c"}), request)
        }
        _ => json_answer(json!({"taskId": message["params"]["taskId"], "status": "working", "resultType": "complete"}), request),
    }
}

async fn rig() -> Rig {
    let begun = Mutex::new(0);
    Rig::start(move |request| server(&begun, request)).await
}

fn begin(tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}, "task": {"ttl": 60000}}})
}

fn about(method: &str, id: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 2, "method": method, "params": {"taskId": id}})
}

async fn modern(rig: &Rig, kid: &str, method: &str, name: &str) -> Value {
    let key = if method == "tools/call" { "name" } else { "taskId" };
    let mut params = json!({key: name});
    if method == "tasks/update" {
        params["inputResponses"] = json!({"q": {"action": "accept"}});
    }
    // The helper declares no capabilities, so the declaration stands beside them.
    let (body, headers) = super::rig::modern(method, Some(name), 7, params);
    let body = body.replace(
        "\"io.modelcontextprotocol/clientCapabilities\":{}",
        "\"io.modelcontextprotocol/clientCapabilities\":{\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}}",
    );
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut request = rig.post(&body, &headers);
    request.headers_mut().insert("authorization", super::rig::bearer(kid).parse().expect("a header"));
    let body = rig.client.request(request).await.expect("a head").into_body().collect().await.expect("a body");
    serde_json::from_slice(&body.to_bytes()).expect("JSON")
}

fn is_unknown(answer: &Answer) -> bool {
    let json = answer.json();
    answer.status == 200 && json["error"]["code"] == -32602 && json["error"]["data"]["reason"] == "task.unknown"
}

#[tokio::test]
async fn atk_p31_a_legacy_task_is_its_sessions_alone() {
    let rig = rig().await;
    let (own, second, foreign) = (rig.session("abcdefgh").await, rig.session("abcdefgh").await, rig.session("otherkey").await);
    let begun = rig.send(rig.post_in(&own, "abcdefgh", &begin("put"))).await;
    assert_eq!(begun.json()["result"]["task"]["taskId"], "task-1");
    rig.send(rig.post_in(&foreign, "otherkey", &begin("look"))).await;
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        let before = rig.hits();
        for (session, kid) in [(&second, "abcdefgh"), (&foreign, "otherkey")] {
            let answer = rig.send(rig.post_in(session, kid, &about(method, "task-1"))).await;
            assert!(is_unknown(&answer), "{method} {kid}: {}", answer.json());
        }
        assert!(is_unknown(&rig.send(rig.post_in(&own, "abcdefgh", &about(method, "task-9"))).await), "{method}");
        assert_eq!(rig.hits(), before, "{method} reached the server");
    }
    let listed = rig.send(rig.post_in(&own, "abcdefgh", &json!({"jsonrpc": "2.0", "id": 3, "method": "tasks/list"}))).await;
    let due = json!({"tasks": [{"taskId": "task-1", "status": "working", "x": 1.5}], "nextCursor": "c"});
    assert_eq!(listed.json()["result"], due);
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        let answer = rig.send(rig.post_in(&own, "abcdefgh", &about(method, "task-1"))).await;
        assert_eq!(answer.json()["result"]["taskId"], "task-1", "{method}");
    }
    let polled = rig
        .events()
        .into_iter()
        .find(|event| event.method.as_deref() == Some("tasks/get") && event.status.as_deref() == Some("ok"));
    assert_eq!(polled.expect("recorded").tool.as_deref(), Some("put"), "the ledger names the tool");
}

#[tokio::test]
async fn atk_p31_a_modern_task_is_its_clients_alone() {
    let rig = rig().await;
    assert_eq!(modern(&rig, "abcdefgh", "tools/call", "put").await["result"]["taskId"], "task-1");
    let before = rig.hits();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        assert_eq!(modern(&rig, "otherkey", method, "task-1").await["error"]["code"], -32602, "{method}");
    }
    let (body, headers) = super::rig::modern("subscriptions/listen", None, 7, json!({"notifications": {"taskIds": ["task-1"]}}));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut listen = rig.post(&body, &headers);
    listen.headers_mut().insert("authorization", super::rig::bearer("otherkey").parse().expect("a header"));
    assert!(is_unknown(&rig.send(listen).await), "nor may one listen to it");
    assert_eq!(rig.hits(), before);
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        assert!(modern(&rig, "abcdefgh", method, "task-1").await["error"].is_null(), "{method}");
    }
}

#[tokio::test]
async fn pit_27_a_kill_cancels_the_tasks_it_covers_and_refuses_to_go_on_with_them() {
    for is_modern in [false, true] {
        let rig = rig().await;
        let session = rig.session("abcdefgh").await;
        for tool in ["put", "look"] {
            if is_modern {
                modern(&rig, "abcdefgh", "tools/call", tool).await;
            } else {
                rig.send(rig.post_in(&session, "abcdefgh", &begin(tool))).await;
            }
        }
        rig.engage(Mode::ReadOnly);
        until("the task of the write is cancelled", || rig.seen_of("tasks/cancel").len() == 1).await;
        let order = rig.seen_of("tasks/cancel").remove(0);
        assert_eq!(order["params"]["taskId"], "task-1");
        until("it is recorded", || rig.events().iter().any(|event| event.action.as_deref() == Some("task.cancel"))).await;
        let event = rig.events().into_iter().find(|event| event.action.as_deref() == Some("task.cancel")).expect("recorded");
        assert_eq!((event.kind.as_str(), event.client.as_deref(), event.tool.as_deref()), ("system", Some("ci"), Some("put")));
        assert_eq!(event.status.as_deref(), Some("ok"));
        let seen = rig.seen.lock().expect("lock").last().expect("seen").clone();
        let (header, value) = if is_modern { ("mcp-name", "task-1") } else { ("mcp-session-id", "up-0") };
        assert_eq!(seen.headers[header], value);
        let get = if is_modern {
            modern(&rig, "abcdefgh", "tasks/get", "task-1").await
        } else {
            rig.send(rig.post_in(&session, "abcdefgh", &about("tasks/get", "task-1"))).await.json()
        };
        assert_eq!(get["error"]["data"]["reason"], "kill.read_only", "{get}");
        let cancelled = if is_modern {
            modern(&rig, "abcdefgh", "tasks/cancel", "task-1").await
        } else {
            rig.send(rig.post_in(&session, "abcdefgh", &about("tasks/cancel", "task-1"))).await.json()
        };
        assert!(cancelled["error"].is_null(), "cancelling stays served: {cancelled}");
        let read = if is_modern {
            modern(&rig, "abcdefgh", "tasks/get", "task-2").await
        } else {
            rig.send(rig.post_in(&session, "abcdefgh", &about("tasks/result", "task-2"))).await.json()
        };
        assert!(read["error"].is_null(), "a read goes on: {read}");
        rig.engage_at(Scope::Client { client: "other".into() }, Mode::Full);
        rig.engage_at(Scope::Everything, Mode::Full);
        if is_modern {
            until("the other one too", || rig.seen_of("tasks/cancel").iter().any(|order| order["params"]["taskId"] == "task-2"))
                .await;
            let update = modern(&rig, "abcdefgh", "tasks/update", "task-2").await;
            assert_eq!(update["error"]["data"]["reason"], "kill.engaged");
        }
    }
}

#[tokio::test]
async fn a_task_counts_with_the_tool_that_began_it() {
    let rig = rig().await;
    let session = rig.session("abcdefgh").await;
    rig.send(rig.post_in(&session, "abcdefgh", &begin("put"))).await;
    let mut snapshot = lifeboat::policy::Snapshot::clone(&rig.feed.snapshot());
    let narrow = rig.feed.snapshot().clients["narrow"].clone();
    snapshot.clients.insert("ci".into(), narrow);
    rig.feed.publish(snapshot);
    let get = rig.send(rig.post_in(&session, "abcdefgh", &about("tasks/get", "task-1"))).await;
    assert_eq!(get.reason(), json!("policy.no_grant"), "the grant for the tool is gone");
    let cancel = rig.send(rig.post_in(&session, "abcdefgh", &about("tasks/cancel", "task-1"))).await;
    assert_eq!(cancel.json()["result"]["taskId"], "task-1", "ending one's own needs no grant");
}

#[tokio::test]
async fn a_task_that_a_client_may_not_ask_for_any_more_is_still_stopped_when_its_server_was_away() {
    let away = std::sync::Arc::new(Mutex::new(true));
    let (begun, is_away) = (Mutex::new(0), away.clone());
    let rig = Rig::start(move |request| {
        let is_cancel = request.body.windows(12).any(|part| part == b"tasks/cancel");
        if is_cancel && *is_away.lock().expect("lock") {
            return Script::Json(503, Vec::new(), String::new());
        }
        server(&begun, request)
    })
    .await;
    modern(&rig, "abcdefgh", "tools/call", "put").await;
    rig.engage(Mode::Full);
    until("a first try", || !rig.seen_of("tasks/cancel").is_empty()).await;
    *away.lock().expect("lock") = false;
    until("it is tried again and recorded", || {
        rig.events().iter().any(|event| event.action.as_deref() == Some("task.cancel") && event.status.as_deref() == Some("ok"))
    })
    .await;
}

#[tokio::test]
async fn flt_13_a_task_whose_id_fills_the_memory_is_none() {
    let rig =
        Rig::start(|request| json_answer(json!({"task": {"taskId": "t".repeat(1 << 16), "status": "working"}}), request)).await;
    let answer = rig.call(begin("put")).await;
    let told = answer.json();
    let data = &told["error"]["data"];
    assert_eq!((&data["reason"], &data["executed"]), (&json!("upstream.unavailable"), &json!("yes")), "{told}");
}

#[tokio::test]
async fn flt_13_a_session_whose_id_fills_the_memory_is_none() {
    let rig = Rig::start(|request| {
        let Script::Json(status, _, body) = json_answer(json!({"protocolVersion": "2025-11-25"}), request) else {
            return Script::Hang;
        };
        Script::Json(status, vec![("mcp-session-id", "s".repeat(16 << 10))], body)
    })
    .await;
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let answer = rig.call(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
    assert_eq!((answer.reason(), answer.headers.contains_key("mcp-session-id")), (json!("upstream.unavailable"), false));
}
