//! `servers/NAME.toml`: one MCP server behind the proxy. Never holds a secret: headers and environments live sealed, outside git.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a tool may do to the world (docs/GLOSSARY.md). Orders from harmless to dangerous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Changes nothing.
    Read,
    /// Changes something.
    Write,
    /// Changes something that cannot be undone.
    Destructive,
}

impl Class {
    /// The word in configuration, ledger and pages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        }
    }
}

/// How a server is reached: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum UpstreamConfig {
    /// Streamable HTTP at `url`.
    Http(HttpUpstream),
    /// A child process that speaks JSON-RPC lines on stdin and stdout.
    Stdio(StdioUpstream),
}

/// A streamable HTTP server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpUpstream {
    /// `https://…`, or `http://` on loopback with `plain_loopback`.
    pub url: String,
    /// SPKI pins, `sha256/BASE64`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<String>,
    /// Allows `http://` on a loopback address.
    #[serde(default)]
    pub plain_loopback: bool,
    /// Private address ranges (CIDR) that the host name may resolve to. Loopback with `plain_loopback` needs none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// A CA certificate in PEM that signs the server, instead of the system's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Lets the server be reached by TLS 1.2 through the end of this day (UTC), `2026-12-31`. Needs `tls12_reason`; afterwards it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls12_until: Option<String>,
    /// Why TLS 1.2 is borne with until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls12_reason: Option<String>,
    /// The server asks for a client certificate. It and its key are kept sealed on each host (`server secrets`); without them the server
    /// cannot be used.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client_certificate: bool,
    /// Names of headers that each host must keep a value for (`server secrets`); without one of them the server cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_headers: Vec<String>,
}

/// How many children a stdio server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstancesPer {
    /// One for all clients.
    #[default]
    Shared,
    /// One for each legacy session, for servers that ask their client for input, and one for what has no session.
    PerSession,
}

/// A stdio server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdioUpstream {
    /// Program and arguments; no shell reads them. `@demo` as the program means the built-in demo server.
    pub command: Vec<String>,
    /// `shared` (default) or `per-session`.
    #[serde(default, skip_serializing_if = "is_shared")]
    pub instances: InstancesPer,
    /// Children of sessions at once; default 16. Over that, an idle one makes room.
    #[serde(default = "max_instances", skip_serializing_if = "is_max_instances")]
    pub max_instances: u32,
    /// Seconds without use until the child of a session ends, and the session with it; default 600.
    #[serde(default = "idle_seconds", skip_serializing_if = "is_idle_seconds")]
    pub idle_seconds: u64,
    /// Variables of the child's environment that are no secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Names of variables that each host must keep a value for (`server secrets`); without one of them the server is not started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
    /// Directories the child may use besides its own vault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<String>,
}

impl Default for StdioUpstream {
    fn default() -> Self {
        Self {
            secret_env: Vec::new(),
            command: Vec::new(),
            instances: InstancesPer::Shared,
            max_instances: max_instances(),
            idle_seconds: idle_seconds(),
            env: BTreeMap::new(),
            dirs: Vec::new(),
        }
    }
}

fn max_instances() -> u32 {
    16
}

fn idle_seconds() -> u64 {
    600
}

fn is_shared(instances: &InstancesPer) -> bool {
    *instances == InstancesPer::Shared
}

fn is_max_instances(most: &u32) -> bool {
    *most == max_instances()
}

fn is_idle_seconds(seconds: &u64) -> bool {
    *seconds == idle_seconds()
}

/// One tool, as it was when an operator took it in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolConfig {
    /// Decides which grants reach it; copied from the annotations at `server add`, changed only by an operator.
    pub class: Class,
}

/// The whole of `servers/NAME.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// How it is reached.
    pub upstream: UpstreamConfig,
    /// A recovery drill does not pass without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub critical: bool,
    /// Its tools by name. A tool that is not here is unknown to every client.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ToolConfig>,
}
