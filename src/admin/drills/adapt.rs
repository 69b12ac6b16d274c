//! Fits a rebuilt deployment into its sandbox before it starts: no listener of production, a stand-in for each remote server, no directory outside.
//! What cannot be fitted is left out and named. Never changes anything but the sandbox.

use std::path::Path;

use super::fit::{Fitted, Fitting};
use super::order::{Fate, Network, REBUILT, SKIPPED};
use crate::admin::vaults;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::base::ids::Entropy;
use crate::config::alerts;
use crate::config::paths::DataDir;
use crate::config::repo::{Author, Change, Files, Repository};
use crate::config::schedules::{self, Schedules};
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
/// A program that is nowhere.
pub(super) const NOWHERE: &str = "/nonexistent/lifeboat-drill";

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
pub async fn adapt(
    places: &Places<'_>,
    network: Network,
    missing: bool,
    (now, entropy): (Timestamp, &dyn Entropy),
) -> Verb<Vec<Fate>> {
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
    let fitting = Fitting { places, network, desired: &desired, files: &head.files, db: &db, sealer: &sealer, now, entropy };
    let (mut fates, mut broken) = (Vec::new(), false);
    for (name, server) in &desired.servers {
        let critical = server.critical;
        match fitting.server(name, server).await? {
            Ok(Fitted { mut config, state, detail, replaced }) => {
                if let (true, REBUILT, UpstreamConfig::Stdio(stdio)) = (missing && !broken, state, &mut config.upstream) {
                    stdio.command = vec![NOWHERE.to_owned()];
                    broken = true;
                }
                fates.push(Fate { name: name.clone(), state: state.to_owned(), critical, detail, replaced });
                if config != *server {
                    changes.push(Change::Put { path: ServerConfig::path(name), bytes: config.to_toml()?.into_bytes() });
                }
            }
            Err(why) => {
                fates.push(Fate { name: name.clone(), state: SKIPPED.to_owned(), critical, detail: why, replaced: Vec::new() });
                changes.extend(without(name, &head.files));
            }
        }
    }
    let gone: Vec<&str> = fates.iter().filter(|fate| !fate.stands()).map(|fate| fate.name.as_str()).collect();
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

/// Nothing is done by itself in a sandbox: a slot that came since the backup would be worked on there.
fn paused(before: &Schedules) -> Schedules {
    let mut schedules = before.clone();
    for schedule in [&mut schedules.backup, &mut schedules.drill, &mut schedules.verify, &mut schedules.rotate] {
        schedule.paused = true;
    }
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
