//! Every credential of the deployment in one table, computed from what each noun keeps. Stores nothing, and never sees a secret but to name it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::drivers::version_of;
use super::kinds::Kind;
use super::machine::{Hold, State};
use super::model::{Credential, Rotation, Strategy, Version};
use super::{store, systems};
use crate::admin::alerts::receivers;
use crate::admin::clients::single::{self as held, Form};
use crate::admin::servers::one;
use crate::admin::{Actor, Admin, operators, tokens, tree, vaults};
use crate::audit::Filter;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;
use crate::config::credentials::{Credentials, Rotate, overlap_ms, overlap_text};
use crate::config::schedules::{Schedules, Slots};
use crate::crypto::{ca, files};

pub(super) const DAY_MS: i64 = 86_400_000;
/// So long after it was due it is overdue.
const OVERDUE_MS: i64 = 14 * DAY_MS;
/// So long before its end a certificate is due.
pub(super) const RENEW_MS: i64 = 30 * DAY_MS;
/// Keys that sign tokens, the newest, that are shown.
const SHOWN: usize = 8;
/// Newest events of a client that say when its keys were last used, when this process has not seen it.
const LOOKED_AT: u32 = 200;

/// A credential as its noun keeps it.
pub(super) struct Found {
    pub kind: Kind,
    pub name: String,
    pub strategy: Strategy,
    pub versions: Vec<Version>,
    /// What is missing, or over, in a word and a sentence.
    pub odd: Option<(&'static str, String)>,
    /// When it is due whatever its age.
    pub due_at: Option<Timestamp>,
}

impl Found {
    pub(super) fn new(kind: Kind, name: impl Into<String>, versions: Vec<Version>) -> Self {
        Self { kind, name: name.into(), strategy: kind.strategy(), versions, odd: None, due_at: None }
    }
}

pub(super) fn version(id: impl Into<String>, state: &str, created_at: Option<Timestamp>) -> Version {
    Version { id: id.into(), state: state.to_owned(), created_at, expires_at: None, activates_at: None, last_used: None }
}

/// Every credential, by kind and name.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn all(admin: &Admin) -> Verb<Vec<Credential>> {
    let desired = tree::standing(admin).await.unwrap_or_default();
    let (said, slots) = (&desired.credentials, slots(&desired.schedules));
    let open: HashMap<String, Rotation> =
        store::open(&admin.db).await?.into_iter().map(|row| (row.credential.clone(), row)).collect();
    let proved: HashMap<String, Timestamp> = store::proved(&admin.db).await?.into_iter().collect();
    let mut found = clients(admin, Form::Key).await?;
    found.extend(clients(admin, Form::Secret).await?);
    found.extend(token_keys(admin).await?);
    found.extend(upstreams(admin, &proved).await?);
    found.extend(webhooks(admin).await?);
    found.extend(certificates(admin));
    found.extend(recipients(admin).await?);
    found.extend(systems::listed(admin, said, &proved).await?);
    found.extend(operators(admin));
    found.extend(own_keys(admin));
    let now = admin.clock.now();
    Ok(found.into_iter().map(|found| credential(found, (said, slots.as_ref()), (&open, &proved), now)).collect())
}

/// When the schedule rotates what is left to it; never while it is paused.
fn slots(schedules: &Schedules) -> Option<Slots> {
    Slots::parse(&schedules.rotate.cron).ok().filter(|_| !schedules.rotate.paused)
}

