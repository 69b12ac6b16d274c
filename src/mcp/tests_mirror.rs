//! Header and body say the same, or the message goes nowhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::era::{Era, era_of};
use super::headers::check_params;
use super::message::parse;
use super::tests::{VERSION, call, gate, headers, outcome};

const MODERN: &str = "2026-07-28";

fn wrapped(text: &str) -> String {
    format!("=?base64?{}?=", STANDARD.encode(text))
}

fn named(method: &str, name: &str, body_name: &str) -> (u16, i64) {
    let headers = headers(&[(VERSION, MODERN), ("mcp-method", method), ("MCP-NAME", name)]);
    outcome(&headers, call(body_name, "").as_bytes())
}

#[test]
fn atk_p08_pit_9_another_name_in_the_header_is_refused() {
    assert_eq!(named("tools/call", "read_file", "read_file"), (200, 0));
    assert_eq!(named("tools/call", "  read_file\t", "read_file"), (200, 0));
    assert_eq!(named("tools/call", "read_file", "delete_all"), (400, -32020));
    assert_eq!(named("tools/call", "delete_all", "read_file"), (400, -32020));
    assert_eq!(named("tools/call", "Read_File", "read_file"), (400, -32020));
    assert_eq!(named("tools/list", "read_file", "read_file"), (400, -32020));
    assert_eq!(named("Tools/Call", "read_file", "read_file"), (400, -32020));
    assert_eq!(named("tools/call", &wrapped("read_file"), "read_file"), (200, 0));
    assert_eq!(named("tools/call", &wrapped("дом"), "дом"), (200, 0));
}

#[test]
fn atk_p09_a_mirror_missing_repeated_or_wrapped_otherwise_is_refused() {
    let body = call("a", "");
    let cases: [&[(&str, &str)]; 9] = [
        &[],
        &[("Mcp-Method", "tools/call")],
        &[("Mcp-Name", "a")],
        &[("Mcp-Method", "tools/call"), ("Mcp-Name", "a"), ("Mcp-Name", "b")],
        &[("Mcp-Method", "tools/call"), ("Mcp-Name", "a"), ("Mcp-Name", "a")],
        &[("Mcp-Method", "tools/call"), ("Mcp-Method", "tools/list"), ("Mcp-Name", "a")],
        &[("Mcp-Method", "tools/call, tools/list"), ("Mcp-Name", "a")],
        &[("Mcp-Method", "tools/call"), ("Mcp-Name", "a, b")],
        &[("Mcp-Method", "tools/call"), ("Mcp-Name", "")],
    ];
    for pairs in cases {
        let mut all = vec![(VERSION, MODERN)];
        all.extend_from_slice(pairs);
        assert_eq!(outcome(&headers(&all), body.as_bytes()), (400, -32020), "{pairs:?}");
    }
    let encoded = STANDARD.encode("a");
    for value in [
        wrapped("b"),
        format!("=?BASE64?{encoded}?="),
        format!("=?Base64?{encoded}?="),
        format!("=?base64?{encoded}"),
        "=?base64?!!?=".to_owned(),
        format!("=?base64?{}?=", STANDARD.encode([0xFF, 0xFE])),
        wrapped(&wrapped("a")),
    ] {
        assert_eq!(named("tools/call", &value, "a"), (400, -32020), "{value}");
    }
    assert_eq!(named("tools/call", "=?BASE64?YQ==?=", "=?BASE64?YQ==?="), (400, -32020));
    // Not wrapped, so it stands for itself.
    assert_eq!(named("tools/call", "=?base64?YQ==", "=?base64?YQ=="), (200, 0));
}

