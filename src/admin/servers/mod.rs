//! MCP servers: add, list, show, probe, approve, remove. A server's tools and their classes are copied into the configuration when an operator
//! takes them in; a command line runs only where it was approved. Never stores a secret in git.

mod approve;
mod host;
pub mod import;
pub(super) mod intake;
mod mask;
mod model;
pub(in crate::admin) mod one;
pub mod pages;
pub mod routes;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use approve::{approve, approve_command};
pub(super) use host::running_secrets;
pub(in crate::admin) use host::{emptied, exchange_kept};
pub(in crate::admin) use host::{names as names_of, read_env, words};
pub use model::{
    AddServer, Server, ServerAdded, ServerKeep, ServerList, ServerProbed, ServerRemoved, ServerTool, Tls12Waiver, ToolProbed,
};
pub use store::STATEMENTS;
pub(in crate::admin) use store::{deny as deny_kept, forget as forget_kept};

use super::actor::Right;
use super::publish::publish;
use super::tools::ToolDrift;
use super::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, FaultKind, Verb};
use crate::base::ids::check_name;
use crate::config::repo::Files;
use crate::config::server::{HttpUpstream, InstancesPer, StdioUpstream};
use crate::config::{Desired, ServerConfig, UpstreamConfig};
use crate::crypto::tls::ends_at;
use crate::policy::feed::{Breaker, Probed};
use crate::policy::lookalike::{self, Alike};
use crate::policy::snapshot::{ServerEntry, ServerSecrets};
use host::Kept;
use intake::Intake;

const PROBE: Duration = Duration::from_secs(60);

/// Adds a server: looks at it, takes in its tools with the classes their annotations ask for, and commits. Approves its command line on
/// this host.
///
/// # Errors
/// `Denied` without role admin; `Invalid` for a field; `Conflict` when it exists; `Unavailable` when it does not answer: nothing is kept then.
pub async fn add(admin: &Admin, actor: &Actor, input: AddServer) -> Verb<ServerAdded> {
    actor.need(Right::Administer, "server.add")?;
    let mut kept = Kept::default();
    kept.take(&ServerKeep { headers: input.headers.clone(), env: input.env.clone(), client: input.client.clone() })?;
    let config = ServerConfig { upstream: upstream(&input, &kept)?, critical: false, tools: Default::default() };
    add_whole(admin, actor, &input.name, config, kept).await
}

/// As `add`, of what was read already.
async fn add_whole(admin: &Admin, actor: &Actor, name: &str, config: ServerConfig, kept: Kept) -> Verb<ServerAdded> {
    match &config.upstream {
        // Its command line is approved by this, so it is new code on this host.
        UpstreamConfig::Stdio(_) => actor.need_person("server.add of a command line", admin.clock.now())?,
        UpstreamConfig::Http(_) => actor.need_fresh_login(admin.clock.now())?,
    }
    check_name(name).map_err(|why| Fault::invalid("name", why))?;
    let _held = admin.names.hold("server", name)?;
    check_kept(&config, &kept)?;
    if let UpstreamConfig::Http(http) = &config.upstream
        && http.tls12_ends().is_some_and(|end| end <= admin.clock.now())
    {
        return Err(Fault::invalid("tls12_until", "must be a day to come"));
    }
    let head = tree::head(&admin.repository).await?;
    absent(&tree::read(&head.files)?, name)?;
    check_file(&head.files, name, &config)?;
    let sealed = if kept.is_empty() { None } else { Some(kept.seal(&admin.sealer, name, admin.entropy.as_ref())?) };
    let approval = approval(&config, &host::names(&kept.env));
    let probed = look(admin, name, &config, kept.into_secrets(true)).await?;
    // What an earlier server of this name left behind on this host is none of the new one's business.
    absent(&tree::desired(admin).await?, name)?;
    store::forget(&admin.db, name).await?;
    if let Some(sealed) = sealed {
        store::set_secret(&admin.db, name, &sealed, admin.clock.now()).await?;
    }
    if let Some(digest) = &approval {
        store::set_approval(&admin.db, name, digest, admin.clock.now(), &actor.name).await?;
    }
    let taken = intake::take_in(name, &config, &Files::new(), &probed, None)?;
    let made = tree::edit(admin, actor, &format!("servers: add {name}"), |desired, _| {
        absent(desired, name)?;
        let whole = ServerConfig { tools: taken.tools.clone(), ..config.clone() };
        let definitions = taken.changes.iter().filter(|change| change.path() != ServerConfig::path(name)).cloned();
        Ok(definitions.chain([tree::write(ServerConfig::path(name), whole.to_toml()?)]).collect())
    })
    .await;
    let revision = match made {
        Ok(revision) => revision,
        // Somebody else added a server of this name meanwhile.
        Err(fault) if fault.kind == FaultKind::Conflict => return Err(fault),
        Err(fault) => {
            store::forget(&admin.db, name).await?;
            return Err(fault);
        }
    };
    let mut event = Event::action(&actor.name, "server.add", name);
    event.params = Some(serde_json::json!({ "target": target(&config), "tools": taken.tools, "approved": approval }));
    admin.record(event).await?;
    Ok(added(admin, name, (probed, &taken), revision.to_string()))
}

