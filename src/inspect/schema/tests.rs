//! What schemas hold, what they cannot do, and what they never cost. Only checks the module above.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

fn schema(value: Value) -> Schema {
    Schema::new(&value).expect("it can be used")
}

fn misfit(schema: &Schema, arguments: &str) -> Misfit {
    schema.check(Some(arguments.as_bytes())).expect_err("it does not fit")
}

#[test]
fn pit_23_absent_arguments_are_an_empty_object() {
    let open = schema(json!({"type": "object"}));
    assert_eq!(open.check(None), Ok(()));
    let strict = schema(json!({"type": "object", "required": ["a/b"]}));
    let missing = strict.check(None).expect_err("one is missing");
    assert_eq!(missing, Misfit { pointer: "/a~1b".into(), rule: "required: it is missing".into() });
}

#[test]
fn pit_23_nothing_is_coerced() {
    let numbers = schema(json!({"type": "object", "properties": {"n": {"type": "integer"}, "deep": {"items": {"maximum": 3}}}}));
    assert_eq!(numbers.check(Some(br#"{"n":1}"#)), Ok(()));
    let text = misfit(&numbers, r#"{"n":"1"}"#);
    assert_eq!(text.pointer, "/n");
    assert!(text.rule.starts_with("type: "), "{text:?}");
    let large = misfit(&numbers, r#"{"deep":[1,2,4]}"#);
    assert_eq!(large.pointer, "/deep/2");
}

#[test]
fn atk_p33_a_value_is_never_told_back() {
    let schema = schema(json!({"properties": {"token": {"type": "string", "maxLength": 4}, "n": {"enum": [1]}},
        "additionalProperties": false}));
    for arguments in [r#"{"token":"s3cret-s3cret"}"#, r#"{"n":"s3cret"}"#, r#"{"token":{"s3cret":1}}"#] {
        let misfit = misfit(&schema, arguments);
        assert!(!misfit.rule.contains("s3cret"), "{misfit:?}");
    }
    assert_eq!(misfit(&schema, r#"{"__proto__":1}"#).rule, "additionalProperties: __proto__ not allowed here");
}

#[test]
fn atk_p33_a_reference_to_elsewhere_makes_a_schema_unusable() {
    for outside in ["http://127.0.0.1:1/s.json", "https://json.schemastore.org/any", "file:///etc/passwd", "other.json"] {
        for place in [json!({"$ref": outside}), json!({"properties": {"a": {"$ref": outside}}}), json!({"$schema": outside})] {
            assert!(Schema::new(&place).is_err(), "{place}");
        }
    }
    let inside = schema(json!({"$defs": {"n": {"type": "integer"}}, "properties": {"n": {"$ref": "#/$defs/n"}}}));
    assert_eq!(misfit(&inside, r#"{"n":"x"}"#).pointer, "/n");
}

#[test]
fn atk_p33_a_pattern_costs_no_more_than_its_bound() {
    let began = Instant::now();
    let linear = schema(json!({"properties": {"a": {"pattern": "^(a+)+$"}}}));
    let text = format!(r#"{{"a":"{}!"}}"#, "a".repeat(50_000));
    assert_eq!(misfit(&linear, &text).pointer, "/a");
    let backwards = schema(json!({"properties": {"a": {"pattern": "^(?=(a+)+$)"}}}));
    assert_eq!(misfit(&backwards, &text).pointer, "/a");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // What generators write for e-mail addresses needs look-around and must work.
    let email = schema(
        json!({"properties": {"a": {"pattern": r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9]+\.)+[A-Za-z]{2,}$"}}}),
    );
    assert_eq!(email.check(Some(br#"{"a":"ann@example.org"}"#)), Ok(()));
    assert!(email.check(Some(br#"{"a":"a..b@example.org"}"#)).is_err());
}

#[test]
fn atk_p33_large_numbers_are_judged_and_left_alone() {
    let integers = schema(json!({"properties": {"n": {"type": "integer"}, "x": {"type": "number"}}}));
    for arguments in
        [r#"{"n":9007199254740993}"#, r#"{"n":123456789012345678901234567890123456789012345678901234567890}"#, r#"{"x":1e308}"#]
    {
        assert_eq!(integers.check(Some(arguments.as_bytes())), Ok(()), "{arguments}");
    }
    assert!(integers.check(Some(br#"{"n":1.5}"#)).is_err());
    assert_eq!(integers.check(Some(br#"{"s":"\u0000"}"#)), Ok(()));
}

#[test]
fn atk_p33_a_schema_that_loops_is_bounded() {
    let tree = json!({"$defs": {"t": {"type": "object", "properties":
        {"left": {"$ref": "#/$defs/t"}, "right": {"$ref": "#/$defs/t"}, "v": {"type": "integer"}}}}, "$ref": "#/$defs/t"});
    let tree = schema(tree);
    assert_eq!(misfit(&tree, r#"{"left":{"right":{"v":"x"}}}"#).pointer, "/left/right/v");
    let doubling = json!({"$defs": {"t": {"properties": {"c": {"allOf": [{"$ref": "#/$defs/t"}, {"$ref": "#/$defs/t"}]}}}},
        "$ref": "#/$defs/t"});
    assert!(Schema::new(&doubling).is_err());
    let anchored = json!({"$anchor": "t", "additionalProperties": {"anyOf": [{"$ref": "#t"}, {"not": {"$ref": "#"}}]}});
    assert!(Schema::new(&anchored).is_err());
    assert!(Schema::new(&json!({"$ref": "#"})).is_err());
    let chain: serde_json::Map<String, Value> =
        (0..5_000).map(|n| (format!("d{n}"), json!({"$ref": format!("#/$defs/d{}", n + 1)}))).collect();
    assert!(Schema::new(&json!({"$defs": chain, "$ref": "#/$defs/d0"})).is_err());
}

#[test]
fn atk_p33_no_spelling_of_a_reference_hides_a_loop() {
    let twice = |name: &str| json!({"allOf": [{"$ref": name}, {"$ref": name}]});
    for schema in [
        json!({"$defs": {"ab": {"additionalProperties": twice("#/$defs/a%62")}}, "$ref": "#/$defs/ab"}),
        json!({"$id": "https://a.example/s", "additionalProperties": twice("https://a.example/s")}),
        json!({"$id": "https://a.example/s", "additionalProperties": twice("s")}),
        json!({"$id": "https://a.example/s", "additionalProperties": twice("")}),
        json!({"$defs": {"g": {"t": {"additionalProperties": twice("#/$defs/g/t")}}}, "$ref": "#/$defs/g/t"}),
        json!({"$defs": {"properties": {"additionalProperties": twice("#/$defs/properties")}}, "$ref": "#/$defs/properties"}),
        json!({"$defs": {"n": {"$id": "https://a.example/n", "$anchor": "t", "additionalProperties": twice("#t")}, "m": {"$anchor": "t"}},
            "$ref": "#/$defs/n"}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"n": {"$id": "#t", "additionalProperties": twice("#t")}}, "allOf": [{"$ref": "#t"}]}),
    ] {
        assert!(Schema::new(&schema).is_err(), "{schema}");
    }
}

#[test]
fn atk_p33_a_reference_finds_what_generators_write() {
    for schema in [
        json!({"$defs": {"List<int>": {"type": "integer"}}, "properties": {"n": {"$ref": "#/$defs/List%3Cint%3E"}}}),
        json!({"$defs": {"group": {"n": {"type": "integer"}}}, "properties": {"n": {"$ref": "#/$defs/group/n"}}}),
        json!({"$id": "https://a.example/s", "$defs": {"n": {"type": "integer"}}, "properties": {"n": {"$ref": "#/$defs/n"}}}),
        json!({"properties": {"n": {"$ref": "#/properties/m"}, "m": {"type": "integer"}}}),
        json!({"properties": {"n": {"type": "integer"}, "x": {"default": {"$ref": "#/nowhere"}}}}),
    ] {
        let schema = self::schema(schema);
        assert_eq!(misfit(&schema, r#"{"n":"x"}"#).pointer, "/n");
    }
    assert_eq!(schema(json!({"$defs": {"any": true}, "properties": {"n": {"$ref": "#/$defs/any"}}})).check(None), Ok(()));
}

#[test]
fn atk_p33_what_is_left_over_does_not_multiply() {
    let mut nested = json!({});
    for _ in 0..28 {
        nested = json!({"anyOf": [nested], "unevaluatedProperties": false});
    }
    assert!(Schema::new(&nested).is_err());
}

#[test]
fn atk_p33_long_keys_cost_no_more_than_themselves() {
    let many: serde_json::Map<String, Value> = (0..15_000).map(|n| (n.to_string(), json!({}))).collect();
    let key = "k".repeat(1 << 20);
    // Each place is kept as text: a schema of a megabyte would take gigabytes.
    assert!(Schema::new(&json!({"properties": {key.clone(): {"properties": many}}})).is_err());
    assert!(Schema::new(&json!({"properties": {key: {}}})).is_ok());
}

#[test]
fn atk_p33_patterns_share_one_room() {
    let patterns =
        |count: usize| json!({"allOf": (0..count).map(|n| json!({"pattern": format!(r"\pL{{4}}{n}")})).collect::<Vec<_>>()});
    assert!(Schema::new(&patterns(1)).is_ok());
    assert!(Schema::new(&patterns(5_000)).is_err());
}

#[test]
fn atk_p33_what_would_take_long_is_not_begun() {
    let began = Instant::now();
    let many = schema(json!({"items": {"allOf": (0..9_000).map(|_| json!({"minimum": 0})).collect::<Vec<_>>()}}));
    assert_eq!(many.check(Some(b"[1,2,3]")), Ok(()));
    assert_eq!(misfit(&many, &json!(vec![1; 90_000]).to_string()), Misfit::late());
    let patterns = schema(json!({"items": {"allOf": (0..1_000).map(|n| json!({"pattern": n.to_string()})).collect::<Vec<_>>()}}));
    assert_eq!(misfit(&patterns, &json!(["x".repeat(1 << 20)]).to_string()), Misfit::late());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn atk_p33_only_what_is_surely_short_is_light() {
    let plain = schema(json!({"type": "object", "properties": {"text": {"type": "string"}}}));
    assert!(plain.is_light(100_000) && !plain.is_light(100_000_000));
    assert!(!schema(json!({"properties": {"a": {"pattern": "^a$"}}})).is_light(1));
    assert!(!schema(json!({"properties": {"a": {"enum": (0..10_000).collect::<Vec<_>>()}}})).is_light(10_000));
}

#[test]
fn atk_p33_a_schema_over_its_size_is_unusable() {
    let mut deep = json!({});
    for _ in 0..200 {
        deep = json!({"properties": {"a": deep}});
    }
    assert!(Schema::new(&deep).is_err());
    assert!(Schema::new(&json!({"enum": vec![1; 30_000]})).is_err());
    assert!(Schema::new(&json!({"type": "no such type"})).is_err());
    assert!(Schema::new(&json!("text")).is_err());
}

#[test]
fn older_servers_write_draft_7_without_saying_so() {
    let tuple = schema(json!({"properties": {"pair": {"type": "array", "items": [{"type": "string"}, {"type": "number"}]}}}));
    assert_eq!(misfit(&tuple, r#"{"pair":["a","b"]}"#).pointer, "/pair/1");
    let named = schema(json!({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": {"const": 1}}}));
    assert_eq!(misfit(&named, r#"{"a":2}"#).pointer, "/a");
    assert_eq!(schema(json!(true)).check(None), Ok(()));
}
