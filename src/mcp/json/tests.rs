//! The strict pass against serde_json, and its bounds.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Flaw, JsonLimits, check, outline, view};

const LIMITS: JsonLimits = JsonLimits::CLIENT;

fn flaw(text: &str) -> Option<Flaw> {
    check(text.as_bytes(), LIMITS).err().map(|fault| fault.what)
}

#[test]
fn plain_objects_pass() {
    for text in [
        "{}",
        " {\"a\" : [1, -0, 0.5, 1e3, true, false, null, \"\\u0000\\ud83d\\ude00\", {}, []] }\n",
        r#"{"a":{"b":1},"b":{"a":1},"":""}"#,
        r#"{"a":"\"\\\/\b\f\n\r\t"}"#,
        r#"{"n":123456789012345678901234567890}"#,
    ] {
        assert_eq!(flaw(text), None, "{text}");
    }
}

#[test]
fn what_parsers_differ_in_is_refused() {
    let cases = [
        ("", "no JSON value"),
        ("{", "a key was due"),
        ("{\"a\":1,}", "a key was due"),
        ("{\"a\":[1,]}", "a value was due"),
        ("{\"a\":01}", "a comma or the end of a container was due"),
        ("{\"a\":+1}", "a value was due"),
        ("{\"a\":.5}", "a value was due"),
        ("{\"a\":1.}", "a digit was due"),
        ("{\"a\":NaN}", "a value was due"),
        ("{\"a\":Infinity}", "a value was due"),
        ("{'a':1}", "a key was due"),
        ("{\"a\":1 /* c */}", "a comma or the end of a container was due"),
        ("{\"a\":\"\n\"}", "a control character in a string"),
        ("{\"a\":\"\\x41\"}", "an unknown escape"),
        ("{\"a\":\"\\u00g0\"}", "a bad unicode escape"),
        ("{\"a\":\"\\u00", "a short unicode escape"),
        ("{\"a\":\"", "a string without end"),
        ("{\"a\":tru}", "an unknown word"),
    ];
    for (text, what) in cases {
        assert_eq!(flaw(text), Some(Flaw::Syntax(what)), "{text}");
    }
    assert_eq!(flaw("{}x"), Some(Flaw::TrailingBytes));
    assert_eq!(flaw("{}{}"), Some(Flaw::TrailingBytes));
    assert_eq!(flaw("{}\0"), Some(Flaw::TrailingBytes));
    assert_eq!(flaw("\u{feff}{}"), Some(Flaw::ByteOrderMark));
    assert_eq!(check(b"{\"a\":\"\xff\"}", LIMITS).map_err(|fault| fault.what), Err(Flaw::Utf8));
    assert_eq!(check(b"{\"a\":\"\xed\xa0\x80\"}", LIMITS).map_err(|fault| fault.what), Err(Flaw::Utf8));
}

#[test]
fn numbers_beyond_a_double_and_lone_surrogates_are_refused() {
    assert_eq!(flaw("{\"a\":1e400}"), Some(Flaw::NumberRange));
    assert_eq!(flaw(&format!("{{\"a\":{}}}", "9".repeat(400))), Some(Flaw::NumberRange));
    assert_eq!(flaw("{\"a\":1e-400}"), None);
    for text in [r#"{"a":"\ud800"}"#, r#"{"a":"\udc00"}"#, r#"{"a":"\ud800\u0041"}"#, r#"{"\ud800":1}"#] {
        assert_eq!(flaw(text), Some(Flaw::Surrogate), "{text}");
    }
}

#[test]
fn only_one_object_is_a_message() {
    for text in ["1", "\"a\"", "null", "true"] {
        assert_eq!(flaw(text), Some(Flaw::NotObject), "{text}");
    }
    for text in ["[]", " \n[{}]", "\u{feff} [{}]", "[1"] {
        assert_eq!(flaw(text), Some(Flaw::Batch), "{text:?}");
    }
}

#[test]
fn a_key_twice_is_refused_at_every_depth_and_in_every_spelling() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"x":{"a":1,"b":2,"a":3}}"#,
        r#"{"x":[[{"a":1,"\u0061":2}]]}"#,
        r#"{"na\u006de":1,"name":2}"#,
        r#"{"\/":1,"/":2}"#,
        r#"{"":1,"":2}"#,
    ] {
        assert_eq!(flaw(text), Some(Flaw::DuplicateKey), "{text}");
    }
    let many = |last: &str| {
        let keys: Vec<String> = (0..5000).map(|n| format!("\"k{n}\":0")).collect();
        format!("{{{},\"{last}\":1}}", keys.join(","))
    };
    assert_eq!(flaw(&many("k4321")), Some(Flaw::DuplicateKey));
    assert_eq!(flaw(&many("k5000")), None);
}

