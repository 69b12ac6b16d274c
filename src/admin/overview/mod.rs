//! The first page and `status`: what is stopped, what runs, what happened, what needs somebody. Reads everything, changes nothing.

mod needs;
pub mod pages;
pub mod routes;

use schemars::JsonSchema;
use serde::Serialize;

use super::actor::Right;
use super::clients;
use super::kill;
use super::servers::{self, Server};
use super::{Actor, Admin, alerts, drills, health, tree, vaults};
use crate::audit::{Bucket, Event, Filter, ReasonCount, Totals};
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::policy::lookalike;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const LATEST: u32 = 8;
// Somebody should look at a key this long before it ends, and at a kill this long after it was proved.
const KEY_ENDS_MS: i64 = 7 * DAY_MS;
const PROOF_AGES_MS: i64 = 92 * DAY_MS;

/// What `lifeboat status` prints (docs/CONTRACT.md).
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Status {
    /// Of this Lifeboat.
    pub version: &'static str,
    /// The running revision, `COMMIT+EPOCH`.
    pub revision: String,
    /// What is stopped.
    pub kill: KillStatus,
    /// Every server.
    pub servers: Vec<ServerStatus>,
    /// The last recovery drill; null until there was one.
    pub last_drill: Option<String>,
    /// The last verified archive; null until there was one.
    pub last_archive: Option<String>,
    /// Open alerts.
    pub alerts: Vec<String>,
}

/// The kill switch in `status`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct KillStatus {
    /// Whether anything is stopped.
    pub engaged: bool,
    /// What.
    pub states: Vec<kill::State>,
}

/// One server in `status`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// `starting`, `up`, `down`, `unapproved` or `idle`.
    pub state: String,
}

/// What the first page shows.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Overview {
    /// When it was made.
    pub at: Timestamp,
    /// The running revision.
    pub revision: String,
    /// Since when this process serves.
    pub started_at: Timestamp,
    /// What is stopped, and the last proof.
    pub kill: kill::Status,
    /// Every server.
    pub servers: Vec<Server>,
    /// Calls of the last 24 hours, an hour each, oldest first; empty when the ledger cannot be read.
    pub hours: Vec<Bucket>,
    /// Their sums.
    pub totals: Totals,
    /// Refusals of the last 24 hours by reason, most frequent first.
    pub refusals: Vec<ReasonCount>,
    /// The newest events.
    pub latest: Vec<Event>,
    /// What needs somebody, most important first.
    pub needs: Vec<Need>,
}

/// One thing that needs somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Need {
    /// A stable slug: `sandbox.weak`, `config.refused` and so on.
    pub id: &'static str,
    /// One sentence.
    pub text: String,
    /// What works, or more of what is wrong.
    pub detail: String,
    /// The page where it is dealt with.
    pub href: String,
}

/// What runs, in short.
///
/// # Errors
/// None but `Denied`.
pub async fn status(admin: &Admin, actor: &Actor) -> Verb<Status> {
    actor.need(Right::Read, "status")?;
    let states = kill::states(admin);
    let servers = servers::list(admin, actor).await?.servers;
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        revision: admin.feed.snapshot().revision.to_string(),
        kill: KillStatus { engaged: !states.is_empty(), states },
        servers: servers.into_iter().map(|server| ServerStatus { name: server.name, state: server.state }).collect(),
        last_drill: last_drill(admin, actor).await,
        last_archive: last_archive(admin, actor).await,
        alerts: wrong_now(admin).await,
    })
}

/// When the newest verified archive was finished; a destination that cannot be read is told by `doctor`.
async fn last_archive(admin: &Admin, actor: &Actor) -> Option<String> {
    let found = vaults::list(admin, actor).await.ok()?.archives;
    found.into_iter().filter(|one| one.verified).map(|one| one.created_at).max().map(|at| at.to_string())
}

