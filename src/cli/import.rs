//! `server import`: reads the file, sends what of it is about servers, shows the plan for people. Never prints a value that is to be sealed.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::args::ImportArgs;
use super::out::one_line;
use crate::admin::servers::import::{LARGEST, prune};
use crate::base::fault::{Fault, Verb};

/// The order: the servers of the file, without whatever else it holds.
///
/// # Errors
/// When a file cannot be read, is too large, or is no JSON with servers: file, line and column.
pub(super) fn body(args: &ImportArgs) -> Verb<Value> {
    let values = args.values.as_deref().map(text_of).transpose()?;
    let text = prune(&args.file.display().to_string(), &text_of(&args.file)?)?;
    Ok(json!({ "text": text, "values": values, "only": args.only, "apply": args.yes }))
}

// Reads no more than it would take, however large the file is or grows.
fn text_of(path: &Path) -> Verb<String> {
    let named = path.display().to_string();
    let unreadable = |cause: std::io::Error| Fault::invalid(&named, format!("cannot be read: {cause}")).because(cause);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > LARGEST {
        return Err(Fault::invalid(named, format!("is larger than {} MiB; that is no file of a client", LARGEST >> 20)));
    }
    String::from_utf8(bytes).map_err(|_| Fault::invalid(named, "is not UTF-8"))
}

/// The plan, or what was done, one paragraph a server.
pub(super) fn text(value: &Value) -> String {
    let mut lines = Vec::new();
    for server in value["servers"].as_array().into_iter().flatten() {
        paragraph(server, &mut lines);
        lines.push(String::new());
    }
    let next: Vec<&str> = value["next"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if value["applied"] == true && !next.is_empty() {
        lines.push("next:".to_owned());
    }
    lines.extend(next.iter().map(|step| if value["applied"] == true { format!("  {step}") } else { (*step).to_owned() }));
    lines.join("\n").trim_end().to_owned()
}

fn paragraph(server: &Value, lines: &mut Vec<String>) {
    let get = |key: &str| server[key].as_str().unwrap_or_default();
    let list = |key: &str| -> Vec<&str> { server[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
    let state = match get("state") {
        "ready" => "can be taken in",
        "blocked" => "cannot be taken in",
        "off" => "is left out",
        "left" => "is left out, as asked",
        "added" => "is taken in",
        "failed" => "was not taken in; nothing of it is kept",
        other => other,
    };
    let renamed = if get("name") == get("from") { String::new() } else { format!(" (in the file: {})", one_line(get("from"))) };
    lines.push(format!("{}{renamed} {state}", get("name")));
    if get("state") == "left" {
        return;
    }
    let mut fact = |label: &str, text: &str| {
        if !text.is_empty() {
            lines.push(format!("  {label:<10} {}", one_line(text)));
        }
    };
    fact(if get("kind") == "stdio" { "command" } else { "url" }, get("target"));
    fact(if get("kind") == "stdio" { "sealed" } else { "headers" }, &list("sealed").join(", "));
    let plain = server["plain"].as_object().into_iter().flatten();
    fact(
        "plain",
        &plain.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(" "),
    );
    fact("may use", &list("dirs").join(", "));
    fact("tools", &list("tools").join(", "));
    for problem in list("problems") {
        fact("problem", problem);
    }
    for note in list("notes") {
        fact("note", note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atk_p47_a_file_cannot_write_lines_of_its_own_into_the_plan() {
        let server = json!({"name": "a", "from": "a\nb is taken in", "state": "ready", "kind": "stdio",
            "target": "sh -c x\n  note       nothing to see\u{1b}[2J", "notes": ["one\ntwo"]});
        let shown = text(&json!({"applied": false, "servers": [server], "next": []}));
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}