#[test]
fn names_of_other_methods_are_mirrored_too() {
    let body = |method: &str, member: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{member},"_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}"}}}}}}"#
        )
    };
    let cases = [
        ("prompts/get", r#""name":"x""#),
        ("resources/read", r#""uri":"x""#),
        ("tasks/get", r#""taskId":"x""#),
        ("tasks/update", r#""taskId":"x""#),
        ("tasks/cancel", r#""taskId":"x""#),
    ];
    for (method, member) in cases {
        let with = |name: &str| headers(&[(VERSION, MODERN), ("Mcp-Method", method), ("Mcp-Name", name)]);
        assert_eq!(outcome(&with("x"), body(method, member).as_bytes()), (200, 0), "{method}");
        assert_eq!(outcome(&with("y"), body(method, member).as_bytes()), (400, -32020), "{method}");
        let without = headers(&[(VERSION, MODERN), ("Mcp-Method", method)]);
        assert_eq!(outcome(&without, body(method, member).as_bytes()), (400, -32020), "{method}");
    }
}

#[test]
fn atk_p10_version_of_header_and_body() {
    let modern = call("a", "");
    let with = |version: &str| headers(&[(VERSION, version), ("Mcp-Method", "tools/call"), ("Mcp-Name", "a")]);
    assert_eq!(outcome(&with(MODERN), modern.as_bytes()), (200, 0));
    assert_eq!(outcome(&headers(&[("Mcp-Method", "tools/call"), ("Mcp-Name", "a")]), modern.as_bytes()), (400, -32020));
    for version in ["2025-11-25", "2025-03-26", "2099-01-01", "", "2026-07-28, 2025-11-25"] {
        assert_eq!(outcome(&with(version), modern.as_bytes()), (400, -32020), "{version}");
    }
    let twice = headers(&[(VERSION, MODERN), (VERSION, MODERN), ("Mcp-Method", "tools/call"), ("Mcp-Name", "a")]);
    assert_eq!(outcome(&twice, modern.as_bytes()), (400, -32020));
    let unknown = modern.replace(MODERN, "2099-01-01");
    let fault = gate(&with("2099-01-01"), unknown.as_bytes()).map(|_| ()).unwrap_err();
    assert_eq!((fault.status, fault.code), (400, -32022));
    let data = fault.data.unwrap();
    assert_eq!((&data["requested"], &data["supported"][0]), (&"2099-01-01".into(), &MODERN.into()));
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
    assert_eq!(outcome(&with(MODERN), bare.as_bytes()), (400, -32602));
    assert_eq!(outcome(&with("2099-01-01"), bare.as_bytes()), (400, -32022));
    let legacy = |map| era_of(&map, &parse(bytes::Bytes::from_static(bare.as_bytes())).unwrap());
    assert_eq!(legacy(headers(&[])), Ok(Era::Legacy { version: None }));
    assert_eq!(legacy(with("2025-06-18")), Ok(Era::Legacy { version: Some("2025-06-18") }));
}

#[test]
fn atk_p11_declared_params_repeat_their_arguments() {
    let declared = |suffix: &str, property: &str| [(suffix.to_owned(), property.to_owned())];
    let arguments = br#"{"n":42.0,"s":"a b","t":true,"z":null,"o":{"d~/":[1],"big":9007199254740993},"l":[1]}"#;
    let run = |pairs: &[(&str, &str)], suffix: &str, property: &str| {
        check_params(&headers(pairs), Some(arguments), &declared(suffix, property)).map_err(|fault| fault.code)
    };
    assert_eq!(run(&[("Mcp-Param-N", "42")], "N", "n"), Ok(()));
    assert_eq!(run(&[("mcp-param-n", "42.0")], "N", "/n"), Ok(()));
    assert_eq!(run(&[("Mcp-Param-N", "43")], "N", "n"), Err(-32020));
    assert_eq!(run(&[], "N", "n"), Err(-32020));
    assert_eq!(run(&[("Mcp-Param-N", "42"), ("Mcp-Param-N", "42")], "N", "n"), Err(-32020));
    assert_eq!(run(&[("Mcp-Param-S", "a b")], "S", "s"), Ok(()));
    assert_eq!(run(&[("Mcp-Param-S", &wrapped("a b"))], "S", "s"), Ok(()));
    assert_eq!(run(&[("Mcp-Param-S", "A b")], "S", "s"), Err(-32020));
    assert_eq!(run(&[("Mcp-Param-T", "true")], "T", "t"), Ok(()));
    assert_eq!(run(&[("Mcp-Param-T", "True")], "T", "t"), Err(-32020));
    assert_eq!(run(&[], "Z", "z"), Ok(()));
    assert_eq!(run(&[("Mcp-Param-Q", "1")], "Q", "absent"), Err(-32020));
    assert_eq!(run(&[("Mcp-Param-B", "9007199254740993")], "B", "/o/big"), Ok(()));
    assert_eq!(run(&[("Mcp-Param-B", "9007199254740992")], "B", "/o/big"), Err(-32020));
    assert_eq!(run(&[("Mcp-Param-L", "[1]")], "L", "l"), Err(-32020));
    assert_eq!(run(&[("Mcp-Param-Unknown", "x")], "Z", "z"), Ok(()));
    assert!(http::HeaderValue::from_bytes(b"a\r\nb").is_err());
}