/// When the newest drill that is over began.
async fn last_drill(admin: &Admin, actor: &Actor) -> Option<String> {
    let found = drills::list(admin, actor, 20).await.ok()?.drills;
    found.into_iter().find(|drill| drill.passed.is_some()).map(|drill| drill.started_at.to_string())
}

/// What is wrong now, a sentence each.
async fn wrong_now(admin: &Admin) -> Vec<String> {
    let running = !admin.feed.listeners().is_empty();
    let stopped = (!running).then(|| "Lifeboat is not running; this is what its files say".to_owned());
    // Only a running Lifeboat has a kill file to bring up to date.
    let wrong = health::health(admin).await.checks.into_iter().filter(|check| !check.ok && (running || check.name != "kill_file"));
    let found = stopped.into_iter().chain(wrong.map(|check| format!("{}: {}", check.name, check.detail)));
    found.chain(alerts::sentences(admin).await).collect()
}

/// Everything the first page shows. A ledger that cannot be read leaves its parts empty and is itself what needs somebody.
///
/// # Errors
/// None but `Denied`.
pub async fn overview(admin: &Admin, actor: &Actor) -> Verb<Overview> {
    actor.need(Right::Read, "overview")?;
    let now = admin.clock.now();
    let since = now.plus_ms(-DAY_MS);
    let servers = servers::list(admin, actor).await?.servers;
    let kill = kill::status(admin, actor)?;
    let newest = Filter { limit: Some(LATEST), ..Filter::default() };
    let (hours, totals, refusals, latest) = tokio::join!(
        admin.ledger.counts(since, now, HOUR_MS),
        admin.ledger.totals(since),
        admin.ledger.refusals_by_reason(since),
        admin.ledger.query(&newest),
    );
    let needs = needs(admin, &servers, &kill, now).await;
    Ok(Overview {
        at: now,
        revision: admin.feed.snapshot().revision.to_string(),
        started_at: admin.started_at,
        kill,
        servers,
        hours: hours.unwrap_or_default(),
        totals: totals.unwrap_or_default(),
        refusals: refusals.unwrap_or_default(),
        latest: latest.map(|page| page.events).unwrap_or_default(),
        needs,
    })
}

/// What needs somebody, the weak sandbox first (docs/SECURITY.md).
async fn needs(admin: &Admin, servers: &[Server], kill: &kill::Status, now: Timestamp) -> Vec<Need> {
    let mut needs = Vec::new();
    for server in servers.iter().filter(|server| weak(&server.sandbox)) {
        let text = format!("{} runs with less protection than it should", server.name);
        needs.push(Need { id: "sandbox.weak", text, detail: server.sandbox.clone(), href: format!("/servers/{}", server.name) });
    }
    for check in health::health(admin).await.checks.into_iter().filter(|check| !check.ok && check.name != "servers") {
        let (id, text) = match check.name.as_str() {
            "ledger" => ("ledger.unavailable", "The ledger cannot be written"),
            "database" => ("database.unavailable", "The database does not answer"),
            "configuration" => ("config.refused", "HEAD is invalid; the last applied revision runs"),
            _ => ("kill.unsettled", "The kill is kept by the file alone"),
        };
        needs.push(Need { id, text: text.to_owned(), detail: check.detail, href: "/activity".into() });
    }
    needs.extend(servers.iter().filter_map(server_need));
    needs.extend(lookalike_needs(admin));
    needs.extend(proof_need(kill, now));
    needs.extend(key_needs(admin, now).await);
    needs.extend(files_needs(admin).await);
    needs.extend(vaults::unsettled(admin).into_iter().map(|detail| Need {
        id: "restore.open",
        text: "A restore in place needs somebody".to_owned(),
        detail,
        href: "/vaults".into(),
    }));
    needs
}

