//! Proof that rotations hurt nobody: a client of our own keeps calling through every stage, with a key and with tokens, while its key, its secret and the
//! server's certificate are replaced under it; and whoever else's are asked for get their successors, the key that signs tokens among them. Never touches what
//! another client holds.

mod chart;
mod model;
mod report;
mod shadow;
pub mod store;
mod traffic;

use std::time::{Duration, Instant};

pub use model::{Bucket, Proof, ProofLine, ProofList, ProveOrder, Proved, Side, Signed, Traffic};
pub use report::check;
pub use shadow::SHADOW;
pub(in crate::admin) use shadow::shadows;
pub(super) use shadow::sweep;

use super::drivers;
use super::kinds::{self, Kind};
use super::machine::State;
use super::model::{RotateOrder, Rotation};
use super::work;
use super::{canary, grants, inventory};
use crate::admin::actor::Right;
use crate::admin::clients::single::Form;
use crate::admin::{Actor, Admin};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::base::ids;
use crate::base::secret::Secret;
use crate::config::paths::DataDir;
use crate::crypto::files::{self, Readers};
use shadow::{clean, issue, model_client, shadow_of};
use traffic::{Load, Shown};

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
    keys: Sides,
    secrets: Sides,
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
    shadow::admit(admin, like);
    let seen = perform(admin, actor, &order, &target).await;
    let cleaned = clean(admin).await;
    let (traffic, (keys, secrets), credentials) = seen?;
    cleaned?;
    let seen = Seen { id, by: actor.name.clone(), started_at, target, traffic, keys, secrets, credentials };
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

/// What accepted the new one, and what rejected the old one.
type Sides = (Vec<Side>, Vec<Side>);
type Done = (Traffic, (Sides, Sides), Vec<Proved>);
/// The shadow's new key and secret.
type News = (Option<Secret<String>>, Option<Secret<String>>);

async fn perform(admin: &Admin, actor: &Actor, order: &ProveOrder, target: &canary::Target) -> Verb<Done> {
    let (key, secret) = (issue(admin, actor, Form::Key).await?, issue(admin, actor, Form::Secret).await?);
    let (old_key, old_secret) = (key.text.clone(), secret.text.clone());
    let load = Load::new(admin, target, order, (key, secret));
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
    let (credentials, (key, secret)) = worked?;
    let keys = match &key {
        Some(new) => (sides(admin, new, target).await, sides(admin, &old_key, target).await),
        None => Sides::default(),
    };
    let secrets = match &secret {
        Some(new) => (at_the_desk(admin, new, target).await, at_the_desk(admin, &old_secret, target).await),
        None => Sides::default(),
    };
    Ok((traffic, (keys, secrets), credentials))
}

/// How each listener answers a key, shown as its client shows it.
async fn sides(admin: &Admin, key: &Secret<String>, target: &canary::Target) -> Vec<Side> {
    canary::shown(admin, key, target).await.into_iter().map(|(listener, status)| Side { listener, status }).collect()
}

/// How each listener's token endpoint answers a secret.
async fn at_the_desk(admin: &Admin, secret: &Secret<String>, target: &canary::Target) -> Vec<Side> {
    let mut all = Vec::new();
    for listener in admin.feed.listeners() {
        let asked = grants::try_ask(admin, &listener, target, (SHADOW, secret)).await;
        let status = asked.map_or(0, |(status, _)| status.as_u16());
        all.push(Side { listener: listener.name, status });
    }
    all
}

