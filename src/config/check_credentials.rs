//! What the values of `credentials.toml` must mean. Never knows which credentials there are.

use super::ConfigFault;
use super::check_server::check_tool_name;
use super::credentials::{Credentials, overlap_ms, pattern};
use super::document::Document;

const MOST: usize = 500;
const MOST_DAYS: u32 = 3_650;
const MOST_SECONDS: u32 = 7 * 24 * 3_600;
const LONGEST: usize = 200;

pub(super) fn credentials(document: &Document<'_>, credentials: &Credentials, faults: &mut Vec<ConfigFault>) {
    databases(document, credentials, faults);
    issuers(document, credentials, faults);
    if credentials.entries.len() > MOST {
        faults.push(document.at(&["credential"], format!("there may be {MOST} entries at most")));
    }
    for (index, entry) in credentials.entries.iter().enumerate() {
        let at = index.to_string();
        let mut wrong = |key: &str, message: String| faults.push(document.at(&["credential", &at, key], message));
        if let Err(message) = pattern(&entry.name) {
            wrong("name", message);
        }
        if let Some(Err(message)) = entry.overlap.as_deref().map(overlap_ms) {
            wrong("overlap", message);
        }
        if entry.rotate_every_days.is_some_and(|days| days > MOST_DAYS) {
            wrong("rotate_every_days", format!("must be from 0 to {MOST_DAYS}"));
        }
        if entry.quiet_seconds.is_some_and(|seconds| seconds > MOST_SECONDS) {
            wrong("quiet_seconds", format!("must be from 0 to {MOST_SECONDS}"));
        }
        for (key, text) in [("owner", &entry.owner), ("holder", &entry.holder)] {
            if text.as_deref().is_some_and(|text| text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control)) {
                wrong(key, format!("must be a text of 1 to {LONGEST} bytes on one line"));
            }
        }
        let is_tool =
            |tool: &str| tool.split_once('/').is_some_and(|(server, tool)| !server.is_empty() && check_tool_name(tool).is_ok());
        if entry.canary.as_deref().is_some_and(|tool| !is_tool(tool)) {
            wrong("canary", "must be a tool with its server, such as demo/read_graph".to_owned());
        }
    }
}

fn databases(document: &Document<'_>, credentials: &Credentials, faults: &mut Vec<ConfigFault>) {
    let mut taken: Vec<(&str, &str)> = Vec::new();
    for (index, one) in credentials.postgres.iter().enumerate() {
        let at = index.to_string();
        for (key, message) in one.faults() {
            faults.push(document.at(&["postgres", &at, key], message));
        }
        if credentials.postgres.iter().take(index).any(|other| other.name == one.name) {
            faults.push(document.at(&["postgres", &at, "name"], format!("there is another [[postgres]] {}", one.name)));
        }
        // Two that change one variable would undo each other's work.
        for variable in one.variables.keys() {
            if taken.contains(&(&one.server, variable)) {
                let message = format!("{variable} of server {} belongs to another [[postgres]] already", one.server);
                faults.push(document.at(&["postgres", &at, "variables"], message));
            }
            taken.push((&one.server, variable));
        }
    }
}

fn issuers(document: &Document<'_>, credentials: &Credentials, faults: &mut Vec<ConfigFault>) {
    for (index, one) in credentials.issuers.iter().enumerate() {
        let at = index.to_string();
        for (path, message) in one.faults() {
            let path: Vec<&str> = ["http", at.as_str()].into_iter().chain(path).collect();
            faults.push(document.at(&path, message));
        }
        let before = || credentials.issuers.iter().take(index);
        if before().any(|other| other.name == one.name) {
            faults.push(document.at(&["http", &at, "name"], format!("there is another [[http]] {}", one.name)));
        }
        let is_same = |other: &super::http_issuer::HttpIssuerConfig| {
            other.server == one.server && other.secret.eq_ignore_ascii_case(&one.secret)
        };
        if before().any(is_same) {
            let message = format!("{} of server {} belongs to another [[http]] already", one.secret, one.server);
            faults.push(document.at(&["http", &at, "secret"], message));
        }
    }
}
