//! Revisions in the dashboard: history, drift, two states side by side, going back.

use std::sync::Arc;

use axum::Router;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

use super::{Between, RollbackOrder, diff, history, pages, rollback, standing};
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::{Here, sentence};
use crate::base::fault::Fault;
use crate::web::{Fields, html, html_with, page};

/// Who may use what.
pub const ROUTES: [Entry; 3] = [
    ("GET", "/revisions", Access::Signed(Right::Read)),
    ("GET", "/revisions/diff", Access::Signed(Right::Read)),
    ("POST", "/revisions/rollback", Access::Signed(Right::Administer)),
];

const PAGE: usize = 30;

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/revisions", get(show))
        .route("/revisions/diff", get(compare))
        .route("/revisions/rollback", post(do_rollback))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    after: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

async fn show(visit: Visit, Query(asked): Query<Asked>) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let after = asked.after.filter(|text| !text.is_empty());
    let read = async || Ok::<_, Fault>((history(admin, actor, PAGE, after).await?, standing(admin, actor).await?));
    match read().await {
        Ok((history, standing)) => {
            let shell = visit.shell(Here::Revisions, "Revisions").same("lifeboat config history", "GET /api/v1/config/history");
            html(&pages::page(shell, &history, &standing, PAGE))
        }
        Err(fault) => visit.fail(&fault),
    }
}

async fn compare(visit: Visit, Query(asked): Query<Asked>) -> Response {
    let plain = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    sides(&visit, StatusCode::OK, Between { from: plain(asked.from), to: plain(asked.to) }, String::new(), None).await
}

async fn sides(visit: &Visit, status: StatusCode, between: Between, reason: String, refusal: Option<String>) -> Response {
    // Going back is offered where the left side is what is there now.
    let from_now = between.from.as_deref() == Some("HEAD");
    let earlier = from_now && between.to.as_deref().is_some_and(|to| !["working", "running", "HEAD"].contains(&to));
    match diff(&visit.admin, &visit.signed.actor, between).await {
        Ok(difference) => {
            let shell = visit
                .shell(Here::Revisions, "Compare")
                .same(format!("lifeboat config diff {} {}", difference.from, difference.to), "GET /api/v1/config/diff");
            let back = (earlier && !difference.files.is_empty()).then_some(reason);
            html_with(status, &pages::diff(shell.refusing(refusal), &difference, back, visit.signed.actor.role))
        }
        Err(fault) => visit.fail(&fault),
    }
}

async fn do_rollback(visit: Visit, fields: Fields) -> Response {
    let (to, reason) = (fields.get("to").to_owned(), fields.get("reason").to_owned());
    let order = RollbackOrder { to: to.clone(), reason: reason.clone(), dry_run: false };
    match rollback(&visit.admin, &visit.signed.actor, order).await {
        Ok(done) => visit.done("/revisions", format!("Back to {}. {} runs.", done.to, done.revision)),
        Err(fault) => {
            let between = Between { from: Some("HEAD".into()), to: Some(to) };
            let refusal = Some(format!("Not gone back. {}", sentence(&fault.to_string())));
            sides(&visit, page::status_of(fault.kind), between, reason, refusal).await
        }
    }
}
