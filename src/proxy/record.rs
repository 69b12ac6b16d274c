//! What goes into the ledger for one request, and when: the intent before a write is sent, the outcome before its answer is released.
//! Never lets an answer out that could not be recorded.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Shared;
use super::exchange::{Exchange, Sort, Whole};
use super::pipeline::{Answer, Outcome};
use super::refuse::{Executed, Refusal};
use super::sessions::Orphan;
use crate::audit::{Durability, Event};
use crate::config::Class;
use crate::mcp::message::Incoming;
use crate::policy::feed::FlyingCall;

// A kill proof must come back even while the ledger hangs.
const CANARY_WAIT: Duration = Duration::from_millis(500);

/// Records the intent of a write and waits until it is on disk.
///
/// # Errors
/// `ledger.unavailable`: nothing runs unrecorded.
pub(super) async fn intent(shared: &Shared, x: &Exchange) -> Result<(), Refusal> {
    let mut event = event(x, "call.intent");
    event.params = with_token(x, x.facts.params.clone());
    event.decision = Some("permit".into());
    let recorded = shared.recorder.record(event, Durability::Synced).await;
    recorded.map(drop).map_err(|_| Refusal::Ledger { executed: Executed::No })
}

/// Records how it ended, and gives what may be released: the outcome itself, or a refusal where it could not be recorded.
pub(super) async fn outcome(shared: &Shared, x: &mut Exchange, outcome: Result<Outcome, Refusal>) -> Result<Outcome, Refusal> {
    if x.facts.client.is_none() {
        return strangers(shared, x, outcome);
    }
    // What was refused before any policy was asked was refused under one all the same.
    x.facts.revision.get_or_insert_with(|| shared.feed.snapshot().revision.to_string());
    let (status, executed) = told(x, &outcome);
    let event = closing(x, &outcome, status, executed);
    count(x, &outcome, status);
    let durability = if is_write(x) && x.sent { Durability::Synced } else { Durability::Written };
    let recording = shared.recorder.record(event, durability);
    if x.facts.canary {
        // Whether or not it is recorded, the proof is the refusal.
        drop(tokio::time::timeout(CANARY_WAIT, recording).await);
        return outcome;
    }
    match (recording.await, outcome) {
        (Ok(_), outcome) | (Err(_), outcome @ Err(_)) => outcome,
        (Err(_), Ok(outcome)) if !is_write(x) && shared.feed.snapshot().settings.audit.reads_without_ledger => Ok(outcome),
        (Err(_), Ok(outcome)) => Err(Refusal::Ledger { executed: outcome.executed }),
    }
}

/// Refuses what could not be written down afterwards. Reads go on without the ledger where the settings say so.
///
/// # Errors
/// `ledger.unavailable`, with nothing executed.
pub(super) fn ready(shared: &Shared) -> Result<(), Refusal> {
    let refused = shared.recorder.trouble().is_some() && !shared.feed.snapshot().settings.audit.reads_without_ledger;
    if refused { Err(Refusal::Ledger { executed: Executed::No }) } else { Ok(()) }
}

/// Records the late answer to a request whose outcome was recorded as unknown when its stream ended.
///
/// # Errors
/// `ledger.unavailable`; the answer is then withheld, but for reads where the settings say otherwise.
pub(super) async fn resumed(
    shared: &Shared,
    call: &FlyingCall,
    orphan: &Orphan,
    (incoming, concluded): (&Incoming, &Result<Bytes, Refusal>),
) -> Result<(), Refusal> {
    let (status, executed) = match concluded {
        Err(refusal) => ("cut", refusal.executed()),
        Ok(_) if incoming.is_error() => ("upstream_error", Executed::Unknown),
        Ok(_) if incoming.is_tool_error() => ("tool_error", Executed::Yes),
        Ok(_) => ("ok", if orphan.kind.executes() { Executed::Yes } else { Executed::No }),
    };
    let event = Event {
        request_id: Some(orphan.request.to_string()),
        client: Some(call.client.to_string()),
        server: Some(call.server.to_string()),
        tool: call.tool.as_deref().map(str::to_owned),
        class: orphan.kind.executes().then(|| call.class.word().to_owned()),
        status: Some(status.into()),
        executed: Some(executed.word().into()),
        revision: Some(shared.feed.snapshot().revision.to_string()),
        reason: concluded.as_ref().err().map(|refusal| refusal.reason().to_owned()),
        bytes_out: concluded.as_ref().ok().map(|body| body.len() as u64),
        ..Event::system("call.resumed", orphan.request.to_string())
    };
    let is_write = orphan.kind.executes() && call.class > Class::Read;
    let durability = if is_write { Durability::Synced } else { Durability::Written };
    match shared.recorder.record(event, durability).await {
        Err(_) if is_write || !shared.feed.snapshot().settings.audit.reads_without_ledger => Err(Refusal::Ledger { executed }),
        _ => Ok(()),
    }
}

