//! The servers: their state, whether what they show is what was taken in, whether anybody can go around Lifeboat to them. Asks them through
//! the proxy; never calls a tool.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Check, State, check, ok};
use crate::admin::servers;
use crate::admin::{Actor, Admin};
use crate::config::UpstreamConfig;
use crate::config::server::{HttpUpstream, StdioUpstream};
use crate::policy::snapshot::{ServerEntry, ServerSecrets};

const PATIENCE: Duration = Duration::from_secs(8);

pub(super) async fn checks(admin: &Admin) -> Vec<Check> {
    let snapshot = admin.feed.snapshot();
    let running = !admin.feed.listeners().is_empty();
    let mut checks: Vec<Check> = snapshot.servers.values().flat_map(|entry| still(admin, entry)).collect();
    if running {
        let asked = snapshot.servers.values().map(|entry| asked(admin, entry));
        checks.extend(join_all(asked).await.into_iter().flatten());
    }
    if checks.is_empty() && !snapshot.servers.is_empty() {
        checks.push(ok("servers", format!("{} registered", snapshot.servers.len())));
    }
    checks
}

/// What shows without asking the server.
fn still(admin: &Admin, entry: &ServerEntry) -> Vec<Check> {
    let name = &entry.name;
    let mut checks = Vec::new();
    if !entry.secrets.approved {
        let detail = format!("{name}: its command line is not approved on this host, so it does not run");
        checks.push(check(
            "approval",
            State::Warn,
            detail,
            format!("read it with lifeboat server show {name}, then lifeboat server approve {name}"),
        ));
    } else if let Some(state) = admin.feed.server(name).filter(|state| !matches!(state.state, "up" | "idle" | "starting")) {
        let detail = format!("{name} is {}: {}", state.state, state.detail);
        checks.push(check("server", State::Warn, detail, format!("lifeboat server probe {name}")));
    }
    match &entry.config.upstream {
        UpstreamConfig::Http(upstream) => checks.extend(pins(name, upstream)),
        UpstreamConfig::Stdio(upstream) => checks.extend(fetched(name, upstream)),
    }
    checks
}

fn pins(name: &str, upstream: &HttpUpstream) -> Option<Check> {
    (upstream.pins.len() == 1).then(|| {
        let detail = format!("{name} has one pin: with a new key of its certificate it cannot be reached at all");
        check("pins", State::Warn, detail, format!("add the pin of its next key to servers/{name}.toml before that day"))
    })
}

/// A package that is fetched anew at each start is other code than what was approved.
pub(super) fn fetched(name: &str, upstream: &StdioUpstream) -> Option<Check> {
    let program = upstream.command.first()?.rsplit('/').next()?;
    if !matches!(program, "npx" | "uvx" | "bunx" | "pnpx") {
        return None;
    }
    let package = upstream.command.iter().skip(1).find(|word| !word.starts_with('-'))?;
    let pinned = package.rfind('@').is_some_and(|at| at > 0 && !package.ends_with("@latest")) || package.contains("==");
    (!pinned).then(|| {
        let detail = format!("{name}: {program} fetches the newest {package} at each start, whatever was approved");
        check("command", State::Warn, detail, "name a version in its command line, then approve it again")
    })
}

/// What only asking shows.
async fn asked(admin: &Admin, entry: &Arc<ServerEntry>) -> Vec<Check> {
    let (drift, bypass) = tokio::join!(drift(admin, entry), bypass(admin, entry));
    drift.into_iter().chain(bypass).collect()
}

async fn drift(admin: &Admin, entry: &ServerEntry) -> Option<Check> {
    let name = &entry.name;
    // A server that nobody has reached is reported already; one more look would only wait for it again.
    if admin.feed.server(name).is_some_and(|state| !matches!(state.state, "up" | "idle")) {
        return None;
    }
    let seen = tokio::time::timeout(PATIENCE, servers::probe(admin, &Actor::system("doctor"), name)).await.ok()?.ok()?;
    let of = |state: &str| seen.tools.iter().filter(|tool| tool.state == state).map(|tool| tool.name.clone()).collect::<Vec<_>>();
    let parts = [("changed", of("changed")), ("new", of("new")), ("gone", seen.removed.clone())];
    let told: Vec<String> =
        parts.iter().filter(|(_, names)| !names.is_empty()).map(|(word, names)| format!("{word}: {}", names.join(", "))).collect();
    if told.is_empty() {
        return Some(ok("tools", format!("{name} shows the {} that were taken in", seen.tools.len())));
    }
    let mend = format!("lifeboat server probe {name}; what is right is taken in with lifeboat tool approve {name}/TOOL");
    Some(check("tools", State::Warn, format!("{name} shows others than were taken in. {}", told.join("; ")), mend))
}

/// Asks as a stranger, without a header or variable of ours: a server that answers one answers everybody who can reach it.
async fn bypass(admin: &Admin, entry: &ServerEntry) -> Option<Check> {
    let UpstreamConfig::Http(upstream) = &entry.config.upstream else { return None };
    let name = &entry.name;
    // No server can have this name, so nothing of its own is touched.
    let mut config = entry.config.clone();
    if let UpstreamConfig::Http(http) = &mut config.upstream {
        // What is due of us is not due of a stranger.
        (http.client_certificate, http.secret_headers) = (false, Vec::new());
    }
    let stranger = ServerEntry {
        name: format!("?{name}").into(),
        config,
        secrets: ServerSecrets { approved: true, ..ServerSecrets::default() },
    };
    let answer = match tokio::time::timeout(PATIENCE, admin.feed.probe(Arc::new(stranger))).await {
        Ok(Ok(_)) => Answer::Served,
        Ok(Err(why)) => Answer::Not(why),
        Err(_) => Answer::Not("no answer in 8 s".to_owned()),
    };
    Some(around(name, upstream, &answer))
}

/// What a server did for a stranger.
pub(super) enum Answer {
    /// It answered as it answers us.
    Served,
    /// It did not, and why.
    Not(String),
}

/// What that means.
pub(super) fn around(name: &str, upstream: &HttpUpstream, answer: &Answer) -> Check {
    let who = if upstream.plain_loopback { "every program on this host" } else { "whoever reaches that address" };
    match answer {
        Answer::Served => {
            let detail = format!("{name} answers at {} without any credential: {who} can go around Lifeboat", upstream.url);
            let mend = "let it ask for a secret that only Lifeboat has (server add --header-file), or let only this host reach it";
            check("bypass", State::Warn, detail, mend)
        }
        // Anywhere else in the sentence the numbers may be a port, or the server's own words.
        Answer::Not(why) if ["HTTP 401", "HTTP 403"].iter().any(|status| why.trim_end_matches(')').ends_with(status)) => {
            ok("bypass", format!("{name} refuses whoever comes without Lifeboat's credential"))
        }
        Answer::Not(why) => {
            let detail = format!("{name} gave a stranger no answer, so nothing is known about ways around Lifeboat: {why}");
            check("bypass", State::Warn, detail, format!("see that it is up (lifeboat server probe {name}), then run doctor again"))
        }
    }
}
