//! Arguments against the schema that was taken in with a tool.

use std::sync::Arc;

use lifeboat::config::definitions::{Definitions, add};
use lifeboat::policy::Snapshot;
use serde_json::{Value, json};

use super::rig::{Rig, Script, Seen, json_answer};

fn echo(request: &Seen) -> Script {
    json_answer(json!({"content": []}), request)
}

/// A rig whose tools `look` and `put` have this schema.
async fn with_schema(schema: Value) -> Rig {
    let rig = Rig::start(echo).await;
    let mut definitions = Definitions::new();
    for tool in ["look", "put"] {
        add(&mut definitions, &format!("tools/s/{tool}.json"), json!({"name": tool, "inputSchema": schema}).to_string().as_bytes());
    }
    rig.feed.publish(Snapshot { definitions: Arc::new(definitions), ..Snapshot::clone(&rig.feed.snapshot()) });
    rig
}

fn call(tool: &str, arguments: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{tool}"{arguments}}}}}"#)
}

#[tokio::test]
async fn pit_23_arguments_that_do_not_fit_are_a_result_that_names_the_place() {
    let rig = with_schema(json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})).await;
    for (tool, arguments, pointer) in
        [("put", r#","arguments":{"n":"1"}"#, "/n"), ("look", "", "/n"), ("look", r#","arguments":{}"#, "/n")]
    {
        let answer = rig.send(rig.post(&call(tool, arguments), &[])).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["id"], &body["result"]["isError"]), (200, &json!(7), &json!(true)), "{body}");
        let told = &body["result"]["_meta"]["lifeboat/refusal"];
        assert_eq!((&told["pointer"], &told["executed"]), (&json!(pointer), &json!("no")), "{body}");
        let text = body["result"]["content"][0]["text"].as_str().expect("text");
        assert!(text.contains(pointer) && text.contains("did not run"), "{text}");
        assert!(body["result"].get("resultType").is_none(), "that is of the other era");
    }
    assert_eq!(rig.hits(), 0);
    let events = rig.events();
    assert_eq!(events.len(), 3, "no intent of a write that was never to run");
    for event in events {
        assert_eq!((event.decision.as_deref(), event.status.as_deref()), (Some("refuse"), Some("refused")));
        assert_eq!((event.reason.as_deref(), event.executed.as_deref()), (Some("schema.arguments"), Some("no")));
    }
}

#[tokio::test]
async fn pit_23_a_call_without_arguments_fits_a_schema_that_asks_for_none() {
    let rig = with_schema(json!({"type": "object", "properties": {}, "additionalProperties": false})).await;
    assert_eq!(rig.send(rig.post(&call("look", ""), &[])).await.json()["result"]["content"], json!([]));
    assert_eq!(rig.hits(), 1);
}

#[tokio::test]
async fn atk_p33_what_fits_reaches_the_server_to_the_byte() {
    let rig = with_schema(json!({"type": "object", "properties": {"n": {"type": "integer"}, "x": {"type": "number"}}})).await;
    let arguments = r#","arguments":{ "x":1.50,"n":9007199254740993, "big":123456789012345678901234567890,"__proto__":{"a":1}}"#;
    let message = call("look", arguments);
    assert_eq!(rig.send(rig.post(&message, &[])).await.status, 200);
    assert_eq!(rig.seen.lock().expect("lock")[0].body, message);
}

#[tokio::test]
async fn atk_p33_a_schema_with_a_remote_reference_refuses_and_fetches_nothing() {
    let rig = Rig::start(echo).await;
    let remote = format!("http://{}/schema.json", rig.upstream);
    let mut definitions = Definitions::new();
    add(&mut definitions, "tools/s/look.json", json!({"name": "look", "inputSchema": {"$ref": remote}}).to_string().as_bytes());
    rig.feed.publish(Snapshot { definitions: Arc::new(definitions), ..Snapshot::clone(&rig.feed.snapshot()) });
    let answer = rig.tool("look").await;
    assert_eq!((answer.status, answer.reason()), (200, json!("tool.schema_unusable")));
    assert_eq!(answer.json()["error"]["code"], -31004);
    assert_eq!(rig.hits(), 0, "neither the call nor the reference went out");
}

#[tokio::test]
async fn a_new_schema_counts_from_the_next_call() {
    let rig = with_schema(json!({"type": "object"})).await;
    assert_eq!(rig.tool("look").await.json()["result"]["content"], json!([]));
    let mut definitions = Definitions::new();
    let schema = json!({"name": "look", "inputSchema": {"properties": {"text": {"type": "integer"}}}});
    add(&mut definitions, "tools/s/look.json", schema.to_string().as_bytes());
    rig.feed.publish(Snapshot { definitions: Arc::new(definitions), ..Snapshot::clone(&rig.feed.snapshot()) });
    assert_eq!(rig.tool("look").await.json()["result"]["isError"], true);
}

#[tokio::test]
async fn atk_p33_a_comparison_that_takes_long_holds_up_nobody_else() {
    let rig = Rig::start(echo).await;
    // Each of these patterns steps back thousands of times before it fits, which is within its bound.
    let slow: Vec<Value> = (0..20).map(|n| json!({"pattern": format!("^(?!((?=a)a+)+b{n})")})).collect();
    let mut definitions = Definitions::new();
    let schema = json!({"name": "put", "inputSchema": {"properties": {"all": {"items": {"allOf": slow}}}}});
    add(&mut definitions, "tools/s/put.json", schema.to_string().as_bytes());
    add(&mut definitions, "tools/s/look.json", json!({"name": "look", "inputSchema": {"type": "object"}}).to_string().as_bytes());
    rig.feed.publish(Snapshot { definitions: Arc::new(definitions), ..Snapshot::clone(&rig.feed.snapshot()) });
    let many = vec!["aaaaaaaaaa"; 1_000];
    let slow = rig.post(&call("put", &format!(r#","arguments":{{"all":{}}}"#, json!(many))), &[]);
    let client = rig.client.clone();
    let slow = tokio::spawn(async move { client.request(slow).await.expect("a head").status() });
    // One thread serves everybody here, so a comparison on it would come first.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!slow.is_finished(), "it is under way");
    assert_eq!(rig.tool("look").await.json()["result"]["content"], json!([]));
    assert!(!slow.is_finished(), "nobody waited for it");
    assert_eq!(slow.await.expect("it ends"), 200);
}
