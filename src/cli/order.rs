//! What each command asks of the API: method, path and body, and which answer makes it exit 2. Never talks to anybody itself.

use std::io::Read;
use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};

use super::args::{
    AuditCommand, Command, ConfigCommand, FilterArgs, KillCommand, PolicyCommand, RoleCommand, ScopeArgs, ServerAddArgs,
    ServerCommand, ServerSecretsArgs, ToolCommand,
};
use super::{alerts, clients, credentials, import, operators, recovery};
use crate::base::fault::{Fault, Verb};

/// One request to the API.
#[derive(Debug)]
pub(super) struct Order {
    /// GET reads, POST changes.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// JSON to send.
    pub body: Option<Value>,
    /// The field of the answer that must be true, or the command exits 2.
    pub must: Option<&'static str>,
    /// The field of the answer that must be null, or the command exits 2.
    pub must_not: Option<&'static str>,
    /// Whether it may take minutes.
    pub lasts: bool,
}

impl Order {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, must: None, must_not: None, lasts: false }
    }

    pub(super) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, body: Some(body), ..Self::get(path) }
    }

    pub(super) fn must(self, field: &'static str) -> Self {
        Self { must: Some(field), ..self }
    }

    pub(super) fn must_not(self, field: &'static str) -> Self {
        Self { must_not: Some(field), ..self }
    }

    pub(super) fn lasting(self) -> Self {
        Self { lasts: true, ..self }
    }
}

/// The order of a command; `None` for the commands that have a file of their own.
///
/// # Errors
/// When a file or standard input that the command names cannot be read, or the capability is not built yet.
pub(super) fn order(command: &Command) -> Verb<Option<Order>> {
    Ok(Some(match command {
        Command::Up(_) | Command::Serve | Command::Tls(_) | Command::Trust(_) | Command::Rebuild(_) | Command::Evidence(_) => {
            return Ok(None);
        }
        Command::Status => Order::get("/api/v1/status"),
        Command::Doctor => Order::get("/api/v1/doctor").must("ok"),
        Command::Kill(command) => kill(command),
        Command::Operator(command) => operators::operator(command)?,
        Command::Client(command) => clients::client(command)?,
        Command::Token(command) => clients::token(command),
        Command::Server(command) => server(command)?,
        Command::Tool(command) => tool(command)?,
        Command::Role(command) => role(command)?,
        Command::Policy(command) => policy(command)?,
        Command::Config(command) => config(command)?,
        Command::Audit(command) => return Ok(audit(command)),
        Command::Recipient(command) => recovery::recipient(command)?,
        Command::Vault(command) => recovery::vault(command)?,
        Command::Backup(command) => recovery::backup(command)?,
        Command::Restore(args) => recovery::restore(args)?,
        Command::Alert(command) => alerts::alert(command)?,
        Command::Credential(command) => credentials::credential(command)?,
        Command::Drill(command) => recovery::drill(command)?,
        Command::Later(words) => {
            let name = words.first().cloned().unwrap_or_default();
            return Err(later_or_unknown(&name));
        }
    }))
}

const LATER: [&str; 4] = ["incident", "runbook", "graduate", "inspect"];

fn later_or_unknown(name: &str) -> Fault {
    if LATER.contains(&name) { not_yet(name) } else { Fault::invalid(name, "there is no such command; see lifeboat --help") }
}

pub(super) fn not_yet(what: &str) -> Fault {
    Fault::unavailable(format!("{what} is not available in this version"))
}

fn scope(scope: &ScopeArgs, mut body: Value) -> Value {
    for (name, value) in [("server", &scope.server), ("tool", &scope.tool), ("client", &scope.client)] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    body
}

fn kill(command: &KillCommand) -> Order {
    match command {
        KillCommand::Engage { reason, scope: s, mode } => {
            Order::post("/api/v1/kill/engage", scope(s, json!({"reason": reason, "mode": mode.word()}))).must("effective")
        }
        KillCommand::Release { reason, scope: s, to } => {
            Order::post("/api/v1/kill/release", scope(s, json!({"reason": reason, "to": to})))
        }
        KillCommand::Status => Order::get("/api/v1/kill"),
    }
}

