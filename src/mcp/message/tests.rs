//! Messages of clients and servers, and that rewriting touches nothing but its spans.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::{Id, Kind, Reference, parse, parse_incoming};

fn read(text: &str) -> super::Message {
    parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
}

fn refused(text: &str) -> (u16, i64) {
    match parse(Bytes::copy_from_slice(text.as_bytes())) {
        Ok(_) => panic!("passed: {text}"),
        Err(fault) => (fault.status, fault.code),
    }
}

fn incoming(text: &str) -> super::Incoming {
    parse_incoming(Bytes::copy_from_slice(text.as_bytes())).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

const CALL: &str = r#" { "x-unknown" : 1.50, "params":{"arguments":{"n":12345678901234567890123,"name":"no"},
  "name":"read\u005fgraph","_meta":{"progressToken":"t\u0031","io.modelcontextprotocol/protocolVersion":"2026-07-28","k":[]}},
  "id" : "a\/1" ,"method":"tools\/call","jsonrpc":"2.0"} "#;

#[test]
fn a_call_is_read_from_its_bytes() {
    let call = read(CALL);
    assert_eq!(call.kind(), Kind::Request);
    assert_eq!(call.method(), Some("tools/call"));
    assert_eq!(call.name(), Some("read_graph"));
    assert_eq!(call.id_raw(), Some(br#""a\/1""#.as_slice()));
    assert_eq!(call.id(), Some(Id::Text("a/1".to_owned())));
    assert_eq!(call.arguments_raw(), Some(br#"{"n":12345678901234567890123,"name":"no"}"#.as_slice()));
    assert_eq!(call.meta_version(), Some("2026-07-28"));
    assert_eq!(call.progress_token_raw(), Some(br#""t\u0031""#.as_slice()));
    assert_eq!(call.body(), CALL);
}

#[test]
fn flt_13_no_id_is_longer_than_what_may_be_kept_of_many() {
    let (fits, long) = ("i".repeat(254), "i".repeat(255));
    for wrong in [
        format!(r#"{{"jsonrpc":"2.0","id":"{long}","method":"tools/list"}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"progressToken":"{long}"}}}}}}"#),
    ] {
        assert_eq!(refused(&wrong).0, 400);
    }
    assert!(parse_incoming(format!(r#"{{"jsonrpc":"2.0","id":"{long}","method":"ping"}}"#).into()).is_err());
    assert_eq!(read(&format!(r#"{{"jsonrpc":"2.0","id":"{fits}","method":"tools/list"}}"#)).id(), Some(Id::Text(fits)));
}

#[test]
fn splicing_changes_id_and_token_only() {
    let call = read(CALL);
    let spliced = call.with_id_and_token(b"77", Some(b"\"p9\""));
    assert_eq!(spliced, CALL.replace(r#""a\/1""#, "77").replace(r#""t\u0031""#, "\"p9\""));
    assert_eq!(call.with_id_and_token(b"77", None), CALL.replace(r#""a\/1""#, "77"));
    let back = parse(spliced).unwrap().with_id_and_token(br#""a\/1""#, Some(br#""t\u0031""#));
    assert_eq!(back, CALL);
    let bare = read(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    assert_eq!(bare.with_id_and_token(b"2", Some(b"9")), r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#);
}

#[test]
fn a_cancel_names_its_request() {
    let cancel = read(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5,"reason":"x"}}"#);
    assert_eq!(cancel.kind(), Kind::Notification);
    assert_eq!(cancel.cancelled_request_id_raw(), Some(b"5".as_slice()));
    let spliced = cancel.with_cancelled_id(b"\"c-5\"");
    assert_eq!(spliced, r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c-5","reason":"x"}}"#);
    for params in ["{}", r#"{"requestId":null}"#, r#"{"requestId":1.5}"#, r#"{"requestId":{}}"#, r#"{"RequestId":5}"#] {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#);
        assert_eq!(refused(&text).0, 400, "{params}");
    }
}

#[test]
fn fields_a_stage_decides_on_are_typed() {
    let cases = [
        ("tools/call", r#"{}"#),
        ("tools/call", r#"{"name":null}"#),
        ("tools/call", r#"{"name":["a"]}"#),
        ("tools/call", r#"{"name":"a","arguments":[]}"#),
        ("tools/call", r#"{"name":"a","arguments":"{}"}"#),
        ("tools/call", r#"{"name":"a","_meta":[]}"#),
        ("tools/call", r#"{"name":"a","_meta":{"progressToken":1.5}}"#),
        ("tools/call", r#"{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":1}}"#),
        ("resources/read", r#"{"name":"a"}"#),
        ("resources/read", r#"{"uri":5}"#),
        ("prompts/get", r#"{"uri":"a"}"#),
        ("tasks/get", r#"{"taskId":1}"#),
        ("tasks/cancel", r#"{}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt"}}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"a","uri":"b"}}"#),
        ("initialize", r#"{"protocolVersion":1}"#),
    ];
    for (method, params) in cases {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        assert_eq!(refused(&text), (400, -32602), "{text}");
    }
    assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#), (400, -32602));
    let listed = read(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"c","name":5}}"#);
    assert_eq!((listed.name(), listed.param_raw("cursor")), (None, Some(b"\"c\"".as_slice())));
    let complete = read(
        r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"f:///{x}"},"argument":{}}}"#,
    );
    assert_eq!(complete.reference(), Some(&Reference::Resource("f:///{x}".into())));
}

#[test]
fn a_request_needs_its_id_and_a_notification_none() {
    assert_eq!(refused(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#), (400, -32600));
    assert_eq!(refused(r#"{"jsonrpc":"2.0","method":"own/method"}"#), (400, -32600));
    assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}"#), (400, -32600));
}

#[test]
fn ids_compare_by_value() {
    assert_eq!(Id::from_raw(br#""\u0061""#), Id::from_raw(br#""a""#));
    assert_ne!(Id::from_raw(b"1"), Id::from_raw(br#""1""#));
    for raw in ["1.0", "1e2", "-0", "null", "true", "{}", "[]", "9223372036854775808", ""] {
        assert_eq!(Id::from_raw(raw.as_bytes()), None, "{raw}");
    }
}

#[test]
fn answers_of_a_server_go_back_under_the_ids_of_the_client() {
    let answer = incoming(r#"{"jsonrpc":"2.0","result":{"isError":true,"content":[],"id":9,"big":1.00},"id":17}"#);
    assert_eq!((answer.kind(), answer.is_error(), answer.is_tool_error()), (Kind::Response, false, true));
    assert_eq!(answer.with_id(b"\"c\""), r#"{"jsonrpc":"2.0","result":{"isError":true,"content":[],"id":9,"big":1.00},"id":"c"}"#);
    let progress = incoming(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":0.10}}"#);
    assert_eq!(progress.progress_token_raw(), Some(b"3".as_slice()));
    assert_eq!(
        progress.with_progress_token(b"\"t\""),
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":0.10}}"#
    );
    let error = incoming(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#);
    assert_eq!((error.id_raw(), error.is_error(), error.error_code()), (None, true, Some(-32700)));
    let tagged = r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":4}}}"#;
    assert_eq!(incoming(tagged).with_subscription_id(b"\"s\""), tagged.replace(":4}", ":\"s\"}"));
    let ended = r#"{"jsonrpc":"2.0","id":4,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":4}}}"#;
    assert_eq!(incoming(ended).with_id(b"8"), ended.replace('4', "8"));
}

#[test]
fn a_server_is_refused_what_parsers_differ_in() {
    for text in [
        r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"Result":{},"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        r#"{"id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":[1]}}"#,
        "Server listening",
        "",
    ] {
        assert!(parse_incoming(Bytes::copy_from_slice(text.as_bytes())).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn splicing_the_same_is_the_identity(id in any::<i64>(), token in "\\PC{0,8}", name in "\\PC{0,8}", front in any::<bool>()) {
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": { "name": name, "arguments": { "id": token }, "_meta": { "progressToken": token } } });
        let mut text = call.to_string();
        if front {
            text = format!("{{\"id2\":[\"{{\\\"id\\\":1}}\"],{}", &text[1..]);
        }
        let message = parse(Bytes::from(text.clone())).unwrap();
        prop_assert_eq!(message.name(), Some(name.as_str()));
        let token_raw = json!(token).to_string();
        let same = message.with_id_and_token(id.to_string().as_bytes(), Some(token_raw.as_bytes()));
        prop_assert_eq!(&same[..], text.as_bytes());
        let there = parse(message.with_id_and_token(b"\"other\"", Some(b"0"))).unwrap();
        let back = there.with_id_and_token(id.to_string().as_bytes(), Some(token_raw.as_bytes()));
        prop_assert_eq!(&back[..], text.as_bytes());
    }
}
