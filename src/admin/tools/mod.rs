//! Tools of servers: list, show, class, approve; and why a client may or may not call one. A class in the configuration decides, not the
//! server's own word.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::actor::Right;
use super::servers::{self, ServerAdded, intake};
use super::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::config::{Class, ServerConfig, ToolConfig};
use crate::crypto::keys::sha256;
use crate::policy::{Asked, Decision, decide, lookalike};

/// One tool.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// `SERVER/TOOL`.
    pub name: String,
    /// Its server.
    pub server: String,
    /// Its name without the server.
    pub tool: String,
    /// The class that decides.
    pub class: Class,
    /// Sentences on tools it may be taken for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// SHA-256 of the definition that was taken in, hex.
    pub definition_sha256: Option<String>,
    /// The definition, in `tool show` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<Value>,
}

/// Tools by full name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolList {
    /// The tools.
    pub tools: Vec<Tool>,
}

/// A class was set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolClassed {
    /// `SERVER/TOOL`.
    pub tool: String,
    /// The class it had.
    pub before: Class,
    /// The class it has.
    pub class: Class,
    /// The running revision that holds it.
    pub revision: String,
}

/// Why a client may or may not call a tool (docs/CONTRACT.md, `policy explain`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// `permit` or `refuse`.
    pub decision: String,
    /// `policy.…` slug; null when permitted.
    pub reason: Option<String>,
    /// `ROLE#N`; null when refused.
    pub grant: Option<String>,
    /// The class it counts as.
    pub class: Class,
    /// The policy that decided.
    pub revision: String,
}

/// Tools of every server, of one server, or the one tool `SERVER/TOOL`.
///
/// # Errors
/// `NotFound` when the filter names nothing.
pub async fn list(admin: &Admin, actor: &Actor, filter: Option<&str>) -> Verb<ToolList> {
    actor.need(Right::Read, "tool.list")?;
    let head = tree::head(&admin.repository).await?;
    let (server, tool) = filter.map_or((None, None), |text| match text.split_once('/') {
        Some((server, tool)) => (Some(server), Some(tool)),
        None => (Some(text), None),
    });
    let snapshot = admin.feed.snapshot();
    let alike = lookalike::among(&snapshot);
    let mut tools = Vec::new();
    for (name, entry) in snapshot.servers.iter().filter(|(name, _)| server.is_none_or(|s| s == name.as_str())) {
        for (own, config) in entry.config.tools.iter().filter(|(own, _)| tool.is_none_or(|t| t == own.as_str())) {
            let definition = head.files.get(&intake::definition_path(name, own));
            let full = format!("{name}/{own}");
            tools.push(Tool {
                notices: alike.iter().filter(|pair| pair.names(&full)).map(lookalike::Alike::sentence).collect(),
                name: full,
                server: name.clone(),
                tool: own.clone(),
                class: config.class,
                definition_sha256: definition.map(|bytes| sha256(bytes).iter().map(|b| format!("{b:02x}")).collect()),
                definition: tool.and(definition).and_then(|bytes| serde_json::from_slice(bytes).ok()),
            });
        }
    }
    let found = !tools.is_empty() || server.is_none_or(|name| tool.is_none() && snapshot.servers.contains_key(name));
    if found { Ok(ToolList { tools }) } else { Err(Fault::not_found(format!("there is no {}", filter.unwrap_or_default()))) }
}

/// How one tool differs from what was taken in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolDrift {
    /// `SERVER/TOOL`.
    pub tool: String,
    /// `changed`, `new` or `removed`.
    pub state: String,
    /// The class that decides now; null for a new tool.
    pub class: Option<Class>,
    /// The class its annotations ask for now; null for a removed tool.
    pub asks: Option<Class>,
    /// The difference of the definitions, keys sorted, in unified form.
    pub diff: String,
}

/// Every tool that differs; empty when none does.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolDrifts {
    /// The tools, by name.
    pub drifts: Vec<ToolDrift>,
}

