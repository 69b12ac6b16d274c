//! Clients in the dashboard: list, add (the key or secret is on the answer and nowhere else), secrets, public keys, revoke.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

use super::oauth::pages::TokenForm;
use super::pages::{self, AddForm};
use super::{AddJwk, AddSecret, SecretAdded, add, list, oauth, revoke};
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::{Here, sentence};
use crate::admin::{Admin, roles};
use crate::base::fault::Fault;
use crate::policy::snapshot::Snapshot;
use crate::web::{Fields, html, html_with, human, page, see_other};

/// Who may use what.
pub const ROUTES: [Entry; 8] = [
    ("GET", "/clients", Access::Signed(Right::Read)),
    ("GET", "/clients/{name}", Access::Signed(Right::Read)),
    ("POST", "/clients/add", Access::Signed(Right::Administer)),
    ("POST", "/clients/{name}/revoke", Access::Signed(Right::Operate)),
    ("POST", "/clients/secrets", Access::Signed(Right::Administer)),
    ("POST", "/clients/secrets/{kid}/revoke", Access::Signed(Right::Operate)),
    ("POST", "/clients/jwks", Access::Signed(Right::Administer)),
    ("POST", "/clients/jwks/remove", Access::Signed(Right::Operate)),
];

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/clients", get(show))
        .route("/clients/{name}", get(one))
        .route("/clients/add", post(do_add))
        .route("/clients/{name}/revoke", post(do_revoke))
        .route("/clients/secrets", post(do_add_secret))
        .route("/clients/secrets/{kid}/revoke", post(do_revoke_secret))
        .route("/clients/jwks", post(do_add_jwk))
        .route("/clients/jwks/remove", post(do_remove_jwk))
}

async fn show(visit: Visit) -> Response {
    whole(&visit, StatusCode::OK, Forms::default(), None).await
}

async fn one(Path(name): Path<String>) -> Response {
    see_other(&format!("/clients#client-{}", crate::web::form::encode(&name)))
}

/// The forms of the page, as they were typed.
type Forms = (AddForm, TokenForm);

async fn whole(visit: &Visit, status: StatusCode, forms: Forms, refusal: Option<String>) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let all = match list(admin, actor).await {
        Ok(all) => all,
        Err(fault) => return visit.fail(&fault),
    };
    let names = roles::list(admin, actor).await.map(|list| list.roles.into_iter().map(|role| role.name).collect());
    let shell = visit.shell(Here::Clients, "Clients").same("lifeboat client list", "GET /api/v1/clients").refusing(refusal);
    html_with(status, &pages::page(shell, &all.clients, names.unwrap_or_default(), actor, forms))
}

async fn do_add(visit: Visit, fields: Fields) -> Response {
    let act = async || add(&visit.admin, &visit.signed.actor, pages::order(&fields)?).await;
    match act().await {
        Ok(added) if added.secret.is_some() => {
            let shell = visit.shell(Here::Clients, "New secret");
            let (secret, client) = (added.secret.unwrap_or_default(), added.client.clone());
            let shell = shell.same(format!("lifeboat client add --oauth {client}"), "POST /api/v1/clients");
            let made = SecretAdded { client_id: client.clone(), client, kid: added.kid, secret, expires_at: added.expires_at };
            html(&oauth::pages::secret(&visit.admin, shell, &made))
        }
        Ok(added) => {
            let roles: String = added.roles.iter().map(|role| format!(" --role {role}")).collect();
            let shell = visit
                .shell(Here::Clients, "New key")
                .same(format!("lifeboat client add {}{roles}", added.client), "POST /api/v1/clients");
            html(&pages::added(&visit.admin, shell, &added, added.key.as_deref().unwrap_or_default()))
        }
        Err(fault) => {
            let form = AddForm::typed(&fields).faulted(&fault);
            let forms = (form, TokenForm::default());
            whole(&visit, page::status_of(fault.kind), forms, Some(format!("Not added. {}", sentence(&fault.message)))).await
        }
    }
}

async fn do_revoke(visit: Visit, Path(name): Path<String>) -> Response {
    let before = visit.admin.feed.snapshot();
    match revoke(&visit.admin, &visit.signed.actor, &name).await {
        Ok(revoked) => {
            let kids: Vec<String> = revoked.kids.iter().map(|kid| called(&before, kid)).collect();
            let what = if kids.is_empty() {
                format!("{} had nothing that counted, and left the configuration", revoked.client)
            } else {
                format!("{} revoked, and out of the configuration: {}", revoked.client, kids.join(", "))
            };
            visit.done("/clients", format!("{what}. Refused since {} UTC.", human::clock_ms(revoked.revoked_at)))
        }
        Err(fault) => refused(&visit, TokenForm::default(), &fault).await,
    }
}

/// What people call a key, a secret or a public key.
fn called(before: &Snapshot, kid: &str) -> String {
    match kid {
        jwk if jwk.starts_with("jwk-") => jwk.to_owned(),
        secret if before.tokens.secrets.contains_key(secret) => format!("lbs_{secret}"),
        key => format!("lbk_{key}"),
    }
}

async fn refused(visit: &Visit, form: TokenForm, fault: &Fault) -> Response {
    whole(visit, page::status_of(fault.kind), (AddForm::default(), form), Some(sentence(&fault.message))).await
}

async fn do_add_secret(visit: Visit, fields: Fields) -> Response {
    let client = fields.get("client");
    let act = async || {
        let input = AddSecret { expires_days: oauth::pages::days(&fields)? };
        oauth::secret_add(&visit.admin, &visit.signed.actor, client, &input).await
    };
    match act().await {
        Ok(made) => {
            let path = format!("POST /api/v1/clients/{client}/secrets");
            let shell = visit.shell(Here::Clients, "New secret").same(format!("lifeboat client secret add {client}"), path);
            html(&oauth::pages::secret(&visit.admin, shell, &made))
        }
        Err(fault) => refused(&visit, TokenForm::typed(&fields).faulted(&fault), &fault).await,
    }
}

async fn do_revoke_secret(visit: Visit, Path(kid): Path<String>) -> Response {
    match oauth::secret_revoke(&visit.admin, &visit.signed.actor, &kid).await {
        Ok(gone) => {
            let at = human::clock_ms(gone.revoked_at);
            visit.done("/clients#tokens", format!("Secret lbs_{} and every token it got are refused since {at} UTC.", gone.kid))
        }
        Err(fault) => refused(&visit, TokenForm::default(), &fault).await,
    }
}

async fn do_add_jwk(visit: Visit, fields: Fields) -> Response {
    let input = AddJwk { jwk: fields.get("jwk").to_owned() };
    match oauth::jwk_add(&visit.admin, &visit.signed.actor, fields.get("client"), &input).await {
        Ok(key) => visit.done("/clients#tokens", format!("{} may sign with {} from now on.", key.client, key.kid)),
        Err(fault) => refused(&visit, TokenForm::typed(&fields).faulted(&fault), &fault).await,
    }
}

async fn do_remove_jwk(visit: Visit, fields: Fields) -> Response {
    match oauth::jwk_remove(&visit.admin, &visit.signed.actor, fields.get("client"), fields.get("kid")).await {
        Ok(gone) => {
            let sentence = format!("Public key {} of {} and every token it got are refused, for good.", gone.kid, gone.client);
            visit.done("/clients#tokens", sentence)
        }
        Err(fault) => refused(&visit, TokenForm::default(), &fault).await,
    }
}
