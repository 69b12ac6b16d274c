//! Clients in the dashboard: list, add (the key is on the answer and nowhere else), revoke.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

use super::pages::{self, AddForm};
use super::{add, list, revoke};
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::{Here, sentence};
use crate::admin::{Admin, roles};
use crate::web::{Fields, html, html_with, human, page, see_other};

/// Who may use what.
pub const ROUTES: [Entry; 4] = [
    ("GET", "/clients", Access::Signed(Right::Read)),
    ("GET", "/clients/{name}", Access::Signed(Right::Read)),
    ("POST", "/clients/add", Access::Signed(Right::Administer)),
    ("POST", "/clients/{name}/revoke", Access::Signed(Right::Operate)),
];

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/clients", get(show))
        .route("/clients/{name}", get(one))
        .route("/clients/add", post(do_add))
        .route("/clients/{name}/revoke", post(do_revoke))
}

async fn show(visit: Visit) -> Response {
    whole(&visit, StatusCode::OK, AddForm::default(), None).await
}

async fn one(Path(name): Path<String>) -> Response {
    see_other(&format!("/clients#client-{}", crate::web::form::encode(&name)))
}

async fn whole(visit: &Visit, status: StatusCode, form: AddForm, refusal: Option<String>) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let all = match list(admin, actor).await {
        Ok(all) => all,
        Err(fault) => return visit.fail(&fault),
    };
    let names = roles::list(admin, actor).await.map(|list| list.roles.into_iter().map(|role| role.name).collect());
    let shell = visit.shell(Here::Clients, "Clients").same("lifeboat client list", "GET /api/v1/clients").refusing(refusal);
    html_with(status, &pages::page(shell, &all.clients, names.unwrap_or_default(), actor, form))
}

async fn do_add(visit: Visit, fields: Fields) -> Response {
    let act = async || add(&visit.admin, &visit.signed.actor, pages::order(&fields)?).await;
    match act().await {
        Ok(added) => {
            let roles: String = added.roles.iter().map(|role| format!(" --role {role}")).collect();
            let shell = visit
                .shell(Here::Clients, "New key")
                .same(format!("lifeboat client add {}{roles}", added.client), "POST /api/v1/clients");
            html(&pages::added(&visit.admin, shell, &added))
        }
        Err(fault) => {
            let form = AddForm::typed(&fields).faulted(&fault);
            whole(&visit, page::status_of(fault.kind), form, Some(format!("Not added. {}", sentence(&fault.message)))).await
        }
    }
}

async fn do_revoke(visit: Visit, Path(name): Path<String>) -> Response {
    match revoke(&visit.admin, &visit.signed.actor, &name).await {
        Ok(revoked) => {
            let kids: Vec<String> = revoked.kids.iter().map(|kid| format!("lbk_{kid}")).collect();
            let what = if kids.is_empty() {
                format!("{} had no running key", revoked.client)
            } else {
                format!("Key {} revoked", kids.join(", "))
            };
            visit.done("/clients", format!("{what}. Refused since {} UTC.", human::clock_ms(revoked.revoked_at)))
        }
        Err(fault) => whole(&visit, page::status_of(fault.kind), AddForm::default(), Some(sentence(&fault.message))).await,
    }
}
