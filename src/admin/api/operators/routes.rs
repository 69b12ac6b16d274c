//! `/api/v1/operators…` and `/api/v1/operator-keys…`: parse, verb, print. A password comes in the body and leaves in nothing.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

use super::super::routes::{Caller, parse, reply};
use crate::admin::operators::{self, AddOperator};
use crate::admin::{Admin, OperatorRole};
use crate::base::secret::Secret;

pub(in crate::admin::api) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/operators", get(list).post(add))
        .route("/operators/{name}/disable", post(disable))
        .route("/operators/{name}/role", post(role))
        .route("/operators/{name}/reset", post(reset))
        .route("/operators/{name}/keys", post(key_add))
        .route("/operator-keys", get(key_list))
        .route("/operator-keys/{kid}/revoke", post(key_revoke))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOperator {
    name: String,
    role: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRole {
    role: OperatorRole,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    #[serde(default)]
    expires_days: Option<u32>,
}

async fn list(State(admin): State<Arc<Admin>>, Caller(actor): Caller) -> Response {
    reply(operators::list(&admin, &actor))
}

async fn add(State(admin): State<Arc<Admin>>, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || {
        let new: NewOperator = parse(&body)?;
        let input = AddOperator { name: new.name, role: new.role.parse()?, password: Secret::new(new.password) };
        operators::add(&admin, &actor, input).await
    };
    reply(act().await)
}

async fn disable(State(admin): State<Arc<Admin>>, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(operators::disable(&admin, &actor, &name).await)
}

async fn role(State(admin): State<Arc<Admin>>, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || operators::set_role(&admin, &actor, &name, parse::<NewRole>(&body)?.role).await;
    reply(act().await)
}

async fn reset(State(admin): State<Arc<Admin>>, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || operators::reset(&admin, &actor, &name, &Secret::new(parse::<NewPassword>(&body)?.password)).await;
    reply(act().await)
}

async fn key_add(State(admin): State<Arc<Admin>>, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || operators::key_add(&admin, &actor, &name, parse::<NewKey>(&body)?.expires_days).await;
    reply(act().await)
}

async fn key_list(State(admin): State<Arc<Admin>>, Caller(actor): Caller) -> Response {
    reply(operators::key_list(&admin, &actor))
}

async fn key_revoke(State(admin): State<Arc<Admin>>, Caller(actor): Caller, Path(kid): Path<String>) -> Response {
    // People copy the key's public name with or without its prefix.
    let kid = kid.strip_prefix("lbo_").unwrap_or(&kid);
    reply(operators::key_revoke(&admin, &actor, kid).await)
}
