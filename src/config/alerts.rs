//! `alerts.toml`: who is told of alerts, and who is told that they are still looked for. Never holds a secret: what signs a notice is kept
//! sealed on each host. Never resolves a name and never opens a file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::is_host;
use super::check_server::is_cidr;
use super::document;
use crate::base::address::{Allowed, Loopback};
use crate::base::fault::Verb;

/// The file of alerts.
pub const FILE: &str = "alerts.toml";

/// The whole of `alerts.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Alerting {
    /// Who is told of alerts.
    #[serde(rename = "receiver", skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<ReceiverConfig>,
    /// Who is told that alerts are still looked for.
    #[serde(skip_serializing_if = "WatchdogConfig::is_off")]
    pub watchdog: WatchdogConfig,
}

/// A URL that is told of alerts, each notice signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// What to call it.
    pub name: String,
    /// `https://…` on port 443, 8443 or from 1024 on, or `http://` on loopback with `plain_loopback`. It stands in git and on pages: no secret
    /// belongs into it.
    pub url: String,
    /// Which alerts, as patterns of their rules such as `backup.*`.
    #[serde(default = "every_rule", skip_serializing_if = "is_every_rule")]
    pub rules: Vec<String>,
    /// Allows loopback, and `http://` there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_loopback: bool,
    /// Private address ranges (CIDR) that the host name may resolve to. Loopback with `plain_loopback` needs none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Absolute path of the CA certificates (PEM) that sign the receiver, instead of the system's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// A URL that is asked (GET) again and again while alerts are looked for, so that somebody notices when they are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchdogConfig {
    /// As for receivers; without it nobody is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How often.
    pub every_seconds: u64,
    /// Allows loopback, and `http://` there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub plain_loopback: bool,
    /// Private address ranges (CIDR) that the host name may resolve to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Absolute path of the CA certificates (PEM) that sign it, instead of the system's roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self { url: None, every_seconds: 300, plain_loopback: false, allow_addresses: Vec::new(), ca: None }
    }
}

impl WatchdogConfig {
    fn is_off(&self) -> bool {
        *self == Self::default()
    }

    /// Where it is; `None` when nobody is to be asked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn target(&self) -> Option<Result<Target, Wrong>> {
        let url = self.url.as_deref()?;
        Some(Target::of(url, self.plain_loopback, &self.allow_addresses, self.ca.as_deref()))
    }
}

impl ReceiverConfig {
    /// Where it is.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn target(&self) -> Result<Target, Wrong> {
        Target::of(&self.url, self.plain_loopback, &self.allow_addresses, self.ca.as_deref())
    }

    /// Whether it is told of alerts of this rule.
    pub fn takes(&self, rule: &str) -> bool {
        self.rules.iter().filter_map(|glob| pattern(glob).ok()).any(|glob| glob.compile_matcher().is_match(rule))
    }
}

fn every_rule() -> Vec<String> {
    vec!["*".to_owned()]
}

fn is_every_rule(rules: &[String]) -> bool {
    rules == every_rule()
}

/// Reads one pattern of rules.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn pattern(glob: &str) -> Result<globset::Glob, String> {
    let odd = glob.is_empty() || glob.len() > 100;
    let built = GlobBuilder::new(glob).backslash_escape(true).build();
    built.ok().filter(|_| !odd).ok_or_else(|| format!("\"{glob}\" is no pattern of rules, such as \"*\" or \"backup.*\""))
}

/// Which key is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The key.
    pub key: &'static str,
    /// Which entry of its list, when it has one.
    pub index: Option<usize>,
    /// What would be right.
    pub message: String,
}

impl Wrong {
    fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, index: None, message: message.into() }
    }
}

/// Where a request of Lifeboat's own goes: checked as far as text can be. What its name resolves to is checked when it is connected to.
#[derive(Clone, Debug)]
pub struct Target {
    url: Url,
    allowed: Allowed,
    ca: Option<PathBuf>,
}