fn server(command: &ServerCommand) -> Verb<Order> {
    let one = |name: &str, verb: &str| Order::post(format!("/api/v1/servers/{}/{verb}", segment(name)), json!({}));
    Ok(match command {
        ServerCommand::Add(args) => Order::post("/api/v1/servers", server_add(args)?),
        ServerCommand::List => Order::get("/api/v1/servers"),
        ServerCommand::Show { name } => Order::get(format!("/api/v1/servers/{}", segment(name))),
        ServerCommand::Probe { name } => one(name, "probe"),
        ServerCommand::Approve { name } => one(name, "approve"),
        ServerCommand::Secrets(args) => {
            Order::post(format!("/api/v1/servers/{}/secrets", segment(&args.name)), server_secrets(args)?)
        }
        ServerCommand::Remove { name } => one(name, "remove"),
        ServerCommand::Import(args) => Order::post("/api/v1/server-import", import::body(args)?).must("ok"),
    })
}

fn server_add(args: &ServerAddArgs) -> Verb<Value> {
    let text = |path: &Option<PathBuf>| path.as_deref().map(file).transpose();
    Ok(json!({
        "name": args.name,
        "url": args.url,
        "pins": args.pins,
        "plain_loopback": args.plain_loopback,
        "allow_addresses": args.allow_addresses,
        "ca": text(&args.ca)?,
        "headers": text(&args.header_file)?,
        "client": pair(&args.client_cert, &args.client_key)?,
        "tls12_until": args.tls12_until,
        "tls12_reason": args.tls12_reason,
        "stdio": args.stdio,
        "env": text(&args.env_file)?,
        "dirs": args.dirs,
        "instances": args.instances,
    }))
}

fn server_secrets(args: &ServerSecretsArgs) -> Verb<Value> {
    let text = |path: &Option<PathBuf>| path.as_deref().map(file).transpose();
    let client = pair(&args.client_cert, &args.client_key)?;
    Ok(json!({"headers": text(&args.header_file)?, "env": text(&args.env_file)?, "client": client}))
}

/// A certificate and its key, from one file or two.
fn pair(cert: &Option<PathBuf>, key: &Option<PathBuf>) -> Verb<Option<String>> {
    let Some(cert) = cert else { return Ok(None) };
    let key = key.as_deref().map(file).transpose()?.unwrap_or_default();
    Ok(Some(format!("{}\n{key}", file(cert)?)))
}

fn tool(command: &ToolCommand) -> Verb<Order> {
    Ok(match command {
        ToolCommand::List { server: None } => Order::get("/api/v1/tools"),
        ToolCommand::List { server: Some(server) } => Order::get(format!("/api/v1/tools?filter={}", segment(server))),
        ToolCommand::Show { name } => Order::get(format!("/api/v1/tools?filter={}", segment(name))),
        ToolCommand::Class { name, class } => Order::post("/api/v1/tools/class", json!({"tool": name, "class": class})),
        ToolCommand::Approve { name } => Order::post("/api/v1/tools/approve", json!({"tool": name})),
        ToolCommand::Diff { name: None } => Order::get("/api/v1/tools/diff"),
        ToolCommand::Diff { name: Some(name) } => Order::get(format!("/api/v1/tools/diff?filter={}", segment(name))),
    })
}

fn role(command: &RoleCommand) -> Verb<Order> {
    Ok(match command {
        RoleCommand::List => Order::get("/api/v1/roles"),
        RoleCommand::Show { name } => Order::get(format!("/api/v1/roles/{}", segment(name))),
        RoleCommand::Set { name } => Order::post(format!("/api/v1/roles/{}", segment(name)), json!({"toml": standard_input()?})),
    })
}

fn policy(command: &PolicyCommand) -> Verb<Order> {
    match command {
        PolicyCommand::Explain { client, tool, arguments: Some(path) } => {
            Ok(Order::post("/api/v1/policy/explain", json!({"client": client, "tool": tool, "arguments": file(path)?})))
        }
        PolicyCommand::Explain { client, tool, arguments: None } => {
            Ok(Order::get(format!("/api/v1/policy/explain?client={}&tool={}", segment(client), segment(tool))))
        }
        PolicyCommand::Test { file: None } => Ok(Order::post("/api/v1/policy/test", json!({})).must("ok")),
        PolicyCommand::Test { file: Some(path) } => {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            Ok(Order::post("/api/v1/policy/test", json!({"file": name, "toml": file(path)?})).must("ok"))
        }
    }
}

