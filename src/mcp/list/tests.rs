//! Filtering keeps what it keeps byte for byte.

use bytes::Bytes;

use super::super::era::Era;
use super::{Hints, ListKind, entries, filter, hints, next_cursor};

const LEGACY: Era = Era::Legacy { version: Some("2025-11-25") };

/// A kitchen sink: unknown members, escapes, odd numbers, odd spacing.
const TOOLS: &str = r#"{ "id":1, "result" : {"x":1.50, "tools": [ {"name":"a","icons":[{"src":"data:,"}],"n":12345678901234567890123} ,
  {"outputSchema":{"type":"object"}, "name" : "\u0062", "annotations":{"readOnlyHint":true,"title":"é"}},{"name":"c"} ],
  "nextCursor":"p\u0032","_meta":{"k":[1.0]}},"jsonrpc":"2.0"}"#;

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn pit_10_kept_entries_and_unknown_fields_are_byte_equal() {
    let all = filter(&body(TOOLS), ListKind::Tools, LEGACY, |_| true).unwrap();
    assert_eq!((all.kept, all.dropped), (3, 0));
    assert_eq!(all.body, TOOLS);
    let some = filter(&body(TOOLS), ListKind::Tools, LEGACY, |entry| entry.name != "b").unwrap();
    assert_eq!((some.kept, some.dropped), (2, 1));
    let expected = r#"{ "id":1, "result" : {"x":1.50, "tools": [{"name":"a","icons":[{"src":"data:,"}],"n":12345678901234567890123},{"name":"c"}],
  "nextCursor":"p\u0032","_meta":{"k":[1.0]}},"jsonrpc":"2.0"}"#;
    assert_eq!(some.body, expected);
    let none = filter(&body(TOOLS), ListKind::Tools, LEGACY, |_| false).unwrap();
    assert!(none.body.windows(11).any(|part| part == b"\"tools\": []"), "{:?}", none.body);
}

#[test]
fn a_list_is_private_and_short_lived() {
    let list = |members: &str| body(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{members}"tools":[]}}}}"#));
    let run = |members: &str, era| filter(&list(members), ListKind::Tools, era, |_| true).unwrap().body;
    assert_eq!(run("", LEGACY), list(""));
    assert_eq!(run("", Era::Modern), list(r#""ttlMs":0,"cacheScope":"private","#));
    assert_eq!(run(r#""cacheScope":"public","ttlMs":60000,"#, Era::Modern), list(r#""cacheScope":"private","ttlMs":10000,"#));
    assert_eq!(run(r#""ttlMs":5000,"cacheScope":"private","#, Era::Modern), list(r#""ttlMs":5000,"cacheScope":"private","#));
    assert_eq!(run(r#""ttlMs":1e5,"#, LEGACY), list(r#""ttlMs":10000,"#));
    assert_eq!(run(r#""cacheScope":"public","#, Era::Modern), list(r#""ttlMs":0,"cacheScope":"private","#));
    for bad in ["-1", "\"60000\"", "null", "[]"] {
        assert_eq!(run(&format!("\"ttlMs\":{bad},"), LEGACY), list(r#""ttlMs":0,"#), "{bad}");
    }
}

#[test]
fn an_entry_without_one_name_reaches_nobody() {
    let text =
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":5},{"title":"x"},"a",{"name":"a","Name":"b"},{"name":"ok"}]}}"#;
    let filtered = filter(&body(text), ListKind::Tools, LEGACY, |_| true).unwrap();
    assert_eq!((filtered.kept, filtered.dropped), (1, 4));
    assert_eq!(filtered.body, r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok"}]}}"#);
}

#[test]
fn what_is_no_list_is_refused_and_an_error_passes() {
    for result in ["{}", "[]", "null", r#"{"tools":{}}"#, r#"{"tools":[],"Tools":[{"name":"x"}]}"#, r#"{"tools":[],"TTLMS":9}"#] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        assert!(filter(&body(&text), ListKind::Tools, LEGACY, |_| true).is_err(), "{result}");
    }
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#;
    assert_eq!(filter(&body(error), ListKind::Tools, Era::Modern, |_| true).unwrap().body, error);
}

#[test]
fn resources_go_by_uri() {
    let text = r#"{"jsonrpc":"2.0","id":1,"result":{"resources":[{"uri":"file:///a","name":"b"}],"resourceTemplates":[{"uriTemplate":"t"}]}}"#;
    assert_eq!(entries(&body(text), ListKind::Resources).unwrap()[0].name, "file:///a");
    assert_eq!(entries(&body(text), ListKind::Templates).unwrap()[0].name, "t");
}

#[test]
fn definitions_hints_and_cursor_are_read() {
    let tools = entries(&body(TOOLS), ListKind::Tools).unwrap();
    assert_eq!(tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(hints(&tools[0].raw), Hints::default());
    assert_eq!(hints(&tools[1].raw), Hints { read_only: Some(true), ..Hints::default() });
    assert_eq!(hints(br#"{"annotations":{"destructiveHint":"yes","readOnlyHint":false}}"#).read_only, Some(false));
    assert_eq!(next_cursor(&body(TOOLS), ListKind::Tools).unwrap().as_deref(), Some("p2"));
}
