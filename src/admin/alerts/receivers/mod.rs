//! Who is told of alerts: add, list, mint a secret, remove. A receiver stands in the configuration; its secret is made here, kept sealed and shown
//! once. Never in git, a log or a list.

mod model;
pub mod pages;
mod store;

pub use model::{
    AddReceiver, Delivery, Receiver, ReceiverList, ReceiverRemoved, ReceiverSecret, TestOrder, Tested, TestedReceiver, WatchdogView,
};
pub use store::STATEMENTS;

use super::memory::{locked, running};
use super::outbox;
use super::post::{self, Letter, Signed};
use super::rules::NAMES;
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::check_name;
use crate::base::secret::Secret;
use crate::config::alerts::{Alerting, FILE, ReceiverConfig, pattern};
use crate::config::credentials::LONGEST_OVERLAP_MS;
use crate::config::repo::Files;
use crate::crypto::webhook;

/// How long the secret before signs beside a new one.
const OVERLAP_MS: i64 = 24 * 60 * 60 * 1_000;

/// What is kept about a receiver.
pub(super) struct Kept {
    pub sealed: Vec<u8>,
    pub minted_at: Timestamp,
    pub old: Option<Vec<u8>>,
    pub old_until: Option<Timestamp>,
    pub paused_at: Option<Timestamp>,
    pub paused_url: Option<String>,
}

/// What signs now, and whether anything may be sent.
pub(super) struct Keys {
    /// `None` when it does not open with this instance's key.
    secret: Option<Secret<String>>,
    old: Option<(Secret<String>, Timestamp)>,
    paused_url: Option<String>,
}

impl Keys {
    /// Whether it said 410 Gone at this URL.
    pub(super) fn is_paused(&self, url: &str) -> bool {
        self.paused_url.as_deref() == Some(url)
    }

    /// The newest of them alone.
    pub(super) fn newest(self) -> Self {
        Self { old: None, ..self }
    }

    /// Signs a letter: by the secret, and by the one before while that counts.
    pub(super) fn sign(&self, letter: &Letter<'_>, now: Timestamp) -> Option<Signed> {
        let seconds = now.0.div_euclid(1_000);
        let signature = |secret| webhook::sign(secret, letter.id, seconds, letter.body.as_bytes());
        let old = self.old.as_ref().filter(|(_, until)| *until > now).and_then(|(secret, _)| signature(secret));
        let signatures = [Some(signature(self.secret.as_ref()?)?), old].into_iter().flatten().collect::<Vec<_>>().join(" ");
        Some(Signed { seconds, signatures })
    }
}

/// The secrets of a receiver, for their rotation.
pub(in crate::admin) struct Held {
    /// The newest.
    pub secret: Secret<String>,
    /// The one before, which signs too.
    pub old: Option<Secret<String>>,
}

/// The secrets that sign for a receiver now; `None` when it has none that opens here.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn held(admin: &Admin, name: &str) -> Verb<Option<Held>> {
    let now = admin.clock.now();
    let keys = keys(admin, name).await?;
    Ok(keys.and_then(|keys| {
        let old = keys.old.filter(|(_, until)| *until > now).map(|(secret, _)| secret);
        keys.secret.map(|secret| Held { secret, old })
    }))
}

/// Has another secret sign beside the present one, until that is ended.
///
/// # Errors
/// `NotFound` when the receiver has none; when the database does not answer.
pub(in crate::admin) async fn put_beside(admin: &Admin, name: &str, secret: &Secret<String>) -> Verb<()> {
    let sealed = admin.sealer.seal(&label(name), secret.reveal().as_bytes(), admin.entropy.as_ref())?;
    let now = admin.clock.now();
    let rolled = store::roll(&admin.db, name, &sealed, (now, now.plus_ms(LONGEST_OVERLAP_MS))).await?;
    if rolled { Ok(()) } else { Err(missing(name)) }
}

/// Ends the secret before; the second time nothing happens.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn end_old(admin: &Admin, name: &str) -> Verb<()> {
    store::end_old(&admin.db, name).await
}

/// Ends the newest secret: the one before is the only one again.
///
/// # Errors
/// `Conflict` when there is none before it; when the database does not answer.
pub(in crate::admin) async fn go_back(admin: &Admin, name: &str) -> Verb<()> {
    if store::go_back(&admin.db, name).await? { Ok(()) } else { Err(Fault::conflict("there is no secret to go back to")) }
}

