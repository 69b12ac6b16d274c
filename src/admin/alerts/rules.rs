//! What should have happened and did not: no backup, no drill, no proof, no checkpoint, a certificate that ends, nobody to tell of it. Pure: from
//! facts to findings.

use crate::base::clock::Timestamp;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A quarter and a few days.
const QUARTER_DAYS: i64 = 100;
/// How long a new deployment has to show that its recovery identity is at hand.
const PROOF_GRACE_DAYS: i64 = 7;
const CERTIFICATE_DAYS: i64 = 14;
/// Checkpoints come each minute.
const HEARTBEAT_MS: i64 = 10 * 60_000;

/// Every rule there is.
pub const NAMES: [&str; 17] = [
    "backup.late",
    "drill.late",
    "drill.failed",
    "proof.late",
    "archives.strange",
    "restore.open",
    "copy.late",
    "config.refused",
    "certificate.ends",
    "ledger.silent",
    "watchdog.silent",
    "receiver.paused",
    "outbox.full",
    "credential.due",
    "credential.fetch",
    "credential.stuck",
    "credential.retire_failed",
];

/// Something that needs somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: &'static str,
    /// What it is about.
    pub object: String,
    /// In one sentence.
    pub text: String,
    /// What to do.
    pub mend: &'static str,
}

/// What the rules look at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// When the schedules of this deployment began: what was due before is nobody's loss.
    pub begun: Timestamp,
    /// Milliseconds of data that may be lost.
    pub rpo_ms: i64,
    /// Each vault, with the moment its newest verified archive was begun.
    pub vaults: Vec<(String, Option<Timestamp>)>,
    /// Whether backups are paused.
    pub backup_paused: bool,
    /// When the newest drill that passed began.
    pub drilled: Option<Timestamp>,
    /// The newest drill, when it did not pass: its id and why.
    pub drill_failed: Option<(String, String)>,
    /// Whether drills are paused.
    pub drill_paused: bool,
    /// Each recipient, with the moment possession was last shown.
    pub recipients: Vec<(String, Option<Timestamp>)>,
    /// What is wrong with the destination of archives.
    pub destination: Vec<(String, String)>,
    /// Copies that are not in line.
    pub copies: Vec<(String, String)>,
    /// Restores in place that were cut off or did not pass, while something they stopped is still stopped.
    pub restores: Vec<(String, String)>,
    /// Commit at HEAD that is refused.
    pub refused: Option<String>,
    /// When the served certificate ends.
    pub certificate_ends: Option<Timestamp>,
    /// When the ledger last signed its head.
    pub checkpoint: Option<Timestamp>,
    /// Why nobody answers the watchdog, when nobody does.
    pub silent: Option<String>,
    /// Receivers that said 410 Gone, with their URLs.
    pub gone: Vec<(String, String)>,
    /// Credentials that are due, by name, and why.
    pub due: Vec<(String, String)>,
    /// New secrets that the schedule had made and nobody has fetched, by credential, and what is to be done.
    pub unfetched: Vec<(String, String)>,
    /// Rotations that wait or fail, by credential, and why.
    pub stuck: Vec<(String, String)>,
    /// Old credentials that could not be ended, by name, and why.
    pub unretired: Vec<(String, String)>,
    /// Notices that were dropped lately because too many waited.
    pub dropped: u64,
}

/// Everything that needs somebody now.
pub fn findings(facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let mut found = late(facts, now);
    strange(facts, now, &mut found);
    untold(facts, &mut found);
    credentials(facts, &mut found);
    found
}

