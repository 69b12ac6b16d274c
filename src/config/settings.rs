//! `lifeboat.toml`: listeners, host names, the edge, limits, the ledger's keeping. Never names a server, client or role.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bucket::BucketConfig;
use super::edge::{BrowserOrigin, Plain, ProxyProtocols, PublicUrl, Tls, TrustedProxy};
use super::issuer::IssuerConfig;
use crate::base::size::ByteSize;

/// The whole of `lifeboat.toml`. Every key has a default, so an empty file is valid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How clients reach the proxy, when not by the name and port it listens on: `https://HOST[:PORT]`. Discovery documents and links
    /// use it byte for byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<PublicUrl>,
    /// The same for the dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard_url: Option<PublicUrl>,
    /// Pages whose scripts may use the proxy from a browser, by their origin. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<BrowserOrigin>,
    /// Balancers that are believed when they name their client: `ADDRESS/BITS`, or `unix:` for the unix sockets. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Where Lifeboat listens.
    pub listen: Listen,
    /// A certificate of one's own.
    #[serde(skip_serializing_if = "is_default")]
    pub tls: Tls,
    /// Default limits per client, and sizes.
    pub limits: Limits,
    /// Legacy sessions at the proxy.
    pub sessions: Sessions,
    /// Time limits towards servers.
    pub upstream: Upstream,
    /// How the ledger is kept.
    pub audit: Audit,
    /// How operators sign in.
    #[serde(skip_serializing_if = "is_default")]
    pub operators: OperatorSettings,
    /// What a recovery is promised to take.
    pub recovery: Recovery,
    /// Where the configuration's repository is pushed to and pulled from.
    #[serde(skip_serializing_if = "is_default")]
    pub config: ConfigRemote,
    /// Who else may give tokens that count here. Default none.
    #[serde(rename = "issuer", skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<IssuerConfig>,
}

/// A remote of the configuration's repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigRemote {
    /// `https://…`, `ssh://…` or an absolute path. Its credential is the account's own (an ssh key, an agent), never part of the address.
    /// Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
}

/// How operators sign in at the dashboard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OperatorSettings {
    /// Every operator needs a second factor: whoever has none may, once signed in, set one up and stop tools, and nothing else. API keys and
    /// the control socket go on as before. Default false.
    pub require_totp: bool,
}

/// What drills are measured against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Recovery {
    /// Seconds until the deployment serves again. Default 3600.
    pub rto_seconds: u64,
    /// Seconds of data that may be lost: a day between backups, and two hours for a late one. Default 93600.
    pub rpo_seconds: u64,
    /// Which archives of a vault are kept.
    pub keep: Retention,
    /// More directories, best on other disks or mounted from other hosts, that archives, their notes and the deny-list are copied to after
    /// each backup, as absolute paths. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<String>,
    /// The same in S3-compatible buckets. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty", rename = "bucket")]
    pub buckets: Vec<BucketConfig>,
}

impl Default for Recovery {
    fn default() -> Self {
        Self { rto_seconds: 3_600, rpo_seconds: 93_600, keep: Retention::default(), copies: Vec::new(), buckets: Vec::new() }
    }
}

/// Which archives of a vault are kept. An archive that any of these keeps stays; only verified ones count, in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Everything younger than this many hours. Default 48.
    pub within_hours: u32,
    /// The newest of this many days. Default 7.
    pub daily: u32,
    /// The newest of this many weeks. Default 5.
    pub weekly: u32,
    /// The newest of this many months. Default 12.
    pub monthly: u32,
    /// The newest of this many quarters. Default 4.
    pub quarterly: u32,
    /// The newest of this many years. Default 2.
    pub yearly: u32,
    /// This many of the newest, whatever their age; at least one. Default 3.
    pub min_verified: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { within_hours: 48, daily: 7, weekly: 5, monthly: 12, quarterly: 4, yearly: 2, min_verified: 3 }
    }
}

