//! Adding a vault: a path, a command, or a server whose kind is known. Whatever it became stands in the configuration; what git must not hold
//! stays on this host.

use std::path::{Path, PathBuf};

use super::preset::{self, Around, Preset};
use super::{AddVault, Origin, Vault, VaultAdded, all, command};
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::check_name;
use crate::config::paths::DataDir;
use crate::config::{UpstreamConfig, VaultConfig};

/// What an order became.
#[derive(Default)]
struct Chosen {
    config: VaultConfig,
    kept: Vec<(String, String)>,
    notes: Vec<String>,
}

/// Adds a vault to the configuration; a command is approved on this host by it.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Conflict` for a taken name; `Invalid` for a path or command that cannot be one.
pub async fn add(admin: &Admin, actor: &Actor, order: AddVault) -> Verb<VaultAdded> {
    actor.need(Right::Administer, "vault.add")?;
    match &order.command {
        Some(_) => actor.need_person("vault.add of a command", admin.clock.now())?,
        None => actor.need_fresh_login(admin.clock.now())?,
    }
    let name = order.name.clone();
    check_name(&name).map_err(|why| Fault::invalid("name", why))?;
    let chosen = match (&order.command, &order.preset) {
        (Some(_), Some(_)) => return Err(Fault::invalid("preset", "a vault has a path, a command or a preset, one of them")),
        (Some(line), None) => by_command(&order, line)?,
        (None, Some(preset)) => by_preset(admin, &order, preset)?,
        (None, None) if order.path.is_empty() => return Err(Fault::invalid("path", "a vault needs a path, a command or a preset")),
        (None, None) => Chosen { config: by_path(&order, &order.path), ..Chosen::default() },
    };
    if order.command.is_none() && order.env.is_some() {
        return Err(Fault::invalid("env", "only a command has variables"));
    }
    let config = chosen.config;
    if let Some(path) = &config.path {
        outside(&admin.data, path)?;
        if !Path::new(path).exists() {
            return Err(Fault::invalid("path", format!("there is no {path} on this host")));
        }
    }
    let text = config.to_toml()?;
    let message = format!("Add vault {name}");
    let made = tree::edit(admin, actor, &message, |desired, _| {
        if desired.vaults.contains_key(&name) {
            return Err(Fault::conflict(format!("vault {name} exists already")));
        }
        if let Some(path) = &config.path {
            apart(&all(desired, &admin.data), (&name, Path::new(path)))?;
        }
        Ok(vec![tree::write(VaultConfig::path(&name), text.clone())])
    });
    let revision = made.await?.to_string();
    let mut event = Event::action(&actor.name, "vault.add", name.clone());
    event.revision = Some(revision.clone());
    // Whoever made the commit approves: another's command of the same name was refused by it.
    let mut approved = None;
    if !config.command.is_empty() {
        let digest = command::take(admin, actor, (&name, &config), &chosen.kept).await?;
        event.params = Some(command::told(&config, &digest));
        approved = Some(digest);
    }
    admin.record(event).await?;
    let source = if approved.is_some() { "command" } else { "directory" }.to_owned();
    Ok(VaultAdded { vault: name, source, path: config.path, exclude: config.exclude, approved, notes: chosen.notes, revision })
}

fn by_path(order: &AddVault, path: &str) -> VaultConfig {
    let (server, exclude) = (order.server.clone(), order.exclude.clone());
    VaultConfig { path: Some(path.to_owned()), server, exclude, ..VaultConfig::default() }
}

fn by_command(order: &AddVault, line: &str) -> Verb<Chosen> {
    if !order.path.is_empty() {
        return Err(Fault::invalid("command", "a vault has a path or a command, not both"));
    }
    if !order.exclude.is_empty() {
        return Err(Fault::invalid("exclude", "means nothing with a command"));
    }
    let typed = command::read(line, order.env.as_deref())?;
    let program = typed.command.first().map_or("", String::as_str);
    if !Path::new(program).is_file() {
        return Err(Fault::invalid("command", format!("there is no program {program} on this host")));
    }
    let secret_env = command::due_names(&typed.kept);
    let config = VaultConfig { command: typed.command, server: order.server.clone(), secret_env, ..VaultConfig::default() };
    Ok(Chosen { config, kept: typed.kept, notes: Vec::new() })
}

fn by_preset(admin: &Admin, order: &AddVault, word: &str) -> Verb<Chosen> {
    let preset = Preset::from_word(word)?;
    let server = order.server.as_deref().ok_or_else(|| Fault::invalid("server", "a preset needs the server whose memory it is"))?;
    let snapshot = admin.feed.snapshot();
    let entry = snapshot.servers.get(server).ok_or_else(|| Fault::not_found(format!("there is no server {server}")))?;
    let own = std::path::absolute(admin.data.vault(server)).map_err(|e| Fault::bug("the data directory is no path").because(e))?;
    let stdio = match &entry.config.upstream {
        UpstreamConfig::Stdio(stdio) => Some(stdio),
        UpstreamConfig::Http(_) => None,
    };
    // A path among the variables that are kept is no secret; it is asked for by its name, and no other value is looked at.
    let variable = |name: &str| {
        let plain = stdio.and_then(|stdio| stdio.env.get(name).cloned());
        let kept = || entry.secrets.env.iter().find(|(kept, _)| kept == name).map(|(_, value)| value.reveal().clone());
        plain.or_else(kept).filter(|value| !value.is_empty())
    };
    let around = Around {
        vault: &order.name,
        server,
        own: &own,
        command: stdio.map(|stdio| stdio.command.as_slice()),
        dirs: stdio.map(|stdio| stdio.dirs.as_slice()).unwrap_or_default(),
        variable: &variable,
        exists: &|path| path.exists(),
        given: Some(order.path.as_str()).filter(|path| !path.is_empty()).map(Path::new),
    };
    let found = preset::find(preset, &around)?;
    let mut config = by_path(order, &found.path.display().to_string());
    config.exclude = found.exclude.into_iter().chain(order.exclude.iter().cloned()).collect();
    config.exclude.sort();
    config.exclude.dedup();
    Ok(Chosen { config, kept: Vec::new(), notes: found.notes })
}

/// Of two vaults, one in the other, a rebuild could not bring both back to their places.
fn apart(vaults: &[Vault], (name, path): (&str, &Path)) -> Verb<()> {
    for vault in vaults.iter().filter(|vault| vault.name != name) {
        let Origin::Directory(other) = &vault.origin else { continue };
        let other = std::path::absolute(other).unwrap_or_else(|_| other.clone());
        if path.starts_with(&other) {
            let message = format!("is in the vault {} already, which is {}", vault.name, other.display());
            return Err(Fault::invalid("path", message));
        }
        if other.starts_with(path) {
            return Err(Fault::invalid("path", format!("holds {}, which is the vault {}", other.display(), vault.name)));
        }
    }
    Ok(())
}

/// Lifeboat's own files are the vault `lifeboat`; another vault must not reach them, nor the archives.
fn outside(data: &DataDir, path: &str) -> Verb<()> {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (path, root, vaults): (PathBuf, PathBuf, PathBuf) = (real(path.as_ref()), real(data.root()), real(&data.vaults()));
    let inside = path.starts_with(&root) && !(path.starts_with(&vaults) && path != vaults);
    if inside || root.starts_with(&path) {
        return Err(Fault::invalid("path", "holds Lifeboat's own files: they are the vault lifeboat already"));
    }
    Ok(())
}
