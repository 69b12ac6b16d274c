//! Fits a rebuilt deployment into its sandbox before it starts: no listener of production, no remote server, no directory outside. What cannot be
//! fitted is left out and named. Never changes anything but the sandbox.

use std::path::Path;

use super::order::Fate;
use crate::admin::{servers, vaults};
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::base::ids::Entropy;
use crate::config::alerts;
use crate::config::paths::DataDir;
use crate::config::repo::{Author, Change, Files, Repository};
use crate::config::schedules::{self, Schedules};
use crate::config::server::StdioUpstream;
use crate::config::settings::{ConfigRemote, Listen, Recovery};
use crate::config::{Desired, RoleConfig, ServerConfig, Settings, UpstreamConfig};
use crate::crypto::seal::InstanceKey;
use crate::db::{Db, Migrations};

/// The role that may do everything.
pub const FULL: &str = "lifeboat-drill";
/// The role that may only read.
pub const READ: &str = "lifeboat-drill-read";

const FULL_TOML: &str = "[[grant]]\ntools = [\"**\"]\nclasses = [\"read\", \"write\", \"destructive\"]\n";
const READ_TOML: &str = "[[grant]]\ntools = [\"**\"]\nclasses = [\"read\"]\n";
const NOWHERE: &str = "/nonexistent/lifeboat-drill";

/// Where things stand and stood.
pub struct Places<'a> {
    /// The data directory of the deployment that runs.
    pub root: &'a Path,
    /// The rebuilt one.
    pub data: &'a DataDir,
    /// Vaults from outside of the data directory.
    pub outside: &'a Path,
}

/// Commits what a sandbox needs; gives every server's fate as far as it is decided here.
///
/// # Errors
/// When the configuration cannot be read or written.
pub async fn adapt(places: &Places<'_>, missing: bool, now: Timestamp, entropy: &dyn Entropy) -> Verb<Vec<Fate>> {
    let db = Db::open(&places.data.state_db(), &Migrations::embedded()?).await?;
    let sealer = InstanceKey::ensure(&places.data.instance_key(), entropy)?;
    let repository = Repository::open(&places.data.config())?;
    let head = repository.head()?;
    let desired = super::super::tree::read(&head.files)?;
    let mut changes = vec![
        Change::Put { path: RoleConfig::path(FULL), bytes: FULL_TOML.into() },
        Change::Put { path: RoleConfig::path(READ), bytes: READ_TOML.into() },
        Change::Put { path: schedules::FILE.into(), bytes: paused(&desired.schedules).to_toml()?.into_bytes() },
        // Nobody outside is told of what happens here.
        Change::Remove { path: alerts::FILE.into() },
        Change::Put { path: "lifeboat.toml".into(), bytes: settings(&desired.settings).to_toml()?.into_bytes() },
    ];
    let (mut fates, mut broken) = (Vec::new(), false);
    for (name, server) in &desired.servers {
        let mut fitted = fit(places, &desired, server);
        if fitted.is_ok() {
            // Paths were given as variables that are kept sealed; whatever is no path there may be a credential.
            let moved = |value: &str| Some(relocate(places, &desired, value)).filter(|place| place != value);
            if let Some(variable) = servers::move_kept(&db, (&sealer, entropy, now), name, moved).await? {
                fitted =
                    Err(format!("it holds {variable}, which may be a credential of another system: a drill must not act there"));
            }
        }
        match fitted {
            Ok(mut fitted) => {
                if let (true, UpstreamConfig::Stdio(stdio)) = (missing && !broken, &mut fitted.upstream) {
                    stdio.command = vec![NOWHERE.to_owned()];
                    broken = true;
                }
                fates.push(fate(name, server, "rebuilt", String::new()));
                if fitted != *server {
                    changes.push(Change::Put { path: ServerConfig::path(name), bytes: fitted.to_toml()?.into_bytes() });
                }
            }
            Err(why) => {
                fates.push(fate(name, server, "skipped", why));
                changes.extend(without(name, &head.files));
            }
        }
    }
    let gone: Vec<&str> = fates.iter().filter(|fate| fate.state == "skipped").map(|fate| fate.name.as_str()).collect();
    changes.extend(without_server(&desired, &gone));
    let changes: Vec<Change> = changes.into_iter().filter(|change| differs(&head.files, change)).collect();
    if !changes.is_empty() {
        repository.commit(&head.commit, &changes, &Author { name: "lifeboat drill".into(), at: now }, "Fit into the sandbox")?;
    }
    vaults::forget_approvals(&db).await?;
    db.close().await;
    Ok(fates)
}

