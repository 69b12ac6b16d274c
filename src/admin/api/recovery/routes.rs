//! Vaults, archives, recipients, restores. Parse, verb, print.

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
use crate::admin::drills::{self, DrillOrder};
use crate::admin::schedule::{self, SetSchedule};
use crate::admin::vaults::{
    self, AddRecipient, AddVault, ApproveVault, BackupOrder, CleanOrder, HoldOrder, LiveOrder, ProveRecipient, PruneOrder,
    ReencryptOrder, RestoreOrder,
};

type Shared = State<Arc<Admin>>;

pub(in crate::admin::api) fn routes() -> Api {
    let (admin, operate) = (Right::Administer, Right::Operate);
    let vault = json!({"name": "notes", "path": "/var/lib/notes", "server": "notes"});
    let restore = json!({"archive": "latest:demo", "to": "/tmp/restored"});
    Api::default()
        .serve(reads::<vaults::VaultList>("/vaults", "Every vault"), vault_list)
        .serve(changes::<vaults::VaultAdded>("/vaults", "Adds a vault", admin).takes::<AddVault>(vault), vault_add)
        .serve(
            changes::<vaults::VaultApproved>("/vaults/{name}/approve", "Approves the command line of a vault on this host", admin)
                .takes::<ApproveVault>(json!({}))
                .person(),
            vault_approve,
        )
        .serve(reads::<vaults::ArchiveList>("/archives", "Every archive, newest first"), archive_list)
        .serve(reads::<vaults::CopyList>("/archives/copies", "What the copies of the archives lack"), copy_list)
        .serve(
            changes::<vaults::Backup>("/backup", "Makes an archive of every vault, or of one", operate)
                .takes::<BackupOrder>(json!({"vault": "demo"})),
            backup,
        )
        .serve(changes::<vaults::Checked>("/archives/verify", "Compares every archive with its signed note", operate), verify)
        .serve(
            changes::<vaults::PruneDone>("/archives/prune", "Removes archives that no rule keeps", admin)
                .takes::<PruneOrder>(json!({"dry_run": true})),
            prune,
        )
        .serve(
            changes::<vaults::ReencryptDone>(
                "/archives/reencrypt",
                "Encrypts archives anew that open for others than the present recipients",
                admin,
            )
            .takes::<ReencryptOrder>(json!({"dry_run": true})),
            reencrypt,
        )
        .serve(
            changes::<vaults::Held>(
                "/archives/{id}/hold",
                "Holds an archive whatever the rules say; without a reason ends that",
                operate,
            )
            .takes::<HoldOrder>(json!({"reason": "incident 7"})),
            hold,
        )
        .serve(
            changes::<vaults::Restored>("/restore", "Brings archives back into an empty directory of this host", admin)
                .takes::<RestoreOrder>(restore),
            bring_back,
        )
        .merge(in_place())
        .merge(recipients())
        .merge(drill_routes())
}

fn in_place() -> Api {
    let admin = Right::Administer;
    let live = json!({"archive": "latest:demo", "reason": "poisoned since noon"});
    Api::default()
        .serve(
            changes::<vaults::LiveDone>("/restore/live", "Brings one archive back into its place: stops, swaps, compares", admin)
                .takes::<LiveOrder>(live),
            bring_back_live,
        )
        .serve(reads::<vaults::KeptList>("/vaults/kept", "What restores in place have kept"), kept_list)
        .serve(
            changes::<vaults::Cleaned>("/vaults/{name}/clean", "Removes what restores in place have kept of a vault", admin)
                .takes::<CleanOrder>(json!({"dry_run": true})),
            vault_clean,
        )
}

fn recipients() -> Api {
    let (admin, operate) = (Right::Administer, Right::Operate);
    let new = json!({"name": "escrow", "recipient": "age1…"});
    Api::default()
        .serve(
            reads::<vaults::RecipientList>("/recipients", "Who can open archives, and the instance's public key"),
            recipient_list,
        )
        .serve(
            changes::<vaults::RecipientList>("/recipients", "Adds a recipient", admin).takes::<AddRecipient>(new).person(),
            recipient_add,
        )
        .serve(
            changes::<vaults::Proof>("/recipients/{name}/prove", "Asks for a proof of possession, and checks it", operate)
                .takes::<ProveRecipient>(json!({"answer": "the word that was encrypted"})),
            recipient_prove,
        )
        .serve(
            changes::<vaults::RecipientList>("/recipients/{name}/remove", "Takes a recipient out of the archives to come", admin)
                .person(),
            recipient_remove,
        )
}

