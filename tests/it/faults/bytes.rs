//! Strange bytes, made by the thousand: whatever our readers accept, another reader of the same bytes understands the same.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use lifeboat::mcp::headers::check_mirror;
use lifeboat::mcp::json::{JsonLimits, check};
use lifeboat::mcp::message::{parse, parse_incoming};
use lifeboat::mcp::sse::Decoder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::value::RawValue;

use super::sized;

/// Python's own reader on the same bytes: keys twice, NaN and so on are refused; numbers are kept as they are written.
const PYTHON: &str = r#"
import base64, json, sys
class Number(str): pass
def pairs(found):
    keys = [key for key, _ in found]
    if len(set(keys)) != len(keys): raise ValueError('a key twice')
    return dict(found)
def constant(name): raise ValueError(name)
def canon(value):
    if isinstance(value, dict): return '{' + ','.join(json.dumps(k) + ':' + canon(value[k]) for k in sorted(value)) + '}'
    if isinstance(value, list): return '[' + ','.join(map(canon, value)) + ']'
    if isinstance(value, Number): return 'n' + str(value)
    return json.dumps(value)
def text(blob):
    return canon(json.loads(blob.decode('utf-8'), object_pairs_hook=pairs, parse_constant=constant, parse_int=Number, parse_float=Number))
def header(blob):
    value, name = blob.split(b'\n', 1)
    value = value.decode('ascii').strip(' \t')
    if value.startswith('=?base64?') and value.endswith('?='):
        value = base64.b64decode(value[9:-2], validate=True).decode('utf-8')
    return 'same' if value == name.decode('utf-8') else 'differs'
for line in sys.stdin:
    mode, blob = line.split()
    try: print((text if mode == 'J' else header)(base64.b64decode(blob)))
    except Exception as fault: print('refused:', fault)
"#;

/// What Python says of each blob.
fn python(mode: &str, blobs: &[Vec<u8>]) -> Vec<String> {
    let mut child =
        Command::new("python3").args(["-c", PYTHON]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    let lines: String = blobs.iter().map(|blob| format!("{mode} {}\n", STANDARD.encode(blob))).collect();
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).expect("Python reads"));
    let output = child.wait_with_output().expect("Python ends");
    writer.join().expect("written");
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

/// The same canonical text from our side, each number as written.
fn canon(raw: &RawValue) -> String {
    let text = raw.get();
    let read = "what the strict reader accepts, serde reads";
    match text.as_bytes()[0] {
        b'{' => {
            let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).expect(read);
            let members: Vec<String> = members.iter().map(|(key, value)| format!("{}:{}", quoted(key), canon(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        b'[' => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(text).expect(read);
            format!("[{}]", items.iter().map(|item| canon(item)).collect::<Vec<_>>().join(","))
        }
        b'"' => quoted(&serde_json::from_str::<String>(text).expect(read)),
        b't' | b'f' | b'n' => text.to_owned(),
        _ => format!("n{text}"),
    }
}

/// As Python writes a string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out.push('"');
    out
}

/// Mostly one of the first, now and then one of the second.
fn mostly(good: &[&'static str], odd: &[&'static str], times: u32) -> impl Strategy<Value = &'static str> + use<> {
    prop_oneof![times => select(good.to_vec()), 1 => select(odd.to_vec())]
}

fn space() -> impl Strategy<Value = &'static str> {
    mostly(&["", "", "", " ", "\n", "\t", "\r\n"], &[" \u{a0}", "\u{b}", "\u{feff}", "/**/"], 60)
}

