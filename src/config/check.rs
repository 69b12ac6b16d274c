//! What the values of `lifeboat.toml`, clients and roles must mean. Never reads a file.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use globset::GlobBuilder;

use super::document::Document;
use super::edge::ProxyProtocol;
use super::issuer::ALGORITHMS;
use super::schedules::{Schedules, Slots};
use super::{ClientConfig, ConfigFault, RoleConfig, Settings};
use crate::base::ids::check_name;
use crate::base::size::ByteSize;

/// A cap above this is a slip of the pen: one message is held in memory.
const MAX_MESSAGE: ByteSize = ByteSize::mib(1024);
const MAX_SEGMENT: ByteSize = ByteSize::mib(4096);
const MAX_DAYS: u32 = 36_500;
/// Public keys of one client: enough for a rotation, few enough to try each.
const MOST_JWKS: usize = 8;
const DAY_SECONDS: u64 = 86_400;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;

/// Collects faults of one document.
struct Checker<'a, 'd> {
    document: &'a Document<'d>,
    faults: &'a mut Vec<ConfigFault>,
}

impl Checker<'_, '_> {
    fn must(&mut self, holds: bool, path: &[&str], message: impl Into<String>) {
        if !holds {
            self.faults.push(self.document.at(path, message));
        }
    }

    fn range(&mut self, value: u64, path: &[&str], least: u64, most: u64) {
        self.must((least..=most).contains(&value), path, format!("must be from {least} to {most}"));
    }
}

pub(super) fn settings(document: &Document<'_>, settings: &Settings, faults: &mut Vec<ConfigFault>) {
    let mut check = Checker { document, faults };
    listen(&mut check, settings);
    edge(&mut check, settings);
    let limits = &settings.limits;
    check.must(limits.burst > 0, &["limits", "burst"], "must be 1 or more, or no call could ever begin");
    for (key, size) in [("request", limits.request), ("response", limits.response), ("list", limits.list), ("event", limits.event)]
    {
        let fits = size.0 > 0 && size <= MAX_MESSAGE;
        check.must(fits, &["limits", key], format!("must be more than 0 B and at most {MAX_MESSAGE}"));
    }
    check.range(settings.sessions.ttl_seconds, &["sessions", "ttl_seconds"], 1, 365 * DAY_SECONDS);
    check.must(settings.sessions.per_client > 0, &["sessions", "per_client"], "must be 1 or more");
    for (key, seconds) in [("rto_seconds", settings.recovery.rto_seconds), ("rpo_seconds", settings.recovery.rpo_seconds)] {
        check.range(seconds, &["recovery", key], 1, 365 * DAY_SECONDS);
    }
    for (index, path) in settings.recovery.copies.iter().enumerate() {
        let absolute = path.starts_with('/') && !path.split('/').any(|part| part == "..");
        check.must(absolute, &["recovery", "copies", &index.to_string()], "must be an absolute path");
    }
    for (index, bucket) in settings.recovery.buckets.iter().enumerate() {
        for (key, why) in bucket.faults() {
            check.must(false, &["recovery", "bucket", &index.to_string(), key], why);
        }
    }
    if let Some(why) = settings.config.remote.as_deref().and_then(|remote| wrong_remote(remote).err()) {
        check.must(false, &["config", "remote"], why);
    }
    issuers(&mut check, settings);
    let upstream = &settings.upstream;
    let at_least_one = [
        ("connect_ms", upstream.connect_ms),
        ("answer_ms", upstream.answer_ms),
        ("body_ms", upstream.body_ms),
        ("breaker_rest_ms", upstream.breaker_rest_ms),
    ];
    for (key, ms) in at_least_one {
        check.range(ms, &["upstream", key], 1, HOUR_MS);
    }
    check.range(upstream.health_seconds, &["upstream", "health_seconds"], 0, DAY_SECONDS);
    check.must((1..=100_000).contains(&upstream.calls), &["upstream", "calls"], "must be from 1 to 100000");
    check.range(upstream.start_wait_ms, &["upstream", "start_wait_ms"], 0, HOUR_MS);
    let audit = &settings.audit;
    let fits = audit.segment >= ByteSize::kib(64) && audit.segment <= MAX_SEGMENT;
    check.must(fits, &["audit", "segment"], format!("must be from 64 KiB to {MAX_SEGMENT}"));
    check.must(audit.keep_days <= MAX_DAYS, &["audit", "keep_days"], format!("must be at most {MAX_DAYS}; 0 keeps for ever"));
    let fits = audit.keep_size.0 == 0 || audit.keep_size.0 >= audit.segment.0.saturating_mul(2);
    check.must(fits, &["audit", "keep_size"], "must hold two segments at least; 0 B means no cap");
    check.must(audit.reserve <= MAX_SEGMENT, &["audit", "reserve"], format!("must be at most {MAX_SEGMENT}"));
    check.range(audit.checkpoint_seconds, &["audit", "checkpoint_seconds"], 1, DAY_SECONDS);
}