/// What should have happened by now.
fn late(facts: &Facts, now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |rule, object: &str, text: String, mend| found.push(Finding { rule, object: object.to_owned(), text, mend });
    let age = |at: Option<Timestamp>| now.since_ms(at.unwrap_or(facts.begun).max(facts.begun.min(now)));
    if !facts.backup_paused {
        for (vault, newest) in &facts.vaults {
            if now.since_ms(newest.unwrap_or(facts.begun)) > facts.rpo_ms {
                let said =
                    newest.map_or("it has no verified archive".to_owned(), |at| format!("its newest verified archive is of {at}"));
                add("backup.late", vault, format!("vault {vault}: {said}"), "lifeboat backup run");
            }
        }
    }
    if !facts.drill_paused && age(facts.drilled) > QUARTER_DAYS * DAY_MS {
        let said = facts.drilled.map_or("never".to_owned(), |at| format!("last on {at}"));
        add("drill.late", "drill", format!("a rebuild was rehearsed {said}"), "lifeboat drill run");
    }
    if let Some((id, why)) = &facts.drill_failed {
        add("drill.failed", "drill", format!("{id} did not pass: {why}"), "lifeboat drill show, then mend and drill again");
    }
    for (name, proved) in &facts.recipients {
        let grace = if proved.is_some() { QUARTER_DAYS } else { PROOF_GRACE_DAYS };
        if now.since_ms(proved.unwrap_or(facts.begun)) > grace * DAY_MS {
            let said =
                proved.map_or("was never shown to be at hand".to_owned(), |at| format!("was last shown to be at hand on {at}"));
            add("proof.late", name, format!("the identity of {name} {said}"), "lifeboat recipient prove");
        }
    }
    found
}

/// What is there and should not be.
fn strange(facts: &Facts, now: Timestamp, found: &mut Vec<Finding>) {
    let mut add = |rule, object: &str, text: String, mend| found.push(Finding { rule, object: object.to_owned(), text, mend });
    if let Some(commit) = &facts.refused {
        let said = format!("commit {commit} at HEAD is refused; the revision before it keeps running");
        add(
            "config.refused",
            "config",
            said,
            "lifeboat config check, mend, lifeboat config commit; or lifeboat config rollback REV",
        );
    }
    let told = [
        ("archives.strange", &facts.destination, "find out who changed the destination; lifeboat backup verify"),
        (
            "restore.open",
            &facts.restores,
            "look at the vault, then lifeboat kill release --server NAME, lifeboat vault clean VAULT",
        ),
        ("copy.late", &facts.copies, "mount or mend the place of the copy; the next backup brings it in line"),
    ];
    for (rule, sentences, mend) in told {
        for (object, sentence) in sentences {
            add(rule, object, sentence.clone(), mend);
        }
    }
    if let Some(ends) = facts.certificate_ends.filter(|ends| ends.since_ms(now) < CERTIFICATE_DAYS * DAY_MS) {
        add("certificate.ends", "tls", format!("the served certificate ends on {ends}"), "lifeboat doctor");
    }
    if facts.checkpoint.is_some_and(|at| now.since_ms(at) > HEARTBEAT_MS) {
        add("ledger.silent", "ledger", "the ledger signed nothing for ten minutes".to_owned(), "lifeboat doctor");
    }
}

/// What is to be replaced, and what was begun and does not end.
fn credentials(facts: &Facts, found: &mut Vec<Finding>) {
    let told = [
        ("credential.due", &facts.due, "lifeboat credential rotate NAME"),
        ("credential.fetch", &facts.unfetched, "lifeboat credential fetch NAME, and hand it to whoever holds it"),
        ("credential.stuck", &facts.stuck, "lifeboat credential show NAME, then do what it waits for"),
        (
            "credential.retire_failed",
            &facts.unretired,
            "lifeboat credential show NAME; when it leaked, lifeboat credential revoke NAME",
        ),
    ];
    for (rule, all, mend) in told {
        for (name, why) in all {
            found.push(Finding { rule, object: name.clone(), text: format!("{name}: {why}"), mend });
        }
    }
}

