//! Credentials: what there is, rotations, handing over, ending at once, proofs. Parse, verb, print.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use serde_json::json;

use super::super::openapi::routes::Api;
use super::super::openapi::{changes, reads};
use super::super::routes::{Caller, Limit, lasting, parse, query, reply};
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::credentials::systems::{ApproveOrder, CommandsApproved};
use crate::admin::credentials::{
    self, AdminKept, AdminOrder, CredentialDetail, CredentialDue, CredentialList, CredentialRevoked, Fetched, OrderBody,
    RevokeOrder, RotateOrder, Rotated, SupplyOrder, plan, proof,
};

type Shared = State<Arc<Admin>>;

pub(in crate::admin::api) fn routes() -> Api {
    one().merge(all())
}

fn all() -> Api {
    let operate = Right::Operate;
    let leaked = json!({"name": "client-key/ci", "reason": "leaked in a build log"});
    Api::default()
        .serve(reads::<CredentialList>("/credentials", "Every credential with its versions, age and due date"), list)
        .serve(reads::<CredentialDue>("/credential-due", "What is due, stuck or missing"), due)
        .serve(
            changes::<CredentialRevoked>("/credential-revoke", "Ends what leaked at once, and cuts what it has in flight", operate)
                .takes::<RevokeOrder>(leaked),
            revoke,
        )
        .serve(reads::<proof::ProofList>("/credential-proofs", "Proofs of rotations under traffic").query::<Limit>(), proofs)
        .serve(reads::<proof::Signed>("/credential-proofs/{id}", "One proof, signed"), proof_one)
        .serve(
            changes::<proof::Signed>("/credential-proofs", "Rotates under traffic and proves that nobody noticed", operate)
                .takes::<proof::ProveOrder>(json!({"all": false, "seconds": 5})),
            prove,
        )
        .serve(reads::<plan::Plan>("/credential-plan", "The rotation plan as Markdown"), read_plan)
        .serve(changes::<plan::Plan>("/credential-plan", "Commits the rotation plan when it changed", operate), write_plan)
}

fn one() -> Api {
    let operate = Right::Operate;
    Api::default()
        .serve(reads::<CredentialDetail>("/credentials/{kind}/{name}", "One credential with its rotations"), show)
        .serve(
            changes::<Rotated>("/credentials/{kind}/{name}/rotate", "Starts a rotation", operate)
                .takes::<RotateOrder>(json!({"overlap": "24h", "note": "yearly"})),
            rotate,
        )
        .serve(changes::<Fetched>("/credentials/{kind}/{name}/fetch", "Hands the new secret over, once", operate), fetch)
        .serve(
            changes::<Rotated>("/credentials/{kind}/{name}/supply", "Takes the new value that somebody brings", operate)
                .takes::<SupplyOrder>(json!({"value": "Bearer …"})),
            supply,
        )
        .serve(
            changes::<Rotated>(
                "/credentials/{kind}/{name}/order",
                "Pauses, resumes, cancels, rolls back, extends or retires",
                operate,
            )
            .takes::<OrderBody>(json!({"order": "extend", "by": "24h"})),
            order,
        )
        .serve(
            changes::<AdminKept>(
                "/credentials/{kind}/{name}/admin",
                "Keeps the password with which Lifeboat replaces a credential at another system",
                Right::Administer,
            )
            .takes::<AdminOrder>(json!({"password": "…"})),
            keep_admin,
        )
        .serve(
            changes::<CommandsApproved>(
                "/credentials/{kind}/{name}/approve",
                "Approves the commands that make and end a token, on this host",
                Right::Administer,
            )
            .takes::<ApproveOrder>(json!({}))
            .person(),
            approve,
        )
}

type Named = Path<(String, String)>;

fn named(Path((kind, name)): Named) -> String {
    format!("{kind}/{name}")
}

async fn list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(credentials::list(&admin, &actor).await)
}

async fn due(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(credentials::due(&admin, &actor).await)
}

async fn show(State(admin): Shared, Caller(actor): Caller, name: Named) -> Response {
    reply(credentials::show(&admin, &actor, &named(name)).await)
}

async fn rotate(State(admin): Shared, Caller(actor): Caller, name: Named, body: Bytes) -> Response {
    let act = async || credentials::rotate(&admin, &actor, &named(name), parse(&body)?).await;
    reply(act().await)
}

async fn fetch(State(admin): Shared, Caller(actor): Caller, name: Named) -> Response {
    reply(credentials::fetch(&admin, &actor, &named(name)).await)
}

async fn supply(State(admin): Shared, Caller(actor): Caller, name: Named, body: Bytes) -> Response {
    let act = async || credentials::supply(&admin, &actor, &named(name), parse(&body)?).await;
    reply(act().await)
}

async fn order(State(admin): Shared, Caller(actor): Caller, name: Named, body: Bytes) -> Response {
    let act = async || credentials::order(&admin, &actor, &named(name), &parse::<OrderBody>(&body)?).await;
    reply(act().await)
}

async fn keep_admin(State(admin): Shared, Caller(actor): Caller, name: Named, body: Bytes) -> Response {
    let act = async || credentials::systems::keep_admin(&admin, &actor, &named(name), parse(&body)?).await;
    reply(act().await)
}

async fn approve(State(admin): Shared, Caller(actor): Caller, name: Named, body: Bytes) -> Response {
    let act = async || credentials::systems::approve(&admin, &actor, &named(name), parse(&body)?).await;
    reply(act().await)
}

async fn revoke(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || credentials::revoke(&admin, &actor, parse(&body)?).await;
    reply(act().await)
}

async fn proofs(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || proof::list(&admin, &actor, query::<Limit>(text)?.limit.unwrap_or(50).min(1_000)).await;
    reply(read().await)
}

async fn proof_one(State(admin): Shared, Caller(actor): Caller, Path(id): Path<String>) -> Response {
    reply(proof::show(&admin, &actor, &id).await)
}

async fn prove(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    lasting(async move { proof::prove(&admin, &actor, parse(&body)?).await }).await
}

async fn read_plan(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(plan::read(&admin, &actor).await)
}

async fn write_plan(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(plan::write(&admin, &actor).await)
}
