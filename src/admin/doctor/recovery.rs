//! Whether this deployment could be rebuilt: archives, recipients, drills. Only asks; reads no archive.

use super::{Check, State, check, ok};
use crate::admin::{Actor, Admin, drills, vaults};
use crate::base::clock::Timestamp;

const DAY_MS: i64 = 86_400_000;
/// A quarter and a few days.
const DRILL_DAYS: i64 = 100;

pub(super) async fn checks(admin: &Admin) -> Vec<Check> {
    let actor = Actor::system("doctor");
    let mut checks =
        vec![archives(admin, &actor).await, copies(admin).await, recipients(admin, &actor).await, drill(admin, &actor).await];
    checks.extend(restores(admin));
    checks.extend(commands(admin, &actor).await);
    checks.extend(outputs(admin));
    checks
}

/// What waits for approval is in no archive.
async fn commands(admin: &Admin, actor: &Actor) -> Option<Check> {
    const NAME: &str = "vault commands";
    let found = match vaults::vaults(admin, actor).await {
        Ok(list) => list.vaults,
        Err(fault) => return Some(check(NAME, State::Warn, fault.to_string(), "lifeboat vault list")),
    };
    let (mut all, mut waiting) = (0, Vec::new());
    for vault in found {
        let Some(command) = vault.command else { continue };
        all += 1;
        if !command.approved {
            waiting.push((vault.name, command.line));
        }
    }
    match (all, waiting.first()) {
        (0, _) => None,
        (_, None) => Some(ok(NAME, format!("{all} approved on this host"))),
        (_, Some((name, line))) => {
            let detail = format!("{} wait for approval on this host, first of them {name}: {line}", waiting.len());
            Some(check(NAME, State::Warn, detail, format!("lifeboat vault approve {name}")))
        }
    }
}

/// What a rebuild brought back for somebody to feed to its system lies there in plain.
fn outputs(admin: &Admin) -> Option<Check> {
    let folder = admin.data.outputs();
    let names = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let detail = format!("a rebuild brought back what commands wrote, and it lies here in plain: {}", names.join(", "));
    let mend = format!("feed it to the systems it came from, then remove {}", folder.display());
    (!names.is_empty()).then(|| check("outputs", State::Warn, detail, mend))
}

async fn archives(admin: &Admin, actor: &Actor) -> Check {
    const NAME: &str = "archives";
    let found = match vaults::list(admin, actor).await {
        Ok(found) => found,
        Err(fault) => return check(NAME, State::Warn, fault.to_string(), "lifeboat backup list"),
    };
    if let Some(fault) = found.faults.first() {
        let mend = "look at the destination: who removed, renamed or added files there? lifeboat backup verify compares all of it";
        return check(NAME, State::Warn, fault.clone(), mend);
    }
    let counts = |one: &&vaults::Archive| one.verified && !one.safety;
    let bare = vaults::vaults(admin, actor).await.map(|list| list.vaults).unwrap_or_default();
    let bare: Vec<String> = bare.into_iter().filter(|vault| vault.archives == 0).map(|vault| vault.name).collect();
    let newest = found.archives.iter().filter(counts).map(|one| one.started_at).max();
    if newest.is_some() && !bare.is_empty() {
        let detail = format!("there is none of {}: what it holds cannot be brought back", bare.join(", "));
        return check(NAME, State::Warn, detail, "lifeboat backup run");
    }
    let promised = i64::try_from(drills::targets(admin).rpo_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let old = |at: Timestamp| admin.clock.now().since_ms(at) > promised;
    match newest {
        None => check(NAME, State::Warn, "there is none: what this host holds cannot be brought back", "lifeboat backup run"),
        Some(at) if old(at) => check(NAME, State::Warn, format!("the newest verified one is of {at}"), "lifeboat backup run"),
        Some(at) => ok(NAME, format!("the newest verified one is of {at}")),
    }
}

/// What stands on the same machine as what it protects goes with it.
async fn copies(admin: &Admin) -> Check {
    const NAME: &str = "copies";
    let recovery = admin.feed.snapshot().settings.recovery.clone();
    if recovery.copies.is_empty() && recovery.buckets.is_empty() {
        let mend = "name a directory or a bucket: [recovery] copies or [[recovery.bucket]] in lifeboat.toml (docs/RECOVERY.md)";
        return check(NAME, State::Warn, "the archives stand on this machine only", mend);
    }
    match vaults::copies_behind(admin).await.into_iter().next() {
        Some((_, wrong)) => {
            check(NAME, State::Warn, wrong, "mend the place, then lifeboat backup run; lifeboat backup copies shows all")
        }
        None => ok(NAME, format!("{} in line with the archives", recovery.copies.len() + recovery.buckets.len())),
    }
}

/// Restores in place that were cut off or did not pass, while somebody must still look.
fn restores(admin: &Admin) -> Vec<Check> {
    let mend = "look at the vault, then lifeboat kill status, lifeboat kill release --server NAME, and lifeboat vault clean VAULT";
    vaults::unsettled(admin).into_iter().map(|told| check("restore", State::Warn, told, mend)).collect()
}

async fn recipients(admin: &Admin, actor: &Actor) -> Check {
    const NAME: &str = "recipients";
    match vaults::list_recipients(admin, actor).await {
        Err(fault) => check(NAME, State::Warn, fault.to_string(), "lifeboat recipient list"),
        Ok(list) if list.warnings.is_empty() => ok(NAME, format!("{} can open the archives", list.recipients.len())),
        Ok(list) => {
            let mend = "store identities off this machine, add a second recipient, and show possession: lifeboat recipient prove";
            check(NAME, State::Warn, list.warnings.join("; "), mend)
        }
    }
}

async fn drill(admin: &Admin, actor: &Actor) -> Check {
    const NAME: &str = "drill";
    let list = drills::list(admin, actor, 20).await.map(|list| list.drills).unwrap_or_default();
    let Some(last) = list.iter().find(|drill| drill.scenario == drills::order::Scenario::HostLost.word() && drill.passed.is_some())
    else {
        return check(NAME, State::Warn, "a rebuild was never rehearsed here", "lifeboat drill run");
    };
    let days = admin.clock.now().since_ms(last.started_at) / DAY_MS;
    match last.passed {
        Some(true) if days <= DRILL_DAYS => {
            ok(NAME, format!("rebuilt in {:.1} s on {}", last.rto_seconds.unwrap_or_default(), last.started_at))
        }
        Some(true) => check(NAME, State::Warn, format!("the last one is {days} days old"), "lifeboat drill run"),
        _ => check(NAME, State::Warn, format!("{} did not pass", last.id), format!("lifeboat drill show {}", last.id)),
    }
}
