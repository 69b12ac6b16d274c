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

/// Text for a terminal: names, lines and reasons come from clients and servers, and must neither steer it nor turn what is read.
pub(super) fn plain(text: &str) -> String {
    let steers = |c: char| {
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (c.is_control() && !matches!(c, '\n' | '\t'))
    };
    text.replace(steers, "\u{fffd}")
}

/// The same of what must not make lines of its own.
pub(super) fn one_line(text: &str) -> String {
    plain(&text.replace('\n', "\u{fffd}"))
}

/// Prints a fault and gives its exit status.
pub(super) fn fault(voice: Voice, fault: &Fault) -> u8 {
    match voice {
        Voice::Json => {
            say(&json!({"error": {"kind": fault.kind.word(), "message": fault.message, "where": fault.place}}).to_string())
        }
        Voice::Text => warn(&plain(&format!("lifeboat: {fault}"))),
    }
    fault.kind.exit()
}

/// A document for people: fields a line each, lists of objects as tables.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.len() == 1 => fields.values().map(block).collect(),
        Value::Object(fields) => {
            let lines = ordered(fields.keys()).into_iter().map(|name| match &fields[name] {
                list @ Value::Array(rows) if rows.iter().any(Value::is_object) => {
                    format!("{}:\n{}", heading(name), indent(&block(list)))
                }
                other if is_long(other) => format!("{}:\n{}", heading(name), indent(&inline(other))),
                other => format!("{}: {}", heading(name), inline(other)),
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        other => block(other),
    }
}

fn block(value: &Value) -> String {
    match value {
        Value::Array(rows) if rows.is_empty() => "none".into(),
        Value::Array(rows) if rows.iter().all(Value::is_object) => {
            let long = |row: &Value| row.as_object().is_some_and(|row| row.values().any(is_long));
            if rows.iter().any(long) { rows.iter().map(text).collect::<Vec<_>>().join("\n\n") } else { table(rows) }
        }
        Value::Object(_) => text(value),
        other => inline(other),
    }
}

/// The name of a field for people, where its own reads as something else: nothing activates by itself.
fn heading(name: &str) -> &str {
    if name == "activates_at" { "may_activate_from" } else { name }
}

// What people look for first; everything else follows as it comes.
const FIRST: [&str; 12] = ["seq", "ts", "name", "client", "server", "tool", "kid", "role", "state", "class", "kind", "status"];

fn ordered<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.sort_by_key(|name| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
    names
}

// Columns that say the same in every row, or are long digests, are for --json.
fn table(rows: &[Value]) -> String {
    const WIDEST: usize = 160;
    let fields = rows.iter().filter_map(Value::as_object).flat_map(|row| row.iter()).filter(|(_, field)| !field.is_null());
    let names: std::collections::BTreeSet<&String> =
        fields.filter(|(_, field)| !inline(field).is_empty()).map(|(name, _)| name).collect();
    let names: Vec<&str> = ordered(names.into_iter())
        .into_iter()
        .filter(|name| !matches!(*name, "hash" | "prev" | "params_sha256" | "definition_sha256"))
        .collect();
    let cell = |row: &Value, name: &str| inline(&row[name]).chars().take(WIDEST).collect::<String>();
    let widths: Vec<usize> = names
        .iter()
        .map(|name| rows.iter().map(|row| cell(row, name).chars().count()).max().unwrap_or(0).max(heading(name).len()))
        .collect();
    let line = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = line(names.iter().map(|name| heading(name).to_owned()).collect());
    let body = rows.iter().map(|row| line(names.iter().map(|name| cell(row, name)).collect()));
    std::iter::once(head).chain(body).collect::<Vec<_>>().join("\n")
}

/// Text of several lines, which stands on lines of its own.
fn is_long(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.trim_end().contains('\n'))
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".into(),
        Value::Array(items) if items.iter().all(Value::is_object) => items.len().to_string(),
        Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let shown = fields.iter().filter(|(_, field)| !field.is_null());
            shown.map(|(name, field)| format!("{name}={}", inline(field))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_activated_does_not_read_as_if_it_were_by_itself() {
        let key = json!({"kid": "a", "activates_at": "2026-01-01T00:00:00.000Z"});
        for shown in [text(&json!({"keys": [key.clone()], "cuts": []})), text(&key)] {
            assert!(shown.contains("may_activate_from") && !shown.contains("activates_at"), "{shown}");
        }
    }

    #[test]
    fn atk_p47_what_others_wrote_does_not_steer_the_terminal() {
        let shown = plain(&text(&json!({"tool": "\u{1b}]0;x\u{7}a\u{9b}2J\u{202e}b\r\u{7f}", "n": 1})));
        assert_eq!(shown.matches('\u{fffd}').count(), 6, "{shown:?}");
        assert!(shown.contains('\n') && !shown.contains('\u{1b}'), "{shown:?}");
        assert_eq!(one_line("a\nb ä"), "a\u{fffd}b ä");
    }

    #[test]
    fn text_shows_rows_and_fields() {
        let value = json!({"engaged": true, "states": [{"scope": "everything", "mode": "full"}], "last_proof": null});
        let shown = text(&value);
        assert!(shown.contains("engaged: true"), "{shown}");
        assert!(shown.contains("states:\n  mode  scope\n  full  everything"), "{shown}");
        assert_eq!(text(&json!({"events": []})), "none");
        let drifts = json!({"drifts": [{"tool": "a/b", "diff": "-x\n+y\n"}, {"tool": "a/c", "diff": ""}]});
        assert_eq!(text(&drifts), "tool: a/b\ndiff:\n  -x\n  +y\n\ntool: a/c\ndiff: ");
        let clients =
            json!({"clients": [{"keys": [{}, {}], "name": "ci", "roles": ["a", "b"]}, {"keys": [], "name": "demo-client"}]});
        assert_eq!(text(&clients), "name         keys  roles\nci           2     a, b\ndemo-client  none  -");
    }
}