fn issuers(check: &mut Checker<'_, '_>, settings: &Settings) {
    let (mut names, mut urls) = (BTreeSet::new(), BTreeSet::new());
    for (index, issuer) in settings.issuers.iter().enumerate() {
        let at = index.to_string();
        let mut must = |holds: bool, key: &'static str, message: String| check.must(holds, &["issuer", at.as_str(), key], message);
        must(check_name(&issuer.name).is_ok(), "name", "must be a name of a-z, 0-9, '.', '_' and '-'".into());
        must(names.insert(&issuer.name), "name", format!("issuer \"{}\" is there twice", issuer.name));
        must(urls.insert(&issuer.issuer), "issuer", "two issuers cannot be the same one".into());
        let known = issuer.algorithms.iter().all(|name| ALGORITHMS.contains(&name.as_str()));
        must(known && !issuer.algorithms.is_empty(), "algorithms", format!("must be of {}", ALGORITHMS.join(", ")));
        must(!issuer.client_claim.is_empty(), "client_claim", "must name a claim".into());
        must(!issuer.scope_claim.is_empty(), "scope_claim", "must name a claim".into());
        if let Err(wrong) = issuer.target(&issuer.issuer) {
            let key = if wrong.key == "url" { "issuer" } else { wrong.key };
            must(false, key, wrong.message);
        }
    }
}

/// An address that git takes for nothing but an address.
fn wrong_remote(remote: &str) -> Result<(), &'static str> {
    if remote.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("must have no spaces");
    }
    if remote.starts_with('/') {
        return Ok(());
    }
    let rest = remote.strip_prefix("https://").or_else(|| remote.strip_prefix("ssh://"));
    let rest = rest.ok_or("must be https://…, ssh://… or an absolute path")?;
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains(':') || remote.starts_with("https://") && !user.is_empty() {
        return Err("must hold no credential: git keeps this file for ever");
    }
    if host.is_empty() || host.starts_with('-') || user.starts_with('-') {
        return Err("names no host");
    }
    Ok(())
}

fn listen(check: &mut Checker<'_, '_>, settings: &Settings) {
    let listen = &settings.listen;
    for (key, address) in [("admin", &listen.admin), ("proxy", &listen.proxy)] {
        let parses = address.parse::<SocketAddr>().is_ok();
        check.must(parses, &["listen", key], "must be ADDRESS:PORT, such as 127.0.0.1:8443 or [::1]:8443");
    }
    let same = listen.admin == listen.proxy && !listen.admin.ends_with(":0");
    check.must(!same, &["listen", "proxy"], "must differ from listen.admin");
    check.must(!listen.hosts.is_empty(), &["listen", "hosts"], "must name one host at least");
    for (index, host) in listen.hosts.iter().enumerate() {
        let message = format!("\"{host}\" is neither a host name in lower case nor an address");
        check.must(is_host(host), &["listen", "hosts", &index.to_string()], message);
    }
}