/// Rotates what is asked for, the shadow's key and secret among it; gives those two.
async fn rotate_all(
    admin: &Admin,
    actor: &Actor,
    order: &ProveOrder,
    (load, lasts): (&Load<'_>, Duration),
) -> Verb<(Vec<Proved>, News)> {
    let wanted = |kind: Kind| (kind == Kind::Tls || order.all) && drivers::of(kind).is_some();
    let (mut others, mut all) = (Vec::new(), Vec::new());
    for one in inventory::all(admin).await?.into_iter().filter(|one| one.state != "ended") {
        let kind = kinds::parse(&one.name).ok().map(|(kind, _)| kind);
        let Some(kind) = kind.filter(|kind| wanted(*kind)) else { continue };
        // To give somebody a credential who has none that counts is no rotation: maybe it was taken away.
        let of_client = matches!(kind, Kind::ClientKey | Kind::ClientSecret);
        if of_client && !one.versions.iter().any(|version| version.state == "current") {
            all.push(skipped(&one.name, "none counts, so there is none to replace: rotate it by name to issue one"));
        } else {
            others.push((kind, one.name));
        }
    }
    // First, so that tokens of the old key are called with while all the rest is replaced.
    for (_, name) in others.iter().filter(|(kind, _)| *kind == Kind::TokenKey) {
        all.push(rotate_token_key(admin, actor, name).await?);
    }
    let (key, secret) = tokio::join!(
        rotate_shadow(admin, actor, Form::Key, (load, lasts)),
        rotate_shadow(admin, actor, Form::Secret, (load, lasts))
    );
    let ((of_key, key), (of_secret, secret)) = (key?, secret?);
    all.extend([of_key, of_secret]);
    for (kind, name) in others.iter().filter(|(kind, _)| *kind != Kind::TokenKey) {
        all.push(rotate_one(admin, actor, (name, *kind), order).await);
    }
    Ok((all, (key, secret)))
}

/// The whole life of the shadow's key or secret, with its client moving as a client does.
async fn rotate_shadow(
    admin: &Admin,
    actor: &Actor,
    form: Form,
    (load, lasts): (&Load<'_>, Duration),
) -> Verb<(Proved, Option<Secret<String>>)> {
    let order = RotateOrder { overlap: Some("1h".into()), fetch: true, ..RotateOrder::default() };
    let rotated = super::start(admin, actor, &shadow_of(form), order).await?;
    let mut row = rotated.rotation;
    let (Some(secret), Some(kid)) = (rotated.secret.map(Secret::new), row.new.clone()) else {
        return Ok((proved(&row, None), None));
    };
    load.moves(form, Shown { kid, text: secret.clone() });
    let (begun, most) = (Instant::now(), lasts + GRACE);
    while !row.state.is_over() && begun.elapsed() < most {
        tokio::time::sleep(LOOK).await;
        row = work::drive_patiently(admin, &row.id).await?;
    }
    Ok((proved(&row, None), Some(secret)))
}

/// The key that signs tokens changes under the traffic at once: a proof does not last as long as others may keep what was published, and no client checks
/// a token itself. The old key goes on until its last token has expired.
async fn rotate_token_key(admin: &Admin, actor: &Actor, name: &str) -> Verb<Proved> {
    if let Some(open) = begun_before(admin, name, Kind::TokenKey).await? {
        return Ok(open);
    }
    let order = RotateOrder { note: "rotate --all".into(), force: true, ..RotateOrder::default() };
    match super::rotate(admin, actor, name, order).await {
        Ok(rotated) => {
            let row = rotated.rotation;
            let until = row.next_try_at.map_or_else(String::new, |at| format!(" until {at}"));
            let said = match row.state {
                State::Draining if row.hold.is_none() => format!(
                    "the new key signs since a moment ago, without the five minutes in which others could have learnt of it: no client checks tokens itself. Tokens of the old one count{until}"
                ),
                _ => proved(&row, None).said,
            };
            Ok(Proved { said, ..proved(&row, None) })
        }
        Err(fault) => Ok(not_begun(name, &fault)),
    }
}

/// A rotation that is open already is no failure of this proof while it goes on by itself: the new version is in use, or, of the key that signs, is
/// published until its time comes.
async fn begun_before(admin: &Admin, name: &str, kind: Kind) -> Verb<Option<Proved>> {
    let Some(open) = super::store::open_of(&admin.db, name).await? else { return Ok(None) };
    let told = proved(&open, None);
    let rests = kind == Kind::TokenKey && open.hold.is_none();
    let passed = (told.passed || rests) && open.revoked == 0;
    let how = if passed { "and goes on by itself" } else { "and waits" };
    Ok(Some(Proved { state: "skipped".into(), said: format!("is being rotated already, {how}: {}", told.said), passed, ..told }))
}

fn not_begun(name: &str, fault: &Fault) -> Proved {
    let said = fault.message.clone();
    Proved { name: name.to_owned(), rotation: None, state: "not begun".into(), passed: false, said, file: None }
}

fn skipped(name: &str, said: &str) -> Proved {
    Proved { name: name.to_owned(), rotation: None, state: "skipped".into(), passed: true, said: said.to_owned(), file: None }
}

/// One credential of somebody: begun, and its new secret written where its holder gets it.
async fn rotate_one(admin: &Admin, actor: &Actor, (name, kind): (&str, Kind), order: &ProveOrder) -> Proved {
    if matches!(kind, Kind::Upstream | Kind::Recipient) {
        return skipped(name, "somebody brings its new value: lifeboat credential rotate, then supply");
    }
    // The server's own certificate is what a proof without `--all` is about.
    if order.all {
        match begun_before(admin, name, kind).await {
            Ok(None) => {}
            Ok(Some(open)) => return open,
            Err(fault) => return not_begun(name, &fault),
        }
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
        Err(fault) => not_begun(name, &fault),
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
    let drains = row.state == State::Draining && row.hold.is_none();
    let waits = drains && row.to_fetch;
    let holder = row.holder.as_deref().map(|holder| format!(" ({holder})")).unwrap_or_default();
    let said = match (row.state, &row.why) {
        (State::Done, _) => "new accepted, old rejected".to_owned(),
        (_, Some(why)) => why.clone(),
        _ if waits => format!("both count; waits for its holder{holder} to take the new one up"),
        _ if drains => "both count until the overlap is over or the old one ends by itself".to_owned(),
        (state, None) => state.word().replace('_', " "),
    };
    Proved {
        name: row.credential.clone(),
        rotation: Some(row.id.clone()),
        state: row.state.word().to_owned(),
        passed: row.state == State::Done || drains,
        said,
        file,
    }
}
