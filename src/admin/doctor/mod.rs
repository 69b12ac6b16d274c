//! `lifeboat doctor`: what is wrong on this host and how to mend it. Only looks; never changes a thing and never prints a secret.

mod alerts;
mod clients;
mod data;
mod host;
mod parts;
mod recovery;
mod servers;
#[cfg(test)]
mod tests;
mod trust;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Admin;
use crate::admin::actor::{Actor, Right};
use crate::base::fault::Verb;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CheckState")]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Does not work or is open to others.
    Fail,
    /// Works, but protects less than it could or will not work for long.
    Warn,
    /// As it should be.
    Ok,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// A stable name.
    pub name: String,
    /// How it ended.
    pub state: State,
    /// What was seen.
    pub detail: String,
    /// What to do; empty when nothing is.
    pub mend: String,
}

/// Everything looked at; `ok` unless something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Examination {
    /// No check failed.
    pub ok: bool,
    /// The worst first.
    pub checks: Vec<Check>,
}

/// Looks at this host. With Lifeboat down it looks at its files and leaves out what only a running one knows.
///
/// # Errors
/// `Denied` below role viewer.
pub async fn examine(admin: &Admin, actor: &Actor) -> Verb<Examination> {
    actor.need(Right::Read, "doctor")?;
    // How well servers are confined comes first among what is not well.
    let mut checks = host::checks(admin);
    checks.extend(parts::checks(admin).await);
    checks.extend(recovery::checks(admin).await);
    checks.extend(alerts::checks(admin).await);
    checks.push(clients::keys(admin).await);
    checks.extend(data::checks(&admin.data, admin.clock.now()));
    checks.extend(servers::checks(admin).await);
    checks.extend(trust::checks(&admin.feed.snapshot(), admin.clock.now()));
    // Among equals the order above stays.
    checks.sort_by_key(|check| check.state);
    Ok(Examination { ok: checks.iter().all(|check| check.state != State::Fail), checks })
}

fn ok(name: &str, detail: impl Into<String>) -> Check {
    check(name, State::Ok, detail, "")
}

fn check(name: &str, state: State, detail: impl Into<String>, mend: impl Into<String>) -> Check {
    Check { name: name.to_owned(), state, detail: detail.into(), mend: mend.into() }
}
