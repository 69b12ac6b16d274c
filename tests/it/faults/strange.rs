//! Makes strange bytes: JSON at the edge of its grammar, messages, damage to both; and asks Python what it reads in them.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

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
pub(super) fn python(mode: &str, blobs: &[Vec<u8>]) -> Vec<String> {
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
pub(super) fn canon(raw: &RawValue) -> String {
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
pub(super) fn quoted(text: &str) -> String {
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
pub(super) fn mostly(good: &[&'static str], odd: &[&'static str], times: u32) -> impl Strategy<Value = &'static str> + use<> {
    prop_oneof![times => select(good.to_vec()), 1 => select(odd.to_vec())]
}

pub(super) fn space() -> impl Strategy<Value = &'static str> {
    mostly(&["", "", "", " ", "\n", "\t", "\r\n"], &[" \u{a0}", "\u{b}", "\u{feff}", "/**/"], 60)
}

pub(super) fn string() -> impl Strategy<Value = String> {
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

pub(super) fn scalar() -> impl Strategy<Value = String> {
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

pub(super) fn object(member: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let ends = prop_oneof![60 => Just(("{", "}")), 1 => select(vec![("{", ",}"), ("{,", "}"), ("{", ""), ("{", "]"), ("", "}")])];
    (vec(member, 0..5), ends).prop_map(|(members, (open, close))| format!("{open}{}{close}", members.join(",")))
}

pub(super) fn member(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let parts = (space(), string(), space(), space(), value);
    parts.prop_map(|(a, key, b, c, value)| format!("{a}{key}{b}:{c}{value}"))
}

pub(super) fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        let ends = prop_oneof![60 => Just(("[", "]")), 1 => select(vec![("[", ",]"), ("[", "}"), ("[", "")])];
        let item = (space(), inner.clone(), space()).prop_map(|(a, value, b)| format!("{a}{value}{b}"));
        let array = (vec(item, 0..4), ends).prop_map(|(items, (open, close))| format!("{open}{}{close}", items.join(",")));
        prop_oneof![object(member(inner)), array]
    })
}

/// A message, more or less.
pub(super) fn message() -> impl Strategy<Value = String> {
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
pub(super) fn damaged(text: String, damage: &[(usize, u8, u8)]) -> Vec<u8> {
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
pub(super) fn made<S: Strategy>(strategy: S, count: u64) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

pub(super) fn damage() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    let byte = prop_oneof![select(b"{}[]\",:\\0-e. \n\xEF\xBB\xBF\xC0\x80\xED".to_vec()), any::<u8>()];
    prop_oneof![4 => Just(Vec::new()), 1 => vec((any::<usize>(), any::<u8>(), byte), 1..3)]
}
