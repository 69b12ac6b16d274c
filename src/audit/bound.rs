//! Bounds what a stranger's text may take of a ledger line: long strings are cut and say how long they were. Never drops an event.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::event::Event;

/// Longest string of a client that stands whole, in bytes.
pub const CLIENT_TEXT: usize = 256;

// Operators write reasons; they are known people and bounded by the request size already.
const OPERATOR_TEXT: usize = 4_096;
const PARAMS: usize = 16 * 1_024;
const ITEMS: usize = 64;
const DEPTH: usize = 8;

/// Cuts every string of the event to its bound, and the parameters to 16 KiB.
pub fn bound(event: &mut Event) {
    let ours = matches!(event.kind.as_str(), "operator.action" | "system");
    let longest = if ours { OPERATOR_TEXT } else { CLIENT_TEXT };
    let Event { request_id, client, kid, session, remote, server, method, tool, class, params_sha256, .. } = event;
    let mut texts = vec![request_id, client, kid, session, remote, server, method, tool, class, params_sha256];
    let Event { decision, reason, grant, revision, status, executed, operator, action, object, .. } = event;
    texts.extend([decision, reason, grant, revision, status, executed, operator, action, object]);
    texts.into_iter().flatten().for_each(|text| clip(text, longest));
    clip(&mut event.kind, longest);
    if let Some(params) = &mut event.params {
        let size = clip_value(params, longest, 0);
        if size > PARAMS {
            *params = omitted("omitted_bytes", size);
        }
    }
    event.findings.truncate(ITEMS);
    event.findings.iter_mut().for_each(|finding| {
        clip_value(finding, CLIENT_TEXT, DEPTH - 2);
    });
}

fn omitted(what: &str, count: usize) -> Value {
    Value::Object(Map::from_iter([(what.to_owned(), Value::from(count))]))
}

fn clip(text: &mut String, longest: usize) {
    let whole = text.len();
    if whole <= longest {
        return;
    }
    text.truncate(text.floor_char_boundary(longest));
    // Writing to a String does not fail.
    let _ = write!(text, "… ({whole} bytes)");
}

// Returns about how many bytes the value takes as JSON.
fn clip_value(value: &mut Value, longest: usize, depth: usize) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => {
            clip(text, longest);
            text.len() + 2
        }
        Value::Array(items) if depth < DEPTH => {
            let more = items.len().saturating_sub(ITEMS);
            items.truncate(ITEMS);
            if more > 0 {
                items.push(omitted("omitted_items", more));
            }
            items.iter_mut().map(|item| clip_value(item, longest, depth + 1) + 1).sum::<usize>() + 2
        }
        Value::Object(fields) if depth < DEPTH => clip_object(fields, longest, depth),
        Value::Array(items) => replace(value_len(items.len()), value),
        Value::Object(fields) => replace(value_len(fields.len()), value),
    }
}

fn value_len(items: usize) -> Value {
    omitted("omitted_items", items)
}

fn replace(with: Value, value: &mut Value) -> usize {
    *value = with;
    32
}

fn clip_object(fields: &mut Map<String, Value>, longest: usize, depth: usize) -> usize {
    let more = fields.len().saturating_sub(ITEMS);
    if more > 0 || fields.keys().any(|key| key.len() > longest) {
        let old = std::mem::take(fields);
        fields.extend(old.into_iter().take(ITEMS).map(|(mut key, value)| {
            clip(&mut key, longest);
            (key, value)
        }));
    }
    if more > 0 {
        fields.insert("omitted_items".to_owned(), Value::from(more));
    }
    fields.iter_mut().map(|(key, value)| key.len() + 4 + clip_value(value, longest, depth + 1)).sum::<usize>() + 2
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn atk_p47_a_megabyte_name_is_cut_and_says_its_length() {
        let mut event = Event { tool: Some("ä".repeat(500_000)), ..Event::of("call") };
        event.params = Some(json!({ "k".repeat(5_000): "v".repeat(9_000), "n": 1 }));
        bound(&mut event);
        let tool = event.tool.unwrap();
        assert!(tool.len() < 300 && tool.ends_with("… (1000000 bytes)"), "{tool}");
        let params = event.params.unwrap().to_string();
        assert!(params.len() < 700 && params.contains("(9000 bytes)") && params.contains("(5000 bytes)"), "{params}");
    }

    #[test]
    fn wide_and_deep_parameters_stay_small() {
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        let wide: Vec<Value> = (0..10_000).map(|n| json!({ "name": format!("n{n}"), "text": "x".repeat(200) })).collect();
        for params in [deep, json!(wide), json!({ "a": wide, "b": wide })] {
            let mut event = Event { params: Some(params), ..Event::of("call") };
            bound(&mut event);
            assert!(serde_json::to_string(&event).unwrap().len() < 2 * PARAMS);
        }
    }

    #[test]
    fn an_operators_reason_stands_whole() {
        let mut event = Event::action("ana", "kill.engage", "everything");
        event.params = Some(json!({ "reason": "r".repeat(1_000) }));
        let before = event.clone();
        bound(&mut event);
        assert_eq!(event, before);
    }
}
