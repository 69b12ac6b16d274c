//! Servers in words, exactly as commands and API print them. Never shows a header's or variable's value that this host keeps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::config::Class;

/// A server to add: `url` or `stdio`.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AddServer {
    /// Its name.
    pub name: String,
    /// Where a streamable HTTP server answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// SPKI pins, `sha256/BASE64`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<String>,
    /// Allows `http://` on loopback.
    pub plain_loopback: bool,
    /// Private address ranges that the host name may resolve to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// A CA certificate in PEM: the text of `--ca FILE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Headers to send, one `Name: value` a line: the text of `--header-file FILE`. Kept sealed on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
    /// The command line of a stdio server; quotes group, no shell reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdio: Option<String>,
    /// Variables for the child, one `NAME=value` a line: the text of `--env-file FILE`. Kept sealed on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The last day TLS 1.2 is borne with, `2026-12-31`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls12_until: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls12_reason: Option<String>,
    /// Client certificate chain and private key in PEM: the texts of `--client-cert` and `--client-key`. Kept sealed on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Directories the child may use besides its own vault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<String>,
    /// `shared`, the default, or `per-session`: a stdio server gets a child for each legacy session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<String>,
}

/// What this host is to keep for a server, sealed. What is absent stays as it is; an empty text means none any more.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerKeep {
    /// Headers to send, one `Name: value` a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
    /// Variables for the child, one `NAME=value` a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Client certificate chain and private key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// One tool of a server, as taken in or as seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerTool {
    /// Its name without the server.
    pub name: String,
    /// The class that decides.
    pub class: Class,
}

/// A server was added, or approved again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServerAdded {
    /// Its name.
    pub server: String,
    /// What it calls itself.
    pub server_info: String,
    /// Protocol versions it answered in.
    pub protocol: String,
    /// Every tool with its class.
    pub tools: Vec<ServerTool>,
    /// Tools that were taken in now.
    pub added: Vec<String>,
    /// Tools whose definition was taken in again because it changed.
    pub changed: Vec<String>,
    /// Tools that the server does not have any more.
    pub removed: Vec<String>,
    /// Sentences on tools that may be taken for others.
    pub notices: Vec<String>,
    /// The running revision that holds it.
    pub revision: String,
}

/// One server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// `http` or `stdio`.
    pub kind: String,
    /// Its URL or command line.
    pub target: String,
    /// `starting`, `up`, `down`, `unapproved` or `idle`.
    pub state: String,
    /// Why, when it is not up.
    pub detail: String,
    /// Whether calls are sent: `closed` (they are), `open` (it failed too often in a row; they are refused for a while), `half_open` (one
    /// call tries it).
    pub breaker: String,
    /// How well a child is confined; empty for HTTP.
    pub sandbox: String,
    /// Whether its command line is approved on this host.
    pub approved: bool,
    /// SPKI pins.
    pub pins: Vec<String>,
    /// The waiver for TLS 1.2, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls12: Option<Tls12Waiver>,
    /// When the client certificate that this host shows ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_until: Option<Timestamp>,
    /// What the configuration says is due and this host does not keep; empty when nothing is missing.
    pub missing: String,
    /// Names of the headers that this host adds.
    pub headers: Vec<String>,
    /// Names of the variables that this host adds.
    pub env: Vec<String>,
    /// Directories a child may use.
    pub dirs: Vec<String>,
    /// Its tools.
    pub tools: Vec<ServerTool>,
    /// Sentences on tools that may be taken for others.
    pub notices: Vec<String>,
}

/// Leave to reach a server by TLS 1.2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tls12Waiver {
    /// Its last day, UTC.
    pub until: String,
    /// Why it was given.
    pub reason: String,
    /// Whether it is over: the server is refused unless it speaks TLS 1.3.
    pub ended: bool,
}

/// Every server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServerList {
    /// By name.
    pub servers: Vec<Server>,
}

/// What a look at a server showed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServerProbed {
    /// Its name.
    pub server: String,
    /// What it calls itself.
    pub server_info: String,
    /// Protocol versions it answered in.
    pub protocol: String,
    /// How long the look took.
    pub ms: u64,
    /// Its tools.
    pub tools: Vec<ToolProbed>,
    /// Tools that were taken in and that it does not have any more.
    pub removed: Vec<String>,
    /// Sentences on tools that may be taken for others.
    pub notices: Vec<String>,
}

/// One tool as a look showed it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolProbed {
    /// Its name.
    pub name: String,
    /// The class its annotations ask for.
    pub class: Class,
    /// `same`, `changed` or `new`.
    pub state: String,
}

/// A server was removed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServerRemoved {
    /// Its name.
    pub server: String,
    /// The running revision without it.
    pub revision: String,
}
