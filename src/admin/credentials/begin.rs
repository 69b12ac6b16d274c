//! How a rotation begins: everything about the order that can be checked is, then its row is written. Never does anything to a credential.

use serde_json::{Value, json};

use super::drivers::{self, Driver, Trouble};
use super::machine::State;
use super::model::{RotateOrder, Rotation};
use super::{ended, kinds, proof, store, watch};
use crate::admin::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};
use crate::base::ids;
use crate::config::credentials::overlap_ms;

const REASONS: [&str; 4] = ["manual", "schedule", "incident", "leak"];
const LONGEST_NOTE: usize = 500;

/// Writes a rotation down, before anything is done.
pub(super) async fn begin(admin: &Admin, actor: &Actor, name: &str, order: &RotateOrder) -> Verb<Rotation> {
    let revocations = ended::told(admin);
    let (row, driver) = planned(admin, actor, name, order).await?;
    watch::follow(admin, driver, &row).await;
    store::start(&admin.db, &row).await?;
    // A revocation from here on finds the row; one that came before it may have ended what it is about to replace.
    ended::look_again(admin, &row, revocations).await?;
    let mut event = Event::action(&actor.name, "credential.rotate", name);
    event.params = Some(json!({ "rotation": row.id, "old": row.old, "overlap_ms": row.overlap_ms, "forced": row.forced,
        "reason": row.reason, "note": row.note }));
    admin.record(event).await?;
    Ok(row)
}

/// A row for an order, with everything checked that can be.
async fn planned(admin: &Admin, actor: &Actor, name: &str, order: &RotateOrder) -> Verb<(Rotation, &'static dyn Driver)> {
    let (kind, bare) = kinds::parse(name)?;
    let driver = drivers::of(kind).ok_or_else(|| Fault::conflict(format!("Lifeboat does not rotate {name}. {}", kind.means())))?;
    let reason = order.reason.clone().unwrap_or_else(|| "manual".to_owned());
    if !REASONS.contains(&reason.as_str()) {
        return Err(Fault::invalid("reason", format!("a reason is {}", REASONS.join(", "))));
    }
    let said = tree::standing(admin).await.unwrap_or_default().credentials.of(name).cloned();
    let given = order.overlap.as_deref().or(said.as_ref().and_then(|entry| entry.overlap.as_deref()));
    let overlap = given.map(overlap_ms).transpose().map_err(|why| Fault::invalid("overlap", why))?.unwrap_or(kind.overlap_ms());
    let quiet = said.as_ref().and_then(|entry| entry.quiet_seconds).map(|seconds| i64::from(seconds) * 1_000);
    if store::open_of(&admin.db, name).await?.is_some() {
        return Err(Fault::conflict(format!("{name} is being rotated already; --force gives that rotation up first")));
    }
    let old = driver.current(admin, bare).await.map_err(|trouble| unfit(name, &trouble))?;
    let now = admin.clock.now();
    let row = Rotation {
        id: ids::mint("rot", now, admin.entropy.as_ref()),
        credential: name.to_owned(),
        state: State::Planned,
        hold: None,
        why: None,
        error: None,
        attempt: 0,
        next_try_at: None,
        old,
        new: None,
        facts: Value::Null,
        to_fetch: false,
        fetched_at: None,
        fetched_by: None,
        reason,
        note: order.note.chars().filter(|c| !c.is_control()).take(LONGEST_NOTE).collect(),
        holder: said.and_then(|entry| entry.holder),
        overlap_ms: overlap,
        quiet_ms: if bare == proof::SHADOW { proof::QUIET_MS } else { quiet.unwrap_or(kind.quiet_ms()) },
        // Who says "now" means it.
        forced: order.force || overlap == 0,
        overlap_until: None,
        verified_at: None,
        draining_at: None,
        started_by: actor.name.clone(),
        started_at: now,
        changed_at: now,
        ended_at: None,
        sealed: None,
        revoked: 0,
    };
    Ok((row, driver))
}

/// What does not work now is not replaced with care: it is ended.
fn unfit(name: &str, trouble: &Trouble) -> Fault {
    Fault::conflict(format!(
        "{name} is not rotated: {}. If it leaked, do not wait: lifeboat credential revoke {name}",
        trouble.said
    ))
}