fn credential(
    found: Found,
    (said, slots): (&Credentials, Option<&Slots>),
    (open, proved): (&HashMap<String, Rotation>, &HashMap<String, Timestamp>),
    now: Timestamp,
) -> Credential {
    let name = format!("{}/{}", found.kind.word(), found.name);
    let entry = said.of(&name);
    let days = entry.and_then(|entry| entry.rotate_every_days).unwrap_or(found.kind.days());
    let overlap = entry.and_then(|entry| entry.overlap.as_deref()).and_then(|text| overlap_ms(text).ok());
    let current = found.versions.iter().find(|version| version.state == "current");
    let by_age = current.and_then(|version| version.created_at).filter(|_| days > 0);
    let due_at = found.due_at.or(by_age.map(|at| at.plus_ms(i64::from(days) * DAY_MS)));
    let due_at = due_at.filter(|_| found.strategy != Strategy::Elsewhere || found.due_at.is_some());
    let row = open.get(&name);
    let alone = !matches!(found.strategy, Strategy::Assisted | Strategy::Elsewhere);
    let by_itself = alone && entry.is_some_and(|entry| entry.rotate == Rotate::WhenDue);
    // The slot of its due date itself, whatever the time is now: what is written down of it does not change from day to day.
    let rotates_at = due_at.filter(|_| by_itself).and_then(|due| slots?.after(due.plus_ms(-1)));
    let (state, note) = standing(row, found.odd, (due_at, rotates_at), now);
    Credential {
        kind: found.kind.word().to_owned(),
        owner: entry.and_then(|entry| entry.owner.clone()),
        holder: entry.and_then(|entry| entry.holder.clone()),
        strategy: found.strategy,
        state: state.to_owned(),
        note,
        versions: found.versions,
        rotate_every_days: days,
        due_at,
        by_itself,
        rotates_at,
        to_fetch: row.is_some_and(Rotation::waits_for_holder),
        overlap: overlap_text(overlap.unwrap_or(found.kind.overlap_ms())),
        means: found.kind.means().to_owned(),
        rotation: row.map(|row| row.id.clone()),
        proved_at: proved.get(&name).copied(),
        name,
    }
}

/// A credential that is no more.
pub(super) fn gone(kind: Kind, name: &str) -> Credential {
    Credential {
        name: name.to_owned(),
        kind: kind.word().to_owned(),
        owner: None,
        holder: None,
        strategy: Strategy::Elsewhere,
        state: "ended".to_owned(),
        note: "it is no more; its last rotation says how it ended".to_owned(),
        versions: Vec::new(),
        rotate_every_days: 0,
        due_at: None,
        by_itself: false,
        rotates_at: None,
        to_fetch: false,
        overlap: overlap_text(0),
        means: String::new(),
        rotation: None,
        proved_at: None,
    }
}

