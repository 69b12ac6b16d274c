//! One entry of a client's file as the server it would become here, with everything that stands in the way. Looks at the file system; never
//! changes a thing, and never starts a program.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::super::host::{self, Kept};
use super::judge;
use super::model::Planned;
use super::reach::{self, Host};
use super::read::Found;
use super::values::{Seen, Values};
use crate::config::server::{HttpUpstream, StdioUpstream};
use crate::config::{ServerConfig, UpstreamConfig};

/// A planned server and what would be kept of it.
pub(super) struct Draft {
    /// As it is shown.
    pub shown: Planned,
    /// As it would be configured; `None` when it cannot be.
    pub config: Option<ServerConfig>,
    /// What would be sealed.
    pub kept: Kept,
}

/// What the entry says that nobody here reads.
const READ: [&str; 13] = [
    "type",
    "transport",
    "command",
    "args",
    "env",
    "cwd",
    "envFile",
    "url",
    "serverUrl",
    "httpUrl",
    "headers",
    "disabled",
    "enabled",
];

/// Plans one entry under its name here.
pub(super) fn plan(found: &Found, name: &str, values: &Values, host: &Host<'_>) -> Draft {
    let shown = Planned { name: name.to_owned(), from: found.from.clone(), ..Planned::default() };
    let mut draft = Draft { shown, config: None, kept: Kept::default() };
    let Some(entry) = found.entry.as_object() else {
        draft.blocked("its entry is not an object");
        return draft.settled();
    };
    let off = entry.get("disabled") == Some(&Value::Bool(true)) || entry.get("enabled") == Some(&Value::Bool(false));
    let url = ["url", "serverUrl", "httpUrl"].into_iter().find_map(|key| entry.get(key).and_then(Value::as_str));
    match (entry.get("command").and_then(Value::as_str), url) {
        (Some(_), Some(_)) => draft.blocked("it has a command and a URL, and only one of them can be meant"),
        (Some(command), None) => stdio(&mut draft, entry, command, values, host),
        (None, Some(url)) => http(&mut draft, entry, url, values),
        (None, None) => draft.blocked("it has neither a command nor a URL"),
    }
    let ignored: Vec<&str> = entry.keys().map(String::as_str).filter(|key| !READ.contains(key)).collect();
    if !ignored.is_empty() {
        draft.shown.notes.push(format!("not taken over: {}", ignored.join(", ")));
    }
    let draft = draft.settled();
    if off && draft.shown.state == "ready" {
        let mut draft = draft;
        draft.shown.state = "off".to_owned();
        draft.shown.notes.push("it is switched off in the file; --only takes it in all the same".to_owned());
        return draft;
    }
    draft
}

impl Draft {
    fn blocked(&mut self, why: impl Into<String>) {
        self.shown.problems.push(why.into());
    }

    fn note(&mut self, what: impl Into<String>) {
        self.shown.notes.push(what.into());
    }

    fn settled(mut self) -> Self {
        self.shown.state = if self.shown.problems.is_empty() { "ready" } else { "blocked" }.to_owned();
        if !self.shown.problems.is_empty() {
            self.config = None;
        }
        self
    }

    // Fills the placeholders of a text; what stays open blocks, and so does a secret that everybody would see.
    fn fill(&mut self, what: &str, text: &str, values: &Values, (own, seen): (&[String], Seen)) -> String {
        let filled = values.fill(text, own, seen);
        for secret in &filled.secret {
            self.blocked(format!(
                "{what} would show the value of {secret} in git and to every account; give it as a header or a variable"
            ));
        }
        for open in &filled.open {
            self.blocked(format!("{what} needs a value for {open}; give it with --values FILE, a line NAME=value"));
        }
        filled.text
    }
}