/// Why nobody would hear of the rest.
fn untold(facts: &Facts, found: &mut Vec<Finding>) {
    let mut add = |rule, object: &str, text: String, mend| found.push(Finding { rule, object: object.to_owned(), text, mend });
    if let Some(why) = &facts.silent {
        let said = format!("the URL that is told that alerts are looked for did not take it three times in a row: {why}");
        add("watchdog.silent", "watchdog", said, "see whether it is reached from this host; [watchdog] in alerts.toml");
    }
    for (name, url) in &facts.gone {
        let said = format!("receiver {name} said that {url} is gone, so it is told of nothing");
        add("receiver.paused", name, said, "mend its URL, or lifeboat alert test NAME, or lifeboat alert receiver remove NAME");
    }
    if facts.dropped > 0 {
        let said = "too many notices wait for receivers that do not take them; the oldest are dropped".to_owned();
        add("outbox.full", "outbox", said, "lifeboat alert receiver list, then mend or remove those that fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(count: i64) -> Timestamp {
        Timestamp(count * DAY_MS)
    }

    fn well() -> Facts {
        Facts {
            begun: day(0),
            rpo_ms: 26 * HOUR_MS,
            vaults: vec![("memory".into(), Some(day(399)))],
            drilled: Some(day(350)),
            recipients: vec![("recovery".into(), Some(day(350)))],
            certificate_ends: Some(day(500)),
            checkpoint: Some(day(400)),
            ..Facts::default()
        }
    }

    fn rules(facts: &Facts) -> Vec<&'static str> {
        let found: Vec<&str> = findings(facts, day(400)).into_iter().map(|finding| finding.rule).collect();
        assert!(found.iter().all(|rule| NAMES.contains(rule)), "{found:?}");
        found
    }

    #[test]
    fn what_did_not_happen_is_found_and_what_did_is_not() {
        assert_eq!(rules(&well()), Vec::<&str>::new());
        assert_eq!(rules(&Facts { vaults: vec![("memory".into(), Some(day(398)))], ..well() }), ["backup.late"]);
        assert_eq!(rules(&Facts { vaults: vec![("memory".into(), None)], ..well() }), ["backup.late"]);
        assert_eq!(rules(&Facts { vaults: vec![("memory".into(), None)], backup_paused: true, ..well() }), Vec::<&str>::new());
        assert_eq!(rules(&Facts { drilled: Some(day(299)), ..well() }), ["drill.late"]);
        assert_eq!(rules(&Facts { drilled: None, ..well() }), ["drill.late"]);
        assert_eq!(rules(&Facts { drill_failed: Some(("dr_1".into(), "x".into())), ..well() }), ["drill.failed"]);
        assert_eq!(rules(&Facts { recipients: vec![("a".into(), None), ("b".into(), Some(day(1)))], ..well() }), ["proof.late"; 2]);
        assert_eq!(rules(&Facts { certificate_ends: Some(day(410)), ..well() }), ["certificate.ends"]);
        assert_eq!(rules(&Facts { restores: vec![("x".into(), "y".into())], ..well() }), ["restore.open"]);
        assert_eq!(rules(&Facts { copies: vec![("x".into(), "y".into())], ..well() }), ["copy.late"]);
        assert_eq!(rules(&Facts { destination: vec![("x".into(), "y".into())], ..well() }), ["archives.strange"]);
        assert_eq!(rules(&Facts { refused: Some("c".into()), ..well() }), ["config.refused"]);
        assert_eq!(rules(&Facts { checkpoint: Some(day(399)), ..well() }), ["ledger.silent"]);
        assert_eq!(rules(&Facts { silent: Some("no answer".into()), ..well() }), ["watchdog.silent"]);
        assert_eq!(rules(&Facts { gone: vec![("a".into(), "https://a.example".into())], ..well() }), ["receiver.paused"]);
        assert_eq!(rules(&Facts { dropped: 1, ..well() }), ["outbox.full"]);
        let one = || vec![("client-key/ci".to_owned(), "it is due".to_owned())];
        assert_eq!(rules(&Facts { due: one(), ..well() }), ["credential.due"]);
        assert_eq!(rules(&Facts { unfetched: one(), ..well() }), ["credential.fetch"]);
        assert_eq!(rules(&Facts { stuck: one(), ..well() }), ["credential.stuck"]);
        assert_eq!(rules(&Facts { unretired: one(), ..well() }), ["credential.retire_failed"]);
    }

    #[test]
    fn a_new_deployment_has_time_to_begin() {
        let new = Facts {
            begun: day(400),
            vaults: vec![("memory".into(), None)],
            recipients: vec![("a".into(), None)],
            drilled: None,
            ..well()
        };
        assert_eq!(rules(&new), Vec::<&str>::new());
    }
}