fn drill_routes() -> Api {
    Api::default()
        .serve(reads::<drills::DrillList>("/drills", "Drills, newest first").query::<Limit>(), drill_list)
        .serve(reads::<drills::Signed>("/drills/{id}", "One drill's signed report"), drill_show)
        .serve(
            changes::<drills::Drill>("/drills", "Rebuilds the deployment in a place of its own, and times it", Right::Operate)
                .takes::<DrillOrder>(json!({"scenario": "host-lost"})),
            drill_run,
        )
        .serve(reads::<schedule::ScheduleList>("/schedules", "What is done by itself, with the next dates"), schedule_list)
        .serve(
            changes::<schedule::ScheduleList>("/schedules", "Changes when it is done", Right::Administer)
                .takes::<SetSchedule>(json!({"job": "backup", "cron": "17 2 * * *", "paused": false})),
            schedule_set,
        )
}

async fn schedule_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(schedule::list(&admin, &actor).await)
}

async fn schedule_set(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || schedule::set(&admin, &actor, parse(&body)?).await;
    reply(act().await)
}

async fn drill_list(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || drills::list(&admin, &actor, query::<Limit>(text)?.limit.unwrap_or(50).min(1_000)).await;
    reply(read().await)
}

async fn drill_show(State(admin): Shared, Caller(actor): Caller, Path(id): Path<String>) -> Response {
    reply(drills::show(&admin, &actor, &id).await)
}

async fn drill_run(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    lasting(async move { drills::run(&admin, &actor, parse(&body)?).await }).await
}

async fn vault_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(vaults::vaults(&admin, &actor).await)
}

async fn vault_add(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || vaults::add(&admin, &actor, parse(&body)?).await;
    reply(act().await)
}

async fn vault_approve(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || vaults::approve(&admin, &actor, &name, parse(&body)?).await;
    reply(act().await)
}

async fn copy_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(vaults::copies(&admin, &actor).await)
}

async fn archive_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(vaults::list(&admin, &actor).await)
}

async fn backup(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    lasting(async move { vaults::run(&admin, &actor, parse(&body)?).await }).await
}

async fn verify(State(admin): Shared, Caller(actor): Caller) -> Response {
    lasting(async move { vaults::verify(&admin, &actor).await }).await
}

async fn reencrypt(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    lasting(async move { vaults::reencrypt(&admin, &actor, parse(&body)?).await }).await
}

async fn prune(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || vaults::prune(&admin, &actor, parse(&body)?).await;
    reply(act().await)
}

async fn hold(State(admin): Shared, Caller(actor): Caller, Path(id): Path<String>, body: Bytes) -> Response {
    let act = async || vaults::hold(&admin, &actor, &id, parse(&body)?).await;
    reply(act().await)
}

async fn bring_back(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    lasting(async move { vaults::restore(&admin, &actor, parse(&body)?).await }).await
}

async fn bring_back_live(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || vaults::restore_live(&admin, &actor, parse(&body)?).await;
    reply(act().await)
}

async fn kept_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(vaults::list_kept(&admin, &actor).await)
}

async fn vault_clean(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || vaults::clean(&admin, &actor, &name, parse(&body)?).await;
    reply(act().await)
}

async fn recipient_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(vaults::list_recipients(&admin, &actor).await)
}

async fn recipient_add(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || vaults::add_recipient(&admin, &actor, parse(&body)?).await;
    reply(act().await)
}

async fn recipient_prove(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || vaults::prove(&admin, &actor, &name, parse(&body)?).await;
    reply(act().await)
}

async fn recipient_remove(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>) -> Response {
    reply(vaults::remove_recipient(&admin, &actor, &name).await)
}
