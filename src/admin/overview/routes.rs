//! The first page.

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::get;

use super::pages::{self, Facts};
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::kill;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::Here;
use crate::audit::Filter;
use crate::audit::query::MOST;
use crate::base::clock::Timestamp;
use crate::web::{html, human};

/// Who may use what.
pub const ROUTES: [Entry; 1] = [("GET", "/", Access::Signed(Right::Read))];

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new().route("/", get(show))
}

async fn show(visit: Visit) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let overview = match super::overview(admin, actor).await {
        Ok(overview) => overview,
        Err(fault) => return visit.fail(&fault),
    };
    let newest = Filter { kind: Some("operator.action".into()), limit: Some(6), ..Filter::default() };
    let since_stop = match overview.kill.states.first() {
        Some(state) => refused_since(&visit, state.since).await,
        None => String::new(),
    };
    let events = admin.ledger.query(&newest).await;
    let facts = Facts {
        since_stop,
        unread: events.as_ref().err().map(|fault| fault.message.clone()),
        events: events.map(|page| page.events).unwrap_or_default(),
        release: kill::pages::release(admin, &overview.kill, actor, overview.at),
        overview,
    };
    let shell = visit.shell(Here::Overview, "Overview").same("lifeboat status", "GET /api/v1/status");
    html(&pages::page(admin, shell, facts))
}

/// Refusals since a stop, counted one by one up to the largest page: totals of whole minutes would claim those before it too.
async fn refused_since(visit: &Visit, since: Timestamp) -> String {
    let filter = Filter { decision: Some("refuse".into()), since: Some(since), limit: Some(MOST), ..Filter::default() };
    match visit.admin.ledger.query(&filter).await {
        Ok(page) if page.next.is_some() => format!("over {}", human::count(u64::from(MOST))),
        Ok(page) => human::count(page.events.len() as u64),
        Err(_) => "not known".to_owned(),
    }
}
