//! `/api/v1`: parse, verb, print. The actor comes with the request: whoever listens has authenticated it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::actor::Right;
use super::super::kill::OrderBody;
use super::super::{Actor, Admin, doctor, health, kill, overview};
use super::openapi::routes::Api;
use super::openapi::{changes, reads};
use crate::base::fault::{Fault, FaultKind, Verb};

type Shared = State<Arc<Admin>>;

/// Who calls; a request without one is refused before any verb.
pub(super) struct Caller(pub(super) Actor);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        parts.extensions.get::<Actor>().cloned().map(Self).ok_or_else(|| {
            let body = json!({ "error": { "kind": "denied", "message": "an operator API key is needed", "where": null } });
            (StatusCode::UNAUTHORIZED, Json(body)).into_response()
        })
    }
}

/// Every route below `/api/v1`, and what they say of themselves. Both the admin listener and the control socket serve it, after putting an
/// `Actor` into the request.
pub fn router() -> Router<Arc<Admin>> {
    described().router(unknown)
}

/// Every route with its description.
pub(super) fn described() -> Api {
    general()
        .merge(kills())
        .merge(super::desired::routes::routes())
        .merge(super::audit::routes::routes())
        .merge(super::operators::routes::routes())
        .merge(super::recovery::routes::routes())
        .merge(super::alerts::routes::routes())
        .merge(super::tokens::routes::routes())
        .merge(super::credentials::routes::routes())
}

fn general() -> Api {
    Api::default()
        .serve(reads::<overview::Status>("/status", "State of the kill switch, the servers and the ledger"), status)
        .serve(reads::<overview::Overview>("/overview", "Everything the first page shows"), first_page)
        .serve(reads::<health::Health>("/health", "One check for each thing Lifeboat depends on"), checks)
        .serve(reads::<doctor::Examination>("/doctor", "What is wrong on this host and how to mend it"), examine)
}

fn kills() -> Api {
    let engage = json!({"reason": "runaway client", "client": "ci", "mode": "full"});
    let release = json!({"reason": "the key is revoked", "client": "ci", "to": "read-only"});
    Api::default()
        .serve(reads::<kill::Status>("/kill", "What is stopped, and the last proof"), kill_status)
        .serve(reads::<KillHistory>("/kill/history", "Past orders, newest first").query::<Limit>(), kill_history)
        .serve(
            changes::<kill::Engaged>("/kill/engage", "Stops tool execution, then proves it", Right::Operate)
                .takes::<OrderBody>(engage),
            kill_engage,
        )
        .serve(
            changes::<kill::Released>("/kill/release", "Allows tool execution again", Right::Administer)
                .takes::<OrderBody>(release),
            kill_release,
        )
        .serve(
            changes::<kill::Proof>("/kill/prove", "A drill: stops only its own canary and proves it", Right::Operate),
            kill_prove,
        )
}

/// Past orders.
#[derive(Serialize, JsonSchema)]
struct KillHistory {
    /// Newest first.
    history: Vec<kill::Past>,
}

/// A verb's answer as the document the command prints.
pub(super) fn reply<T: Serialize>(answer: Verb<T>) -> Response {
    match answer {
        Ok(value) => ([(CACHE_CONTROL, "no-store")], Json(value)).into_response(),
        Err(fault) => refuse(&fault),
    }
}

/// The same of a verb that takes minutes, in a task of its own: whoever asked may go away, and it is done to its end all the same.
pub(super) async fn lasting<T: Serialize + Send + 'static>(verb: impl Future<Output = Verb<T>> + Send + 'static) -> Response {
    match tokio::spawn(verb).await {
        Ok(answer) => reply(answer),
        Err(cause) => refuse(&Fault::bug("the work broke off").because(cause)),
    }
}

/// A fault as the document the command prints.
pub(super) fn refuse(fault: &Fault) -> Response {
    let status = match fault.kind {
        FaultKind::Invalid => StatusCode::BAD_REQUEST,
        FaultKind::Denied | FaultKind::Stale => StatusCode::FORBIDDEN,
        FaultKind::NotFound => StatusCode::NOT_FOUND,
        FaultKind::Conflict => StatusCode::CONFLICT,
        FaultKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        FaultKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if matches!(fault.kind, FaultKind::Unavailable | FaultKind::Bug) {
        tracing::warn!(%fault, cause = fault.source.as_deref().map(ToString::to_string), "a request of the API failed");
    }
    let body = json!({ "error": { "kind": fault.kind.word(), "message": fault.message, "where": fault.place } });
    (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// A body as its type; no body at all is an empty object.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Verb<T> {
    let text = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(text).map_err(|e| Fault::invalid("body", e.to_string()))
}

/// A query string as its type; the names are those of the command's flags.
pub(super) fn query<T: DeserializeOwned>(text: Option<String>) -> Verb<T> {
    let uri = Uri::try_from(format!("/?{}", text.unwrap_or_default())).map_err(|e| Fault::invalid("query", e.to_string()))?;
    let read = axum::extract::Query::<T>::try_from_uri(&uri);
    read.map(|query| query.0).map_err(|e| Fault::invalid("query", e.body_text()))
}

async fn unknown(_: Caller) -> Response {
    refuse(&Fault::not_found("the API has no such path"))
}

async fn status(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(overview::status(&admin, &actor).await)
}

async fn first_page(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(overview::overview(&admin, &actor).await)
}

async fn checks(State(admin): Shared, _: Caller) -> Response {
    reply(Ok(health::health(&admin).await))
}

async fn examine(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(doctor::examine(&admin, &actor).await)
}

async fn kill_status(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(kill::status(&admin, &actor))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    /// At most this many: 50 when not given, at most 1,000.
    pub limit: Option<u32>,
    /// Those before this commit.
    pub after: Option<String>,
}

async fn kill_history(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || kill::history(&admin, &actor, query::<Limit>(text)?.limit.unwrap_or(50).min(1_000)).await;
    reply(read().await.map(|history| KillHistory { history }))
}

async fn kill_engage(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || kill::engage(&admin, &actor, parse::<OrderBody>(&body)?.into_order()?).await;
    reply(act().await)
}

async fn kill_release(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || kill::release(&admin, &actor, parse::<OrderBody>(&body)?.into_release()?).await;
    reply(act().await)
}

async fn kill_prove(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(kill::prove(&admin, &actor).await)
}
