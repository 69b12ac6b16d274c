//! `lifeboat doctor`: what is wrong on this host and how to mend it. Only looks; never changes a thing and never prints a secret.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

use crate::admin::Admin;
use crate::admin::actor::{Actor, Right};
use crate::admin::health;
use crate::base::fault::Verb;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Works, but protects less than it could or will not work for long.
    Warn,
    /// Does not work or is open to others.
    Fail,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A stable name.
    pub name: &'static str,
    /// How it ended.
    pub state: State,
    /// What was seen.
    pub detail: String,
    /// What to do; empty when nothing is.
    pub mend: String,
}

/// Everything looked at; `ok` unless something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// No check failed.
    pub ok: bool,
    /// The worst first.
    pub checks: Vec<Check>,
}

/// Looks at this host.
///
/// # Errors
/// `Denied` below role viewer.
pub async fn examine(admin: &Admin, actor: &Actor) -> Verb<Examination> {
    actor.need(Right::Read, "doctor")?;
    let mut checks = vec![
        sandbox(admin),
        database(admin).await,
        ledger(admin),
        configuration(admin),
        certificate(admin),
        recovery_identity(admin),
    ];
    checks.extend(modes(admin));
    checks.extend(servers(admin));
    checks.sort_by_key(|check| match check.state {
        State::Fail => 0,
        State::Warn => 1,
        State::Ok => 2,
    });
    Ok(Examination { ok: checks.iter().all(|check| check.state != State::Fail), checks })
}

fn check(name: &'static str, state: State, detail: impl Into<String>, mend: impl Into<String>) -> Check {
    Check { name, state, detail: detail.into(), mend: mend.into() }
}

fn sandbox(admin: &Admin) -> Check {
    let host = admin.feed.sandbox();
    if host.sentence.is_empty() {
        return check("sandbox", State::Warn, "Lifeboat is not running, so nobody has looked", "start it, then run doctor again");
    }
    if host.whole {
        return check("sandbox", State::Ok, host.sentence, "");
    }
    let mend = "run Lifeboat as root on a kernel with Landlock, or register stdio servers over HTTP from another account (docs/SECURITY.md)";
    check("sandbox", State::Warn, host.sentence, mend)
}

async fn database(admin: &Admin) -> Check {
    match admin.db.check().await {
        Ok(()) => check("state.db", State::Ok, "answers", ""),
        Err(fault) => {
            check("state.db", State::Fail, fault.message, "see which other process holds it; the kill switch works without it")
        }
    }
}

fn ledger(admin: &Admin) -> Check {
    match admin.ledger.state().why {
        None => check("ledger", State::Ok, "can be written", ""),
        Some(why) => {
            let mend = "lifeboat audit verify says whether it was changed; after a full disk Lifeboat goes on by itself";
            check("ledger", State::Fail, why, mend)
        }
    }
}

fn configuration(admin: &Admin) -> Check {
    match admin.publisher.refused() {
        None => check("configuration", State::Ok, "HEAD is what runs", ""),
        Some(refused) => {
            let detail = format!("commit {} is refused: {}", refused.commit, refused.faults.join("; "));
            check("configuration", State::Fail, detail, "mend the files, then lifeboat config check and lifeboat config commit")
        }
    }
}

fn certificate(admin: &Admin) -> Check {
    match health::certificate(admin) {
        None => check("certificate", State::Ok, "serves, and lasts two weeks or more", ""),
        Some(wrong) => {
            let mend =
                "put a new pair where tls.cert and tls.key point; Lifeboat's own is renewed at a start while keys/ca.key is there";
            check("certificate", State::Warn, wrong, mend)
        }
    }
}

fn recovery_identity(admin: &Admin) -> Check {
    let told = admin.data.first_run();
    let shown = std::fs::read_to_string(&told).is_ok_and(|text| text.contains("AGE-SECRET-KEY-"));
    let key = admin.data.recovery_key();
    let path = if key.exists() { key } else { told };
    if path == admin.data.first_run() && !shown {
        return check("recovery identity", State::Ok, "is not on this machine", "");
    }
    let mend = format!("copy {} to a safe place off this machine, then delete it here", path.display());
    check("recovery identity", State::Warn, "still lies on the machine it is meant to rebuild", mend)
}

fn modes(admin: &Admin) -> Vec<Check> {
    let data = &admin.data;
    let private = [
        data.state_db(),
        data.instance_key(),
        data.ledger_key(),
        data.ca_key(),
        data.server_key(),
        data.first_run(),
        data.keys(),
        data.run(),
    ];
    private.iter().filter_map(|path| open_to_others(path)).collect()
}

fn open_to_others(path: &Path) -> Option<Check> {
    let mode = std::fs::symlink_metadata(path).ok()?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return None;
    }
    let detail = format!("{} has mode {mode:04o}: other accounts can reach it", path.display());
    Some(check("permissions", State::Fail, detail, format!("chmod go= {}", path.display())))
}

fn servers(admin: &Admin) -> Vec<Check> {
    let snapshot = admin.feed.snapshot();
    let states = snapshot.servers.keys().filter_map(|name| Some((name, admin.feed.server(name)?)));
    let troubled = states.filter(|(_, state)| matches!(state.state, "down" | "unapproved"));
    troubled
        .map(|(name, state)| {
            let mend = if state.state == "unapproved" {
                format!("read its command line, then lifeboat server approve {name}")
            } else {
                format!("lifeboat server probe {name}")
            };
            check("server", State::Warn, format!("{name} is {}: {}", state.state, state.detail), mend)
        })
        .collect()
}
