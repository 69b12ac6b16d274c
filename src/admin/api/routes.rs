//! `/api/v1`: parse, verb, print. The actor comes with the request: whoever listens has authenticated it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, RawQuery, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::clients::AddClient;
use super::super::kill::OrderBody;
use super::super::revisions::CommitOrder;
use super::super::roles::SetRole;
use super::super::servers::AddServer;
use super::super::{Actor, Admin, clients, doctor, health, kill, overview, revisions, roles, servers, tools};
use crate::base::fault::{Fault, FaultKind, Verb};
use crate::config::Class;

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

/// Every route below `/api/v1`. Both the admin listener and the control socket serve it, after putting an `Actor` into the request.
pub fn router() -> Router<Arc<Admin>> {
    let api = Router::new()
        .route("/status", get(status))
        .route("/overview", get(first_page))
        .route("/health", get(checks))
        .route("/doctor", get(examine))
        .route("/kill", get(kill_status))
        .route("/kill/history", get(kill_history))
        .route("/kill/engage", post(kill_engage))
        .route("/kill/release", post(kill_release))
        .route("/kill/prove", post(kill_prove))
        .route("/clients", get(client_list).post(client_add))
        .route("/clients/{name}", get(client_show))
        .route("/clients/{name}/revoke", post(client_revoke))
        .route("/servers", get(server_list).post(server_add))
        .route("/servers/{name}", get(server_show))
        .route("/servers/{name}/probe", post(server_probe))
        .route("/servers/{name}/approve", post(server_approve))
        .route("/servers/{name}/remove", post(server_remove))
        .route("/tools", get(tool_list))
        .route("/tools/diff", get(tool_diff))
        .route("/tools/class", post(tool_class))
        .route("/tools/approve", post(tool_approve))
        .route("/roles", get(role_list))
        .route("/roles/{name}", get(role_show).post(role_set))
        .route("/policy/explain", get(policy_explain))
        .route("/config/history", get(config_history))
        .route("/config/status", get(config_status))
        .route("/config/check", post(config_check))
        .route("/config/commit", post(config_commit))
        .merge(super::audit::routes::routes())
        .merge(super::operators::routes::routes())
        .fallback(unknown);
    Router::new().nest("/api/v1", api)
}

/// A verb's answer as the document the command prints.
pub(super) fn reply<T: Serialize>(answer: Verb<T>) -> Response {
    match answer {
        Ok(value) => ([(CACHE_CONTROL, "no-store")], Json(value)).into_response(),
        Err(fault) => refuse(&fault),
    }
}

/// A fault as the document the command prints.
pub(super) fn refuse(fault: &Fault) -> Response {
    let status = match fault.kind {
        FaultKind::Invalid => StatusCode::BAD_REQUEST,
        FaultKind::Denied => StatusCode::FORBIDDEN,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: Option<u32>,
    after: Option<String>,
}

async fn kill_history(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || kill::history(&admin, &actor, query::<Limit>(text)?.limit.unwrap_or(50).min(1_000)).await;
    reply(read().await.map(|history| json!({ "history": history })))
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

async fn client_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(clients::list(&admin, &actor).await)
}

async fn client_show(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(clients::show(&admin, &actor, &name).await)
}

async fn client_add(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || clients::add(&admin, &actor, parse::<AddClient>(&body)?).await;
    reply(act().await)
}

async fn client_revoke(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(clients::revoke(&admin, &actor, &name).await)
}

async fn server_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(servers::list(&admin, &actor).await)
}

async fn server_show(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(servers::show(&admin, &actor, &name).await)
}

async fn server_add(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || servers::add(&admin, &actor, parse::<AddServer>(&body)?).await;
    reply(act().await)
}

async fn server_probe(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(servers::probe(&admin, &actor, &name).await)
}

async fn server_approve(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(servers::approve(&admin, &actor, &name).await)
}

async fn server_remove(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(servers::remove(&admin, &actor, &name).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolFilter {
    filter: Option<String>,
}

async fn tool_list(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || tools::list(&admin, &actor, query::<ToolFilter>(text)?.filter.as_deref()).await;
    reply(read().await)
}

async fn tool_diff(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let look = async || tools::diff(&admin, &actor, query::<ToolFilter>(text)?.filter.as_deref()).await;
    reply(look().await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolClass {
    tool: String,
    class: Class,
}

async fn tool_class(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || {
        let order: ToolClass = parse(&body)?;
        tools::class(&admin, &actor, &order.tool, order.class).await
    };
    reply(act().await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolName {
    tool: String,
}

async fn tool_approve(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || tools::approve(&admin, &actor, &parse::<ToolName>(&body)?.tool).await;
    reply(act().await)
}

async fn role_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(roles::list(&admin, &actor).await)
}

async fn role_show(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(roles::show(&admin, &actor, &name).await)
}

async fn role_set(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || roles::set(&admin, &actor, &name, parse::<SetRole>(&body)?).await;
    reply(act().await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explain {
    client: String,
    tool: String,
}

async fn policy_explain(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    reply(query::<Explain>(text).and_then(|asked| tools::explain(&admin, &actor, &asked.client, &asked.tool)))
}

async fn config_history(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || {
        let page: Limit = query(text)?;
        let limit = usize::try_from(page.limit.unwrap_or(50).min(1_000)).unwrap_or(50);
        revisions::history(&admin, &actor, limit, page.after).await
    };
    reply(read().await)
}

async fn config_status(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(revisions::standing(&admin, &actor).await)
}

async fn config_check(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(revisions::check(&admin, &actor).await)
}

async fn config_commit(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || revisions::commit(&admin, &actor, parse::<CommitOrder>(&body)?).await;
    reply(act().await)
}