#[test]
fn members_are_bounded() {
    let array = |n: usize| format!("{{\"a\":[{}]}}", vec!["1"; n].join(","));
    assert_eq!(flaw(&array(99_999)), None);
    assert_eq!(flaw(&array(100_000)), Some(Flaw::Members));
}

#[test]
fn atk_p18_depth_is_bounded_without_recursion() {
    let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert_eq!(flaw(&nested(10)), None);
    assert_eq!(flaw(&nested(64)), None);
    assert_eq!(flaw(&nested(65)), Some(Flaw::Depth));
    assert_eq!(flaw(&nested(10_000)), Some(Flaw::Depth));
    let open = "{\"a\":".repeat(200_000);
    assert_eq!(flaw(&open), Some(Flaw::Depth));
    let start = Instant::now();
    assert_eq!(flaw(&"[".repeat(1_000_000)), Some(Flaw::Batch));
    assert_eq!(flaw(&format!("{{\"a\":{}", "[".repeat(1_000_000))), Some(Flaw::Depth));
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}

#[test]
fn long_strings_are_scanned_in_words() {
    for length in 0..40 {
        let text = format!("{{\"a\":\"{}\\n{}\"}}", "é".repeat(length), "x".repeat(length));
        assert_eq!(flaw(&text), None, "{length}");
        let control = format!("{{\"a\":\"{}\u{1}\"}}", "x".repeat(length));
        assert_eq!(flaw(&control), Some(Flaw::Syntax("a control character in a string")), "{length}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300f64).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[\\x00-\\x7f]{0,20}".prop_map(Value::from),
        "[a-z\"\\\\]{40,70}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-c\"\\\\é]{0,3}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Reads the value at `span` with the view alone.
fn seen(text: view::Text<'_>, span: view::Span) -> Value {
    let bytes = text.bytes();
    match bytes.get(span.start) {
        Some(b'{') => Value::Object(view::members(text, span).map(|(key, at)| (key.into_owned(), seen(text, at))).collect()),
        Some(b'[') => Value::Array(view::elements(text, span).map(|at| seen(text, at)).collect()),
        Some(b'"') => Value::String(view::string(bytes, span).unwrap().into_owned()),
        _ => serde_json::from_slice(&bytes[span]).unwrap(),
    }
}

/// What the view reads, which must be the same whether or not it knows where long values end.
fn seen_both_ways(bytes: &[u8]) -> Value {
    let skips = outline(bytes, LIMITS).unwrap();
    let known = seen(view::Text::new(bytes, &skips), view::root(bytes));
    assert_eq!(known, seen(bytes.into(), view::root(bytes)));
    known
}

#[test]
fn long_values_are_not_passed_over_twice() {
    let text = format!(r#"{{"a":{{"b":"{}"}},"c":[{{}}],"d":"x"}}"#, "y".repeat(60));
    let skips = outline(text.as_bytes(), LIMITS).unwrap();
    let noted: Vec<&str> = skips.iter().map(|(start, end)| &text[*start as usize..*end as usize]).collect();
    let b = format!("\"{}\"", "y".repeat(60));
    assert_eq!(noted, [text.as_str(), &format!(r#"{{"b":{b}}}"#), &b, "[{}]", "{}"]);
}

proptest! {
    #[test]
    fn what_serde_json_writes_passes_and_reads_the_same(value in value(), is_pretty in any::<bool>()) {
        let value = json!({ "v": value });
        let text = if is_pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert_eq!(check(&text, LIMITS), Ok(()));
        // serde_json itself may read its own float back one step off.
        prop_assert_eq!(seen_both_ways(&text), serde_json::from_slice::<Value>(&text).unwrap());
    }

    #[test]
    fn what_passes_serde_json_reads_the_same(
        parts in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"\\u0061\"", "\"\\ud83d\\ude00\"", "\"\\ud800\"", "1", "-0", "1e5",
            "1e999", "0.", "01", "true", "null", " ", "\n", "\u{feff}", "\"", "\\", "\"a\":1", "\"b\":[", "{\"c\":", "é", "\u{0}",
        ]), 0..14)
    ) {
        let text = format!("{{{}}}", parts.concat());
        if check(text.as_bytes(), LIMITS).is_ok() {
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(seen_both_ways(text.as_bytes()), value);
        }
    }

    #[test]
    fn changed_bytes_never_pass_what_serde_json_refuses(value in value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&json!({ "v": value })).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        if check(&text, LIMITS).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&text).is_ok());
        }
    }

    #[test]
    fn the_view_never_fails_on_unchecked_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let root = view::root(&bytes);
        prop_assert!(root.end <= bytes.len());
        for (_, span) in view::members(bytes.as_slice(), root) {
            prop_assert!(span.end <= bytes.len());
        }
    }
}
