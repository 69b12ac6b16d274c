//! Servers in the dashboard: list, add, probe, approve, remove.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

use super::pages::{self, AddForm, Outcome};
use super::{add, approve, list, probe, remove, secrets};
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::{Here, sentence};
use crate::base::fault::Verb;
use crate::web::{Fields, html_with, page, see_other};

/// Who may use what.
pub const ROUTES: [Entry; 7] = [
    ("GET", "/servers", Access::Signed(Right::Read)),
    ("GET", "/servers/{name}", Access::Signed(Right::Read)),
    ("POST", "/servers/add", Access::Signed(Right::Administer)),
    ("POST", "/servers/{name}/probe", Access::Signed(Right::Operate)),
    ("POST", "/servers/{name}/approve", Access::Signed(Right::Administer)),
    ("POST", "/servers/{name}/secrets", Access::Signed(Right::Administer)),
    ("POST", "/servers/{name}/remove", Access::Signed(Right::Administer)),
];

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/servers", get(show))
        .route("/servers/{name}", get(one))
        .route("/servers/add", post(do_add))
        .route("/servers/{name}/probe", post(do_probe))
        .route("/servers/{name}/approve", post(do_approve))
        .route("/servers/{name}/secrets", post(do_secrets))
        .route("/servers/{name}/remove", post(do_remove))
}

async fn show(visit: Visit) -> Response {
    whole(&visit, StatusCode::OK, None, AddForm::default(), None).await
}

async fn one(Path(name): Path<String>) -> Response {
    see_other(&format!("/servers#server-{}", crate::web::form::encode(&name)))
}

async fn whole(visit: &Visit, status: StatusCode, outcome: Option<Outcome>, form: AddForm, refusal: Option<String>) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    match list(admin, actor).await {
        Err(fault) => visit.fail(&fault),
        Ok(all) => {
            let shell = visit.shell(Here::Servers, "Servers").same("lifeboat server list", "GET /api/v1/servers").refusing(refusal);
            html_with(status, &pages::page(shell, &all.servers, actor, outcome, form))
        }
    }
}

async fn do_add(visit: Visit, fields: Fields) -> Response {
    match add(&visit.admin, &visit.signed.actor, pages::order(&fields)).await {
        Ok(added) => whole(&visit, StatusCode::OK, Some(Outcome::added(&added)), AddForm::default(), None).await,
        Err(fault) => {
            let form = AddForm::typed(&fields).faulted(&fault);
            whole(&visit, page::status_of(fault.kind), None, form, Some(format!("Not added. {}", sentence(&fault.message)))).await
        }
    }
}

async fn outcome(visit: &Visit, done: Verb<Outcome>) -> Response {
    match done {
        Ok(outcome) => whole(visit, StatusCode::OK, Some(outcome), AddForm::default(), None).await,
        Err(fault) => whole(visit, page::status_of(fault.kind), None, AddForm::default(), Some(sentence(&fault.message))).await,
    }
}

async fn do_probe(visit: Visit, Path(name): Path<String>) -> Response {
    let probed = probe(&visit.admin, &visit.signed.actor, &name).await;
    outcome(&visit, probed.map(|probed| Outcome::probed(&probed))).await
}

async fn do_approve(visit: Visit, Path(name): Path<String>) -> Response {
    let approved = approve(&visit.admin, &visit.signed.actor, &name).await;
    outcome(&visit, approved.map(|added| Outcome::added(&added))).await
}

async fn do_secrets(visit: Visit, Path(name): Path<String>, fields: Fields) -> Response {
    match secrets(&visit.admin, &visit.signed.actor, &name, &pages::keep(&fields)).await {
        Ok(server) => visit.done("/servers", format!("What this host keeps for {} is sealed, and used from now on.", server.name)),
        Err(fault) => whole(&visit, page::status_of(fault.kind), None, AddForm::default(), Some(sentence(&fault.message))).await,
    }
}

async fn do_remove(visit: Visit, Path(name): Path<String>) -> Response {
    match remove(&visit.admin, &visit.signed.actor, &name).await {
        Ok(removed) => {
            visit.done("/servers", format!("{} removed. Its tools are unknown to every client; its vault stays.", removed.server))
        }
        Err(fault) => whole(&visit, page::status_of(fault.kind), None, AddForm::default(), Some(sentence(&fault.message))).await,
    }
}