/// Looks at a server, or at every server, and shows how its tools differ from what was taken in. Changes nothing.
///
/// # Errors
/// `Denied` without role operator; `NotFound`; `Unavailable` when a server does not answer.
pub async fn diff(admin: &Admin, actor: &Actor, filter: Option<&str>) -> Verb<ToolDrifts> {
    actor.need(Right::Operate, "tool.diff")?;
    let (server, tool) = filter.map_or((None, None), |text| match text.split_once('/') {
        Some((server, tool)) => (Some(server.to_owned()), Some(tool)),
        None => (Some(text.to_owned()), None),
    });
    let names: Vec<String> = match server {
        Some(server) => vec![server],
        None => admin.feed.snapshot().servers.keys().cloned().collect(),
    };
    let mut drifts = Vec::new();
    for name in names {
        let all = servers::drifts(admin, &name).await?;
        let Some(tool) = tool else {
            drifts.extend(all);
            continue;
        };
        let full = format!("{name}/{tool}");
        let snapshot = admin.feed.snapshot();
        let known = snapshot.servers.get(&name).is_some_and(|server| server.config.tools.contains_key(tool));
        let found: Vec<ToolDrift> = all.into_iter().filter(|drift| drift.tool == full).collect();
        if found.is_empty() && !known {
            return Err(Fault::not_found(format!("there is no {full}")));
        }
        drifts.extend(found);
    }
    Ok(ToolDrifts { drifts })
}

/// Sets the class that decides.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound`.
pub async fn class(admin: &Admin, actor: &Actor, full: &str, class: Class) -> Verb<ToolClassed> {
    actor.need(Right::Administer, "tool.class")?;
    actor.need_fresh_login(admin.clock.now())?;
    let (server, tool) = split(full)?;
    let before = std::sync::Mutex::new(class);
    let revision = tree::edit(admin, actor, &format!("tools: {full} is {}", class.word()), |desired, _| {
        let missing = || Fault::not_found(format!("there is no tool {full}"));
        let mut config: ServerConfig = desired.servers.get(server).cloned().ok_or_else(missing)?;
        let had = config.tools.insert(tool.to_owned(), ToolConfig { class }).ok_or_else(missing)?;
        if let Ok(mut before) = before.lock() {
            *before = had.class;
        }
        Ok(if had.class == class { Vec::new() } else { vec![tree::write(ServerConfig::path(server), config.to_toml()?)] })
    })
    .await?;
    let before = before.into_inner().unwrap_or(class);
    let mut event = Event::action(&actor.name, "tool.class", full);
    event.params = Some(serde_json::json!({ "before": before, "class": class }));
    admin.record(event).await?;
    Ok(ToolClassed { tool: full.to_owned(), before, class, revision: revision.to_string() })
}

/// Takes in the definition of one tool, or of every tool of a server, as the server shows it now.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound`; `Unavailable` when the server does not answer.
pub async fn approve(admin: &Admin, actor: &Actor, name: &str) -> Verb<ServerAdded> {
    actor.need(Right::Administer, "tool.approve")?;
    actor.need_fresh_login(admin.clock.now())?;
    match name.split_once('/') {
        Some((server, tool)) => servers::take_in(admin, actor, server, Some(tool)).await,
        None => servers::take_in(admin, actor, name, None).await,
    }
}

/// Decides as the proxy would, and says why.
///
/// # Errors
/// `NotFound` when there is no such client; `Unavailable` when arguments are given, which this version does not look at.
pub fn explain(admin: &Admin, actor: &Actor, client: &str, full: &str) -> Verb<Explained> {
    actor.need(Right::Read, "policy.explain")?;
    let (server, tool) = split(full)?;
    let snapshot = admin.feed.snapshot();
    let entry = snapshot.clients.get(client).ok_or_else(|| Fault::not_found(format!("there is no client {client}")))?;
    let asked = tool.strip_prefix('@').map_or(Asked::Tool(tool), Asked::Facet);
    let revision = snapshot.revision.to_string();
    Ok(match decide(&snapshot, entry, server, asked) {
        Decision::Permit { grant, class } => {
            Explained { decision: "permit".into(), reason: None, grant: Some(grant.to_string()), class, revision }
        }
        Decision::Refuse { reason, class } => {
            Explained { decision: "refuse".into(), reason: Some(reason.into()), grant: None, class, revision }
        }
    })
}

fn split(full: &str) -> Verb<(&str, &str)> {
    full.split_once('/').ok_or_else(|| Fault::invalid("tool", "a tool is named SERVER/TOOL"))
}