/// Every server, by name, with what the proxy knows of it.
///
/// # Errors
/// None but `Denied`.
pub async fn list(admin: &Admin, actor: &Actor) -> Verb<ServerList> {
    actor.need(Right::Read, "server.list")?;
    let snapshot = admin.feed.snapshot();
    let alike = lookalike::among(&snapshot);
    Ok(ServerList { servers: snapshot.servers.values().map(|entry| describe(admin, entry, &alike)).collect() })
}

/// One server.
///
/// # Errors
/// `NotFound`.
pub async fn show(admin: &Admin, actor: &Actor, name: &str) -> Verb<Server> {
    actor.need(Right::Read, "server.show")?;
    let entry = running(admin, name)?;
    Ok(describe(admin, &entry, &lookalike::among(&admin.feed.snapshot())))
}

/// Looks at a server and compares its tools with what was taken in. Changes nothing.
///
/// # Errors
/// `Denied` without role operator; `NotFound`; `Unavailable` when it does not answer or its command line is not approved.
pub async fn probe(admin: &Admin, actor: &Actor, name: &str) -> Verb<ServerProbed> {
    actor.need(Right::Operate, "server.probe")?;
    let (config, files, probed) = examine(admin, name).await?;
    let mut tools = Vec::new();
    for seen in &probed.tools {
        let state = intake::state(&files, name, &config, seen)?.to_owned();
        tools.push(ToolProbed { name: seen.name.clone(), class: seen.class, state });
    }
    let gone = config.tools.keys().filter(|tool| !probed.tools.iter().any(|seen| &seen.name == *tool));
    let removed = gone.cloned().collect();
    let snapshot = admin.feed.snapshot();
    let notices = notices(&lookalike::with(&snapshot, name, tools.iter().map(|tool| tool.name.as_str())), name);
    Ok(ServerProbed {
        server: name.into(),
        server_info: probed.server_info,
        protocol: probed.protocol,
        ms: probed.ms,
        tools,
        removed,
        notices,
    })
}

/// Replaces what this host keeps for a server: headers, variables, the client certificate. Calls use it from now on. The configuration is
/// not changed; a new variable's name asks for a new approval.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound`; `Invalid` for a text that cannot be read or that this kind of server does not take.
pub async fn secrets(admin: &Admin, actor: &Actor, name: &str, given: &ServerKeep) -> Verb<Server> {
    actor.need(Right::Administer, "server.secrets")?;
    actor.need_fresh_login(admin.clock.now())?;
    let entry = running(admin, name)?;
    let mut kept = Kept::of(&admin.db, &admin.sealer, name).await?;
    kept.take(given)?;
    check_kept(&entry.config, &kept)?;
    let sealed = kept.seal(&admin.sealer, name, admin.entropy.as_ref())?;
    store::set_secret(&admin.db, name, &sealed, admin.clock.now()).await?;
    let mut event = Event::action(&actor.name, "server.secrets", name);
    let (headers, env) = (host::names(&kept.headers), host::names(&kept.env));
    event.params = Some(serde_json::json!({ "headers": headers, "env": env, "client_certificate": kept.client.is_some() }));
    admin.record(event).await?;
    publish(admin).await?;
    show(admin, actor, name).await
}

/// Takes a server out of the configuration and forgets what this host kept for it. Its vault stays.
///
/// # Errors
/// `Denied` without role admin; `NotFound`.
pub async fn remove(admin: &Admin, actor: &Actor, name: &str) -> Verb<ServerRemoved> {
    actor.need(Right::Administer, "server.remove")?;
    let prefix = format!("tools/{name}/");
    let revision = tree::edit(admin, actor, &format!("servers: remove {name}"), |desired, files| {
        if !desired.servers.contains_key(name) {
            return Err(missing(name));
        }
        let definitions = files.keys().filter(|path| path.starts_with(&prefix)).map(tree::remove);
        Ok(definitions.chain([tree::remove(ServerConfig::path(name))]).collect())
    })
    .await?;
    admin.record(Event::action(&actor.name, "server.remove", name)).await?;
    store::forget(&admin.db, name).await?;
    Ok(ServerRemoved { server: name.to_owned(), revision: revision.to_string() })
}

