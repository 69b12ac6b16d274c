//! Proof that rotations hurt nobody: a client of our own keeps calling through every stage while its key and the server's certificate are replaced under it,
//! and whoever else's keys are asked for get their successors. Never touches what another client holds.

mod chart;
mod model;
mod report;
pub mod store;
mod traffic;

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use model::{Bucket, Proof, ProofLine, ProofList, ProveOrder, Proved, Side, Signed, Traffic};
pub use report::check;

use super::drivers;
use super::kinds::{self, Kind};
use super::machine::State;
use super::model::{RotateOrder, Rotation};
use super::work;
use super::{canary, inventory};
use crate::admin::actor::Right;
use crate::admin::clients::single as held;
use crate::admin::publish::publish;
use crate::admin::{Actor, Admin};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::base::ids;
use crate::base::secret::Secret;
use crate::config::paths::DataDir;
use crate::crypto::files::{self, Readers};
use crate::crypto::keys::{self, KeyPrefix, Minted};
use crate::policy::snapshot::ClientEntry;
use traffic::{Load, Shown};

/// The client that exists for proofs alone: in memory, never in the configuration.
pub const SHADOW: &str = "lifeboat-proof";
/// How long its old key must rest.
pub(super) const QUIET_MS: i64 = 1_000;
/// How long a rotation may take beyond the time that was asked for.
const GRACE: Duration = Duration::from_secs(25);
const LOOK: Duration = Duration::from_millis(200);

/// Everything that is known when a proof is over.
struct Seen {
    id: String,
    by: String,
    started_at: crate::base::clock::Timestamp,
    target: canary::Target,
    traffic: Traffic,
    sides: (Vec<Side>, Vec<Side>),
    credentials: Vec<Proved>,
}

/// Rotates under traffic, and keeps the signed report.
///
/// # Errors
/// `Denied` without role operator or a fresh login; `Invalid` for the figures; `Conflict` while another proof runs or when no client reaches a
/// server; when the database does not answer.
pub async fn prove(admin: &Admin, actor: &Actor, order: ProveOrder) -> Verb<Signed> {
    actor.need(Right::Operate, "credential.prove")?;
    actor.need_fresh_login(admin.clock.now())?;
    admin.need_ledger("credential.prove")?;
    order.check()?;
    let _turn = admin.credentials.proving.try_lock().map_err(|_| Fault::conflict("another proof runs now"))?;
    let (like, target) = model_client(admin)?;
    let started_at = admin.clock.now();
    let id = ids::mint("prf", started_at, admin.entropy.as_ref());
    clean(admin).await?;
    locked(admin).insert(SHADOW.to_owned(), like);
    let seen = perform(admin, actor, &order, &target).await;
    let cleaned = clean(admin).await;
    let (traffic, sides, credentials) = seen?;
    cleaned?;
    let seen = Seen { id, by: actor.name.clone(), started_at, target, traffic, sides, credentials };
    let (proof, chart) = report::compose(admin, seen);
    let signed = report::keep(admin, proof, &chart).await?;
    let mut event = Event::action(&actor.name, "credential.prove", signed.report.id.clone());
    event.params = Some(serde_json::json!({ "passed": signed.report.passed, "sha256": signed.sha256,
        "requests": signed.report.traffic.requests, "failed": signed.report.traffic.failed }));
    admin.record(event).await?;
    admin.checkpoint("rotation").await?;
    Ok(signed)
}

/// Proofs, newest first.
///
/// # Errors
/// When the database does not answer.
pub async fn list(admin: &Admin, actor: &Actor, limit: u32) -> Verb<ProofList> {
    actor.need(Right::Read, "credential.proof.list")?;
    Ok(ProofList { proofs: store::list(&admin.db, limit).await? })
}

/// One proof with its signature.
///
/// # Errors
/// `NotFound`; when the database does not answer.
pub async fn show(admin: &Admin, actor: &Actor, id: &str) -> Verb<Signed> {
    actor.need(Right::Read, "credential.proof.show")?;
    report::read(admin, id).await
}

/// The chart of one proof, SVG.
///
/// # Errors
/// As `show`.
pub async fn chart_of(admin: &Admin, actor: &Actor, id: &str) -> Verb<String> {
    actor.need(Right::Read, "credential.proof.show")?;
    store::chart(&admin.db, id).await?.ok_or_else(|| Fault::not_found(format!("there is no proof {id}")))
}

fn locked(admin: &Admin) -> MutexGuard<'_, std::collections::BTreeMap<String, String>> {
    admin.credentials.shadows.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The clients that exist for a proof, as the policy is to have them: with the grants of the client they are like, and no limits.
