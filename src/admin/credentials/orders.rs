//! What operators order of an open rotation: pause, resume, cancel, roll back, extend, retire; and giving one up for another. Never decides whether an order
//! makes sense: that is the machine's affair.

use serde_json::{Value, json};

use super::drivers::{Kept, Scene};
use super::machine::{self, Hold, Ordered, State};
use super::model::{OrderBody, Rotated, Rotation};
use super::{kinds, need, next, opened, store, watch, work};
use crate::admin::{Actor, Admin};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::config::credentials::overlap_ms;

/// Pauses, resumes, cancels, rolls back, extends or ends the overlap of an open rotation.
///
/// # Errors
/// `Denied` without role operator or a fresh login; `NotFound`; `Invalid` for no order; `Conflict`, saying what works instead.
pub async fn order(admin: &Admin, actor: &Actor, name: &str, body: &OrderBody) -> Verb<Rotated> {
    need(admin, actor, name, "credential.order")?;
    let order = read_order(body)?;
    let open = opened(admin, name).await?;
    obey(admin, actor, &open, order).await?;
    let row = work::drive_patiently(admin, &open.id).await?;
    Ok(Rotated { next: next(&row), rotation: row, secret: None })
}

/// Has a rotation go on that waits for somebody, when there is one.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn go_on(admin: &Admin, actor: &Actor, name: &str) -> Verb<()> {
    let open = store::open_of(&admin.db, name).await?.filter(|row| row.hold == Some(Hold::Waiting));
    let Some(open) = open else { return Ok(()) };
    obey(admin, actor, &open, machine::Order::Resume).await
}

fn read_order(body: &OrderBody) -> Verb<machine::Order> {
    Ok(match (body.order.as_str(), body.by.as_deref()) {
        ("pause", None) => machine::Order::Pause,
        ("resume", None) => machine::Order::Resume,
        ("cancel", None) => machine::Order::Cancel,
        ("rollback", None) => machine::Order::RollBack,
        ("retire", None) => machine::Order::Retire,
        ("extend", Some(by)) => match overlap_ms(by) {
            Ok(ms) if ms > 0 => machine::Order::Extend(ms),
            Ok(_) => return Err(Fault::invalid("by", "how much longer both count, such as 24h")),
            Err(why) => return Err(Fault::invalid("by", why)),
        },
        ("extend", None) => return Err(Fault::invalid("by", "how much longer both count, such as 24h")),
        (_, Some(_)) => return Err(Fault::invalid("by", "only extend takes how much")),
        _ => return Err(Fault::invalid("order", "an order is pause, resume, cancel, rollback, extend or retire")),
    })
}

async fn obey(admin: &Admin, actor: &Actor, open: &Rotation, order: machine::Order) -> Verb<()> {
    let mut held = work::hold(admin, &open.id).await?;
    let now = admin.clock.now();
    let ordered = match machine::order(&held.row, order, now) {
        Ok(ordered) => apply(admin, &mut held, (ordered, now)).await,
        Err(why) => Err(Fault::conflict(why)),
    };
    let row = held.end(ordered.map(|seen| (order.word(), json!({ "by": actor.name, "seen": seen })))).await?;
    if row.state.is_over() {
        watch::leave(admin, &row);
    }
    let mut event = Event::action(&actor.name, "credential.order", row.credential.clone());
    event.params =
        Some(json!({ "rotation": row.id, "order": order.word(), "state": row.state.word(), "until": row.overlap_until }));
    admin.record(event).await
}

async fn apply(admin: &Admin, held: &mut work::Held<'_>, (ordered, now): (Ordered, Timestamp)) -> Verb<Value> {
    let row = &mut held.row;
    if ordered == Ordered::Held {
        row.hold = Some(Hold::Paused);
        return Ok(Value::Null);
    }
    let mut seen = Value::Null;
    match ordered {
        Ordered::Until(until) => row.overlap_until = Some(until),
        Ordered::Forced(until) => (row.forced, row.overlap_until) = (true, Some(until)),
        Ordered::Cancelled | Ordered::Undone => {
            let bare = kinds::parse(&row.credential)?.1.to_owned();
            let scene = Scene { admin, row, name: &bare, kept: Kept::open(admin, row)? };
            seen = held.driver.undo(&scene).await.map_err(|trouble| Fault::unavailable(trouble.said))?;
            row.state = if ordered == Ordered::Undone { State::RolledBack } else { State::Cancelled };
            (row.ended_at, row.sealed) = (Some(now), None);
        }
        Ordered::Held | Ordered::Freed => {}
    }
    (row.hold, row.why, row.next_try_at, row.attempt) = (None, None, None, 0);
    Ok(seen)
}

/// Gives an open rotation up for another one: the newer order wins, and never are there three versions.
pub(super) async fn give_up(admin: &Admin, actor: &Actor, open: &Rotation) -> Verb<()> {
    let order =
        if matches!(open.state, State::Planned | State::Minted) { machine::Order::Cancel } else { machine::Order::RollBack };
    obey(admin, actor, open, order).await
}