fn config(command: &ConfigCommand) -> Verb<Order> {
    Ok(match command {
        ConfigCommand::Check => Order::post("/api/v1/config/check", json!({})).must("ok"),
        ConfigCommand::Commit { author, message } => {
            Order::post("/api/v1/config/commit", json!({"as": author, "message": message}))
        }
        ConfigCommand::History => Order::get("/api/v1/config/history"),
        ConfigCommand::Diff { from, to } => {
            let states = [("from", from), ("to", to)];
            let asked = states.into_iter().filter_map(|(name, state)| Some(format!("{name}={}", segment(state.as_ref()?))));
            Order::get(format!("/api/v1/config/diff?{}", asked.collect::<Vec<_>>().join("&")))
        }
        ConfigCommand::Rollback { revision, reason, dry_run } => {
            let reason = reason.as_deref().unwrap_or_default();
            Order::post("/api/v1/config/rollback", json!({"to": revision, "reason": reason, "dry_run": dry_run}))
        }
        ConfigCommand::Push => Order::post("/api/v1/config/push", json!({})).must("ok"),
        ConfigCommand::Pull { much } => Order::post("/api/v1/config/pull", json!({"much": much})),
    })
}

fn audit(command: &AuditCommand) -> Option<Order> {
    match command {
        AuditCommand::Query(filter) => Some(Order::get(format!("/api/v1/audit{}", query(filter)))),
        AuditCommand::Verify => Some(Order::get("/api/v1/audit/verify").must("ok")),
        AuditCommand::Checkpoint => Some(Order::post("/api/v1/audit/checkpoint", json!({}))),
        AuditCommand::Tail | AuditCommand::Export(_) => None,
    }
}

/// The query string of a filter, with its question mark; empty when nothing is filtered.
pub(super) fn query(filter: &FilterArgs) -> String {
    let limit = filter.limit.map(|limit| limit.to_string());
    let fields = [
        ("client", &filter.client),
        ("tool", &filter.tool),
        ("since", &filter.since),
        ("until", &filter.until),
        ("status", &filter.status),
        ("limit", &limit),
        ("after", &filter.after),
    ];
    let parts: Vec<String> =
        fields.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_ref()?)))).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

pub(super) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

pub(super) fn file(path: &Path) -> Verb<String> {
    std::fs::read_to_string(path).map_err(|cause| Fault::invalid(path.display().to_string(), "cannot be read").because(cause))
}

pub(super) fn standard_input() -> Verb<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|cause| Fault::invalid("standard input", "cannot be read").because(cause))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::Cli;
    use super::*;

    fn asked(words: &[&str]) -> Verb<Option<Order>> {
        order(&Cli::try_parse_from(std::iter::once(&"lifeboat").chain(words)).expect("words fit").command)
    }

    #[test]
    fn a_command_asks_what_its_api_path_names() {
        let order = asked(&["kill", "engage", "--reason", "x", "--tool", "demo/wipe", "--mode", "read-only"]).unwrap().unwrap();
        assert_eq!((order.path.as_str(), order.must), ("/api/v1/kill/engage", Some("effective")));
        assert_eq!(order.body, Some(json!({"reason": "x", "mode": "read-only", "tool": "demo/wipe"})));
        let order = asked(&["audit", "query", "--tool", "demo/read_graph", "--limit", "5"]).unwrap().unwrap();
        assert_eq!(order.path, "/api/v1/audit?tool=demo%2Fread_graph&limit=5");
    }

    #[test]
    fn what_is_not_built_says_so_with_exit_1() {
        for words in [vec!["incident", "list"], vec!["graduate"], vec!["runbook", "list"], vec!["inspect", "-"]] {
            let fault = asked(&words).expect_err("not built");
            assert_eq!(fault.kind.exit(), 1, "{words:?}");
            assert!(fault.message.ends_with("is not available in this version"), "{fault}");
        }
        assert_eq!(asked(&["nonsense"]).expect_err("unknown").kind.exit(), 64);
    }
}
