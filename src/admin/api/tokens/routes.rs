//! The part of the API about client secrets, clients' public keys, and the keys that sign tokens. Parse, verb, print.

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
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::clients::{
    self, AddJwk, AddSecret, ClientPublicKey, JwkRemoved, RemoveJwk, SecretAdded, SecretList, SecretRevoked,
};
use crate::admin::tokens::{self, CutOrder, Timing, TokenCut, TokenKey, TokenKeys};

type Shared = State<Arc<Admin>>;

pub(in crate::admin::api) fn routes() -> Api {
    shown_by_clients().merge(keys())
}

fn shown_by_clients() -> Api {
    let (admin, operate) = (Right::Administer, Right::Operate);
    let jwk = json!({"jwk": "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"…\",\"y\":\"…\"}"});
    Api::default()
        .serve(reads::<SecretList>("/client-secrets", "Secrets of clients, without their text").query::<OfClient>(), secret_list)
        .serve(
            changes::<SecretAdded>("/clients/{name}/secrets", "Adds a secret to a client; it is shown this once", admin)
                .takes::<AddSecret>(json!({"expires_days": 90})),
            secret_add,
        )
        .serve(
            changes::<SecretRevoked>("/client-secrets/{kid}/revoke", "Ends a secret and every token it got, at once", operate),
            secret_revoke,
        )
        .serve(
            changes::<ClientPublicKey>("/clients/{name}/jwks", "Registers a public key of a client", admin).takes::<AddJwk>(jwk),
            jwk_add,
        )
        .serve(
            changes::<JwkRemoved>(
                "/clients/{name}/jwks/remove",
                "Removes a public key for good, with every token it got, at once",
                operate,
            )
            .takes::<RemoveJwk>(json!({"kid": "ci-2026"})),
            jwk_remove,
        )
}

fn keys() -> Api {
    let operate = Right::Operate;
    Api::default()
        .serve(reads::<TokenKeys>("/token-keys", "The keys that sign tokens, and what was cut"), key_list)
        .serve(changes::<TokenKey>("/token-keys/stage", "Publishes the key that will sign next", operate), key_stage)
        .serve(
            changes::<TokenKey>("/token-keys/{kid}/activate", "Has the published key sign from now on", operate)
                .takes::<Activate>(json!({"force": false})),
            key_activate,
        )
        .serve(
            changes::<TokenKey>("/token-keys/{kid}/retire", "Ends a replaced key once its last token has expired", operate),
            key_retire,
        )
        .serve(
            changes::<TokenKey>("/token-keys/{kid}/remove", "Ends a key now; every token it signed is refused", operate),
            key_remove,
        )
        .serve(
            changes::<TokenCut>("/tokens/cut", "Ends every token issued before now, of one client or of all", operate)
                .takes::<CutOrder>(json!({"client": "ci", "reason": "its host was taken over"})),
            token_cut,
        )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfClient {
    /// Only this client's.
    client: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Activate {
    /// Does not wait until everybody can have seen the key.
    #[serde(default)]
    force: bool,
}

async fn secret_list(State(admin): Shared, Caller(actor): Caller, RawQuery(text): RawQuery) -> Response {
    let read = async || clients::secret_list(&admin, &actor, query::<OfClient>(text)?.client.as_deref()).await;
    reply(read().await)
}

async fn secret_add(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || clients::secret_add(&admin, &actor, &name, &parse::<AddSecret>(&body)?).await;
    reply(act().await)
}

async fn secret_revoke(State(admin): Shared, Caller(actor): Caller, Path(kid): Path<String>) -> Response {
    reply(clients::secret_revoke(&admin, &actor, &kid).await)
}

async fn jwk_add(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || clients::jwk_add(&admin, &actor, &name, &parse::<AddJwk>(&body)?).await;
    reply(act().await)
}

async fn jwk_remove(State(admin): Shared, Caller(actor): Caller, Path(name): Path<String>, body: Bytes) -> Response {
    let act = async || clients::jwk_remove(&admin, &actor, &name, &parse::<RemoveJwk>(&body)?.kid).await;
    reply(act().await)
}

async fn key_list(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(tokens::list(&admin, &actor).await)
}

async fn key_stage(State(admin): Shared, Caller(actor): Caller) -> Response {
    reply(tokens::stage(&admin, &actor).await)
}

async fn key_activate(State(admin): Shared, Caller(actor): Caller, Path(kid): Path<String>, body: Bytes) -> Response {
    let act = async || {
        let timing = if parse::<Activate>(&body)?.force { Timing::Forced } else { Timing::Due };
        tokens::activate(&admin, &actor, &kid, timing).await
    };
    reply(act().await)
}

async fn key_retire(State(admin): Shared, Caller(actor): Caller, Path(kid): Path<String>) -> Response {
    reply(tokens::retire(&admin, &actor, &kid).await)
}

async fn key_remove(State(admin): Shared, Caller(actor): Caller, Path(kid): Path<String>) -> Response {
    reply(tokens::remove(&admin, &actor, &kid).await)
}

async fn token_cut(State(admin): Shared, Caller(actor): Caller, body: Bytes) -> Response {
    let act = async || tokens::cut(&admin, &actor, &parse::<CutOrder>(&body)?).await;
    reply(act().await)
}
