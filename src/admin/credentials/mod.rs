//! Credentials (docs/ARCHITECTURE.md): what there is and what is due, rotations with proof, and the end of what leaked. Never hands a secret over twice.

mod asked;
mod begin;
mod canary;
mod drivers;
mod ended;
mod evidence;
mod grants;
mod inventory;
pub mod kinds;
pub mod machine;
mod model;
mod observer;
mod orders;
pub mod pages;
mod people;
pub mod plan;
pub mod proof;
mod revoke;
pub mod routes;
mod scheduled;
mod since;
mod store;
pub mod systems;
mod task;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_crash;
#[cfg(test)]
mod tests_crash_kinds;
#[cfg(test)]
mod tests_deaths;
#[cfg(test)]
mod tests_rebuilt;
#[cfg(test)]
mod tests_revoked;
#[cfg(test)]
mod tests_scheduled;
#[cfg(test)]
mod tests_tokens;
mod watch;
mod work;

use serde_json::json;
use tokio::sync::Notify;

pub use asked::answer;
pub use ended::{made_for, of_client};
pub use model::{
    AdminKept, AdminOrder, Credential, CredentialDetail, CredentialDue, CredentialList, CredentialRevoked, Fetched, OrderBody,
    RevokeOrder, RotateOrder, Rotated, Rotation, StepTaken, Strategy, SupplyOrder, Version,
};
pub use orders::order;
pub use revoke::revoke;
pub use scheduled::{DueRotated, rotate_due};
pub use store::STATEMENTS;
pub(in crate::admin) use store::rebuilt;
pub use task::{keep, resume};

use super::actor::Right;
use super::kill::Line;
use super::{Actor, Admin};
use crate::audit::Event;
use crate::base::fault::{Fault, FaultKind, Verb};
use crate::base::secret::Secret;
use begin::begin;
use drivers::{Kept, Scene, Trouble};
use kinds::Kind;
use machine::State;
use orders::give_up;

/// How many past rotations are shown.
const SHOWN: u32 = 20;

/// What the verbs of credentials remember.
pub struct Credentials {
    /// Where keys are seen at work.
    line: Line,
    /// Told when a rotation has something to do.
    wake: Notify,
    /// Clients that exist for a proof alone, and whom they are like.
    shadows: std::sync::Mutex<std::collections::BTreeMap<String, String>>,
    /// One proof at a time.
    proving: tokio::sync::Mutex<()>,
    /// How often something was revoked.
    revocations: std::sync::atomic::AtomicU64,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            line: Line::of(canary::LARGEST, 16),
            wake: Notify::new(),
            shadows: std::sync::Mutex::default(),
            proving: tokio::sync::Mutex::default(),
            revocations: std::sync::atomic::AtomicU64::new(0),
        }
    }
}

/// Every credential, by kind and name.
///
/// # Errors
/// When the database does not answer.
pub async fn list(admin: &Admin, actor: &Actor) -> Verb<CredentialList> {
    actor.need(Right::Read, "credential.list")?;
    Ok(CredentialList { credentials: inventory::all(admin).await? })
}

/// What is due or stuck, the longest overdue first.
///
/// # Errors
/// When the database does not answer.
pub async fn due(admin: &Admin, actor: &Actor) -> Verb<CredentialDue> {
    actor.need(Right::Read, "credential.due")?;
    let needs = |one: &Credential| matches!(one.state.as_str(), "due" | "overdue" | "stuck" | "retire_failed" | "missing");
    let mut credentials: Vec<Credential> = inventory::all(admin).await?.into_iter().filter(needs).collect();
    credentials.sort_by_key(|one| one.due_at);
    Ok(CredentialDue { ok: credentials.is_empty(), credentials })
}

/// One credential with its rotations.
///
/// # Errors
/// `Invalid` for what is no name; `NotFound`; when the database does not answer.
pub async fn show(admin: &Admin, actor: &Actor, name: &str) -> Verb<CredentialDetail> {
    actor.need(Right::Read, "credential.show")?;
    let credential = find(admin, name).await?;
    let rotations = store::of(&admin.db, name, SHOWN).await?;
    let (mut steps, mut places) = (Vec::new(), Vec::new());
    if let Some(newest) = rotations.first() {
        steps = store::steps(&admin.db, &newest.id).await?;
        places = drivers::places(admin, newest);
    }
    let commands = systems::commands_of(admin, name).await?;
    Ok(CredentialDetail { credential, rotations, steps, places, commands })
}

