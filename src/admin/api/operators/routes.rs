//! `/api/v1/operators…` and `/api/v1/operator-keys…`: parse, verb, print. A password comes in the body and leaves in nothing.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::super::openapi::routes::Api;
use super::super::openapi::{changes, reads};
use super::super::routes::{Caller, parse, reply};
use crate::admin::actor::Right;
use crate::admin::operators::{self, AddOperator, KeyAdded, KeyList, Operator, OperatorKey, OperatorList};
use crate::admin::{Admin, OperatorRole};
use crate::base::secret::Secret;

pub(in crate::admin::api) fn routes() -> Api {
    let admin = Right::Administer;
    let new = json!({"name": "ana", "role": "admin", "password": "a long sentence to remember"});
    Api::default()
        .serve(reads::<OperatorList>("/operators", "Every operator"), list)
        .serve(changes::<Operator>("/operators", "Adds an operator", admin).takes::<NewOperator>(new), add)
        .serve(changes::<Operator>("/operators/{name}/disable", "Ends an operator's access at once", admin), disable)
        .serve(
            changes::<Operator>("/operators/{name}/role", "Gives another role", admin).takes::<NewRole>(json!({"role": "viewer"})),
            role,
        )
        .serve(
            changes::<Operator>("/operators/{name}/reset", "Sets a new password and ends every session", admin)
                .takes::<NewPassword>(json!({"password": "another long sentence"})),
            reset,
        )
        .serve(
            changes::<KeyAdded>(
                "/operators/{name}/keys",
                "Makes an API key with the operator's role; it is shown this once",
                admin,
            )
            .takes::<NewKey>(json!({"expires_days": 90})),
            key_add,
        )
        .serve(reads::<KeyList>("/operator-keys", "Every API key, without its secret"), key_list)
        .serve(
            changes::<OperatorKey>(
                "/operator-keys/{kid}/revoke",
                "Ends an API key at once: one's own, or any for an admin",
                Right::Read,
            ),
            key_revoke,
        )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewOperator {
    /// Its sign-in name.
    name: String,
    /// `viewer`, `auditor`, `operator` or `admin`.
    role: String,
    /// 12 characters or more.
    password: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRole {
    /// What it may do from now on.
    role: OperatorRole,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// 12 characters or more.
    password: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// Days until it stops counting; absent means never.
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