fn http(draft: &mut Draft, entry: &Map<String, Value>, url: &str, values: &Values) {
    draft.shown.kind = "http".to_owned();
    let url = draft.fill("its URL", url, values, (&[], Seen::Yes));
    let (shown, secret) = judge::url(&url);
    draft.shown.target = shown;
    if let Some(why) = secret {
        let mend = "URLs stand in git and in logs. Most services take the same secret as a header";
        draft.blocked(format!("{why}; {mend}"));
    }
    let kind = ["type", "transport"].into_iter().find_map(|key| entry.get(key).and_then(Value::as_str)).unwrap_or("http");
    match kind.to_ascii_lowercase().as_str() {
        "http" | "streamable-http" | "streamablehttp" | "streamable_http" => {}
        "sse" => draft.blocked(
            "its transport is sse, the one of 2024 that later revisions replaced; ask its maker for the streamable HTTP address, often the same with /mcp at the end",
        ),
        "stdio" => draft.blocked("it says stdio but has a URL"),
        other => draft.blocked(format!("the transport {other} is not known")),
    }
    if url.trim_end_matches('/').ends_with("/sse") && kind != "sse" {
        draft.note("its URL ends in /sse: if it speaks the old transport only, looking at it will fail");
    }
    let (plain_loopback, allow_addresses) = address(draft, &url);
    headers(draft, entry, values);
    if entry.contains_key("oauth") || entry.contains_key("auth") {
        draft.note("it signs in with OAuth in your client; here it needs a token in a header");
    }
    let secret_headers = host::names(&draft.kept.headers);
    let upstream = HttpUpstream { url, plain_loopback, allow_addresses, secret_headers, ..HttpUpstream::default() };
    draft.config = Some(ServerConfig { upstream: UpstreamConfig::Http(upstream), critical: false, tools: BTreeMap::new() });
}

// Loopback in plain, and a private address that is written out, are what the file itself asks for; both are shown.
fn address(draft: &mut Draft, url: &str) -> (bool, Vec<String>) {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(authority, |(host, _)| host);
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let loopback = host == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
    let plain = url.starts_with("http://") && loopback;
    if plain {
        draft.note("reached without TLS, on this host only (plain_loopback)");
        return (true, Vec::new());
    }
    let range = match ip {
        Some(IpAddr::V4(ip)) if ip.is_private() || ip.is_loopback() => Some(format!("{ip}/32")),
        Some(IpAddr::V6(ip)) if ip.is_unique_local() || ip.is_loopback() => Some(format!("{ip}/128")),
        _ => None,
    };
    if let Some(range) = &range {
        draft.note(format!("its address is private and will be allowed: {range}"));
    }
    (false, range.into_iter().collect())
}

fn headers(draft: &mut Draft, entry: &Map<String, Value>, values: &Values) {
    for (name, value) in strings(draft, entry, "headers") {
        let value = draft.fill(&format!("header {name}"), &value, values, (&[], Seen::No));
        let name = name.to_ascii_lowercase();
        match host::check_header(&name, &value) {
            Ok(()) => draft.kept.headers.push((name, value)),
            Err(host::OWN) => draft.note(format!("header {name} is left out: {}", host::OWN)),
            Err(why) => draft.blocked(format!("header {name}: {why}")),
        }
    }
    draft.shown.sealed = host::names(&draft.kept.headers);
}

fn stdio(draft: &mut Draft, entry: &Map<String, Value>, command: &str, values: &Values, host: &Host<'_>) {
    draft.shown.kind = "stdio".to_owned();
    let env = variables(draft, entry, values);
    let own: Vec<String> = draft.kept.env.iter().map(|(name, _)| name.clone()).chain(env.keys().cloned()).collect();
    let mut words = vec![draft.fill("its command", command, values, (&[], Seen::Yes))];
    for argument in arguments(draft, entry) {
        words.push(draft.fill("its command line", &argument, values, (&own, Seen::Yes)));
    }
    if let [line] = words.as_slice()
        && line.contains(' ')
        && !host.runs(line, &env)
        && let Ok(parts) = host::words(line)
    {
        words = parts;
    }
    let cwd = entry.get("cwd").and_then(Value::as_str).map(|cwd| draft.fill("its cwd", cwd, values, (&[], Seen::Yes)));
    if let Some(cwd) = &cwd {
        words = reach::absolute(words, cwd);
        draft.note(format!("it will work in its own vault, not in {cwd}; what its command line names there is made absolute"));
    }
    if let Some(file) = entry.get("envFile").and_then(Value::as_str) {
        draft.blocked(format!("its variables come from {file} (envFile); write them into env, or use server add --env-file"));
    }
    let (shown, secret) = judge::command_line(&words);
    draft.shown.target = shown.join(" ");
    for place in secret {
        let mend = "a command line is visible to every account and stands in git. Give it as a variable, if the program takes one";
        draft.blocked(format!("argument {place} looks like a secret: {mend}"));
    }
    program(draft, &words, &env, host);
    let texts = words.iter().skip(1).chain(env.values()).chain(draft.kept.env.iter().map(|(_, value)| value)).chain(cwd.iter());
    let (dirs, refused) = reach::dirs(texts, host);
    draft.shown.dirs.clone_from(&dirs);
    for dir in refused {
        draft.blocked(format!("it names {dir}, which holds Lifeboat's own data; no server may reach it"));
    }
    draft.shown.plain.clone_from(&env);
    draft.shown.sealed = host::names(&draft.kept.env);
    let secret_env = draft.shown.sealed.clone();
    let upstream = StdioUpstream { command: words, env, secret_env, dirs, ..StdioUpstream::default() };
    draft.config = Some(ServerConfig { upstream: UpstreamConfig::Stdio(upstream), critical: false, tools: BTreeMap::new() });
}