fn strangers(shared: &Shared, x: &Exchange, outcome: Result<Outcome, Refusal>) -> Result<Outcome, Refusal> {
    if let Err(refusal) = &outcome {
        shared.recorder.stranger(x.remote.ip(), refusal.reason());
        metrics::counter!("lifeboat_strangers_total", "reason" => refusal.reason()).increment(1);
    }
    outcome
}

fn is_write(x: &Exchange) -> bool {
    x.facts.sort == Sort::Call && x.facts.class.is_some_and(|class| class > Class::Read)
}

fn told(x: &Exchange, outcome: &Result<Outcome, Refusal>) -> (&'static str, Executed) {
    match outcome {
        Ok(outcome) => (outcome.status, outcome.executed),
        Err(refusal) => {
            let status = match (refusal, refusal.executed()) {
                (Refusal::Killed { .. } | Refusal::Lapsed { .. }, executed) if executed != Executed::No => "cut",
                (Refusal::Upstream { .. }, Executed::Unknown) if is_write(x) => "unknown",
                (Refusal::Upstream { .. }, _) => "upstream_error",
                (Refusal::Broken { .. } | Refusal::Ledger { .. }, Executed::Unknown) => "unknown",
                _ => "refused",
            };
            (status, refusal.executed())
        }
    }
}

fn closing(x: &mut Exchange, outcome: &Result<Outcome, Refusal>, status: &str, executed: Executed) -> Event {
    let kind = match (x.facts.canary, x.facts.sort, is_write(x)) {
        (true, ..) => "system",
        (_, Sort::List, _) => "list",
        (_, Sort::Call, true) => "call.outcome",
        (_, Sort::Call, false) => "call",
    };
    let mut event = event(x, kind);
    // The last that is told of them.
    let params = x.facts.params.take();
    event.params = with_token(x, params);
    event.status = Some(status.into());
    event.executed = Some(executed.word().into());
    event.decision = Some(if outcome.is_ok() || x.sent || executed != Executed::No { "permit" } else { "refuse" }.into());
    event.reason = outcome.as_ref().err().map(|refusal| refusal.reason().to_owned());
    if x.facts.canary {
        event.action = Some("kill.canary".into());
        // It only takes on a client's name: what it does is not that client's doing.
        let played = event.client.take();
        event.object = [x.facts.server.as_deref(), played.as_deref()].map(Option::unwrap_or_default).join(" as ").into();
    }
    event.latency_ms = Some((x.started.elapsed().as_secs_f64() * 1e6).round() / 1e3);
    let last = match outcome {
        Ok(Outcome { answer: Answer::Whole(Whole { body, .. }) | Answer::Last(body), .. }) => body.len() as u64,
        _ => 0,
    };
    event.bytes_out = Some(x.reply.bytes_sent() + last);
    event
}

/// The token stands among the parameters, under a name that none of them has: an event has no field of its own for it.
fn with_token(x: &Exchange, params: Option<Value>) -> Option<Value> {
    let Some(token) = x.facts.token.as_deref() else { return params };
    let mut params = params.unwrap_or_else(|| json!({}));
    params["_token"] = json!(token);
    Some(params)
}

fn event(x: &Exchange, kind: &str) -> Event {
    let facts = &x.facts;
    let text = |value: &Option<std::sync::Arc<str>>| value.as_deref().map(str::to_owned);
    Event {
        request_id: Some(x.id.clone()),
        client: text(&facts.client),
        kid: text(&facts.kid),
        session: facts.session.clone(),
        remote: Some(x.remote.ip().to_string()),
        server: text(&facts.server),
        method: facts.method.clone(),
        tool: text(&facts.tool),
        class: facts.class.filter(|_| facts.sort == Sort::Call).map(|class| class.word().to_owned()),
        params_sha256: facts.params_sha256.clone(),
        grant: text(&facts.grant),
        revision: facts.revision.clone(),
        bytes_in: Some(facts.bytes_in),
        ..Event::of(kind)
    }
}

fn count(x: &Exchange, outcome: &Result<Outcome, Refusal>, status: &'static str) {
    let decision = if outcome.is_ok() { "permit" } else { "refuse" };
    metrics::counter!("lifeboat_calls_total", "decision" => decision, "status" => status).increment(1);
    metrics::histogram!("lifeboat_call_seconds").record(x.started.elapsed().as_secs_f64());
}
