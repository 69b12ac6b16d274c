//! Alerts in the dashboard: list, saying that one is seen, and who is told of them. A secret is on the answer that made it and nowhere else.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

use super::receivers::pages::{self as shown, AddForm};
use super::receivers::{self, ReceiverSecret, TestOrder};
use super::{ack, list, pages, test};
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::{Here, sentence};
use crate::base::fault::Fault;
use crate::web::{Fields, html, html_with, page};

/// Who may use what.
pub const ROUTES: [Entry; 7] = [
    ("GET", "/alerts", Access::Signed(Right::Read)),
    ("POST", "/alerts/{id}/ack", Access::Signed(Right::Operate)),
    ("POST", "/alerts/test", Access::Signed(Right::Operate)),
    ("POST", "/alerts/receivers/add", Access::Signed(Right::Administer)),
    ("POST", "/alerts/receivers/{name}/test", Access::Signed(Right::Operate)),
    ("POST", "/alerts/receivers/{name}/secret", Access::Signed(Right::Administer)),
    ("POST", "/alerts/receivers/{name}/remove", Access::Signed(Right::Administer)),
];

const SHOWN: u32 = 60;

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/alerts", get(show))
        .route("/alerts/{id}/ack", post(do_ack))
        .route("/alerts/test", post(do_test))
        .route("/alerts/receivers/add", post(do_add))
        .route("/alerts/receivers/{name}/test", post(do_test_one))
        .route("/alerts/receivers/{name}/secret", post(do_secret))
        .route("/alerts/receivers/{name}/remove", post(do_remove))
}

async fn show(visit: Visit) -> Response {
    whole(&visit, StatusCode::OK, AddForm::default(), None).await
}

async fn whole(visit: &Visit, status: StatusCode, form: AddForm, refusal: Option<String>) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let read = async || Ok((list(admin, actor, SHOWN).await?, receivers::list(admin, actor).await?));
    match read().await {
        Ok((found, told)) => {
            let shell = visit.shell(Here::Alerts, "Alerts").same("lifeboat alert list", "GET /api/v1/alerts").refusing(refusal);
            let told = shown::view(&told, form, shell.now);
            html_with(status, &pages::page(shell, &found.alerts, told, actor.role))
        }
        Err(fault) => visit.fail(&fault),
    }
}

async fn refused(visit: &Visit, fault: &Fault) -> Response {
    whole(visit, page::status_of(fault.kind), AddForm::default(), Some(sentence(&fault.message))).await
}

async fn do_ack(visit: Visit, Path(id): Path<String>) -> Response {
    match ack(&visit.admin, &visit.signed.actor, &id).await {
        Ok(_) => visit.done("/alerts", "Everybody sees now that you are at it."),
        Err(fault) => refused(&visit, &fault).await,
    }
}

async fn do_test(visit: Visit) -> Response {
    tested(&visit, TestOrder::default()).await
}

async fn do_test_one(visit: Visit, Path(name): Path<String>) -> Response {
    tested(&visit, TestOrder { receiver: Some(name) }).await
}

async fn tested(visit: &Visit, order: TestOrder) -> Response {
    match test(&visit.admin, &visit.signed.actor, order).await {
        Ok(tested) if tested.ok => visit.done("/alerts", shown::outcome(&tested)),
        Ok(tested) => whole(visit, StatusCode::OK, AddForm::default(), Some(shown::outcome(&tested))).await,
        Err(fault) => refused(visit, &fault).await,
    }
}

async fn do_add(visit: Visit, fields: Fields) -> Response {
    let form = AddForm::typed(&fields);
    match receivers::add(&visit.admin, &visit.signed.actor, form.order()).await {
        Ok(made) => {
            let command = format!("lifeboat alert receiver add {} --url {}", made.receiver, made.url);
            secret(&visit, &made, command, "POST /api/v1/alerts/receivers")
        }
        Err(fault) => {
            let refusal = format!("Not added. {}", sentence(&fault.message));
            whole(&visit, page::status_of(fault.kind), form.faulted(&fault), Some(refusal)).await
        }
    }
}

async fn do_secret(visit: Visit, Path(name): Path<String>) -> Response {
    match receivers::secret(&visit.admin, &visit.signed.actor, &name).await {
        Ok(made) => {
            let command = format!("lifeboat alert receiver secret {name}");
            secret(&visit, &made, command, "POST /api/v1/alerts/receivers/NAME/secret")
        }
        Err(fault) => refused(&visit, &fault).await,
    }
}

fn secret(visit: &Visit, made: &ReceiverSecret, command: String, call: &str) -> Response {
    html(&shown::secret(visit.shell(Here::Alerts, "New secret").same(command, call), made))
}

async fn do_remove(visit: Visit, Path(name): Path<String>) -> Response {
    match receivers::remove(&visit.admin, &visit.signed.actor, &name).await {
        Ok(gone) => visit.done("/alerts", format!("{} is told of nothing any more.", gone.receiver)),
        Err(fault) => refused(&visit, &fault).await,
    }
}