fn string() -> impl Strategy<Value = String> {
    let good = [
        "a",
        "b",
        "c",
        "name",
        "method",
        "Method",
        "m\\u0065thod",
        "\\ud83d\\udea3",
        "\\u0000",
        "\\/",
        "\\\\",
        "\\\"",
        "\\n",
        "\u{e9}",
        "\u{2028}",
        "\u{1f6a3}",
        "\u{7f}",
        "\u{17f}",
        "\u{212a}",
        "__proto__",
        "",
        "\\uD7FF",
        "\\u00e9",
        "\u{fffe}",
    ];
    let odd = ["\\ud800", "\\udc00", "\\udc00\\ud800", "\\x41", "\\u00", "\n", "\u{0}", "\u{1f}"];
    vec(mostly(&good, &odd, 60), 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn scalar() -> impl Strategy<Value = String> {
    let good = [
        "0",
        "-0",
        "-0.0",
        "1",
        "-1",
        "1.0",
        "1.10",
        "1e5",
        "1E+2",
        "1e-400",
        "9007199254740993",
        "12345678901234567890123",
        "1.7976931348623157e308",
        "true",
        "false",
        "null",
        "0.000000000000000000000000000001",
        "-12e-1",
    ];
    let odd = [
        "01",
        "1.",
        ".5",
        "1e400",
        "-1e400",
        "1.7976931348623159e308",
        "NaN",
        "Infinity",
        "-Infinity",
        "0x10",
        "1_0",
        "+1",
        "True",
        "nul",
        "undefined",
        "'a'",
        "",
        "1e",
        "-",
        "--1",
    ];
    prop_oneof![3 => mostly(&good, &odd, 30).prop_map(str::to_owned), 2 => string(), 1 => any::<i64>().prop_map(|n| n.to_string())]
}

fn object(member: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let ends = prop_oneof![60 => Just(("{", "}")), 1 => select(vec![("{", ",}"), ("{,", "}"), ("{", ""), ("{", "]"), ("", "}")])];
    (vec(member, 0..5), ends).prop_map(|(members, (open, close))| format!("{open}{}{close}", members.join(",")))
}

fn member(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let parts = (space(), string(), space(), space(), value);
    parts.prop_map(|(a, key, b, c, value)| format!("{a}{key}{b}:{c}{value}"))
}

fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        let ends = prop_oneof![60 => Just(("[", "]")), 1 => select(vec![("[", ",]"), ("[", "}"), ("[", "")])];
        let item = (space(), inner.clone(), space()).prop_map(|(a, value, b)| format!("{a}{value}{b}"));
        let array = (vec(item, 0..4), ends).prop_map(|(items, (open, close))| format!("{open}{}{close}", items.join(",")));
        prop_oneof![object(member(inner)), array]
    })
}

/// A message, more or less.
fn message() -> impl Strategy<Value = String> {
    let version = mostly(&["\"jsonrpc\":\"2.0\"", "\"jsonrpc\" : \"2.0\""], &["\"jsonrpc\":2.0", "\"jsonrpc\":\"2.\\u0030\""], 30);
    let ids = ["\"id\":1", "\"id\":\"a\\u0062\"", "\"\\u0069d\":7", "\"id\":-9007199254740993"];
    let id = mostly(&ids, &["\"id\":null", "\"id\":1.5", "\"id\":-0", "\"id\":9223372036854775808", "\"Id\":1"], 30);
    let methods = ["\"method\":\"tools/call\"", "\"meth\\u006fd\":\"tools\\/call\"", "\"method\": \"tools/\\u0063all\""];
    let method = mostly(&methods, &["\"Method\":\"x\"", "\"method\":1"], 30);
    let params = (string(), value(), value());
    let params = params.prop_map(|(name, arguments, more)| {
        format!("\"params\":{{\"name\":{name},\"arguments\":{{\"a\":{arguments}}},\"extra\":{more}}}")
    });
    let parts = (version, id, method, params, any::<u8>(), space());
    parts.prop_map(|(version, id, method, params, order, end)| {
        let mut members = vec![version.to_owned(), id.to_owned(), method.to_owned(), params];
        members.rotate_left(usize::from(order) % 4);
        if order > 250 {
            members.push(id.to_owned());
        }
        format!("{{{}}}{end}", members.join(","))
    })
}

/// With a few bytes exchanged, left out or put in.
fn damaged(text: String, damage: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    for (at, kind, byte) in damage {
        let at = at % bytes.len().max(1);
        match kind % 3 {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 if at < bytes.len() => {
                bytes.remove(at);
            }
            _ => bytes.insert(at, *byte),
        }
    }
    bytes
}

/// So many values of a strategy, the same ones in each run.
fn made<S: Strategy>(strategy: S, count: u64) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

fn damage() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    let byte = prop_oneof![select(b"{}[]\",:\\0-e. \n\xEF\xBB\xBF\xC0\x80\xED".to_vec()), any::<u8>()];
    prop_oneof![4 => Just(Vec::new()), 1 => vec((any::<usize>(), any::<u8>(), byte), 1..3)]
}