/// Takes in all tools of a server as it shows them now, or the one tool `only`.
pub(super) async fn take_in(admin: &Admin, actor: &Actor, name: &str, only: Option<&str>) -> Verb<ServerAdded> {
    let (_, _, probed) = examine(admin, name).await?;
    if let Some(only) = only
        && !probed.tools.iter().any(|seen| seen.name == only)
    {
        return Err(Fault::not_found(format!("{name} shows no tool {only}")));
    }
    let plan = |desired: &Desired, files: &Files| -> Verb<Intake> {
        let config = desired.servers.get(name).ok_or_else(|| missing(name))?;
        intake::take_in(name, config, files, &probed, only)
    };
    let before = tree::head(&admin.repository).await?;
    let taken = plan(&tree::read(&before.files)?, &before.files)?;
    let message = format!("tools: take in {name}{}", only.map(|tool| format!("/{tool}")).unwrap_or_default());
    let revision = tree::edit(admin, actor, &message, |desired, files| Ok(plan(desired, files)?.changes)).await?;
    let object = only.map_or_else(|| name.to_owned(), |tool| format!("{name}/{tool}"));
    let mut event = Event::action(&actor.name, "tool.approve", object);
    event.params = Some(serde_json::json!({ "added": taken.added, "changed": taken.changed, "removed": taken.removed }));
    admin.record(event).await?;
    Ok(added(admin, name, (probed, &taken), revision.to_string()))
}

/// How the tools that a server shows now differ from what was taken in.
pub(super) async fn drifts(admin: &Admin, name: &str) -> Verb<Vec<ToolDrift>> {
    let (config, files, probed) = examine(admin, name).await?;
    intake::drifts(name, &config, &files, &probed)
}

/// A server as HEAD has it, HEAD's files, and what the server shows now.
async fn examine(admin: &Admin, name: &str) -> Verb<(ServerConfig, Files, Probed)> {
    let head = tree::head(&admin.repository).await?;
    let config = tree::read(&head.files)?.servers.remove(name).ok_or_else(|| missing(name))?;
    let entry = running(admin, name)?;
    if !entry.secrets.approved {
        return Err(Fault::unavailable(format!(
            "the command line of {name} is not approved on this host: {}. lifeboat server approve {name}",
            target(&entry.config)
        )));
    }
    let secrets = ServerSecrets { ..entry.secrets.clone() };
    let probed = look(admin, name, &entry.config, secrets).await?;
    Ok((config, head.files, probed))
}

async fn look(admin: &Admin, name: &str, config: &ServerConfig, secrets: ServerSecrets) -> Verb<Probed> {
    // It may repeat what it is sent, now or before, and all of this is shown.
    let running = admin.feed.snapshot().servers.get(name).cloned();
    let mask = mask::Mask::of(running.iter().map(|entry| &entry.secrets).chain([&secrets]));
    let entry = Arc::new(ServerEntry { name: name.into(), config: config.clone(), secrets });
    let unavailable = |why: String| Fault::unavailable(format!("{name} cannot be looked at: {why}"));
    match tokio::time::timeout(PROBE, admin.feed.probe(entry)).await {
        Ok(seen) => seen.map(|probed| mask.probed(probed)).map_err(|why| mask.fault(unavailable(why))),
        Err(_) => Err(unavailable("no answer in 60 s".into())),
    }
}

/// The configuration names what every host must keep for the server; it never holds it.
fn upstream(input: &AddServer, kept: &Kept) -> Verb<UpstreamConfig> {
    let instances = match input.instances.as_deref() {
        None | Some("shared" | "") => InstancesPer::Shared,
        Some("per-session") if input.stdio.is_some() => InstancesPer::PerSession,
        Some("per-session") => return Err(Fault::invalid("instances", "only a stdio server has instances")),
        Some(_) => return Err(Fault::invalid("instances", "instances are shared or per-session")),
    };
    match (&input.url, &input.stdio) {
        (Some(url), None) => Ok(UpstreamConfig::Http(HttpUpstream {
            url: url.clone(),
            pins: input.pins.clone(),
            plain_loopback: input.plain_loopback,
            allow_addresses: input.allow_addresses.clone(),
            ca: input.ca.clone(),
            tls12_until: input.tls12_until.clone(),
            tls12_reason: input.tls12_reason.clone(),
            client_certificate: kept.client.is_some(),
            secret_headers: host::names(&kept.headers),
        })),
        (None, Some(line)) => Ok(UpstreamConfig::Stdio(StdioUpstream {
            command: host::words(line)?,
            secret_env: host::names(&kept.env),
            instances,
            dirs: input.dirs.clone(),
            ..StdioUpstream::default()
        })),
        _ => Err(Fault::invalid("url", "a server is reached by url or by stdio, and by one of them")),
    }
}

