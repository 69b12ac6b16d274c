//! What a command says: JSON on stdout with `--json`, else short text. Never prints a secret that the verb did not hand out once.

use std::io::Write;

use serde_json::{Value, json};

use crate::base::fault::Fault;

/// How a command speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// One JSON document.
    Json,
    /// Text for people.
    Text,
}

// A closed pipe on the other side is the reader's choice; there is nobody left to tell.
fn line(mut to: impl Write, text: &str) {
    let _closed = writeln!(to, "{text}").and_then(|()| to.flush());
}

/// Writes one line to stdout.
pub(super) fn say(text: &str) {
    line(std::io::stdout().lock(), text);
}

/// Writes one line to stderr.
pub(super) fn warn(text: &str) {
    line(std::io::stderr().lock(), text);
}

/// Prints the result of a verb.
pub(super) fn result(voice: Voice, value: &Value) {
    match voice {
        Voice::Json => say(&value.to_string()),
        Voice::Text => say(render(value).trim_end()),
    }
}

/// Prints a fault and gives its exit status.
pub(super) fn fault(voice: Voice, fault: &Fault) -> u8 {
    match voice {
        Voice::Json => {
            say(&json!({"error": {"kind": fault.kind.word(), "message": fault.message, "where": fault.place}}).to_string())
        }
        Voice::Text => warn(&format!("lifeboat: {fault}")),
    }
    fault.kind.exit()
}

fn render(value: &Value) -> String {
    match value {
        Value::Array(rows) if rows.is_empty() => "none".into(),
        Value::Array(rows) => rows.iter().map(|row| inline(row) + "\n").collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| match field {
                Value::Array(rows) if rows.iter().any(Value::is_object) => {
                    format!("{name}:\n{}", rows.iter().map(|row| format!("  {}\n", inline(row))).collect::<String>())
                }
                other => format!("{name}: {}\n", inline(other)),
            })
            .collect(),
        other => inline(other),
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".into(),
        Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let shown = fields.iter().filter(|(_, field)| !field.is_null());
            shown.map(|(name, field)| format!("{name}={}", inline(field))).collect::<Vec<_>>().join("  ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shows_rows_and_fields() {
        let value = json!({"engaged": true, "states": [{"scope": "everything", "mode": "full"}], "last_proof": null});
        let text = render(&value);
        assert!(text.contains("engaged: true"), "{text}");
        assert!(text.contains("  scope=everything  mode=full") || text.contains("  mode=full  scope=everything"), "{text}");
        assert_eq!(render(&json!([])), "none");
    }
}
