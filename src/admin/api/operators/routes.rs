//! `/api/v1/operators…`, `/api/v1/operator-keys…` and `/api/v1/operator-sessions…`: parse, verb, print. A password comes in the body and leaves in nothing.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::super::openapi::routes::Api;
use super::super::openapi::{changes, reads};
use super::super::routes::{Caller, parse, query, reply};
use crate::admin::actor::Right;
use crate::admin::operators::{
    self, AddKey, AddOperator, KeyAdded, KeyList, Operator, OperatorKey, OperatorList, SessionList, SessionsEnded,
};
use crate::admin::{Admin, OperatorRole};
use crate::base::secret::Secret;

pub(in crate::admin::api) fn routes() -> Api {
    let admin = Right::Administer;
    let new = json!({"name": "ana", "role": "admin", "password": "a long sentence to remember"});
    Api::default()
        .serve(reads::<OperatorList>("/operators", "Every operator"), list)
        .serve(changes::<Operator>("/operators", "Adds an operator", admin).takes::<NewOperator>(new).person(), add)
        .serve(changes::<Operator>("/operators/{name}/disable", "Ends an operator's access at once", admin), disable)
        .serve(
            changes::<Operator>("/operators/{name}/role", "Gives another role", admin)
                .takes::<NewRole>(json!({"role": "viewer"}))
                .person(),
            role,
        )
        .serve(
            changes::<Operator>("/operators/{name}/reset", "Sets a new password; the second factor, sessions and keys end", admin)
                .takes::<NewPassword>(json!({"password": "another long sentence"}))
                .person(),
            reset,
        )
        .serve(
            changes::<KeyAdded>(
                "/operators/{name}/keys",
                "Makes an API key with the operator's role or a narrower one; it is shown this once",
                admin,
            )
            .takes::<NewKey>(json!({"role": "viewer", "expires_days": 90}))
            .person(),
            key_add,
        )
        .serve(
            changes::<Operator>("/operators/{name}/totp/remove", "Removes a second factor and ends the sessions", admin).person(),
            totp_remove,
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
        .merge(sessions())
}

fn sessions() -> Api {
    let admin = Right::Administer;
    Api::default()
        .serve(
            reads::<SessionList>("/operator-sessions", "Who is signed in: everybody for an admin, else oneself").query::<Whose>(),
            session_list,
        )
        .serve(
            changes::<SessionsEnded>(
                "/operator-sessions/{session}/end",
                "Ends a session at once: one's own, or any for an admin",
                Right::Read,
            ),
            session_end,
        )
        .serve(changes::<SessionsEnded>("/operators/{name}/sessions/end", "Ends every session of an operator", admin), sessions_end)
        .serve(changes::<SessionsEnded>("/operator-sessions/end", "Ends every session of everybody", admin), everybody_end)
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
    /// What it may do: not more than its operator, whose role it has when absent.
    #[serde(default)]
    role: Option<OperatorRole>,
    /// Days until it stops counting, 1 to 730; 90 when absent.
    #[serde(default)]
    expires_days: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Whose {
    /// Those of one operator.
    operator: Option<String>,
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
    let act = async || {
        let NewKey { role, expires_days } = parse(&body)?;
        operators::key_add(&admin, &actor, &name, AddKey { role, expires_days }).await
    };
    reply(act().await)
}

async fn totp_remove(State(admin): State<Arc<Admin>>, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(operators::totp_remove(&admin, &actor, &name).await)
}

async fn session_list(State(admin): State<Arc<Admin>>, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = || operators::session_list(&admin, &actor, query::<Whose>(text)?.operator.as_deref());
    reply(read())
}

async fn session_end(State(admin): State<Arc<Admin>>, Caller(actor): Caller, Path(session): Path<String>) -> Response {
    reply(operators::session_end(&admin, &actor, &session).await)
}

async fn sessions_end(State(admin): State<Arc<Admin>>, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(operators::sessions_end(&admin, &actor, Some(&name), None).await)
}

async fn everybody_end(State(admin): State<Arc<Admin>>, Caller(actor): Caller) -> Response {
    reply(operators::sessions_end(&admin, &actor, None, None).await)
}

async fn key_list(State(admin): State<Arc<Admin>>, Caller(actor): Caller) -> Response {
    reply(operators::key_list(&admin, &actor))
}

async fn key_revoke(State(admin): State<Arc<Admin>>, Caller(actor): Caller, Path(kid): Path<String>) -> Response {
    // People copy the key's public name with or without its prefix.
    let kid = kid.strip_prefix("lbo_").unwrap_or(&kid);
    reply(operators::key_revoke(&admin, &actor, kid).await)
}
