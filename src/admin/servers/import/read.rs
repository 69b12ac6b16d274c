//! Which servers a client's file names. Knows the shapes that clients keep; never judges an entry, and never opens a file.

use serde_json::{Map, Value};

use super::jsonc;
use crate::base::fault::{Fault, Verb};
use crate::mcp::json::{self, JsonLimits};

/// The longest text that is read: whole settings files of editors are smaller.
pub const LARGEST: usize = 32 * 1024 * 1024;
/// The most servers of one file.
const MOST: usize = 1_000;
const LIMITS: JsonLimits = JsonLimits { depth: 128, members: 2_000_000 };

/// One server as its file has it.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    /// Its name there.
    pub from: String,
    /// Its entry.
    pub entry: Value,
}

/// Every server of a file. `file` is what faults call it.
///
/// # Errors
/// `Invalid` with line and column for what is no JSON, for a key that stands twice, and for a file without servers.
pub(super) fn read(file: &str, text: &str) -> Verb<Vec<Found>> {
    if text.len() > LARGEST {
        return Err(Fault::invalid(file, format!("is larger than {} MiB; that is no file of a client", LARGEST >> 20)));
    }
    let plain = jsonc::plain(text);
    let at = |offset: usize| {
        let (line, column) = jsonc::place(text, offset);
        format!("{file}:{line}:{column}")
    };
    if plain.trim().is_empty() {
        return Err(Fault::invalid(file, "is empty"));
    }
    json::check(plain.as_bytes(), LIMITS).map_err(|fault| Fault::invalid(at(fault.offset), format!("no JSON: {}", fault.what)))?;
    let root: Map<String, Value> = serde_json::from_str(&plain).map_err(|fault| {
        let message = fault.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        Fault::invalid(format!("{file}:{}:{}", fault.line(), fault.column()), format!("no JSON: {message}"))
    })?;
    let found = collect(file, &root)?;
    if found.is_empty() {
        let message = "names no MCP server; one is expected under mcpServers (Claude, Cursor and others) or servers (VS Code)";
        return Err(Fault::invalid(file, message));
    }
    Ok(found)
}

/// What of a file is about servers and nothing else: such files also hold histories, tokens and settings that nobody asked for.
///
/// # Errors
/// As `read`.
pub fn prune(file: &str, text: &str) -> Verb<String> {
    let mut servers = Map::new();
    for found in read(file, text)? {
        let mut key = found.from.clone();
        let mut count = 1;
        // One name in several projects of a file: the same server once, another one beside it.
        while servers.get(&key).is_some_and(|known| *known != found.entry) {
            count += 1;
            key = format!("{}-{count}", found.from);
        }
        servers.insert(key, found.entry);
    }
    Ok(serde_json::json!({ "mcpServers": servers }).to_string())
}

fn collect(file: &str, root: &Map<String, Value>) -> Verb<Vec<Found>> {
    let mut found = Vec::new();
    add(file, "mcpServers", root.get("mcpServers"), &mut found)?;
    add(file, "servers", root.get("servers"), &mut found)?;
    // Settings of VS Code, and the projects of Claude Code.
    add(file, "mcp.servers", root.get("mcp").and_then(|mcp| mcp.get("servers")), &mut found)?;
    for (project, settings) in root.get("projects").and_then(Value::as_object).into_iter().flatten() {
        add(file, &format!("projects.{project}.mcpServers"), settings.get("mcpServers"), &mut found)?;
    }
    let is_entry = |value: &Value| ["command", "url"].iter().any(|key| value.get(key).is_some_and(Value::is_string));
    if found.is_empty() && !root.is_empty() && root.values().all(is_entry) {
        // The bare map that manuals print.
        found.extend(root.iter().map(|(name, entry)| Found { from: name.clone(), entry: entry.clone() }));
    }
    Ok(found)
}

fn add(file: &str, key: &str, servers: Option<&Value>, found: &mut Vec<Found>) -> Verb<()> {
    match servers {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(servers)) => {
            for (name, entry) in servers {
                let new = Found { from: name.clone(), entry: entry.clone() };
                if found.len() >= MOST {
                    return Err(Fault::invalid(file, format!("names more than {MOST} servers; that is no file of a client")));
                }
                if !found.contains(&new) {
                    found.push(new);
                }
            }
            Ok(())
        }
        Some(_) => Err(Fault::invalid(format!("{file}: {key}"), "is not a list of servers by name, {\"NAME\": {…}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        read("f.json", text).expect("servers").into_iter().map(|found| found.from).collect()
    }

    #[test]
    fn every_client_s_shape_is_known() {
        assert_eq!(names(r#"{"mcpServers":{"a":{"command":"x"},"b":{"url":"https://b.example"}}}"#), ["a", "b"]);
        assert_eq!(names("{\n// mine\n\"servers\":{\"a\":{\"type\":\"stdio\",\"command\":\"x\",},},\"inputs\":[],}"), ["a"]);
        assert_eq!(names(r#"{"mcp":{"servers":{"a":{}}},"editor.fontSize":12}"#), ["a"]);
        assert_eq!(names(r#"{"projects":{"/p":{"mcpServers":{"a":{}}},"/q":{"mcpServers":{"a":{}}}}}"#), ["a"]);
        assert_eq!(names(r#"{"a":{"command":"x"}}"#), ["a"]);
    }

    #[test]
    fn what_cannot_be_read_is_named_by_line_and_column() {
        let fault = |text: &str| {
            let fault = read("f.json", text).expect_err("a fault");
            (fault.place.unwrap_or_default(), fault.message)
        };
        assert_eq!(fault("{\n  \"mcpServers\": {\n    \"a\": {,}\n  }\n}").0, "f.json:3:11");
        assert_eq!(fault("{\"mcpServers\": {\"a\": {}, \"a\": {}}}").0, "f.json:1:33");
        assert_eq!(fault("").1, "is empty");
        assert!(fault("{}").1.contains("names no MCP server"));
        assert!(fault("{\"mcpServers\": []}").0.ends_with("mcpServers"));
        assert!(fault("[mcp_servers.a]\ncommand = \"x\"").1.contains("no JSON"));
        assert!(fault(&" ".repeat(LARGEST + 1)).1.contains("larger than"));
        let many: Vec<String> = (0..200_000).map(|n| format!("\"s{n}\":{{}}")).collect();
        assert!(fault(&format!("{{\"mcpServers\":{{{}}}}}", many.join(","))).1.contains("more than"));
    }

    #[test]
    fn pruning_leaves_servers_alone() {
        let text = r#"{"oauthToken":"hush","projects":{"/p":{"history":["x"],"mcpServers":{"a":{"command":"x"}}},
            "/q":{"mcpServers":{"a":{"command":"y"}}}},"mcpServers":{"a":{"command":"x"}}}"#;
        let pruned = prune("f", text).expect("pruned");
        assert!(!pruned.contains("hush") && !pruned.contains("history"), "{pruned}");
        assert_eq!(names(&pruned), ["a", "a-2"]);
    }
}