pub(in crate::admin) fn shadows(admin: &Admin, of: impl Fn(&str) -> Option<std::sync::Arc<ClientEntry>>) -> Vec<ClientEntry> {
    let entry = |(name, like): (&String, &String)| {
        let like = of(like)?;
        let grants = like.grants.clone();
        Some(ClientEntry { name: name.as_str().into(), grants, rate: 0, burst: 1, concurrency: 0, self_rotation: false })
    };
    locked(admin).iter().filter_map(entry).collect()
}

/// A client that reaches a server, best one with a tool that reads; and what to call as it.
fn model_client(admin: &Admin) -> Verb<(String, canary::Target)> {
    let snapshot = admin.feed.snapshot();
    let mut names: Vec<_> = snapshot.clients.keys().collect();
    names.sort();
    let mut found: Option<(String, canary::Target)> = None;
    for name in names {
        let Some(entry) = snapshot.clients.get(name) else { continue };
        for target in canary::targets(&snapshot, entry, None) {
            if target.tool.is_some() {
                return Ok((name.to_string(), target));
            }
            found.get_or_insert((name.to_string(), target));
        }
    }
    found.ok_or_else(|| {
        Fault::conflict("no client reaches a server, so there is no traffic to prove a rotation under: add both first")
    })
}

async fn issue(admin: &Admin, actor: &Actor) -> Verb<Minted> {
    let minted = keys::mint(KeyPrefix::Client, admin.entropy.as_ref());
    let fresh = held::Fresh {
        kid: minted.kid.clone(),
        client: SHADOW.to_owned(),
        hash: minted.hash,
        created_at: admin.clock.now(),
        created_by: actor.name.clone(),
        expires_at: Some(admin.clock.now().plus_ms(3_600_000)),
    };
    held::install(admin, &fresh).await?;
    Ok(minted)
}

type Done = (Traffic, (Vec<Side>, Vec<Side>), Vec<Proved>);

async fn perform(admin: &Admin, actor: &Actor, order: &ProveOrder, target: &canary::Target) -> Verb<Done> {
    let first = issue(admin, actor).await?;
    let old = first.text.clone();
    let load = Load::new(admin, target, order, Shown { kid: first.kid.clone(), text: first.text });
    let lasts = Duration::from_secs(u64::from(order.seconds));
    let work = async {
        // A while of ordinary traffic first, to compare with.
        tokio::time::sleep(lasts / 3).await;
        load.begins();
        let worked = rotate_all(admin, actor, order, (&load, lasts)).await;
        load.ends();
        worked
    };
    let (worked, traffic) = tokio::join!(work, load.run(lasts));
    let (credentials, new) = worked?;
    let sides = match &new {
        Some(new) => (sides(admin, new, target).await, sides(admin, &old, target).await),
        None => (Vec::new(), Vec::new()),
    };
    Ok((traffic, sides, credentials))
}

/// How each listener answers a key, shown as its client shows it.
async fn sides(admin: &Admin, key: &Secret<String>, target: &canary::Target) -> Vec<Side> {
    canary::shown(admin, key, target).await.into_iter().map(|(listener, status)| Side { listener, status }).collect()
}