fn check_kept(config: &ServerConfig, kept: &Kept) -> Verb<()> {
    match &config.upstream {
        UpstreamConfig::Http(_) if !kept.env.is_empty() => Err(Fault::invalid("env", "only a stdio server has variables")),
        UpstreamConfig::Stdio(_) if kept.client.is_some() => {
            Err(Fault::invalid("client", "only an HTTP server is shown a client certificate"))
        }
        UpstreamConfig::Stdio(_) if !kept.headers.is_empty() => Err(Fault::invalid("headers", "only an HTTP server has headers")),
        _ => Ok(()),
    }
}

/// Checks the file before anything is started for it.
fn check_file(files: &Files, name: &str, config: &ServerConfig) -> Verb<()> {
    let mut after = files.clone();
    after.insert(ServerConfig::path(name), config.to_toml()?.into_bytes());
    tree::read(&after).map(|_| ())
}

fn absent(desired: &Desired, name: &str) -> Verb<()> {
    match desired.servers.contains_key(name) {
        true => Err(Fault::conflict(format!("server {name} exists already"))),
        false => Ok(()),
    }
}

fn missing(name: &str) -> Fault {
    Fault::not_found(format!("there is no server {name}"))
}

fn running(admin: &Admin, name: &str) -> Verb<Arc<ServerEntry>> {
    admin.feed.snapshot().servers.get(name).cloned().ok_or_else(|| missing(name))
}

fn approval(config: &ServerConfig, env: &[String]) -> Option<String> {
    match &config.upstream {
        UpstreamConfig::Http(_) => None,
        UpstreamConfig::Stdio(upstream) => Some(host::digest(upstream, env)),
    }
}

fn target(config: &ServerConfig) -> String {
    match &config.upstream {
        UpstreamConfig::Http(upstream) => upstream.url.clone(),
        UpstreamConfig::Stdio(upstream) => upstream.command.join(" "),
    }
}

fn added(admin: &Admin, name: &str, (probed, taken): (Probed, &Intake), revision: String) -> ServerAdded {
    ServerAdded {
        server: name.to_owned(),
        server_info: probed.server_info,
        protocol: probed.protocol,
        tools: intake::list(&taken.tools),
        added: taken.added.clone(),
        changed: taken.changed.clone(),
        removed: taken.removed.clone(),
        notices: notices(&lookalike::among(&admin.feed.snapshot()), name),
        revision,
    }
}

/// The waiver for TLS 1.2, where there is one.
pub(in crate::admin) fn waiver(config: &ServerConfig, now: Timestamp) -> Option<Tls12Waiver> {
    let UpstreamConfig::Http(http) = &config.upstream else { return None };
    let (until, ends) = (http.tls12_until.clone()?, http.tls12_ends()?);
    Some(Tls12Waiver { until, reason: http.tls12_reason.clone().unwrap_or_default(), ended: ends <= now })
}

fn describe(admin: &Admin, entry: &ServerEntry, alike: &[Alike]) -> Server {
    let told = admin.feed.server(&entry.name);
    let approved = entry.secrets.approved;
    let unknown = if approved { "idle" } else { "unapproved" };
    let (kind, pins, dirs) = match &entry.config.upstream {
        UpstreamConfig::Http(upstream) => ("http", upstream.pins.clone(), Vec::new()),
        UpstreamConfig::Stdio(upstream) => ("stdio", Vec::new(), upstream.dirs.clone()),
    };
    Server {
        name: entry.name.to_string(),
        kind: kind.to_owned(),
        target: target(&entry.config),
        state: told.as_ref().map_or(unknown, |state| state.state).to_owned(),
        detail: told.as_ref().map(|state| state.detail.clone()).unwrap_or_default(),
        sandbox: told.map(|state| state.sandbox).unwrap_or_default(),
        approved,
        breaker: admin.feed.breaker(&entry.name).unwrap_or(Breaker::Closed).word().to_owned(),
        tls12: waiver(&entry.config, admin.clock.now()),
        client_certificate_until: entry.secrets.client.as_ref().and_then(|pem| ends_at(pem.reveal())),
        missing: entry.secrets.missing(&entry.config).unwrap_or_default(),
        pins,
        headers: host::names(&entry.secrets.headers),
        env: host::names(&entry.secrets.env),
        dirs,
        tools: intake::list(&entry.config.tools),
        notices: notices(alike, &entry.name),
    }
}

/// What the operator is told about names that may be taken for others.
fn notices(alike: &[Alike], server: &str) -> Vec<String> {
    alike.iter().filter(|pair| pair.concerns(server)).map(Alike::sentence).collect()
}
