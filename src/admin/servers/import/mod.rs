//! `server import`: takes servers out of a client's own file (Claude, VS Code, Cursor and others). Says first what it will do; does it only
//! when told to. Variables and headers are sealed on this host; none of their values is ever shown, logged or committed.

mod jsonc;
mod judge;
mod model;
mod plan;
mod reach;
mod read;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeSet;

pub use model::{ImportOrder, Imported, Planned};
pub use read::{LARGEST, prune};

use super::super::actor::Right;
use super::super::{Actor, Admin, tree};
use crate::base::fault::{Fault, Verb};
use crate::base::ids::check_name;
use crate::config::{Desired, ServerConfig};
use plan::Draft;
use reach::Host;
use values::Values;

/// Plans an import, and does it when the order says so: one server after the other, each as `server add` would. What fails is named and
/// leaves nothing behind; the others are taken in.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Invalid` for a text without servers, and for a name in `only` that the text does not have.
pub async fn import(admin: &Admin, actor: &Actor, order: &ImportOrder) -> Verb<Imported> {
    actor.need(Right::Administer, "server.import")?;
    let mut drafts = drafts(admin, order).await?;
    if order.apply {
        actor.need_fresh_login(admin.clock.now())?;
        for draft in drafts.iter_mut().filter(|draft| draft.shown.state == "ready") {
            take(admin, actor, draft).await;
        }
    }
    let wanted = |draft: &&Draft| draft.shown.state != "left" && draft.shown.state != "off";
    let ok = drafts.iter().filter(wanted).all(|draft| draft.shown.problems.is_empty());
    let next = next(admin, order, &drafts);
    Ok(Imported { applied: order.apply, ok, servers: drafts.into_iter().map(|draft| draft.shown).collect(), next })
}

async fn drafts(admin: &Admin, order: &ImportOrder) -> Verb<Vec<Draft>> {
    let found = read::read("file", &order.text)?;
    let values = Values::read(order.values.as_deref().unwrap_or_default())?;
    let desired = tree::desired(admin).await?;
    let host = Host { data: admin.data.root() };
    let mut given = BTreeSet::new();
    let mut drafts = Vec::new();
    for one in &found {
        let name = free_name(&one.from, &mut given);
        drafts.push(plan::plan(one, &name, &values, &host));
    }
    for name in &order.only {
        if !drafts.iter().any(|draft| is_named(draft, name)) {
            return Err(Fault::invalid("only", format!("the file has no server {name}")));
        }
    }
    for draft in &mut drafts {
        decide(draft, &desired, &order.only);
    }
    Ok(drafts)
}

fn is_named(draft: &Draft, name: &str) -> bool {
    draft.shown.from == name || draft.shown.name == name
}

// What the tree and the order say about a planned server.
fn decide(draft: &mut Draft, desired: &Desired, only: &[String]) {
    let asked = only.iter().any(|name| is_named(draft, name));
    let shown = &mut draft.shown;
    if !only.is_empty() && !asked {
        shown.state = "left".to_owned();
        return;
    }
    if asked && shown.state == "off" {
        shown.state = "ready".to_owned();
    }
    if desired.servers.contains_key(&shown.name) {
        shown.problems.push(format!(
            "a server {0} exists already; lifeboat server remove {0}, or give it another name in the file",
            shown.name
        ));
    }
    if let Some(config) = &draft.config
        && let Some(fault) = wrong(&shown.name, config)
    {
        shown.problems.push(fault);
    }
    if !shown.problems.is_empty() {
        shown.state = "blocked".to_owned();
    }
}

/// What the configuration itself would say against a server.
fn wrong(name: &str, config: &ServerConfig) -> Option<String> {
    let text = config.to_toml().ok()?;
    let files = [(ServerConfig::path(name), text.into_bytes())].into_iter().collect();
    let faults = Desired::read(&files).err()?;
    Some(faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("; "))
}

async fn take(admin: &Admin, actor: &Actor, draft: &mut Draft) {
    let Some(config) = draft.config.take() else { return };
    let kept = std::mem::take(&mut draft.kept);
    match super::add_whole(admin, actor, &draft.shown.name, config, kept).await {
        Ok(added) => {
            draft.shown.state = "added".to_owned();
            draft.shown.tools = added.tools.into_iter().map(|tool| tool.name).collect();
        }
        Err(fault) => {
            draft.shown.state = "failed".to_owned();
            draft.shown.problems.push(fault.to_string());
        }
    }
}

/// A name made of what names are made of, and not given to another server of the same file.
fn free_name(from: &str, given: &mut BTreeSet<String>) -> String {
    let base = name_of(from);
    let mut name = base.clone();
    let mut count = 1;
    while !given.insert(name.clone()) {
        count += 1;
        name = format!("{}-{count}", base.chars().take(60).collect::<String>());
    }
    name
}

fn name_of(from: &str) -> String {
    let mut name = String::new();
    for c in from.chars().flat_map(char::to_lowercase) {
        let c = if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_') { c } else { '-' };
        // Two of a kind say no more than one, and two dots are no name.
        if !(matches!(c, '-' | '.') && name.ends_with(['-', '.'])) {
            name.push(c);
        }
    }
    let name: String = name.trim_matches(['-', '.', '_']).chars().take(64).collect();
    let name = name.trim_end_matches(['-', '.', '_']).to_owned();
    if check_name(&name).is_ok() { name } else { "server".to_owned() }
}

fn next(admin: &Admin, order: &ImportOrder, drafts: &[Draft]) -> Vec<String> {
    let named = |state: &str| {
        drafts.iter().filter(|draft| draft.shown.state == state).map(|draft| draft.shown.name.clone()).collect::<Vec<_>>()
    };
    if !order.apply {
        let ready = named("ready");
        return match ready.is_empty() {
            true => vec!["nothing can be taken in as the file stands".to_owned()],
            false => {
                let runs = drafts.iter().any(|draft| draft.shown.state == "ready" && draft.shown.kind == "stdio");
                let approves = if runs { " and approves the command lines above on this host" } else { "" };
                vec![format!("nothing is changed yet; --yes takes in {}{approves}", ready.join(", "))]
            }
        };
    }
    let added = named("added");
    let Some(first) = added.first() else { return Vec::new() };
    let host = admin.feed.snapshot().settings.listen.hosts.first().cloned().unwrap_or_default();
    let url = format!("{}/mcp/{first}", super::super::clients::proxy_address(admin, &host));
    let tools: Vec<String> = added.iter().map(|name| format!("\"{name}/*\"")).collect();
    vec![
        format!(
            "a role that reaches them: printf '[[grant]]\\ntools = [{}]\\nclasses = [\"read\"]\\n' | lifeboat role set ROLE",
            tools.join(", ")
        ),
        "a client with that role, its key shown once: lifeboat client add CLIENT --role ROLE".to_owned(),
        format!(
            "in the client's file, in place of what stood there: url {url}, header Authorization: Bearer KEY, CA {}",
            admin.data.ca_pem().display()
        ),
        "take the old entries out of the client's file: while they stand there, the client goes around Lifeboat".to_owned(),
    ]
}