/// Rotates what is asked for, the shadow's key among it; gives the shadow's new key.
async fn rotate_all(
    admin: &Admin,
    actor: &Actor,
    order: &ProveOrder,
    (load, lasts): (&Load<'_>, Duration),
) -> Verb<(Vec<Proved>, Option<Secret<String>>)> {
    let (shadow, new) = rotate_shadow(admin, actor, (load, lasts)).await?;
    let mut all = vec![shadow];
    for one in inventory::all(admin).await? {
        let Ok((kind, _)) = kinds::parse(&one.name) else { continue };
        let wanted = kind == Kind::Tls || order.all;
        if !wanted || drivers::of(kind).is_none() || one.state == "ended" {
            continue;
        }
        all.push(rotate_one(admin, actor, &one.name, kind).await);
    }
    Ok((all, new))
}

/// The whole life of the shadow's key, with its client moving as a client does.
async fn rotate_shadow(
    admin: &Admin,
    actor: &Actor,
    (load, lasts): (&Load<'_>, Duration),
) -> Verb<(Proved, Option<Secret<String>>)> {
    let name = format!("{}/{SHADOW}", Kind::ClientKey.word());
    let order = RotateOrder { overlap: Some("1h".into()), fetch: true, ..RotateOrder::default() };
    let rotated = super::rotate(admin, actor, &name, order).await?;
    let mut row = rotated.rotation;
    let (Some(secret), Some(kid)) = (rotated.secret.map(Secret::new), row.new.clone()) else {
        return Ok((proved(&row, None), None));
    };
    load.moves(Shown { kid, text: secret.clone() });
    let (begun, most) = (Instant::now(), lasts + GRACE);
    while !row.state.is_over() && begun.elapsed() < most {
        tokio::time::sleep(LOOK).await;
        row = work::drive_patiently(admin, &row.id).await?;
    }
    Ok((proved(&row, None), Some(secret)))
}

/// One credential of somebody: begun, and its new secret written where its holder gets it.
async fn rotate_one(admin: &Admin, actor: &Actor, name: &str, kind: Kind) -> Proved {
    let skipped =
        |said: String| Proved { name: name.to_owned(), rotation: None, state: "skipped".into(), passed: true, said, file: None };
    if matches!(kind, Kind::Upstream | Kind::Recipient) {
        return skipped("somebody brings its new value: lifeboat credential rotate, then supply".to_owned());
    }
    match super::rotate(admin, actor, name, RotateOrder { note: "rotate --all".into(), ..RotateOrder::default() }).await {
        Ok(rotated) => {
            let row = rotated.rotation;
            let file = if row.to_fetch { hand_out(admin, actor, &row).await } else { Ok(None) };
            match file {
                Ok(file) => proved(&row, file),
                Err(fault) => Proved { passed: false, said: fault.message, ..proved(&row, None) },
            }
        }
        Err(fault) => Proved { passed: false, state: "not begun".into(), said: fault.message, ..skipped(String::new()) },
    }
}

/// Writes the new secret into a file of mode 0600.
async fn hand_out(admin: &Admin, actor: &Actor, row: &Rotation) -> Verb<Option<String>> {
    if row.state < State::Promoted {
        return Ok(None);
    }
    let fetched = super::fetch(admin, actor, &row.credential).await?;
    let folder = rotated(&admin.data);
    make(&folder)?;
    let path = folder.join(format!("{}.{}.txt", row.credential.replace(['/', ':'], "-"), row.id));
    let text = zeroize::Zeroizing::new(format!("{}\n", fetched.secret));
    files::write(&path, text.as_bytes(), Readers::Owner)?;
    Ok(Some(path.display().to_string()))
}

/// Where the new secrets of `--all` lie.
fn rotated(data: &DataDir) -> std::path::PathBuf {
    data.keys().join("rotated")
}

/// A folder for its owner alone.
fn make(folder: &std::path::Path) -> Verb<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| Fault::unavailable(format!("cannot create {}", folder.display())).because(e))
}

fn proved(row: &Rotation, file: Option<String>) -> Proved {
    let waits = row.to_fetch && row.state == State::Draining;
    let ends_well = row.state == State::Done || (waits && row.hold.is_none());
    let holder = row.holder.as_deref().map(|holder| format!(" ({holder})")).unwrap_or_default();
    let said = match (row.state, &row.why) {
        (State::Done, _) => "new accepted, old rejected".to_owned(),
        (_, Some(why)) => why.clone(),
        _ if waits => format!("both count; waits for its holder{holder} to take the new one up"),
        (state, None) => state.word().replace('_', " "),
    };
    Proved {
        name: row.credential.clone(),
        rotation: Some(row.id.clone()),
        state: row.state.word().to_owned(),
        passed: ends_well,
        said,
        file,
    }
}

/// Nothing of a shadow stays: no client, no key, no open rotation.
async fn clean(admin: &Admin) -> Verb<()> {
    let name = format!("{}/{SHADOW}", Kind::ClientKey.word());
    if let Some(open) = super::store::open_of(&admin.db, &name).await? {
        abandon(admin, &open).await?;
    }
    for key in held::of(admin, SHADOW).await? {
        held::take_back(admin, &key.kid).await?;
    }
    locked(admin).clear();
    publish(admin).await.map(|_| ())
}

/// Ends a rotation of the shadow wherever it is.
async fn abandon(admin: &Admin, open: &Rotation) -> Verb<()> {
    let mut held = work::hold(admin, &open.id).await?;
    (held.row.state, held.row.ended_at, held.row.sealed) = (State::RolledBack, Some(admin.clock.now()), None);
    let row = held.end(Ok(("abandon", serde_json::json!({ "said": "the client of a proof is no more" })))).await?;
    super::watch::leave(admin, &row);
    Ok(())
}

/// At the start: what a process that died has left of a proof is removed.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn sweep(admin: &Admin) -> Verb<()> {
    if held::of(admin, SHADOW).await?.is_empty() { Ok(()) } else { clean(admin).await }
}
