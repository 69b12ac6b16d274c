//! `alert test`: a signed test event to each receiver, at once and never by the outbox, and what each of them answered.

use futures_util::{StreamExt, stream};
use serde_json::json;

use super::memory::{locked, running};
use super::notice::{self, Kind};
use super::outbox::{self, Ended};
use super::post::{Answered, Letter};
use super::receivers::{self, TestOrder, Tested, TestedReceiver};
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin};
use crate::audit::Event;
use crate::base::fault::Verb;
use crate::base::ids;
use crate::config::alerts::ReceiverConfig;

const AT_ONCE: usize = 8;

/// Sends a test to every receiver, or to one. A test that arrives ends the pause of a receiver that had said 410 Gone.
///
/// # Errors
/// `Denied` without role operator; `NotFound` for a receiver that is not there.
pub async fn test(admin: &Admin, actor: &Actor, order: TestOrder) -> Verb<Tested> {
    actor.need(Right::Operate, "alert.test")?;
    let config = running(admin).await;
    let named = |receiver: &&ReceiverConfig| order.receiver.as_ref().is_none_or(|name| *name == receiver.name);
    let chosen: Vec<&ReceiverConfig> = config.receivers.iter().filter(named).collect();
    if let (Some(name), true) = (&order.receiver, chosen.is_empty()) {
        return Err(receivers::missing(name));
    }
    if chosen.is_empty() {
        let why = "there is no receiver, so nobody is told of an alert; lifeboat alert receiver add NAME --url URL";
        return Ok(Tested { ok: false, receivers: Vec::new(), why: Some(why.to_owned()) });
    }
    let mut tests = Vec::new();
    for receiver in chosen {
        tests.push(one(admin, actor, receiver));
    }
    let mut tested: Vec<TestedReceiver> =
        stream::iter(tests).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect::<Verb<_>>()?;
    tested.sort_by(|a, b| a.name.cmp(&b.name));
    let ok = tested.iter().all(|one| one.ok);
    let mut event = Event::action(&actor.name, "alert.test", order.receiver.unwrap_or_else(|| "every receiver".to_owned()));
    let failed: Vec<&str> = tested.iter().filter(|one| !one.ok).map(|one| one.name.as_str()).collect();
    event.params = Some(json!({ "ok": ok, "receivers": tested.len(), "failed": failed }));
    admin.record(event).await?;
    Ok(Tested { ok, receivers: tested, why: None })
}

/// Which of its secrets sign a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Signing {
    /// Each that counts, as for every notice.
    Both,
    /// The newest alone: whether the receiver has it already.
    Newest,
}

/// A test to one receiver, for the rotation of its secret.
///
/// # Errors
/// `NotFound` for a receiver that is not there; when the database does not answer.
pub(in crate::admin) async fn trial(admin: &Admin, name: &str, signing: Signing) -> Verb<TestedReceiver> {
    let config = running(admin).await;
    let receiver = config.receivers.iter().find(|receiver| receiver.name == name).ok_or_else(|| receivers::missing(name))?;
    signed(admin, &Actor::system("rotation"), receiver, signing).await
}

async fn one(admin: &Admin, actor: &Actor, receiver: &ReceiverConfig) -> Verb<TestedReceiver> {
    signed(admin, actor, receiver, Signing::Both).await
}

async fn signed(admin: &Admin, actor: &Actor, receiver: &ReceiverConfig, signing: Signing) -> Verb<TestedReceiver> {
    let now = admin.clock.now();
    let alert = notice::trial(ids::mint("al", now, admin.entropy.as_ref()), &actor.name, now);
    let notice = outbox::notice(admin, &receiver.name, Kind::Test, &alert, now);
    let name = &receiver.name;
    let answered = match receivers::keys(admin, name).await? {
        Some(keys) => {
            let keys = if signing == Signing::Newest { keys.newest() } else { keys };
            let answered = outbox::attempt(admin, receiver, &keys, &Letter { id: &notice.id, body: &notice.body }).await;
            if answered.is_ok() && keys.is_paused(&receiver.url) {
                receivers::set_paused(admin, name, None).await?;
            }
            answered
        }
        None => Answered::failed(format!("it has no secret yet: lifeboat alert receiver secret {name}")),
    };
    if answered.is_ok() {
        locked(&admin.alerts.rests).remove(name);
        admin.alerts.wake.notify_one();
    }
    let delivered = answered.is_ok();
    let why = (!delivered).then_some(answered.why.as_str());
    let ended = Ended { notice: &notice, delivered, status: answered.status, why, ms: answered.ms, at: admin.clock.now() };
    // The test was made, whether or not it can be shown again.
    let kept = async { outbox::store::ended(&admin.db, &ended).await.and(outbox::store::prune(&admin.db, outbox::KEPT).await) };
    if let Err(fault) = kept.await {
        tracing::warn!(%fault, "a test is not on the page of alerts");
    }
    let ms = u64::try_from(answered.ms).unwrap_or(0);
    Ok(TestedReceiver { name: name.clone(), ok: delivered, status: answered.status, ms, why: why.map(str::to_owned) })
}