#[test]
fn flt_31_what_the_strict_reader_accepts_python_reads_the_same() {
    let texts = made((prop_oneof![object(member(value())), message()], damage()), sized(8_000, 1_000_000));
    let mut accepted = Vec::new();
    for (text, damage) in texts {
        let bytes = damaged(text, &damage);
        if check(&bytes, JsonLimits::CLIENT).is_ok() {
            accepted.push(bytes);
        }
    }
    assert!(accepted.len() > 2_000, "too few to tell: {}", accepted.len());
    accepted.sort();
    accepted.dedup();
    let theirs = python("J", &accepted);
    assert_eq!(theirs.len(), accepted.len());
    for (bytes, theirs) in accepted.iter().zip(&theirs) {
        let raw: &RawValue = serde_json::from_slice(bytes).expect("serde reads it");
        assert_eq!(&canon(raw), theirs, "{}", String::from_utf8_lossy(bytes));
    }
    println!("{} different texts accepted", accepted.len());
}

#[test]
fn flt_31_what_is_decided_on_is_what_python_finds_in_the_message() {
    let texts = made((message(), damage()), sized(8_000, 1_000_000));
    let (mut accepted, mut ours) = (Vec::new(), Vec::new());
    for (text, damage) in texts {
        let Ok(message) = parse(Bytes::from(damaged(text, &damage))) else { continue };
        let found = [
            format!("\"id\":{}", message.id_raw().map_or("null".into(), |raw| canon(serde_json::from_slice(raw).expect("an id")))),
            format!("\"method\":{}", message.method().map_or("null".to_owned(), quoted)),
        ];
        // The members that decide, with what the arguments are, as one text that Python makes too.
        let name = message.name().map_or("null".to_owned(), quoted);
        let arguments =
            message.arguments_raw().map_or("null".to_owned(), |raw| canon(serde_json::from_slice(raw).expect("arguments")));
        ours.push((found, name, arguments));
        accepted.push(message.body().to_vec());
    }
    assert!(accepted.len() > 2_000, "too few to tell: {}", accepted.len());
    for ((bytes, (found, name, arguments)), theirs) in accepted.iter().zip(&ours).zip(python("J", &accepted)) {
        let text = String::from_utf8_lossy(bytes);
        assert!(
            found.iter().filter(|member| !member.ends_with(":null")).all(|member| theirs.contains(member.as_str())),
            "{text}: {theirs}"
        );
        let whole = format!("\"name\":{name}");
        assert!(name == "null" || theirs.contains(&whole), "{text}: {whole} is not in {theirs}");
        assert!(arguments == "null" || theirs.contains(&format!("\"arguments\":{arguments}")), "{text}: {arguments}");
    }
    println!("{} messages accepted", accepted.len());
}

#[test]
fn flt_31_a_mirrored_header_that_is_accepted_says_what_the_body_says() {
    let name = prop_oneof![
        select(vec!["echo", "d\u{435}lete", "a b", "=?base64?ZWNobw==?=", "x?=", "", "=?"]).prop_map(str::to_owned),
        ".{0,6}"
    ];
    let wrap = select(vec!["plain", "good", "nopad", "upper", "url", "double", "tail", "space", "cut"]);
    let mut accepted = Vec::new();
    for (name, wrap, damage) in made((name, wrap, damage()), sized(20_000, 1_000_000)) {
        let inner = STANDARD.encode(&name);
        let value = match wrap {
            "plain" => name.clone(),
            "nopad" => format!("=?base64?{}?=", inner.trim_end_matches('=')),
            "upper" => format!("=?BASE64?{inner}?="),
            "url" => format!("=?base64?{}?=", inner.replace('+', "-").replace('/', "_")),
            "double" => format!("=?base64?{}?=", STANDARD.encode(format!("=?base64?{inner}?="))),
            "tail" => format!("=?base64?{inner}?=x"),
            "space" => format!(" \t=?base64?{inner}?= "),
            "cut" => format!("=?base64?{inner}"),
            _ => format!("=?base64?{inner}?="),
        };
        let value = damaged(value, &damage);
        let Ok(header) = HeaderValue::from_bytes(&value) else { continue };
        let body =
            serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}});
        let Ok(message) = parse(body.to_string().into()) else { continue };
        let mut headers = HeaderMap::new();
        headers.insert("mcp-method", HeaderValue::from_static("tools/call"));
        headers.insert("mcp-name", header);
        if check_mirror(&headers, &message).is_ok() {
            accepted.push([&value, &b"\n"[..], name.as_bytes()].concat());
        }
    }
    assert!(accepted.len() > 2_000, "too few to tell: {}", accepted.len());
    for (blob, said) in accepted.iter().zip(python("H", &accepted)) {
        assert_eq!(said, "same", "{}", String::from_utf8_lossy(blob));
    }
}

