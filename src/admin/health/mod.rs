//! Whether Lifeboat itself is well: one check per thing it depends on. Servers that are down are somebody else's illness: degraded, not ill.

mod certificate;

pub use certificate::{certificate, certificate_ends};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Admin;
use crate::policy::feed::Breaker;

/// The answer of `/health` to those who may see it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok` or `degraded`.
    pub status: String,
    /// One per dependency.
    pub checks: Vec<Check>,
}

/// One dependency.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HealthCheck")]
pub struct Check {
    /// `ledger`, `database`, `configuration`, `kill_file`, `certificate`, `servers`.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// What is wrong, when it is not.
    pub detail: String,
}

fn check(name: &str, wrong: Option<String>) -> Check {
    Check { name: name.to_owned(), ok: wrong.is_none(), detail: wrong.unwrap_or_default() }
}

/// Checks everything.
pub async fn health(admin: &Admin) -> Health {
    let ledger = admin.ledger.state();
    let ledger = (!ledger.ok).then(|| ledger.why.unwrap_or_else(|| "the ledger cannot be written".into()));
    let database = admin.db.check().await.err().map(|fault| fault.message);
    let refused = admin.publisher.refused();
    let refused = refused.map(|r| format!("commit {} is refused: {}", short(&r.commit), r.faults.join("; ")));
    let owed = !admin.kill.settled();
    let kill = owed.then(|| "the database does not know yet what is stopped; the file KILL does".to_owned());
    let checks = vec![
        check("ledger", ledger),
        check("database", database),
        check("configuration", refused),
        check("kill_file", kill),
        check("certificate", certificate(admin)),
        check("servers", servers_down(admin)),
    ];
    let status = if checks.iter().all(|check| check.ok) { "ok" } else { "degraded" };
    Health { status: status.to_owned(), checks }
}

/// Whether calls can be decided and written down at all, and go on being so. A kill or a server that is down changes nothing here.
pub fn ready(admin: &Admin) -> bool {
    admin.ledger.state().ok && !admin.feed.is_draining()
}

/// What a stranger may know, without waiting for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// All is well.
    Ok,
    /// It serves, but something needs somebody.
    Degraded,
    /// Calls cannot be decided or written down.
    Unusable,
}

/// The bare health from memory alone.
pub fn bare(admin: &Admin) -> Bare {
    if !ready(admin) {
        return Bare::Unusable;
    }
    let well = admin.publisher.refused().is_none()
        && admin.kill.settled()
        && certificate(admin).is_none()
        && servers_down(admin).is_none();
    if well { Bare::Ok } else { Bare::Degraded }
}

fn servers_down(admin: &Admin) -> Option<String> {
    let snapshot = admin.feed.snapshot();
    let down = snapshot.servers.keys().filter_map(|name| {
        let rests = admin.feed.breaker(name) == Some(Breaker::Open);
        match admin.feed.server(name) {
            Some(state) if matches!(state.state, "down" | "unapproved") => {
                let rests = if rests { "; its calls are refused for a while" } else { "" };
                Some(format!("{name} is {}: {}{rests}", state.state, state.detail))
            }
            _ => rests.then(|| format!("{name} failed several calls in a row; its calls are refused for a while")),
        }
    });
    let all: Vec<String> = down.collect();
    if all.is_empty() { None } else { Some(all.join("; ")) }
}

/// The beginning of a commit id, as people read it.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}