// Harmless variables come back; the others go among what is kept.
fn variables(draft: &mut Draft, entry: &Map<String, Value>, values: &Values) -> BTreeMap<String, String> {
    let mut plain = BTreeMap::new();
    for (name, value) in strings(draft, entry, "env") {
        let value = draft.fill(&format!("variable {name}"), &value, values, (&[], Seen::No));
        if let Err(why) = host::check_variable(&name, &value) {
            draft.blocked(format!("variable {name}: {why}"));
            continue;
        }
        if judge::loads_code(&name) {
            draft.note(format!("{name} can make it run other code; look at its value in the file"));
        }
        if judge::is_harmless(&name, &value) {
            plain.insert(name, value);
        } else {
            draft.kept.env.push((name, value));
        }
    }
    plain
}

fn strings(draft: &mut Draft, entry: &Map<String, Value>, key: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    match entry.get(key) {
        None | Some(Value::Null) => {}
        Some(Value::Object(map)) => {
            for (name, value) in map {
                match value {
                    Value::String(text) => pairs.push((name.clone(), text.clone())),
                    Value::Number(_) | Value::Bool(_) => pairs.push((name.clone(), value.to_string())),
                    _ => draft.blocked(format!("{key}.{name} is no text")),
                }
            }
        }
        Some(_) => draft.blocked(format!("{key} is not an object")),
    }
    pairs
}

fn arguments(draft: &mut Draft, entry: &Map<String, Value>) -> Vec<String> {
    let mut words = Vec::new();
    match entry.get("args") {
        None | Some(Value::Null) => {}
        Some(Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                match item {
                    Value::String(text) => words.push(text.clone()),
                    Value::Number(number) => words.push(number.to_string()),
                    _ => draft.blocked(format!("args[{index}] is no text")),
                }
            }
        }
        Some(_) => draft.blocked("args is not an array"),
    }
    words
}

fn program(draft: &mut Draft, words: &[String], env: &BTreeMap<String, String>, host: &Host<'_>) {
    let Some(program) = words.first() else { return };
    if !host.runs(program, env) {
        let looked = if program.contains('/') { String::new() } else { format!(" in {}", reach::path(env)) };
        draft.blocked(format!("there is no program {program}{looked} on this host; install it, or write its whole path"));
    }
    let base = program.rsplit('/').next().unwrap_or_default();
    let pinned = |word: &String| word.rfind('@').is_some_and(|at| at > 0) || word.contains("==");
    let package = words.iter().skip(1).find(|word| !word.starts_with('-'));
    match base {
        "npx" | "uvx" | "bunx" | "pnpx" if package.is_some_and(|package| !pinned(package)) => {
            draft.note(format!(
                "{base} fetches the newest version at each start; write a version, so that what you approve is what runs"
            ));
        }
        "sh" | "bash" | "zsh" | "dash" => draft.note("a shell reads its command line"),
        "docker" | "podman" => draft.note("the sandbox holds the client of the container engine, not the container"),
        _ => {}
    }
    if words.iter().any(|word| word == "mcp-remote" || word.starts_with("mcp-remote@")) {
        draft.note("it is only a bridge to a remote server; better add that one by its URL");
    }
}
