//! The immutable in-memory form of the policy that the proxy decides from. Built whole from the desired state and the
//! credentials; never changed afterwards, replaced instead.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

use super::tokens::{AssertionKey, Tokens, assertion_keys};
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;
use crate::config::definitions::{Definition, Definitions, MirroredArgument};
use crate::config::{Class, ConfigFault, Desired, ServerConfig, Settings, UpstreamConfig};

/// `COMMIT+EPOCH`: the commit id of the configuration and the credential epoch.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Revision {
    /// Full commit id in hex.
    pub commit: String,
    /// Rises with each change of a credential.
    pub epoch: u64,
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.commit, self.epoch)
    }
}

/// A client key that may be shown now. Revoked keys are not in a snapshot.
#[derive(Clone, Debug)]
pub struct KeyEntry {
    /// The public part of the key.
    pub kid: Arc<str>,
    /// Whose it is.
    pub client: Arc<str>,
    /// SHA-256 of the whole key text.
    pub hash: [u8; 32],
    /// When it stops counting; `None` means never.
    pub expires_at: Option<Timestamp>,
}

/// What this host adds to a server that git must not hold.
#[derive(Clone, Debug, Default)]
pub struct ServerSecrets {
    /// Whether the command line was approved on this host (always true for HTTP servers).
    pub approved: bool,
    /// Headers to send, by lower-case name.
    pub headers: Vec<(String, Secret<String>)>,
    /// Variables for the child.
    pub env: Vec<(String, Secret<String>)>,
    /// Client certificate chain and private key, PEM, for a server that asks for them.
    pub client: Option<Secret<String>>,
}

impl ServerSecrets {
    /// What the configuration says is due and this host does not keep, in a sentence.
    pub fn missing(&self, config: &ServerConfig) -> Option<String> {
        let lacks = |kept: &[(String, Secret<String>)], due: &[String]| -> Vec<String> {
            due.iter().filter(|name| !kept.iter().any(|(kept, _)| kept == *name)).cloned().collect()
        };
        let (kind, names) = match &config.upstream {
            UpstreamConfig::Http(http) if http.client_certificate && self.client.is_none() => {
                return Some("a client certificate is due and this host keeps none".to_owned());
            }
            UpstreamConfig::Http(http) => ("header", lacks(&self.headers, &http.secret_headers)),
            UpstreamConfig::Stdio(stdio) => ("variable", lacks(&self.env, &stdio.secret_env)),
        };
        let many = if names.len() > 1 { "s are" } else { " is" };
        (!names.is_empty()).then(|| format!("the {kind}{many} due and this host keeps no value: {}", names.join(", ")))
    }
}

/// One server as the proxy sees it.
#[derive(Debug)]
pub struct ServerEntry {
    /// Its name.
    pub name: Arc<str>,
    /// As configured.
    pub config: ServerConfig,
    /// As kept on this host.
    pub secrets: ServerSecrets,
}

/// One grant, its globs compiled.
#[derive(Clone, Debug)]
pub struct GrantEntry {
    /// `ROLE#N`, N from 1: what the ledger calls it.
    pub name: Arc<str>,
    patterns: Vec<GlobMatcher>,
    classes: Vec<Class>,
}

impl GrantEntry {
    /// Whether a full tool name is meant.
    pub fn names(&self, full_name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_match(full_name))
    }

    /// Whether a class is reached.
    pub fn reaches(&self, class: Class) -> bool {
        self.classes.contains(&class)
    }
}

/// One client with everything its roles give it.
#[derive(Debug)]
pub struct ClientEntry {
    /// Its name.
    pub name: Arc<str>,
    /// Grants of all its roles, in order.
    pub grants: Vec<GrantEntry>,
    /// Calls per second; 0 means no limit.
    pub rate: u32,
    /// Calls at once before `rate` counts.
    pub burst: u32,
    /// Calls in flight at once; 0 means no limit.
    pub concurrency: u32,
    /// Whether it may ask for the successor of its key itself.
    pub self_rotation: bool,
}

