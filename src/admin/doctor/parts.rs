//! The parts of Lifeboat itself: database, ledger and its clock, configuration, kill switch, operators. Only asks them.

use super::{Check, State, check, ok};
use crate::admin::{Actor, Admin, health, kill, operators, tree};
use crate::audit::Filter;

// Clocks of well-kept hosts differ by less; a ledger in the future means that this one was set back.
const SKEW_MS: i64 = 60_000;

pub(super) async fn checks(admin: &Admin) -> Vec<Check> {
    let running = !admin.feed.listeners().is_empty();
    let mut checks = vec![
        database(admin).await,
        ledger(admin),
        clock(admin).await,
        configuration(admin),
        certificate(admin),
        edits(admin).await,
        stopped(admin),
        operators_there(admin),
    ];
    if running {
        checks.push(proof(admin));
    } else {
        let mend = "start it with lifeboat serve, then run doctor again";
        checks.push(check("running", State::Warn, "Lifeboat is not running; this is what its files say", mend));
    }
    checks
}

async fn database(admin: &Admin) -> Check {
    match admin.db.check().await {
        Ok(()) => ok("state.db", "answers"),
        Err(fault) => {
            check("state.db", State::Fail, fault.message, "see which other process holds it; the kill switch works without it")
        }
    }
}

fn ledger(admin: &Admin) -> Check {
    match admin.ledger.state().why {
        None => ok("ledger", "can be written"),
        Some(why) => {
            let mend = "lifeboat audit verify says whether it was changed; after a full disk Lifeboat goes on by itself";
            check("ledger", State::Fail, why, mend)
        }
    }
}

// Nobody outside is asked: what this host wrote down itself must not lie in its future.
async fn clock(admin: &Admin) -> Check {
    let newest = Filter { limit: Some(1), ..Filter::default() };
    let Ok(page) = admin.ledger.query(&newest).await else {
        return check("clock", State::Warn, "the ledger cannot be read, so the clock cannot be compared with it", "");
    };
    let now = admin.clock.now();
    match page.events.first() {
        Some(event) if event.ts.since_ms(now) > SKEW_MS => {
            let detail = format!("shows {now}, but the newest event of the ledger is of {}", event.ts);
            let mend = "set the clock (timedatectl); keys and certificates end by it, and events are sorted by it";
            check("clock", State::Fail, detail, mend)
        }
        _ => ok("clock", format!("shows {now}, not before anything the ledger holds")),
    }
}

fn configuration(admin: &Admin) -> Check {
    match admin.publisher.refused() {
        None => ok("configuration", "HEAD is what runs"),
        Some(refused) => {
            let detail = format!("commit {} is refused: {}", refused.commit, refused.faults.join("; "));
            check("configuration", State::Fail, detail, "mend the files, then lifeboat config check and lifeboat config commit")
        }
    }
}

fn certificate(admin: &Admin) -> Check {
    let mend = "put a new pair where tls.cert and tls.key point; Lifeboat's own is renewed at a start while keys/ca.key is there";
    match health::certificate(admin) {
        None => ok("certificate", "serves, and lasts two weeks or more"),
        Some(wrong) if wrong.contains("ended") => check("certificate", State::Fail, wrong, mend),
        Some(wrong) => check("certificate", State::Warn, wrong, mend),
    }
}

async fn edits(admin: &Admin) -> Check {
    let edited = tree::blocking(&admin.repository, |repository| repository.working_changes()).await;
    match edited.map(|changes| changes.len()) {
        Ok(0) => ok("config edits", "none that are not committed"),
        Ok(count) => {
            let detail = format!("{count} edited files in config/ do not count yet");
            check("config edits", State::Warn, detail, "lifeboat config check, then lifeboat config commit --as NAME -m \"why\"")
        }
        Err(fault) => check("config edits", State::Fail, fault.to_string(), "see whether config/ is still a git repository"),
    }
}

fn stopped(admin: &Admin) -> Check {
    let states = kill::states(admin);
    if states.is_empty() {
        return ok("kill switch", "nothing is stopped");
    }
    let what: Vec<String> = states
        .iter()
        .map(|state| format!("{} ({}) by {} since {}: {}", state.scope, state.mode, state.by, state.since, state.reason))
        .collect();
    let mend = "when it is safe: lifeboat kill release --reason \"…\" with the same scope";
    check("kill switch", State::Warn, format!("engaged: {}", what.join("; ")), mend)
}

fn proof(admin: &Admin) -> Check {
    let mend = "run a kill drill on the page Kill switch; it stops only its own canary";
    match kill::status(admin, &Actor::system("doctor")).ok().and_then(|status| status.last_proof) {
        Some(proof) if proof.effective => ok("kill proof", format!("proved through every listener at {}", proof.at)),
        Some(proof) => {
            let detail = format!("the last one, of {}, was not proved at every listener in 5 s", proof.at);
            check("kill proof", State::Fail, detail, mend)
        }
        None => check("kill proof", State::Warn, "the kill switch was never proved here", mend),
    }
}

fn operators_there(admin: &Admin) -> Check {
    if operators::needs_setup(admin) {
        let mend = "open the dashboard and type the setup code of the first run, or lifeboat operator add NAME --role admin --password-stdin";
        return check("operators", State::Warn, "there is none yet, so nobody can sign in", mend);
    }
    let list = operators::list(admin, &Actor::system("doctor")).map(|list| list.operators).unwrap_or_default();
    let active = list.iter().filter(|operator| operator.disabled_at.is_none()).count();
    let admins = operators::admins(admin);
    if admins.is_empty() {
        let mend = "lifeboat operator add NAME --role admin --password-stdin";
        return check("operators", State::Warn, "none of them is an admin, so nobody can release at the dashboard", mend);
    }
    ok("operators", format!("{active} may sign in; admins: {}", admins.join(", ")))
}