fn standing(
    row: Option<&Rotation>,
    odd: Option<(&'static str, String)>,
    (due_at, rotates_at): (Option<Timestamp>, Option<Timestamp>),
    now: Timestamp,
) -> (&'static str, String) {
    if let Some(row) = row {
        let why = row.why.clone().unwrap_or_else(|| match row.waits_for_holder() {
            true => super::next(row),
            false => format!("its rotation is {}", row.state.word().replace('_', " ")),
        });
        return match (row.state, row.hold) {
            (State::RetireFailed, _) => ("retire_failed", why),
            (_, Some(Hold::Paused | Hold::Waiting | Hold::Failed)) => ("stuck", why),
            _ => ("rotating", why),
        };
    }
    if let Some((state, note)) = odd {
        return (state, note);
    }
    let by_itself = match rotates_at {
        Some(at) if at > now => format!("; the schedule rotates it on {}", day(at)),
        Some(_) => "; the schedule rotates it with its next run".to_owned(),
        None => String::new(),
    };
    match due_at {
        Some(due) if now.since_ms(due) >= OVERDUE_MS => ("overdue", format!("it was due on {}{by_itself}", day(due))),
        Some(due) if now >= due => ("due", format!("it is due since {}{by_itself}", day(due))),
        _ => ("ok", String::new()),
    }
}

fn day(at: Timestamp) -> String {
    at.to_string().get(..10).unwrap_or_default().to_owned()
}

/// The keys, or the secrets, of every client. A client that shows something else needs none of them.
async fn clients(admin: &Admin, form: Form) -> Verb<Vec<Found>> {
    let mut held: BTreeMap<String, Vec<Version>> = BTreeMap::new();
    let snapshot = admin.feed.snapshot();
    if form == Form::Key {
        let with: BTreeSet<String> = held::all(admin, Form::Secret).await?.into_iter().map(|one| one.client).collect();
        let bare = snapshot.clients.keys().filter(|name| snapshot.kids_of(name).is_empty() && !with.contains(name.as_ref()));
        held.extend(bare.map(|name| (name.to_string(), Vec::new())));
    }
    for one in held::all(admin, form).await? {
        let versions = held.entry(one.client).or_default();
        // Newest first, so the first that counts is the current one.
        let is_first = !versions.iter().any(|version| version.state == "current");
        let state = match one.state.as_str() {
            "active" if is_first => "current",
            "active" => "previous",
            other => other,
        };
        let last_used = admin.feed.uses().last(&one.kid);
        versions.push(Version { expires_at: one.expires_at, last_used, ..version(one.kid, state, Some(one.created_at)) });
    }
    // It exists while a proof runs, and is nobody's.
    held.remove(super::proof::SHADOW);
    let kind = if form == Form::Key { Kind::ClientKey } else { Kind::ClientSecret };
    let word = form.word();
    let mut all = Vec::new();
    for (name, mut versions) in held {
        last_uses(admin, &name, &mut versions).await;
        let lives = versions.iter().any(|version| matches!(version.state.as_str(), "current" | "previous"));
        let odd = match (snapshot.clients.contains_key(name.as_str()), lives, snapshot.kids_of(&name).is_empty()) {
            (false, ..) => Some(("ended", "the client was revoked".to_owned())),
            (true, true, _) => None,
            (true, false, false) => Some(("ended", format!("no {word} of the client counts; it shows something else"))),
            (true, false, true) => Some(("missing", format!("the client has no {word} that counts: a rotation issues one"))),
        };
        all.push(Found { odd, ..Found::new(kind, name, versions) });
    }
    Ok(all)
}

/// The keys that sign tokens: one credential, whose versions are their states.
async fn token_keys(admin: &Admin) -> Verb<Option<Found>> {
    let keys = tokens::list(admin, &reader()).await?.keys;
    let told = |key: tokens::TokenKey| {
        // A retired one is explained by its rotation; what it was last good for says nothing more.
        let expires_at = key.last_expiry.filter(|_| key.state == "previous");
        let activates_at = (key.state == "next").then_some(key.activates_at);
        Version { expires_at, activates_at, ..version(key.kid, &key.state, Some(key.created_at)) }
    };
    let versions: Vec<Version> = keys.into_iter().take(SHOWN).map(told).collect();
    let signs = versions.iter().any(|version| version.state == "current");
    let odd = (!signs).then(|| ("missing", "no key signs tokens: a restart makes one".to_owned()));
    Ok(Some(Found { odd, ..Found::new(Kind::TokenKey, "oauth", versions) }).filter(|found| !found.versions.is_empty()))
}

/// What this process has not seen, the ledger may know.
async fn last_uses(admin: &Admin, client: &str, versions: &mut [Version]) {
    let unseen = |version: &Version| version.last_used.is_none() && matches!(version.state.as_str(), "current" | "previous");
    if !versions.iter().any(unseen) {
        return;
    }
    let filter = Filter { client: Some(client.to_owned()), limit: Some(LOOKED_AT), ..Filter::default() };
    let Ok(page) = admin.ledger.query(&filter).await else { return };
    for version in versions.iter_mut().filter(|version| version.last_used.is_none()) {
        version.last_used = page.events.iter().find(|event| event.kid.as_ref() == Some(&version.id)).map(|event| event.ts);
    }
}

async fn upstreams(admin: &Admin, proved: &HashMap<String, Timestamp>) -> Verb<Vec<Found>> {
    let stored = one::stored(admin).await?;
    let mut all = Vec::new();
    for (server, entry) in &admin.feed.snapshot().servers {
        for what in one::due(entry) {
            let name = format!("{server}:{what}");
            let value = one::value(entry, &what);
            let since = proved.get(&format!("{}/{name}", Kind::Upstream.word())).or(stored.get(server)).copied();
            let ends = (what == one::CLIENT).then(|| value.as_deref().and_then(crate::crypto::tls::ends_at)).flatten();
            let current = value
                .map(|value| Version { expires_at: ends, ..version(admin.sealer.fingerprint(value.as_bytes()), "current", since) });
            let odd = current.is_none().then(|| ("missing", "it is due and this host keeps none".to_owned()));
            let due_at = ends.map(|ends| ends.plus_ms(-RENEW_MS));
            all.push(Found { odd, due_at, ..Found::new(Kind::Upstream, name, current.into_iter().collect()) });
        }
    }
    Ok(all)
}

async fn webhooks(admin: &Admin) -> Verb<Vec<Found>> {
    let mut all = Vec::new();
    for receiver in receivers::list(admin, &reader()).await?.receivers {
        let held = receivers::held(admin, &receiver.name).await?;
        let id = |secret: &crate::base::secret::Secret<String>| admin.sealer.fingerprint(secret.reveal().as_bytes());
        let mut versions = Vec::new();
        if let Some(held) = &held {
            versions.push(version(id(&held.secret), "current", receiver.secret_since));
            versions.extend(held.old.as_ref().map(|old| version(id(old), "previous", None)));
        }
        let odd = held.is_none().then(|| ("missing", receiver.why.unwrap_or_else(|| "it has no secret here".to_owned())));
        all.push(Found { odd, ..Found::new(Kind::Webhook, receiver.name, versions) });
    }
    Ok(all)
}

fn certificates(admin: &Admin) -> Vec<Found> {
    let named = admin.feed.snapshot().settings.tls.cert.clone();
    let is_own = named.is_none();
    // Ours begin to count before they were made.
    let described = |path: &std::path::Path, is_own: bool| {
        let pem = files::read(path).ok().flatten()?;
        let found = ca::describe(&pem)?;
        let id = version_of(&String::from_utf8_lossy(&pem)).unwrap_or_default();
        let made = if is_own { found.not_before.plus_ms(ca::BACKDATE_MS) } else { found.not_before };
        let current = Version { expires_at: Some(found.not_after), ..version(id, "current", Some(made)) };
        Some((current, found.not_after.plus_ms(-RENEW_MS)))
    };
    let served = described(&named.unwrap_or_else(|| admin.data.server_pem()), is_own);
    let mut all = Vec::new();
    if let Some((current, due)) = served {
        let strategy = if is_own { Kind::Tls.strategy() } else { Strategy::Elsewhere };
        all.push(Found { due_at: Some(due), strategy, ..Found::new(Kind::Tls, "server", vec![current]) });
    }
    if let Some((current, due)) = described(&admin.data.ca_pem(), true) {
        all.push(Found { due_at: Some(due), ..Found::new(Kind::Ca, "lifeboat", vec![current]) });
    }
    all
}

async fn recipients(admin: &Admin) -> Verb<Vec<Found>> {
    let all = vaults::list_recipients(admin, &reader()).await?.recipients;
    let found = all.into_iter().map(|one| {
        let current = Version { last_used: one.proved_at, ..version(one.recipient, "current", Some(one.added_at)) };
        Found::new(Kind::Recipient, one.name, vec![current])
    });
    Ok(found.collect())
}

fn operators(admin: &Admin) -> Vec<Found> {
    let reader = reader();
    let accounts = operators::list(admin, &reader).map(|list| list.operators).unwrap_or_default();
    let keys = operators::key_list(admin, &reader).map(|list| list.keys).unwrap_or_default();
    let now = admin.clock.now();
    let mut all = Vec::new();
    for account in accounts {
        let ended = account.disabled_at.map(|at| ("ended", format!("the operator is disabled since {}", day(at))));
        let password = Version { last_used: account.last_seen, ..version("password", "current", Some(account.created_at)) };
        all.push(Found { odd: ended.clone(), ..Found::new(Kind::OperatorPassword, &account.name, vec![password]) });
        let versions: Vec<Version> =
            keys.iter().filter(|key| key.operator == account.name).map(|key| operator_key(key, now)).collect();
        if !versions.is_empty() {
            let lives = versions.iter().any(|version| version.state == "current");
            let over = (!lives).then(|| ("ended", "no key of the operator counts".to_owned()));
            all.push(Found { odd: over, ..Found::new(Kind::OperatorKey, &account.name, versions) });
        }
        let open = admin.operators.state().sessions.values().filter(|one| one.operator == account.name && one.lives(now)).count();
        if open > 0 {
            let sessions = Version { last_used: account.last_seen, ..version(format!("{open} open"), "current", None) };
            all.push(Found::new(Kind::OperatorSession, &account.name, vec![sessions]));
        }
    }
    all
}

fn operator_key(key: &operators::OperatorKey, now: Timestamp) -> Version {
    let state = match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked",
        (_, Some(end)) if end <= now => "expired",
        _ => "current",
    };
    Version { expires_at: key.expires_at, last_used: key.last_used, ..version(&key.kid, state, Some(key.created_at)) }
}

fn own_keys(admin: &Admin) -> Vec<Found> {
    let made = |path: &std::path::Path| {
        let modified = std::fs::metadata(path).ok()?.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(modified.as_millis()).ok().map(Timestamp)
    };
    let ledger = version(vaults::trust(admin), "current", made(&admin.data.ledger_key()));
    let instance = version("1", "current", made(&admin.data.instance_key()));
    vec![Found::new(Kind::LedgerKey, "lifeboat", vec![ledger]), Found::new(Kind::InstanceKey, "lifeboat", vec![instance])]
}

fn reader() -> Actor {
    Actor::system("inventory")
}