async fn find(admin: &Admin, name: &str) -> Verb<Credential> {
    let (kind, _) = kinds::parse(name)?;
    let found = inventory::all(admin).await?.into_iter().find(|one| one.name == name);
    // What a rotation took away still has its rotation to show.
    let gone = found.is_none() && !store::of(&admin.db, name, 1).await?.is_empty();
    let found = found.or_else(|| gone.then(|| inventory::gone(kind, name)));
    found.ok_or_else(|| Fault::not_found(format!("there is no credential {name}")))
}

/// Starts a rotation, and goes as far as it comes at once.
///
/// # Errors
/// `Denied` without role operator or a fresh login; `Invalid` for the name, the overlap or the reason; `Conflict` when one is open already or
/// the present version is not accepted itself: then it is revoked, not rotated.
pub async fn rotate(admin: &Admin, actor: &Actor, name: &str, order: RotateOrder) -> Verb<Rotated> {
    need(admin, actor, name, "credential.rotate")?;
    start(admin, actor, name, order).await
}

/// What changes a credential needs role operator and a fresh login. Who can open archives is another matter: as where recipients are added, that is for an
/// admin in person. The client of a proof belongs to the proof.
fn need(admin: &Admin, actor: &Actor, name: &str, verb: &str) -> Verb<()> {
    let (kind, bare) = kinds::parse(name)?;
    if kind == Kind::Recipient {
        actor.need(Right::Administer, verb)?;
        return actor.need_person(&format!("{verb} of a recipient"), admin.clock.now());
    }
    actor.need(Right::Operate, verb)?;
    actor.need_fresh_login(admin.clock.now())?;
    if bare == proof::SHADOW {
        return Err(Fault::not_found(format!("there is no credential {name}: it belongs to a proof that runs")));
    }
    Ok(())
}

/// Starts a rotation for whoever may.
async fn start(admin: &Admin, actor: &Actor, name: &str, order: RotateOrder) -> Verb<Rotated> {
    admin.need_ledger("credential.rotate")?;
    if let Some(open) = store::open_of(&admin.db, name).await?.filter(|_| order.force) {
        give_up(admin, actor, &open).await?;
    }
    let row = begin(admin, actor, name, &order).await?;
    let row = work::drive_patiently(admin, &row.id).await?;
    admin.credentials.wake.notify_one();
    let secret =
        if order.fetch && row.to_fetch && row.new.is_some() { Some(hand_over(admin, actor, &row).await?.secret) } else { None };
    let row = work::read(admin, &row.id).await?;
    Ok(Rotated { next: next(&row), rotation: row, secret })
}

/// What comes next, in a sentence.
fn next(row: &Rotation) -> String {
    let name = &row.credential;
    let holder = row.holder.as_deref().map(|holder| format!(", for {holder}")).unwrap_or_default();
    match (row.state, row.hold, &row.why) {
        (_, Some(_), Some(why)) => why.clone(),
        (_, None, Some(why)) => format!("{why}: {}", moment(row)),
        (State::Done, ..) if row.to_fetch && row.fetched_at.is_none() => {
            format!("the old one has ended: hand the new one over now{holder}: lifeboat credential fetch {name}")
        }
        (State::Done, ..) => "over: the new one is accepted and the old one is not".to_owned(),
        (State::Draining, ..) if row.to_fetch && row.fetched_at.is_none() => {
            format!("hand the new one over{holder}: lifeboat credential fetch {name}. The old one counts meanwhile")
        }
        (State::Draining, ..) if row.credential.starts_with(Kind::TokenKey.word()) => {
            format!("the new key signs; the old one ends by itself when its last token has expired: {}", moment(row))
        }
        (State::Draining, ..) => "both count until the old one is no longer used".to_owned(),
        (state, ..) => format!("it is {}", state.word().replace('_', " ")),
    }
}

/// When it goes on by itself.
fn moment(row: &Rotation) -> String {
    row.next_try_at.map_or_else(|| "soon".to_owned(), |at| at.to_string())
}

/// Hands the new secret over. It is shown this once.
///
/// # Errors
/// `Denied` without role operator or a fresh login; `NotFound` when there is none; `Conflict` when somebody took it already.
pub async fn fetch(admin: &Admin, actor: &Actor, name: &str) -> Verb<Fetched> {
    need(admin, actor, name, "credential.fetch")?;
    admin.need_ledger("credential.fetch")?;
    let none = || Fault::not_found(format!("there is no new secret of {name} to fetch"));
    let row = store::of(&admin.db, name, 1).await?.into_iter().next().filter(|row| row.to_fetch).ok_or_else(none)?;
    hand_over(admin, actor, &row).await
}

