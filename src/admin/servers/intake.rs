//! Taking in what a server shows: tools with their classes into `servers/NAME.toml`, definitions into `tools/SERVER/TOOL.json`. A class only
//! rises by itself; an operator lowers it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::tools::ToolDrift;
use super::super::tree;
use super::model::ServerTool;
use crate::base::fault::{Fault, Verb};
use crate::config::repo::{Change, Files, unified};

use crate::config::{Class, ServerConfig, ToolConfig, check_tool_name};
use crate::policy::feed::{Probed, ToolSeen};

/// What taking in changes.
#[derive(Debug, Default)]
pub(in crate::admin) struct Intake {
    /// The files.
    pub changes: Vec<Change>,
    /// Tools afterwards.
    pub tools: BTreeMap<String, ToolConfig>,
    /// New ones.
    pub added: Vec<String>,
    /// With another definition than before.
    pub changed: Vec<String>,
    /// Gone ones.
    pub removed: Vec<String>,
}

/// Where a tool's definition stands in `config/`. A name is a file's name only where that is harmless; every other byte is `%XX`.
pub(in crate::admin) fn definition_path(server: &str, tool: &str) -> String {
    let mut file = String::new();
    for byte in tool.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || (byte == b'.' && !file.is_empty());
        if plain { file.push(char::from(byte)) } else { file.push_str(&format!("%{byte:02X}")) }
    }
    format!("tools/{server}/{file}.json")
}

/// A definition with its keys sorted, indented, so that a difference is one of meaning and reads well in git.
pub(in crate::admin) fn canonical(definition: &str) -> Verb<String> {
    let value: Value =
        serde_json::from_str(definition).map_err(|e| Fault::invalid("definition", "a tool's definition is no JSON").because(e))?;
    let mut text = serde_json::to_string_pretty(&sorted(value)).map_err(|e| Fault::bug("JSON cannot be written").because(e))?;
    text.push('\n');
    Ok(text)
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let by_key: BTreeMap<String, Value> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(by_key.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// `same`, `changed` or `new`: a seen tool against what was taken in.
pub(in crate::admin) fn state(files: &Files, server: &str, config: &ServerConfig, seen: &ToolSeen) -> Verb<&'static str> {
    if !config.tools.contains_key(&seen.name) {
        return Ok("new");
    }
    let taken = files.get(&definition_path(server, &seen.name));
    Ok(if taken.map(Vec::as_slice) == Some(canonical(&seen.definition)?.as_bytes()) { "same" } else { "changed" })
}

/// Every tool that is not as it was taken in, by name.
pub(in crate::admin) fn drifts(server: &str, config: &ServerConfig, files: &Files, probed: &Probed) -> Verb<Vec<ToolDrift>> {
    let taken = |tool: &str| files.get(&definition_path(server, tool)).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let mut all = Vec::new();
    for seen in &probed.tools {
        let state = state(files, server, config, seen)?;
        if state != "same" {
            let before = taken(&seen.name).filter(|_| state == "changed").unwrap_or_default();
            let diff = unified(&definition_path(server, &seen.name), &before, &canonical(&seen.definition)?)?;
            let class = config.tools.get(&seen.name).map(|tool| tool.class);
            let tool = format!("{server}/{}", seen.name);
            all.push(ToolDrift { tool, state: state.into(), class, asks: Some(seen.class), diff });
        }
    }
    for (gone, tool) in config.tools.iter().filter(|(name, _)| !probed.tools.iter().any(|seen| &seen.name == *name)) {
        let diff = unified(&definition_path(server, gone), &taken(gone).unwrap_or_default(), "")?;
        all.push(ToolDrift {
            tool: format!("{server}/{gone}"),
            state: "removed".into(),
            class: Some(tool.class),
            asks: None,
            diff,
        });
    }
    all.sort_by(|one, other| one.tool.cmp(&other.tool));
    Ok(all)
}

/// Takes in everything a probe saw, or the one tool `only`.
pub(in crate::admin) fn take_in(
    server: &str,
    config: &ServerConfig,
    files: &Files,
    probed: &Probed,
    only: Option<&str>,
) -> Verb<Intake> {
    let mut intake = Intake { tools: config.tools.clone(), ..Intake::default() };
    let meant = |name: &str| only.is_none_or(|only| only == name);
    for seen in probed.tools.iter().filter(|seen| meant(&seen.name)) {
        check_tool_name(&seen.name).map_err(|why| Fault::invalid(format!("tools of {server}"), why))?;
        let before = config.tools.get(&seen.name).map(|tool| tool.class);
        let class = match state(files, server, config, seen)? {
            "same" => continue,
            "new" => {
                intake.added.push(seen.name.clone());
                seen.class
            }
            _ => {
                intake.changed.push(seen.name.clone());
                before.unwrap_or(Class::Destructive).max(seen.class)
            }
        };
        intake.tools.insert(seen.name.clone(), ToolConfig { class });
        intake.changes.push(tree::write(definition_path(server, &seen.name), canonical(&seen.definition)?));
    }
    let there: BTreeSet<&str> = probed.tools.iter().map(|seen| seen.name.as_str()).collect();
    for gone in config.tools.keys().filter(|name| meant(name) && !there.contains(name.as_str())) {
        intake.tools.remove(gone);
        intake.removed.push(gone.clone());
        let path = definition_path(server, gone);
        if files.contains_key(&path) {
            intake.changes.push(tree::remove(path));
        }
    }
    if intake.tools != config.tools {
        let after = ServerConfig { tools: intake.tools.clone(), ..config.clone() };
        intake.changes.push(tree::write(ServerConfig::path(server), after.to_toml()?));
    }
    Ok(intake)
}

/// Tools as commands print them.
pub(in crate::admin) fn list(tools: &BTreeMap<String, ToolConfig>) -> Vec<ServerTool> {
    tools.iter().map(|(name, tool)| ServerTool { name: name.clone(), class: tool.class }).collect()
}