/// WHATWG HTML 9.2.6, line by line on the whole stream; events whose data is empty carry no message and are left out.
fn by_the_book(stream: &[u8]) -> Vec<(Vec<u8>, Option<String>)> {
    let text = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let (mut lines, mut line, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'\r' if text.get(at) == Some(&b'\n') => {
                at += 1;
                lines.push(std::mem::take(&mut line));
            }
            b'\r' | b'\n' => lines.push(std::mem::take(&mut line)),
            byte => line.push(*byte),
        }
    }
    let (mut events, mut data, mut name) = (Vec::new(), Vec::new(), None);
    for line in lines {
        if line.is_empty() {
            data.pop();
            if !data.is_empty() {
                events.push((data.clone(), name.clone()));
            }
            (data, name) = (Vec::new(), None);
            continue;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
            None => (&line[..], &b""[..]),
        };
        match field {
            b"data" => data.extend([value, b"\n"].concat()),
            b"event" => name = Some(String::from_utf8_lossy(value).into_owned()),
            _ => {}
        }
    }
    events
}

#[test]
fn flt_31_events_are_cut_as_the_specification_says_wherever_the_stream_is_split() {
    let piece = select(vec![
        "data: {\"a\":1}",
        "data:x",
        "data",
        "data:",
        "data:  two",
        ": comment",
        ":",
        "event: message",
        "event:",
        "id: 7",
        "id: \u{0}",
        "retry: 5",
        "retry: x",
        "unknown: y",
        "data : z",
        "\u{feff}data: b",
        "datax: 1",
        "d\u{e9}: 1",
    ]);
    let end = select(vec!["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n\r\n", "\r\n\r", "\n\r"]);
    let stream =
        vec((piece, end), 0..12).prop_map(|lines| lines.iter().map(|(line, end)| format!("{line}{end}")).collect::<String>());
    for (stream, damage, cuts) in made((stream, damage(), vec(1usize..9, 1..60)), sized(15_000, 1_000_000)) {
        let stream = damaged(stream, &damage);
        let due = by_the_book(&stream);
        let whole = Decoder::new(1 << 20).push(&stream).expect("within the cap");
        let found = |events: &[lifeboat::mcp::sse::SseEvent]| -> Vec<_> {
            events.iter().filter(|event| event.has_message()).map(|event| (event.data.to_vec(), event.event.clone())).collect()
        };
        assert_eq!(found(&whole), due, "{:?}", String::from_utf8_lossy(&stream));
        let (mut split, mut decoder, mut rest) = (Vec::new(), Decoder::new(1 << 20), &stream[..]);
        for cut in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            split.extend(decoder.push(chunk).expect("within the cap"));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(found(&split), due, "split: {:?}", String::from_utf8_lossy(&stream));
        let passed: Vec<u8> = split.iter().flat_map(|event| event.raw.to_vec()).collect();
        assert!(stream.starts_with(&passed), "what is passed on is what came: {:?}", String::from_utf8_lossy(&stream));
    }
}

#[test]
fn flt_31_no_bytes_of_a_server_end_the_reader() {
    for (text, damage) in made((prop_oneof![value(), message()], damage()), sized(8_000, 1_000_000)) {
        let bytes = Bytes::from(damaged(text, &damage));
        if let Ok(incoming) = parse_incoming(bytes.clone()) {
            let _ = (incoming.id(), incoming.is_error(), incoming.result_raw(), incoming.with_id(b"1"));
            let _ = incoming.progress_token_raw().map(|_| incoming.with_progress_token(b"\"t\""));
        }
    }
}
