//! What calls tell the breaker of their server, and what the ledger is told of it. Never holds a call up.

use std::sync::Arc;

use super::super::Shared;
use super::super::arguments::Permit;
use super::super::exchange::Exchange;
use super::super::pipeline::Outcome;
use super::super::refuse::Refusal;
use super::LegParts;
use super::breaker::{Breaker, Change, Pass};
use crate::audit::{Durability, Event};
use crate::config::Settings;

/// Writes down that a breaker opened or closed. The call does not wait for it.
pub(super) fn note(parts: &LegParts, name: &str, change: Option<Change>, why: &str) {
    let action = match change {
        None => return,
        Some(Change::Opened) => "server.breaker_opened",
        Some(Change::Closed) => "server.breaker_closed",
    };
    tracing::warn!(server = name, why, "{action}");
    metrics::counter!("lifeboat_breaker_changes_total", "action" => action).increment(1);
    let mut event = Event::system(action, name);
    event.params = Some(serde_json::json!({ "why": why }));
    let recorder = parts.recorder.clone();
    parts.tasks.spawn(async move {
        if let Err(fault) = recorder.record(event, Durability::Written).await {
            tracing::warn!(why = fault.why, "that a breaker changed is not in the ledger");
        }
    });
}

/// Leave for a call, unless the server rests.
pub(super) fn admit(breaker: Option<Arc<Breaker>>, settings: &Settings) -> Result<Option<Pass>, Refusal> {
    breaker.map(|breaker| breaker.admit(&settings.upstream)).transpose().map_err(|after| Refusal::Resting { after })
}

/// The verdict of a call that has ended about its server.
pub(super) fn judge(shared: &Shared, x: &mut Exchange, (name, settings): (&str, &Settings), outcome: &Result<Outcome, Refusal>) {
    let Some(pass) = x.pass.take() else { return };
    // How a server ends a call that its client gave up says nothing about it.
    if x.is_given_up() {
        return;
    }
    let why = match outcome {
        Err(Refusal::Upstream { detail, .. }) => *detail,
        _ => "a call was answered",
    };
    note(&shared.upstreams.parts, name, pass.judge(outcome, &settings.upstream), why);
}

/// The answer to a call has begun: where it was the one that tries a server, the server is back.
pub(super) fn begun(shared: &Shared, x: &mut Exchange, permit: &Permit) {
    if let Some(pass) = &mut x.pass {
        let change = pass.begun(&permit.settings().upstream);
        note(&shared.upstreams.parts, &permit.server().name, change, "a call is being answered");
    }
}
