//! Alerts in the dashboard: list, and saying that one is seen.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

use super::{ack, list, pages};
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::{Here, sentence};
use crate::web::{html_with, page};

/// Who may use what.
pub const ROUTES: [Entry; 2] =
    [("GET", "/alerts", Access::Signed(Right::Read)), ("POST", "/alerts/{id}/ack", Access::Signed(Right::Operate))];

const SHOWN: u32 = 60;

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new().route("/alerts", get(show)).route("/alerts/{id}/ack", post(do_ack))
}

async fn show(visit: Visit) -> Response {
    whole(&visit, StatusCode::OK, None).await
}

async fn whole(visit: &Visit, status: StatusCode, refusal: Option<String>) -> Response {
    match list(&visit.admin, &visit.signed.actor, SHOWN).await {
        Ok(found) => {
            let shell = visit.shell(Here::Alerts, "Alerts").same("lifeboat alert list", "GET /api/v1/alerts").refusing(refusal);
            html_with(status, &pages::page(shell, &found.alerts, visit.signed.actor.role))
        }
        Err(fault) => visit.fail(&fault),
    }
}

async fn do_ack(visit: Visit, Path(id): Path<String>) -> Response {
    match ack(&visit.admin, &visit.signed.actor, &id).await {
        Ok(_) => visit.done("/alerts", "Everybody sees now that you are at it."),
        Err(fault) => whole(&visit, page::status_of(fault.kind), Some(sentence(&fault.message))).await,
    }
}