async fn hand_over(admin: &Admin, actor: &Actor, row: &Rotation) -> Verb<Fetched> {
    let usable = matches!(row.state, State::Promoted | State::Draining | State::Retired | State::Proved | State::Done);
    if !usable || row.sealed.is_none() {
        return Err(Fault::conflict(match (&row.fetched_by, row.state) {
            (Some(by), _) => {
                format!("{by} fetched the new secret already. Whoever lost it rotates again: nothing here can show it")
            }
            (None, State::Cancelled | State::RolledBack) => "the rotation was given up, and its secret with it".to_owned(),
            (None, state) => format!("the new secret is {} and was not seen at work yet", state.word()),
        }));
    }
    drivers::counts(admin, row)?;
    let secret = Kept::open(admin, row)?.secret.ok_or_else(|| Fault::conflict("the new secret was fetched already"))?;
    if !store::fetch(&admin.db, &row.id, (admin.clock.now(), &actor.name)).await? {
        return Err(Fault::conflict("the new secret was fetched already"));
    }
    let version = row.new.clone().unwrap_or_default();
    let mut event = Event::action(&actor.name, "credential.fetch", row.credential.clone());
    event.params = Some(json!({ "rotation": row.id, "version": version }));
    admin.record(event).await?;
    forget_secret(admin, row).await?;
    admin.credentials.wake.notify_one();
    let (credential, rotation, overlap_until) = (row.credential.clone(), row.id.clone(), row.overlap_until);
    Ok(Fetched { credential, rotation, version, secret, overlap_until })
}

/// What was handed over is kept here no longer.
async fn forget_secret(admin: &Admin, row: &Rotation) -> Verb<()> {
    let mut held = work::hold(admin, &row.id).await?;
    let sealed = Kept::open(admin, &held.row).and_then(|kept| Kept { secret: None, ..kept }.seal(admin, &row.id));
    let ordered = sealed.map(|sealed| {
        (held.row.sealed, held.row.next_try_at) = (sealed, None);
        ("forget", json!({ "said": "the secret that was handed over is kept here no longer" }))
    });
    held.end(ordered).await.map(|_| ())
}

/// Takes what somebody brings for a rotation that waits for it.
///
/// # Errors
/// `Denied` without role operator or a fresh login; `NotFound`; `Invalid` for a value that cannot be the one; `Conflict` when nothing is waited for.
pub async fn supply(admin: &Admin, actor: &Actor, name: &str, order: SupplyOrder) -> Verb<Rotated> {
    need(admin, actor, name, "credential.supply")?;
    let value = order.value.ok_or_else(|| Fault::invalid("value", "is missing"))?;
    let open = opened(admin, name).await?;
    let mut held = work::hold(admin, &open.id).await?;
    let taken = take(admin, &mut held, value).await;
    let ordered = taken.map(|said| ("supply", json!({ "by": actor.name, "said": said })));
    let row = held.end(ordered).await?;
    let mut event = Event::action(&actor.name, "credential.supply", name);
    event.params = Some(json!({ "rotation": row.id }));
    admin.record(event).await?;
    let row = work::drive_patiently(admin, &row.id).await?;
    Ok(Rotated { next: next(&row), rotation: row, secret: None })
}

async fn take(admin: &Admin, held: &mut work::Held<'_>, value: Secret<String>) -> Verb<&'static str> {
    let row = &mut held.row;
    if row.state != State::Planned {
        return Err(Fault::conflict(format!("the new value is here already; the rotation is {}", row.state.word())));
    }
    let bare = kinds::parse(&row.credential)?.1.to_owned();
    let scene = Scene { admin, row, name: &bare, kept: Kept::open(admin, row)? };
    let (kept, said) = held.driver.supply(&scene, value).await.map_err(refused)?;
    row.sealed = kept.seal(admin, &row.id)?;
    (row.hold, row.why, row.next_try_at, row.attempt) = (None, None, None, 0);
    Ok(said)
}

fn refused(trouble: Trouble) -> Fault {
    match trouble.class {
        machine::Class::Permanent => Fault { place: Some("value".into()), ..Fault::new(FaultKind::Invalid, trouble.said) },
        machine::Class::Transient => Fault::unavailable(trouble.said),
    }
}

async fn opened(admin: &Admin, name: &str) -> Verb<Rotation> {
    let open = store::open_of(&admin.db, name).await?;
    open.ok_or_else(|| Fault::not_found(format!("{name} is not being rotated")))
}
