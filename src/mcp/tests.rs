//! The whole gate of one POST, stage by stage as the proxy runs it: media type, encoding, strict parse, era, method, mirror.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::era::{Era, era_of};
use super::fault::WireFault;
use super::headers::{check_accept, check_content_encoding, check_content_type, check_mirror};
use super::message::{Message, parse};
use super::method::served;

pub(super) const VERSION: &str = "MCP-Protocol-Version";

pub(super) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

/// Everything but the media headers.
pub(super) fn gate(headers: &HeaderMap, body: &[u8]) -> Result<(Message, Era), WireFault> {
    let message = parse(Bytes::copy_from_slice(body))?;
    let era = era_of(headers, &message)?;
    served(&message, era)?;
    if era.is_modern() {
        check_mirror(headers, &message)?;
    }
    Ok((message, era))
}

pub(super) fn outcome(headers: &HeaderMap, body: &[u8]) -> (u16, i64) {
    gate(headers, body).map_or_else(|fault| (fault.status, fault.code), |_| (200, 0))
}

/// A modern tools/call of `name` with its `params` members behind the name.
pub(super) fn call(name: &str, more: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{name}"{more},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
}

fn every_era() -> Vec<HeaderMap> {
    let mut all = vec![headers(&[])];
    all.extend(
        super::era::supported()
            .map(|version| headers(&[(VERSION, version), ("Mcp-Method", "tools/call"), ("Mcp-Name", "read_graph")])),
    );
    all
}

#[test]
fn atk_p16_pit_6_batches_are_refused_in_every_era() {
    let one = call("read_graph", "");
    let other = call("delete_all", "");
    let thousand = format!("[{}]", vec![one.clone(); 1000].join(","));
    let batches = [
        "[]".to_owned(),
        format!("[{one}]"),
        format!("[{one},{other}]"),
        format!(" \r\n\t[{one}]"),
        format!("\u{feff}[{one}]"),
        format!("\u{feff} [{other},{one}]"),
        thousand,
    ];
    for headers in every_era() {
        for batch in &batches {
            assert_eq!(outcome(&headers, batch.as_bytes()), (400, -32600), "{headers:?} {}", &batch[..batch.len().min(40)]);
        }
    }
}

