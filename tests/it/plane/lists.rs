//! Lists of both eras: what stays, stays byte for byte; what is private and short-lived, and what a limit says of itself.

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::rig::{Rig, Script};

const DIGITS: &str = "123456789012345678901234567890123456789012345678901234567890";

/// A tool with all there is and more: a header that none can be made of, schemas of 2020-12, numbers no type holds.
fn sink(name: &str) -> String {
    format!(
        r##"{{ "title":"caf\u00e9" , "name":"{name}","icons":[{{"src":"a:b","sizes":["any"]}}],"inputSchema":{{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","$defs":{{"n":{{"const":{DIGITS}}}}},"properties":{{"a":{{"$ref":"#/$defs/n"}},"b":{{"type":"string","x-mcp-header":"not a header"}},"c":{{"type":"number","x-mcp-header":"N"}}}},"unevaluatedProperties":false}},"outputSchema":{{"type":"object","required":["z","a"]}},"annotations":{{"readOnlyHint":true,"x":1.10}},"execution":{{"taskSupport":"optional"}},"_meta":{{"b":1e2,"a":[ {DIGITS} , null ]}},"x-unknown":{{"deep":[1,[2,[3]]]}} }}"##
    )
}

fn page(rest: &str) -> String {
    let hidden = sink("drop");
    format!(r#"{{"nextCursor":"c\u0031","tools":[{},{hidden} , {}],{rest}"x":{DIGITS}}}"#, sink("put"), sink("look"))
}

#[tokio::test]
async fn pit_10_a_list_with_a_kitchen_sink_stays_byte_for_byte_in_either_era() {
    for (is_modern, is_stream) in [(false, false), (false, true), (true, false), (true, true)] {
        let rest = if is_modern { r#""ttlMs":60000,"cacheScope":"public","resultType":"complete","# } else { "" };
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{}}}"#, page(rest));
        let sent = body.clone();
        let rig = Rig::start(move |_| {
            if is_stream {
                let (events, stream) = mpsc::channel::<Bytes>(1);
                events.try_send(format!("id: 1\ndata: {sent}\n\n").into()).expect("room");
                return Script::Stream(stream);
            }
            Script::Json(200, Vec::new(), sent.clone())
        })
        .await;
        let answer = if is_modern {
            rig.modern("abcdefgh", "tools/list", None, json!({})).await
        } else {
            let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"}).to_string();
            rig.client.request(rig.post(&list, &[])).await.expect("a head")
        };
        let seen = answer.into_body().collect().await.expect("a body").to_bytes();
        let due = page(rest)
            .replace(&format!("{},{} , {}", sink("put"), sink("drop"), sink("look")), &format!("{},{}", sink("put"), sink("look")))
            .replace("60000", "10000")
            .replace("\"public\"", "\"private\"");
        let due = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{due}}}"#);
        let due = if is_stream { format!("id: 1\ndata: {due}\n\n") } else { due };
        assert_eq!(String::from_utf8_lossy(&seen), due, "modern {is_modern}, stream {is_stream}");
    }
}

#[tokio::test]
async fn lists_of_a_facet_nobody_granted_are_empty_and_shown_whole_otherwise() {
    let rig = Rig::start(move |request| {
        let message: Value = serde_json::from_slice(&request.body).expect("JSON");
        let method = message["method"].as_str().expect("a method").to_owned();
        let member = match method.as_str() {
            "prompts/list" => "prompts",
            "resources/list" => "resources",
            _ => "resourceTemplates",
        };
        let entry = json!({"name": "p", "uri": "a://b", "uriTemplate": "a://{b}", "size": 1.5});
        super::rig::json_answer(json!({member: [entry]}), request)
    })
    .await;
    for (method, member) in
        [("prompts/list", "prompts"), ("resources/list", "resources"), ("resources/templates/list", "resourceTemplates")]
    {
        for (kid, due) in [("abcdefgh", 1), ("narrowke", 0)] {
            let answer = rig.send(rig.post_as(kid, &json!({"jsonrpc": "2.0", "id": 1, "method": method}))).await;
            assert_eq!(answer.json()["result"][member].as_array().map(Vec::len), Some(due), "{method} {kid}");
        }
    }
}

#[tokio::test]
async fn pit_24_a_limit_says_in_its_text_and_its_data_when_to_come_back() {
    let rig = Rig::with(|request| super::rig::json_answer(json!({"ok": 1}), request), "[limits]\nrate = 1\nburst = 1").await;
    rig.tool("look").await;
    let refused = rig.tool("look").await;
    let error = refused.json()["error"].clone();
    let wait = error["data"]["retry_after_ms"].as_u64().expect("a wait");
    assert_eq!((refused.status, error["data"]["retry"].clone()), (200, json!("after")));
    let text = error["message"].as_str().expect("a text");
    assert!(text.contains(&format!("Wait {wait} ms")) && text.contains("did not run"), "{text}");
    assert!(!refused.headers.contains_key("retry-after"), "no client reads it beside an answer");
}