/// The secrets of a receiver; `None` when none was minted on this host.
pub(super) async fn keys(admin: &Admin, name: &str) -> Verb<Option<Keys>> {
    let Some(kept) = store::read(&admin.db, name).await? else { return Ok(None) };
    let open = |sealed: &[u8]| match admin.sealer.open(&label(name), sealed) {
        Ok(plain) => String::from_utf8(plain.reveal().clone()).ok().map(Secret::new),
        Err(fault) => {
            tracing::error!(%fault, alert.receiver = name, "a receiver's secret does not open");
            None
        }
    };
    let old = kept.old.as_deref().and_then(open).zip(kept.old_until);
    Ok(Some(Keys { secret: open(&kept.sealed), old, paused_url: kept.paused_url }))
}

/// Pauses a receiver at a URL, or ends that.
pub(super) async fn set_paused(admin: &Admin, name: &str, since: Option<(Timestamp, &str)>) -> Verb<()> {
    store::pause(&admin.db, name, since).await
}

/// Receivers that are paused, with their URLs.
pub(super) async fn paused(admin: &Admin, config: &Alerting) -> Verb<Vec<(String, String)>> {
    let mut found = Vec::new();
    for receiver in &config.receivers {
        let kept = store::read(&admin.db, &receiver.name).await?;
        if kept.is_some_and(|kept| kept.paused_url.as_ref() == Some(&receiver.url)) {
            found.push((receiver.name.clone(), receiver.url.clone()));
        }
    }
    Ok(found)
}

fn label(name: &str) -> String {
    format!("alert.receiver/{name}")
}

/// Adds a receiver to `alerts.toml` and mints its secret.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Invalid` for a field; `Conflict` when it exists.
pub async fn add(admin: &Admin, actor: &Actor, order: AddReceiver) -> Verb<ReceiverSecret> {
    actor.need(Right::Administer, "alert.receiver.add")?;
    actor.need_fresh_login(admin.clock.now())?;
    admin.need_ledger("alert.receiver.add")?;
    let receiver = read(order)?;
    let name = receiver.name.as_str();
    let target = receiver.target().map_err(|wrong| Fault::invalid(wrong.key, wrong.message))?;
    if let Some(path) = target.ca() {
        post::tls(Some(path.to_owned())).await?;
    }
    absent(&tree::desired(admin).await?.alerts, name)?;
    let (secret, sealed) = mint(admin, name)?;
    // What an earlier receiver of this name left behind is none of the new one's business.
    outbox::store::forget(&admin.db, name).await?;
    store::put_new(&admin.db, name, &sealed, admin.clock.now()).await?;
    let made = tree::edit(admin, actor, &format!("alerts: add receiver {name}"), |desired, files| {
        absent(&desired.alerts, name)?;
        Ok(vec![tree::write(FILE, desired.alerts.with(text_of(files), &receiver)?)])
    })
    .await;
    let revision = match made {
        Ok(revision) => revision,
        Err(fault) => {
            store::forget(&admin.db, name).await?;
            return Err(fault);
        }
    };
    let mut event = Event::action(&actor.name, "alert.receiver.add", name);
    event.revision = Some(revision.to_string());
    event.params = Some(serde_json::json!({ "url": receiver.url, "rules": receiver.rules }));
    admin.record(event).await?;
    Ok(ReceiverSecret { url: receiver.url, receiver: receiver.name, secret: secret.reveal().clone(), old_until: None })
}

/// Mints another secret for a receiver, or the first for one that was written by hand. The one before signs beside it for a day.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound`.
pub async fn secret(admin: &Admin, actor: &Actor, name: &str) -> Verb<ReceiverSecret> {
    actor.need(Right::Administer, "alert.receiver.secret")?;
    actor.need_fresh_login(admin.clock.now())?;
    admin.need_ledger("alert.receiver.secret")?;
    let config = running(admin).await;
    let receiver = config.receivers.iter().find(|receiver| receiver.name == name).ok_or_else(|| missing(name))?;
    let (secret, sealed) = mint(admin, name)?;
    let now = admin.clock.now();
    let until = now.plus_ms(OVERLAP_MS);
    let before = store::roll(&admin.db, name, &sealed, (now, until)).await?;
    if !before {
        store::put_new(&admin.db, name, &sealed, now).await?;
    }
    let old_until = before.then_some(until);
    let mut event = Event::action(&actor.name, "alert.receiver.secret", name);
    event.params = Some(serde_json::json!({ "old_until": old_until }));
    admin.record(event).await?;
    // What waited for a secret need not wait longer.
    locked(&admin.alerts.rests).remove(name);
    admin.alerts.wake.notify_one();
    Ok(ReceiverSecret { receiver: name.to_owned(), url: receiver.url.clone(), secret: secret.reveal().clone(), old_until })
}