/// The policy of one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Which one it is.
    pub revision: Revision,
    /// `lifeboat.toml`.
    pub settings: Arc<Settings>,
    /// By name.
    pub servers: BTreeMap<String, Arc<ServerEntry>>,
    /// By name.
    pub clients: HashMap<Arc<str>, Arc<ClientEntry>>,
    /// By kid.
    pub keys: HashMap<Arc<str>, KeyEntry>,
    /// Public keys that clients sign assertions with, by client.
    pub assertions: HashMap<Arc<str>, Vec<AssertionKey>>,
    /// What tokens are given and checked with.
    pub tokens: Arc<Tokens>,
    /// What the definitions of tools ask of calls.
    pub definitions: Arc<Definitions>,
}

impl Snapshot {
    /// The arguments that a call of this tool must repeat in `Mcp-Param-…`.
    pub fn mirrored(&self, server: &str, tool: &str) -> &[MirroredArgument] {
        self.definition(server, tool).map_or(&[], |definition| definition.mirrored.as_slice())
    }

    /// What calls of this tool are asked; `None` where no definition was taken in.
    pub fn definition(&self, server: &str, tool: &str) -> Option<&Definition> {
        self.definitions.get(server)?.get(tool)
    }

    /// Builds a snapshot. What this host keeps about servers comes by name; a server without an entry is not approved. It has no `tokens` yet.
    ///
    /// # Errors
    /// Every fault of the configuration that reading single files cannot see: a role that does not exist, a glob that is none.
    pub fn build(
        revision: Revision,
        desired: &Desired,
        keys: Vec<KeyEntry>,
        mut secrets: HashMap<String, ServerSecrets>,
    ) -> Result<Self, Vec<ConfigFault>> {
        let mut faults = Vec::new();
        let mut clients = HashMap::new();
        for (name, client) in &desired.clients {
            let grants = grants_of(desired, name, &client.roles, &mut faults);
            let limits = &desired.settings.limits;
            let rate = client.rate.unwrap_or(limits.rate);
            let burst = client.burst.unwrap_or(if client.rate.is_some() { rate.saturating_mul(2) } else { limits.burst });
            let name: Arc<str> = name.as_str().into();
            let concurrency = client.concurrency.unwrap_or(limits.concurrency);
            let entry = ClientEntry {
                name: name.clone(),
                grants,
                rate,
                burst: burst.max(1),
                concurrency,
                self_rotation: client.self_rotation,
            };
            clients.insert(name, Arc::new(entry));
        }
        let assertions = assertion_keys(desired, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let servers = desired
            .servers
            .iter()
            .map(|(name, config)| {
                let secrets = secrets.remove(name).unwrap_or_default();
                (name.clone(), Arc::new(ServerEntry { name: name.as_str().into(), config: config.clone(), secrets }))
            })
            .collect();
        let keys = keys.into_iter().map(|key| (key.kid.clone(), key)).collect();
        let definitions = Arc::new(desired.definitions.clone());
        let (settings, tokens) = (Arc::new(desired.settings.clone()), Arc::default());
        Ok(Self { revision, settings, servers, clients, keys, assertions, tokens, definitions })
    }
}

fn grants_of(desired: &Desired, client: &str, roles: &[String], faults: &mut Vec<ConfigFault>) -> Vec<GrantEntry> {
    let mut grants = Vec::new();
    for role in roles {
        let Some(config) = desired.roles.get(role) else {
            let message = format!("role \"{role}\" does not exist; roles are the files in roles/");
            faults.push(ConfigFault { file: format!("clients/{client}.toml"), line: 0, message });
            continue;
        };
        for (index, grant) in config.grants.iter().enumerate() {
            let name: Arc<str> = format!("{role}#{}", index + 1).into();
            match compile(&grant.tools) {
                Ok(patterns) => grants.push(GrantEntry { name, patterns, classes: grant.classes.clone() }),
                Err(message) => faults.push(ConfigFault { file: format!("roles/{role}.toml"), line: 0, message }),
            }
        }
    }
    grants
}

/// Compiles the globs of a grant; `*` and `?` do not cross the slash between server and tool.
///
/// # Errors
/// A sentence that names the glob.
pub fn compile(globs: &[String]) -> Result<Vec<GlobMatcher>, String> {
    globs
        .iter()
        .map(|glob| {
            GlobBuilder::new(glob)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map(|built| built.compile_matcher())
                .map_err(|fault| format!("\"{glob}\" is no tool pattern: {}", fault.kind()))
        })
        .collect()
}