/// Names that were made to be taken for others. The same name at two servers is common, and told at the servers.
fn lookalike_needs(admin: &Admin) -> Vec<Need> {
    let found = lookalike::among(&admin.feed.snapshot()).into_iter().filter(|pair| !pair.same_name);
    let need = |pair: lookalike::Alike| {
        let server = pair.tool.split('/').next().unwrap_or_default();
        let (text, href) = (format!("A tool of {server} looks like another one"), format!("/servers/{server}"));
        Need { id: "tool.lookalike", text, detail: pair.sentence(), href }
    };
    found.map(need).collect()
}

fn server_need(server: &Server) -> Option<Need> {
    let name = &server.name;
    let waiver = server.tls12.as_ref().filter(|waiver| waiver.ended);
    let (id, text, detail) = match (server.state.as_str(), server.breaker.as_str(), waiver) {
        ("down", ..) => ("server.down", format!("{name} is down"), server.detail.clone()),
        ("unapproved", ..) => ("server.unapproved", format!("{name} is unapproved"), format!("lifeboat server approve {name}")),
        (_, "open", _) => {
            ("server.down", format!("{name} failed several calls in a row"), "its calls are refused for a while".into())
        }
        (.., Some(waiver)) => {
            ("server.down", format!("the waiver of {name} for TLS 1.2 ended on {}", waiver.until), waiver.reason.clone())
        }
        _ => return None,
    };
    Some(Need { id, text, detail, href: format!("/servers/{name}") })
}

/// The sandbox tells its own strength; it begins with these words when Lifeboat's files are in a server's reach.
pub(super) fn weak(sandbox: &str) -> bool {
    sandbox.starts_with("not confined")
}

fn proof_need(kill: &kill::Status, now: Timestamp) -> Option<Need> {
    let (id, text) = match &kill.last_proof {
        None => ("kill.never_proved", "The kill switch was never proved here".to_owned()),
        Some(proof) if !proof.effective => ("kill.unproven", "The last kill is engaged, unproven".to_owned()),
        Some(proof) if now.since_ms(proof.at) > PROOF_AGES_MS => {
            ("kill.proof_old", format!("The kill switch was last proved {} days ago", now.since_ms(proof.at) / DAY_MS))
        }
        Some(_) => return None,
    };
    Some(Need { id, text, detail: "Run a kill drill: it stops only the canary.".into(), href: "/kill".into() })
}

async fn key_needs(admin: &Admin, now: Timestamp) -> Vec<Need> {
    let clients = clients::list(admin, &Actor::system("overview")).await.map(|list| list.clients).unwrap_or_default();
    let keys = clients.into_iter().filter(|client| client.state != "revoked").flat_map(|client| client.keys);
    keys.filter(|key| key.state != "revoked")
        .filter_map(|key| {
            let left = key.expires_at?.since_ms(now);
            let text = match left {
                gone if gone <= 0 => format!("The key of {} has expired", key.client),
                soon if soon <= KEY_ENDS_MS => format!("The key of {} expires in {} hours", key.client, soon / HOUR_MS),
                _ => return None,
            };
            Some(Need { id: "key.expires", text, detail: format!("lbk_{}", key.kid), href: format!("/clients/{}", key.client) })
        })
        .collect()
}

async fn files_needs(admin: &Admin) -> Vec<Need> {
    let mut needs = Vec::new();
    if admin.data.first_run().exists() {
        let text = "The secrets of the first run are still in a file".to_owned();
        let detail = "Store them elsewhere, then remove keys/first-run.txt.".to_owned();
        needs.push(Need { id: "first_run.file", text, detail, href: "/".into() });
    }
    let edited = tree::blocking(&admin.repository, |repository| repository.working_changes()).await;
    if let Some(count) = edited.ok().map(|changes| changes.len()).filter(|count| *count > 0) {
        let text = format!("{count} edited files in config/ are not committed");
        let detail = "They count after lifeboat config commit.".to_owned();
        needs.push(Need { id: "config.edited", text, detail, href: "/activity".into() });
    }
    needs
}