#[test]
fn atk_p17_ids_and_responses() {
    let modern = headers(&[(VERSION, "2026-07-28"), ("Mcp-Method", "tools/list")]);
    let list = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
        )
    };
    for id in ["null", "1.5", "1e3", "1.0", "-0", "{}", "[]", "true", "99999999999999999999", "1e400"] {
        assert_eq!(outcome(&modern, list(id).as_bytes()).0, 400, "{id}");
    }
    for id in ["0", "-1", "9007199254740993", r#""""#, r#""a""#, r#""\u0061\/""#] {
        let (message, _) = gate(&modern, list(id).as_bytes()).unwrap_or_else(|fault| panic!("{id} {fault:?}"));
        assert_eq!(message.id_raw(), Some(id.as_bytes()));
        let wrong = headers(&[(VERSION, "2026-07-28"), ("Mcp-Method", "tools/call")]);
        let fault = gate(&wrong, list(id).as_bytes()).map(|_| ()).unwrap_err();
        let answer = String::from_utf8(fault.to_body()).unwrap();
        assert!(answer.contains(&format!(r#""id":{id},"error":{{"code":-32020"#)), "{answer}");
    }
    for response in [r#"{"jsonrpc":"2.0","id":77,"result":{}}"#, r#"{"jsonrpc":"2.0","id":77,"error":{"code":1,"message":"x"}}"#] {
        assert_eq!(outcome(&modern, response.as_bytes()), (400, -32600), "{response}");
        // Before 2026-07-28 the proxy compares it with what its session was asked.
        let (message, _) = gate(&headers(&[]), response.as_bytes()).unwrap();
        assert_eq!((message.kind(), message.method()), (super::message::Kind::Response, None));
    }
    let unreadable = gate(&modern, b"{\"jsonrpc\":\"2.0\",\"id\":7,").map(|_| ()).unwrap_err();
    assert!(unreadable.to_body().starts_with(br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700"#));
}

#[test]
fn atk_p18_depth_of_arguments() {
    let modern = headers(&[(VERSION, "2026-07-28"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "a")]);
    // The message, its params and the arguments are three of the 64.
    let nested = |depth: usize| call("a", &format!(r#","arguments":{{"x":{}{}}}"#, "[".repeat(depth - 3), "]".repeat(depth - 3)));
    for (depth, status) in [(10, 200), (64, 200), (65, 400), (10_000, 400), (500_000, 400)] {
        assert_eq!(outcome(&modern, nested(depth).as_bytes()).0, status, "{depth}");
    }
    assert_eq!(outcome(&modern, "[".repeat(1_000_000).as_bytes()), (400, -32600));
}

#[test]
fn pit_8_media_types() {
    let json = |value: &str| check_content_type(&headers(&[("Content-Type", value)])).map_err(|fault| fault.status);
    for good in
        ["application/json", "Application/JSON", " application/json ", "application/json;charset=UTF-8", "application/json; x=y"]
    {
        assert_eq!(json(good), Ok(()), "{good}");
    }
    for bad in [
        "application/vnd.x+json",
        "text/plain",
        "",
        "application/jsonx",
        "application/json, text/plain",
        "application/json;charset=x",
    ] {
        assert_eq!(json(bad), Err(415), "{bad}");
    }
    assert_eq!(check_content_type(&headers(&[])).map_err(|fault| fault.status), Err(415));
    let twice = headers(&[("Content-Type", "application/json"), ("Content-Type", "application/json")]);
    assert_eq!(check_content_type(&twice).map_err(|fault| fault.status), Err(415));
}

#[test]
fn atk_p20_compressed_requests_are_refused() {
    let encoded = |pairs: &[(&str, &str)]| check_content_encoding(&headers(pairs)).map_err(|fault| fault.status);
    assert_eq!(encoded(&[]), Ok(()));
    assert_eq!(encoded(&[("Content-Encoding", "identity")]), Ok(()));
    for value in ["gzip", "br", "zstd", "deflate", "identity, gzip", "x", ""] {
        assert_eq!(encoded(&[("Content-Encoding", value)]), Err(415), "{value}");
    }
    assert_eq!(encoded(&[("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]), Err(415));
}

#[test]
fn accept_must_allow_json_and_streams() {
    let accept = |pairs: &[(&str, &str)]| check_accept(&headers(pairs)).map_err(|fault| fault.status);
    for good in ["application/json, text/event-stream", "*/*", "Application/*;q=0.1,TEXT/Event-Stream", "text/*, */*;q=0.5"] {
        assert_eq!(accept(&[("Accept", good)]), Ok(()), "{good}");
    }
    assert_eq!(accept(&[("Accept", "application/json"), ("Accept", "text/event-stream")]), Ok(()));
    assert_eq!(accept(&[]), Ok(()));
    for bad in ["application/json", "text/event-stream", "text/html", "", "*/*, text/event-stream;q=0", "*/*;q=0"] {
        assert_eq!(accept(&[("Accept", bad)]), Err(406), "{bad}");
    }
}

#[test]
fn removed_methods_are_not_found() {
    let body = |method: &str, meta: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{meta}}}}}"#);
    let meta = r#""protocolVersion":"x","uri":"u","taskId":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "tasks/list", "tasks/result", "no/such"] {
        let modern = headers(&[(VERSION, "2026-07-28"), ("Mcp-Method", method)]);
        assert_eq!(outcome(&modern, body(method, meta).as_bytes()), (404, -32601), "{method}");
    }
    let bare = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    for method in ["initialize", "resources/subscribe", "resources/unsubscribe", "tasks/result"] {
        let modern = headers(&[(VERSION, "2026-07-28"), ("Mcp-Method", method)]);
        assert_eq!(outcome(&modern, body(method, bare).as_bytes()), (404, -32601), "{method} without what it once needed");
        assert_eq!(outcome(&headers(&[]), body(method, "").as_bytes()), (400, -32602), "{method} in its own era");
    }
    for method in ["initialize", "ping", "tasks/list"] {
        assert_eq!(outcome(&headers(&[]), body(method, r#""protocolVersion":"2025-11-25""#).as_bytes()), (200, 0), "{method}");
    }
    for method in ["server/discover", "subscriptions/listen", "no/such"] {
        assert_eq!(outcome(&headers(&[(VERSION, "2025-11-25")]), body(method, "").as_bytes()), (404, -32601), "{method}");
    }
}