impl Target {
    /// Reads where it goes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(url: &str, plain_loopback: bool, ranges: &[String], ca: Option<&str>) -> Result<Self, Wrong> {
        let url = whole(url).map_err(|message| Wrong::new("url", message))?;
        let loopback = match (url.scheme(), plain_loopback) {
            ("http", _) => Loopback::Only,
            (_, true) => Loopback::Open,
            _ => Loopback::Closed,
        };
        let mut allowed = Allowed { ranges: Vec::new(), loopback };
        for (index, range) in ranges.iter().enumerate() {
            let read = range.parse().ok().filter(|_| is_cidr(range));
            let message = "an address range is written 10.1.0.0/16 or fd00::/8".to_owned();
            allowed.ranges.push(read.ok_or(Wrong { key: "allow_addresses", index: Some(index), message })?);
        }
        reach(&url, plain_loopback, &allowed).map_err(|message| Wrong::new("url", message))?;
        let plain = |path: &&str| path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|part| part == "..");
        if ca.is_some_and(|path| !plain(&path)) {
            return Err(Wrong::new("ca", "must be the absolute path of a file, without '..'"));
        }
        Ok(Self { url, allowed, ca: ca.map(PathBuf::from) })
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The addresses it may stand at.
    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// Who signs it, when that is not one of the system's roots.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }
}

/// A URL that means to everybody what it says: its reader forgives spaces, backslashes and numbers for addresses, people do not see them.
fn whole(text: &str) -> Result<Url, String> {
    const SHAPE: &str = "must be a whole URL such as https://alerts.example.com/hook";
    if text.contains('#') {
        return Err("must have no fragment (#…)".into());
    }
    if text.len() > 2_000 || !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains('\\') {
        return Err(SHAPE.into());
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or("must be https://…")?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("must carry no user or password: git keeps this file for ever".into());
    }
    let url = Url::parse(text).map_err(|_| SHAPE)?;
    let host = url.host_str().unwrap_or_default();
    let written = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => authority,
    };
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let same = match (bare(written).parse::<IpAddr>(), bare(host).parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a == b,
        (Err(_), Err(_)) => bare(written) == bare(host),
        _ => false,
    };
    if !same {
        return Err(format!("\"{written}\" would be read as {host}; write what is meant"));
    }
    if !is_host(&bare(host)) || authority.ends_with(':') {
        return Err(SHAPE.into());
    }
    Ok(url)
}

/// Scheme, port and a literal address.
fn reach(url: &Url, plain_loopback: bool, allowed: &Allowed) -> Result<(), String> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let literal: Option<IpAddr> = host.parse().ok();
    let here = literal.map_or(host == "localhost", |ip| ip.to_canonical().is_loopback());
    if url.scheme() == "http" && !plain_loopback {
        return Err("must be https; http needs a loopback address and plain_loopback = true".into());
    }
    if url.scheme() == "http" && !here {
        return Err("plain_loopback allows http on a loopback address only".into());
    }
    // A request that is only text can hurt what listens on the small ones.
    if !matches!(url.port_or_known_default(), Some(443 | 8443 | 1024..)) {
        return Err("the port must be 443, 8443 or from 1024 on".into());
    }
    match literal.filter(|ip| !allowed.permits(*ip)) {
        Some(ip) => Err(format!("{ip} is no public address; name its range in allow_addresses, or give plain_loopback")),
        None => Ok(()),
    }
}

impl Alerting {
    /// The text of the file with one more receiver. What stands there stays as it is, comments too.
    ///
    /// # Errors
    /// `Bug` when it cannot be written as TOML.
    pub fn with(&self, text: &str, receiver: &ReceiverConfig) -> Verb<String> {
        let mut after = self.clone();
        after.receivers.push(receiver.clone());
        let entry = document::write(&Self { receivers: vec![receiver.clone()], ..Self::default() })?;
        let before = text.trim_end();
        let gap = if before.is_empty() { "" } else { "\n\n" };
        after.or_whole(format!("{before}{gap}{entry}"))
    }

    /// The text of the file without a receiver. Everything else stays as it is.
    ///
    /// # Errors
    /// `Bug` when it cannot be written as TOML.
    pub fn without(&self, text: &str, name: &str) -> Verb<String> {
        let mut after = self.clone();
        after.receivers.retain(|receiver| receiver.name != name);
        let place = self.receivers.iter().position(|receiver| receiver.name == name);
        let (mut at, mut inside, mut kept) = (0, false, String::new());
        for line in text.split_inclusive('\n') {
            if line.trim_start().starts_with('[') {
                let heads = line.trim_start().starts_with("[[receiver]]");
                inside = heads && place == Some(at);
                at += usize::from(heads);
            }
            if !inside {
                kept.push_str(line);
            }
        }
        after.or_whole(kept)
    }

    /// The edited text, if it says what it should; else the whole file written anew.
    fn or_whole(&self, text: String) -> Verb<String> {
        match toml::from_str::<Self>(&text) {
            Ok(read) if read == *self => Ok(text),
            _ => document::write(self),
        }
    }
}
