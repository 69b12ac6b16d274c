//! Alerts, their receivers, a test. Parse, verb, print.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use serde_json::json;

use super::super::openapi::routes::Api;
use super::super::openapi::{changes, reads};
use super::super::routes::{Caller, Limit, parse, query, reply};
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::alerts::receivers::{self, AddReceiver, TestOrder};
use crate::admin::alerts::{self, AlertList};

type Shared = State<Arc<Admin>>;

pub(in crate::admin::api) fn routes() -> Api {
    let (admin, operate) = (Right::Administer, Right::Operate);
    let new = json!({"name": "pager", "url": "https://alerts.example.com/hook", "rules": ["backup.*", "drill.*"]});
    Api::default()
        .serve(reads::<AlertList>("/alerts", "What should have happened and did not").query::<Limit>(), alert_list)
        .serve(changes::<AlertList>("/alerts/{id}/ack", "Says that somebody is at it", operate), alert_ack)
        .serve(
            changes::<receivers::Tested>("/alerts/test", "Sends a signed test to every receiver, or to one", operate)
                .takes::<TestOrder>(json!({})),
            alert_test,
        )
        .serve(
            reads::<receivers::ReceiverList>("/alerts/receivers", "Who is told of alerts, and how the last notices went"),
            receiver_list,
        )
        .serve(
            changes::<receivers::ReceiverSecret>("/alerts/receivers", "Adds a receiver and shows its secret once", admin)
                .takes::<AddReceiver>(new),
            receiver_add,
        )
        .serve(
            changes::<receivers::ReceiverSecret>(
                "/alerts/receivers/{name}/secret",
                "Mints another secret; the one before signs beside it for a day",
                admin,
            ),
            receiver_secret,
        )
        .serve(
            changes::<receivers::ReceiverRemoved>("/alerts/receivers/{name}/remove", "Takes a receiver out", admin),
            receiver_remove,
        )
}

async fn alert_list(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || alerts::list(&admin, &actor, query::<Limit>(text)?.limit.unwrap_or(50).min(1_000)).await;
    reply(read().await)
}

async fn alert_ack(State(admin): Shared, Caller(actor): Caller, Path(id): Path<String>) -> Response {
    reply(alerts::ack(&admin, &actor, &id).await)
}

async fn alert_test(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || alerts::test(&admin, &actor, parse(&body)?).await;
    reply(act().await)
}

async fn receiver_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(receivers::list(&admin, &actor).await)
}

async fn receiver_add(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || receivers::add(&admin, &actor, parse(&body)?).await;
    reply(act().await)
}

async fn receiver_secret(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(receivers::secret(&admin, &actor, &name).await)
}

async fn receiver_remove(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(receivers::remove(&admin, &actor, &name).await)
}