fn edge(check: &mut Checker<'_, '_>, settings: &Settings) {
    let (listen, tls) = (&settings.listen, &settings.tls);
    check.must(listen.drain_notice_ms <= MINUTE_MS, &["listen", "drain_notice_ms"], format!("must be at most {MINUTE_MS}"));
    let protocols = [("admin", listen.proxy_protocol.admin), ("proxy", listen.proxy_protocol.proxy)];
    for (key, protocol) in protocols {
        let named = protocol == ProxyProtocol::Off || !settings.trusted_proxies.is_empty();
        let message = "needs trusted_proxies: nobody else is believed when it names its client";
        check.must(named, &["listen", "proxy_protocol", key], message);
    }
    for (key, path, other) in [("cert", &tls.cert, &tls.key), ("key", &tls.key, &tls.cert)] {
        check.must(path.is_none() || other.is_some(), &["tls", key], "tls.cert and tls.key are given together or not at all");
        let absolute = path.as_ref().is_none_or(|path| path.is_absolute());
        check.must(absolute, &["tls", key], "must be an absolute path");
    }
    let same = listen.plain.admin.is_some() && listen.plain.admin == listen.plain.proxy;
    check.must(!same, &["listen", "plain", "proxy"], "must differ from listen.plain.admin");
}

/// An IP address without brackets, or a DNS name in lower case.
pub(super) fn is_host(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

pub(super) fn client(document: &Document<'_>, client: &ClientConfig, roles: &BTreeSet<&str>, faults: &mut Vec<ConfigFault>) {
    let mut check = Checker { document, faults };
    let mut seen = BTreeSet::new();
    for (index, role) in client.roles.iter().enumerate() {
        let (at, path_role) = (index.to_string(), role.as_str());
        let path = ["roles", at.as_str()];
        let exists = check_name(role).is_ok() && roles.contains(path_role);
        check.must(exists, &path, format!("role \"{role}\" does not exist; roles are the files in roles/"));
        check.must(seen.insert(path_role), &path, format!("role \"{role}\" is named twice"));
    }
    check.must(client.burst != Some(0), &["burst"], "must be 1 or more, or no call could ever begin");
    check.must(client.jwks.len() <= MOST_JWKS, &["jwk"], format!("a client has at most {MOST_JWKS} keys"));
    let mut kids = BTreeSet::new();
    for (index, jwk) in client.jwks.iter().enumerate() {
        let at = index.to_string();
        let path = ["jwk", at.as_str(), "kid"];
        let shaped = (1..=128).contains(&jwk.kid.len()) && jwk.kid.bytes().all(|byte| byte.is_ascii_graphic());
        check.must(shaped, &path, "must be 1 to 128 visible characters");
        check.must(kids.insert(&jwk.kid), &path, format!("\"{}\" is there twice", jwk.kid));
    }
}

pub(super) fn role(document: &Document<'_>, role: &RoleConfig, faults: &mut Vec<ConfigFault>) {
    let mut check = Checker { document, faults };
    for (index, grant) in role.grants.iter().enumerate() {
        let at = index.to_string();
        check.must(!grant.tools.is_empty(), &["grant", &at, "tools"], "must name one tool pattern at least");
        check.must(!grant.classes.is_empty(), &["grant", &at, "classes"], "must name one of read, write, destructive at least");
        for (place, glob) in grant.tools.iter().enumerate() {
            if let Err(message) = check_glob(glob) {
                check.must(false, &["grant", &at, "tools", &place.to_string()], message);
            }
        }
        check.must(grant.arguments.is_none(), &["grant", &at, "arguments"], "argument schemas are not available in this version");
    }
}

pub(super) fn schedules(document: &Document<'_>, schedules: &Schedules, faults: &mut Vec<ConfigFault>) {
    let mut check = Checker { document, faults };
    for (key, schedule) in schedules.all() {
        if let Err(message) = Slots::parse(&schedule.cron) {
            check.must(false, &[key, "cron"], message);
        }
    }
}

fn check_glob(glob: &str) -> Result<(), String> {
    GlobBuilder::new(glob)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|fault| format!("\"{glob}\" is no tool pattern: {}", fault.kind()))?;
    // A star does not cross the slash, so without one nothing is ever meant.
    if glob.contains('/') || glob == "**" {
        Ok(())
    } else {
        Err(format!("\"{glob}\" names no tool: a pattern is SERVER/TOOL, such as \"demo/*\""))
    }
}