fn differs(files: &Files, change: &Change) -> bool {
    match change {
        Change::Put { path, bytes } => files.get(path) != Some(bytes),
        Change::Remove { path } => files.contains_key(path),
    }
}

fn fate(name: &str, server: &ServerConfig, state: &str, detail: String) -> Fate {
    Fate { name: name.to_owned(), state: state.to_owned(), critical: server.critical, detail }
}

/// Nothing is done by itself in a sandbox: a slot that came since the backup would be worked on there.
fn paused(before: &Schedules) -> Schedules {
    let mut schedules = before.clone();
    (schedules.backup.paused, schedules.drill.paused) = (true, true);
    schedules
}

/// Listeners of its own; nothing of the world in front of production.
fn settings(before: &Settings) -> Settings {
    let any = "127.0.0.1:0".to_owned();
    Settings {
        // Nor is anything copied or pushed from there.
        recovery: Recovery { copies: Vec::new(), buckets: Vec::new(), ..before.recovery.clone() },
        config: ConfigRemote::default(),
        public_url: None,
        dashboard_url: None,
        trusted_proxies: Vec::new(),
        tls: crate::config::edge::Tls::default(),
        listen: Listen { admin: any.clone(), proxy: any, hosts: before.listen.hosts.clone(), ..Listen::default() },
        ..before.clone()
    }
}

/// The files of a server that is left out.
fn without(name: &str, files: &Files) -> Vec<Change> {
    let tools = format!("tools/{name}/");
    let own = files.keys().filter(|path| path.starts_with(&tools) || **path == ServerConfig::path(name));
    own.map(|path| Change::Remove { path: path.clone() }).collect()
}

/// A vault must not name a server that is not there.
fn without_server(desired: &Desired, gone: &[&str]) -> Vec<Change> {
    let named = desired.vaults.iter().filter(|(_, vault)| vault.server.as_deref().is_some_and(|server| gone.contains(&server)));
    named.map(|(name, _)| Change::Remove { path: crate::config::VaultConfig::path(name) }).collect()
}

fn fit(places: &Places<'_>, desired: &Desired, server: &ServerConfig) -> Result<ServerConfig, String> {
    let UpstreamConfig::Stdio(stdio) = &server.upstream else {
        return Err("a remote server: a drill calls nothing outside of its sandbox".to_owned());
    };
    let moved = |text: &String| relocate(places, desired, text);
    let fitted = StdioUpstream {
        command: stdio.command.iter().map(moved).collect(),
        env: stdio.env.iter().map(|(name, value)| (name.clone(), moved(value))).collect(),
        dirs: stdio.dirs.iter().map(moved).collect(),
        ..stdio.clone()
    };
    let inside = |dir: &&String| {
        Path::new(dir.as_str()).starts_with(places.data.root()) || Path::new(dir.as_str()).starts_with(places.outside)
    };
    if let Some(dir) = fitted.dirs.iter().find(|dir| !inside(dir)) {
        return Err(format!("it works in {dir}, which is no vault"));
    }
    let root = places.root.display().to_string();
    let still = fitted
        .command
        .iter()
        .chain(fitted.env.values())
        .any(|text| text.replace(&places.data.root().display().to_string(), "").contains(&root));
    if still {
        return Err(format!("its command line or environment names {root} in a way that cannot be moved"));
    }
    Ok(ServerConfig { upstream: UpstreamConfig::Stdio(fitted), ..server.clone() })
}

/// A path of production as it is in the sandbox.
fn relocate(places: &Places<'_>, desired: &Desired, text: &str) -> String {
    let path = Path::new(text);
    if let Ok(rest) = path.strip_prefix(places.root) {
        return joined(places.data.root(), rest);
    }
    for (name, vault) in &desired.vaults {
        let Some(place) = &vault.path else { continue };
        if let Ok(rest) = path.strip_prefix(place) {
            return joined(&places.outside.join(name), rest);
        }
    }
    text.to_owned()
}

fn joined(folder: &Path, rest: &Path) -> String {
    let whole = if rest.as_os_str().is_empty() { folder.to_owned() } else { folder.join(rest) };
    whole.display().to_string()
}