/// Addresses and names of the two listeners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Dashboard, API and metrics. Default `127.0.0.1:8443`.
    pub admin: String,
    /// MCP clients. Default `127.0.0.1:8444`.
    pub proxy: String,
    /// Names and addresses that certificates carry and that Host and Origin may name. Default localhost, 127.0.0.1, ::1.
    pub hosts: Vec<String>,
    /// Answers browsers that come in plain HTTP with the dashboard's address; never `/mcp`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<SocketAddr>,
    /// Milliseconds between `/ready` saying no and the end of accepting, for balancers that look at it. Default 0.
    #[serde(skip_serializing_if = "is_default")]
    pub drain_notice_ms: u64,
    /// Whether connections begin with a PROXY protocol header.
    #[serde(skip_serializing_if = "is_default")]
    pub proxy_protocol: ProxyProtocols,
    /// Listeners without TLS for a balancer on this host.
    #[serde(skip_serializing_if = "is_default")]
    pub plain: Plain,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            admin: "127.0.0.1:8443".into(),
            proxy: "127.0.0.1:8444".into(),
            hosts: vec!["localhost".into(), "127.0.0.1".into(), "::1".into()],
            redirect: None,
            drain_notice_ms: 0,
            proxy_protocol: ProxyProtocols::default(),
            plain: Plain::default(),
        }
    }
}

/// Default limits per client (docs/CONTRACT.md, "Limits").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls per second; 0 means no limit.
    pub rate: u32,
    /// Calls that may come at once before `rate` counts.
    pub burst: u32,
    /// Calls of one client in flight at once; 0 means no limit.
    pub concurrency: u32,
    /// Largest request body.
    pub request: ByteSize,
    /// Largest response that is not a list.
    pub response: ByteSize,
    /// Largest list response.
    pub list: ByteSize,
    /// Largest single SSE event.
    pub event: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rate: 50,
            burst: 100,
            concurrency: 32,
            request: ByteSize::mib(1),
            response: ByteSize::mib(1),
            list: ByteSize::mib(8),
            event: ByteSize::mib(1),
        }
    }
}

/// Legacy MCP sessions (`Mcp-Session-Id`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// Seconds after its last request until a session ends.
    pub ttl_seconds: u64,
    /// Sessions one client may hold; the oldest idle one ends first.
    pub per_client: usize,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { ttl_seconds: 3600, per_client: 10_000 }
    }
}

/// Time limits towards servers, and how much of a failing one is borne with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Milliseconds to connect.
    pub connect_ms: u64,
    /// Milliseconds until the first byte of an answer; streams that have begun are never cut for being idle.
    pub answer_ms: u64,
    /// Milliseconds a call waits for a server that is still starting.
    pub start_wait_ms: u64,
    /// Milliseconds for the whole of a JSON answer, counted from its first byte.
    pub body_ms: u64,
    /// Calls that one HTTP server may have in flight; more are refused at once.
    pub calls: u32,
    /// Failures in a row after which a server's calls are refused at once; 0 means never.
    pub breaker_failures: u32,
    /// Milliseconds such a server rests until one call tries it again.
    pub breaker_rest_ms: u64,
    /// Seconds between looks at an HTTP server that nobody calls; 0 means never.
    pub health_seconds: u64,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            answer_ms: 300_000,
            start_wait_ms: 10_000,
            body_ms: 60_000,
            calls: 512,
            breaker_failures: 5,
            breaker_rest_ms: 10_000,
            health_seconds: 30,
        }
    }
}

/// How the ledger is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// A segment is closed at this size.
    pub segment: ByteSize,
    /// Days closed segments are kept; 0 keeps them for ever.
    pub keep_days: u32,
    /// All segments together may grow to this size; the oldest closed ones go first, with a signed tombstone. 0 B means no cap.
    pub keep_size: ByteSize,
    /// Bytes set aside so that the last events fit when the disk is full.
    pub reserve: ByteSize,
    /// Serve read calls while the ledger cannot be written (writes are always refused then).
    pub reads_without_ledger: bool,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            segment: ByteSize::mib(64),
            keep_days: 400,
            keep_size: ByteSize(0),
            reserve: ByteSize::mib(16),
            reads_without_ledger: false,
            checkpoint_seconds: 60,
        }
    }
}
