//! The smallest arguments that a tool's schema takes, where that is easy to see. Pure; what is not easy is not guessed.

use serde_json::{Map, Value, json};

// As deep as anybody nests what is required.
const DEEPEST: usize = 8;
const LONGEST: u64 = 4_096;

/// Arguments for a schema; `None` when they are not easy to find.
pub(super) fn smallest(schema: &Value) -> Option<Value> {
    fitting(schema, DEEPEST)
}

fn fitting(schema: &Value, depth: usize) -> Option<Value> {
    let fields = schema.as_object()?;
    let hard = ["$ref", "allOf", "anyOf", "oneOf", "not", "if", "pattern", "format", "dependentRequired", "minProperties"];
    if depth == 0 || hard.iter().any(|word| fields.contains_key(*word)) {
        return None;
    }
    if let Some(given) = fields.get("const").or_else(|| fields.get("default")).or_else(|| fields.get("enum")?.get(0)) {
        return Some(given.clone());
    }
    match schema["type"].as_str()? {
        "object" => object(schema, depth),
        "array" => array(schema, depth),
        "string" => {
            let length = schema["minLength"].as_u64().unwrap_or(0);
            (length <= LONGEST).then(|| Value::from("x".repeat(usize::try_from(length).unwrap_or(0))))
        }
        "integer" | "number" => number(schema),
        "boolean" => Some(json!(false)),
        "null" => Some(Value::Null),
        _ => None,
    }
}

fn object(schema: &Value, depth: usize) -> Option<Value> {
    let mut members = Map::new();
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str()?;
        members.insert(name.to_owned(), fitting(&schema["properties"][name], depth - 1)?);
    }
    Some(Value::Object(members))
}

fn array(schema: &Value, depth: usize) -> Option<Value> {
    let count = schema["minItems"].as_u64().unwrap_or(0);
    match count {
        0 => Some(json!([])),
        // Several might have to differ.
        1 => Some(json!([fitting(&schema["items"], depth - 1)?])),
        _ => None,
    }
}

fn number(schema: &Value) -> Option<Value> {
    if schema.get("multipleOf").is_some() {
        return None;
    }
    let whole = |key: &str| schema.get(key).map(|bound| bound.as_i64().ok_or(()));
    let least = match (whole("minimum").transpose().ok()?, whole("exclusiveMinimum").transpose().ok()?) {
        (_, Some(above)) => above.checked_add(1)?,
        (Some(least), None) => least,
        (None, None) => 0,
    };
    let most = match (whole("maximum").transpose().ok()?, whole("exclusiveMaximum").transpose().ok()?) {
        (_, Some(below)) => below.checked_sub(1)?,
        (Some(most), None) => most,
        (None, None) => i64::MAX,
    };
    (least <= most).then(|| json!(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_is_given_and_nothing_else() {
        let schema = json!({"type": "object", "required": ["city", "days", "list", "deep", "unit", "on"], "properties": {
            "city": {"type": "string", "minLength": 2}, "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "list": {"type": "array", "minItems": 1, "items": {"type": "number", "exclusiveMinimum": 3}},
            "deep": {"type": "object", "required": ["a"], "properties": {"a": {"type": "null"}}},
            "unit": {"enum": ["C", "F"]}, "on": {"type": "boolean"}, "other": {"type": "string"}}});
        let expected = json!({"city": "xx", "days": 1, "list": [4], "deep": {"a": null}, "unit": "C", "on": false});
        assert_eq!(smallest(&schema), Some(expected.clone()));
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        assert!(validator.is_valid(&expected));
        assert_eq!(smallest(&json!({"type": "object"})), Some(json!({})));
    }

    #[test]
    fn what_is_not_easy_is_not_guessed() {
        for property in [
            json!({"type": "string", "pattern": "^a+$"}),
            json!({"type": "string", "format": "uri"}),
            json!({"$ref": "#/$defs/x"}),
            json!({"oneOf": [{"type": "string"}]}),
            json!({"type": "array", "minItems": 2, "items": {"type": "string"}}),
            json!({"type": "number", "minimum": 0.5}),
            json!({"type": "integer", "minimum": 3, "maximum": 2}),
            json!({"type": "integer", "multipleOf": 5}),
            json!({"type": ["string", "null"]}),
            json!({}),
            json!(true),
            Value::Null,
        ] {
            let schema = json!({"type": "object", "required": ["a"], "properties": {"a": property}});
            assert_eq!(smallest(&schema), None, "{schema}");
        }
        let mut deep = json!({"type": "string"});
        for _ in 0..20 {
            deep = json!({"type": "object", "required": ["a"], "properties": {"a": deep}});
        }
        assert_eq!(smallest(&deep), None);
    }
}