/// Takes a receiver out of `alerts.toml` and forgets its secret and what waited for it.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `NotFound`.
pub async fn remove(admin: &Admin, actor: &Actor, name: &str) -> Verb<ReceiverRemoved> {
    actor.need(Right::Administer, "alert.receiver.remove")?;
    actor.need_fresh_login(admin.clock.now())?;
    let revision = tree::edit(admin, actor, &format!("alerts: remove receiver {name}"), |desired, files| {
        if !desired.alerts.receivers.iter().any(|receiver| receiver.name == name) {
            return Err(missing(name));
        }
        Ok(vec![tree::write(FILE, desired.alerts.without(text_of(files), name)?)])
    })
    .await?;
    let mut event = Event::action(&actor.name, "alert.receiver.remove", name);
    event.revision = Some(revision.to_string());
    admin.record(event).await?;
    store::forget(&admin.db, name).await?;
    outbox::store::forget(&admin.db, name).await?;
    Ok(ReceiverRemoved { receiver: name.to_owned(), revision: revision.to_string() })
}

/// Every receiver with how its last notices went, and the watchdog.
///
/// # Errors
/// When the database does not answer.
pub async fn list(admin: &Admin, actor: &Actor) -> Verb<ReceiverList> {
    actor.need(Right::Read, "alert.receiver.list")?;
    let config = running(admin).await;
    let mut receivers = Vec::new();
    for receiver in &config.receivers {
        receivers.push(describe(admin, receiver).await?);
    }
    Ok(ReceiverList { receivers, watchdog: super::watchdog::view(admin, &config.watchdog) })
}

async fn describe(admin: &Admin, receiver: &ReceiverConfig) -> Verb<Receiver> {
    let kept = store::read(&admin.db, &receiver.name).await?;
    let (waiting, deliveries) = outbox::store::list(&admin.db, &receiver.name, outbox::KEPT).await?;
    let last = deliveries.iter().find(|one| one.ended_at.is_some());
    let paused = kept.as_ref().and_then(|kept| kept.paused_at.filter(|_| kept.paused_url.as_ref() == Some(&receiver.url)));
    // What was tried and still waits is newer than what ended well before it.
    let failing = deliveries.iter().find(|one| one.ended_at.is_none() && one.attempts > 0);
    let failed = failing.or(last.filter(|one| one.state == "given_up"));
    let (state, why) = match (&kept, paused, failed) {
        (None, ..) => ("no_secret", Some(format!("it has no secret yet: lifeboat alert receiver secret {}", receiver.name))),
        (_, Some(at), _) => ("paused", Some(format!("it said 410 Gone at {at}; a test that arrives ends that"))),
        (_, _, Some(one)) => ("failing", one.why.clone()),
        _ => ("ready", None),
    };
    let now = admin.clock.now();
    Ok(Receiver {
        name: receiver.name.clone(),
        state: state.to_owned(),
        why,
        url: receiver.url.clone(),
        rules: receiver.rules.clone(),
        secret_since: kept.as_ref().map(|kept| kept.minted_at),
        old_until: kept.and_then(|kept| kept.old_until).filter(|until| *until > now),
        waiting,
        last: last.map(|one| one.state.clone()),
        last_at: last.and_then(|one| one.ended_at),
        deliveries,
    })
}

fn read(order: AddReceiver) -> Verb<ReceiverConfig> {
    check_name(&order.name).map_err(|why| Fault::invalid("name", why))?;
    let rules = if order.rules.is_empty() { vec!["*".to_owned()] } else { order.rules };
    // A slip of the pen there would be a receiver that is told of nothing, and that nobody misses.
    for rule in &rules {
        let matcher = pattern(rule).map_err(|why| Fault::invalid("rules", why))?.compile_matcher();
        if !NAMES.iter().any(|name| matcher.is_match(name)) {
            return Err(Fault::invalid("rules", format!("\"{rule}\" is no rule that there is: {}", NAMES.join(", "))));
        }
    }
    Ok(ReceiverConfig {
        name: order.name,
        url: order.url,
        rules,
        plain_loopback: order.plain_loopback,
        allow_addresses: order.allow_addresses,
        ca: order.ca.filter(|path| !path.is_empty()),
    })
}

fn mint(admin: &Admin, name: &str) -> Verb<(Secret<String>, Vec<u8>)> {
    let secret = webhook::mint(admin.entropy.as_ref());
    let sealed = admin.sealer.seal(&label(name), secret.reveal().as_bytes(), admin.entropy.as_ref())?;
    Ok((secret, sealed))
}

fn text_of(files: &Files) -> &str {
    files.get(FILE).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

fn absent(config: &Alerting, name: &str) -> Verb<()> {
    match config.receivers.iter().any(|receiver| receiver.name == name) {
        true => Err(Fault::conflict(format!("receiver {name} exists already"))),
        false => Ok(()),
    }
}

pub(super) fn missing(name: &str) -> Fault {
    Fault::not_found(format!("there is no receiver {name}"))
}
