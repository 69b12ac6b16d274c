//! Fits one server of a rebuilt deployment into the sandbox: its paths moved, its credentials exchanged for ones of the drill, a stand-in where it is
//! remote. Never lets a value that may count elsewhere reach a server that could use it.

use std::path::Path;

use serde_json::Value;

use super::adapt::Places;
use super::order::{Network, REBUILT, SUBSTITUTED};
use crate::admin::servers::{self, intake};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::Entropy;
use crate::config::repo::Files;
use crate::config::server::StdioUpstream;
use crate::config::{Desired, ServerConfig, UpstreamConfig};
use crate::crypto::archive::hex;
use crate::crypto::files::{self, Readers};
use crate::crypto::seal::InstanceKey;
use crate::db::Db;
use crate::demo;

/// What servers are fitted by.
pub(super) struct Fitting<'a> {
    pub(super) places: &'a Places<'a>,
    pub(super) network: Network,
    pub(super) desired: &'a Desired,
    pub(super) files: &'a Files,
    pub(super) db: &'a Db,
    pub(super) sealer: &'a InstanceKey,
    pub(super) now: Timestamp,
    pub(super) entropy: &'a dyn Entropy,
}

/// A server as it starts in the sandbox.
pub(super) struct Fitted {
    pub(super) config: ServerConfig,
    pub(super) state: &'static str,
    pub(super) detail: String,
    /// Variables whose values the drill made.
    pub(super) replaced: Vec<String>,
}

impl Fitting<'_> {
    /// Fits one server; why it is left out otherwise.
    ///
    /// # Errors
    /// When what is kept for it cannot be read or written.
    pub(super) async fn server(&self, name: &str, server: &ServerConfig) -> Verb<Result<Fitted, String>> {
        let config = match &server.upstream {
            UpstreamConfig::Http(_) => return self.stand_in(name, server).await.map(Ok),
            UpstreamConfig::Stdio(stdio) => self.moved(server, stdio),
        };
        match config {
            Ok(config) => self.exchanged(name, config).await,
            Err(why) => Ok(Err(why)),
        }
    }

    /// What is kept sealed for it: paths are moved, and whatever is no path may be a credential of another system.
    async fn exchanged(&self, name: &str, config: ServerConfig) -> Verb<Result<Fitted, String>> {
        let mut replaced = Vec::new();
        let other = |variable: &str, value: &str| {
            let place = relocate(self.places, self.desired, value);
            match self.network {
                _ if place != value => Some(place),
                // Nobody is there to take it, so the server may run; it never sees the real one all the same.
                Network::Own => {
                    replaced.push(variable.to_owned());
                    Some(made(self.entropy))
                }
                Network::Host => None,
            }
        };
        if let Some(variable) = servers::exchange_kept(self.db, (self.sealer, self.entropy, self.now), name, other).await? {
            return Ok(Err(format!(
                "it holds {variable}, which may be a credential of another system: a drill must not act there"
            )));
        }
        Ok(Ok(Fitted { config, state: REBUILT, detail: String::new(), replaced }))
    }

    /// The built-in server in place of a remote one, with the definitions that were taken in.
    async fn stand_in(&self, name: &str, server: &ServerConfig) -> Verb<Fitted> {
        let taken = server.tools.keys().filter_map(|tool| self.files.get(&intake::definition_path(name, tool)));
        let definitions: Vec<Value> = taken.filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect();
        let text = serde_json::to_vec(&definitions).map_err(|e| Fault::bug("definitions cannot be written").because(e))?;
        let vault = self.places.data.vault(name);
        let cannot = |e| Fault::unavailable(format!("cannot make {}", vault.display())).because(e);
        std::fs::create_dir_all(&vault).map_err(cannot)?;
        files::write(&vault.join(demo::STAND_IN_FILE), &text, Readers::Owner)?;
        // Its headers and certificate are for the real one.
        servers::forget_kept(self.db, name).await?;
        let upstream = StdioUpstream { command: vec![demo::STAND_IN_PROGRAM.to_owned()], ..StdioUpstream::default() };
        let config = ServerConfig { upstream: UpstreamConfig::Stdio(upstream), ..server.clone() };
        let detail = "a remote server: a stand-in is to answer with its approved definitions".to_owned();
        Ok(Fitted { config, state: SUBSTITUTED, detail, replaced: Vec::new() })
    }

    fn moved(&self, server: &ServerConfig, stdio: &StdioUpstream) -> Result<ServerConfig, String> {
        let places = self.places;
        let moved = |text: &String| relocate(places, self.desired, text);
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
        // A path in the middle of a text, as in `--file=/var/lib/notes` or `sqlite:////var/lib/notes/db`, still leads to what is in use.
        let (data, outside) = (places.data.root().display().to_string(), places.outside.display().to_string());
        let left = |text: &String| text.replace(&data, "").replace(&outside, "");
        let texts: Vec<String> = fitted.command.iter().chain(fitted.env.values()).map(left).collect();
        let root = places.root.display().to_string();
        let used = self.desired.vaults.values().filter_map(|vault| vault.path.as_ref()).chain([&root]);
        if let Some(place) = used.into_iter().find(|place| texts.iter().any(|text| text.contains(place.as_str()))) {
            return Err(format!("its command line or environment names {place} in a way that cannot be moved"));
        }
        Ok(ServerConfig { upstream: UpstreamConfig::Stdio(fitted), ..server.clone() })
    }
}

/// A value that counts nowhere.
fn made(entropy: &dyn Entropy) -> String {
    let mut bytes = [0u8; 16];
    entropy.fill(&mut bytes);
    format!("drill-{}", hex(&bytes))
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
