//! One key, one spelling, once: what servers would read differently never gets past the parser.

use super::tests::{VERSION, call, headers, outcome};

fn modern(name: &str) -> http::HeaderMap {
    headers(&[(VERSION, "2026-07-28"), ("Mcp-Method", "tools/call"), ("Mcp-Name", name)])
}

fn is_refused(body: &str) {
    for name in ["read_graph", "delete_all"] {
        assert_eq!(outcome(&modern(name), body.as_bytes()), (400, -32600), "{body}");
    }
    assert_eq!(outcome(&headers(&[]), body.as_bytes()).0, 400, "{body}");
}

#[test]
fn the_plain_call_passes() {
    assert_eq!(outcome(&modern("read_graph"), call("read_graph", "").as_bytes()), (200, 0));
    let unknown = call("read_graph", r#","x-own":1,"arguments":{"Name":1,"NAME":2,"method":3,"METHOD":4,"paramſ":5}"#);
    assert_eq!(outcome(&modern("read_graph"), unknown.as_bytes()), (200, 0));
}

#[test]
fn atk_p05_a_name_twice_is_refused_in_either_order() {
    is_refused(&call("read_graph", r#","name":"delete_all""#));
    is_refused(&call("delete_all", r#","name":"read_graph""#));
    is_refused(&call("read_graph", r#","name":"read_graph""#));
}

#[test]
fn atk_p06_pit_7_keys_twice_are_refused_escaped_or_not() {
    is_refused(&call("read_graph", r#","na\u006de":"delete_all""#));
    is_refused(&call("read_graph", r#","arguments":{},"arguments":{"all":true}"#));
    is_refused(&call("read_graph", r#","arguments":{"a":{"b":[{"c":1,"\u0063":2}]}}"#));
    is_refused(&call("read_graph", r#","_meta":{}"#));
    for more in [r#""method":"ping""#, r#""meth\u006fd":"ping""#, r#""params":{"name":"x"}"#, r#""id":8"#, r#""jsonrpc":"2.0""#] {
        let plain = call("read_graph", "");
        is_refused(&format!("{},{more}}}", &plain[..plain.len() - 1]));
        is_refused(&format!("{{{more},{}", &plain[1..]));
    }
}

#[test]
fn atk_p07_pit_7_reserved_keys_in_other_spellings_are_refused() {
    let plain = call("read_graph", "");
    for key in ["Method", "METHOD", "PARAMS", "paramſ", "Id", "ıd", "JsonRpc", "Reſult", "ERROR", "\\u004dethod"] {
        is_refused(&format!("{},\"{key}\":\"tools/call\"}}", &plain[..plain.len() - 1]));
    }
    for key in
        ["Name", "NAME", "nAmE", "URI", "Arguments", "argumentſ", "taſkId", "tas\u{212A}Id", "requeſtState", "_Meta", "N\\u0061me"]
    {
        is_refused(&call("read_graph", &format!(",\"{key}\":\"delete_all\"")));
    }
    for key in
        ["ProgressToken", "progreſsToken", "io.modelcontextprotocol/ProtocolVersion", "IO.modelcontextprotocol/protocolVersion"]
    {
        let with = plain.replace("\"_meta\":{", &format!("\"_meta\":{{\"{key}\":\"2025-11-25\","));
        is_refused(&with);
    }
    is_refused(r#"{"JSONRPC":"2.0","id":1,"method":"tools/list"}"#);
    is_refused(r#"{"jsonrpc":"2.0","id":1,"Method":"tools/list"}"#);
}

#[test]
fn the_envelope_is_exact() {
    for (body, code) in [
        (r#"{"id":1,"method":"tools/list"}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"tools/list"}"#, -32600),
        (r#"{"jsonrpc":2.0,"id":1,"method":"tools/list"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","result":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"} x"#, -32700),
        ("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}", -32700),
        ("", -32700),
    ] {
        assert_eq!(outcome(&headers(&[]), body.as_bytes()), (400, code), "{body}");
    }
}

#[test]
fn atk_p47_a_name_may_hold_anything_and_comes_out_decoded() {
    let body = call("a\\n{\\\"fake\\\":1}\\u001b[31m\\r\\u2028", "");
    let message = super::message::parse(bytes::Bytes::from(body)).unwrap();
    assert_eq!(message.name(), Some("a\n{\"fake\":1}\u{1b}[31m\r\u{2028}"));
}
