//! Drills in the dashboard: list, run, watch, report, schedule.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::pages::{self, Facts};
use super::{DrillOrder, list, report_page, run, show, targets};
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::schedule::{self, SetSchedule};
use crate::admin::shell::{Here, sentence};
use crate::admin::{Admin, vaults};
use crate::web::{Fields, html, html_with, page};

/// Who may use what.
pub const ROUTES: [Entry; 5] = [
    ("GET", "/drills", Access::Signed(Right::Read)),
    ("GET", "/drills/{id}", Access::Signed(Right::Read)),
    ("GET", "/drills/{id}/report.json", Access::Signed(Right::Read)),
    ("POST", "/drills/run", Access::Signed(Right::Operate)),
    ("POST", "/drills/schedule", Access::Signed(Right::Administer)),
];

/// How long a form waits before it shows the drill at work.
const SOON: Duration = Duration::from_millis(400);
const SHOWN: u32 = 40;

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/drills", get(all))
        .route("/drills/{id}", get(one))
        .route("/drills/{id}/report.json", get(download))
        .route("/drills/run", post(do_run))
        .route("/drills/schedule", post(do_schedule))
}

async fn all(visit: Visit) -> Response {
    whole(&visit, StatusCode::OK, None, None).await
}

async fn whole(visit: &Visit, status: StatusCode, bad: Option<(String, String)>, refusal: Option<String>) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let drills = match list(admin, actor, SHOWN).await {
        Ok(list) => list.drills,
        Err(fault) => return visit.fail(&fault),
    };
    // A destination or configuration that cannot be read is no reason to show nothing.
    let archives = vaults::list(admin, actor).await.map_or(0, |list| list.archives.len());
    let schedules = schedule::list(admin, actor).await.map(|list| list.schedules).unwrap_or_default();
    let facts = Facts { drills: &drills, live: admin.drills.live(), targets: targets(admin), archives, schedules: &schedules, bad };
    let shell = visit.shell(Here::Drills, "Drills").same("lifeboat drill list", "GET /api/v1/drills").refusing(refusal);
    html_with(status, &pages::page(shell, &facts, actor.role))
}

async fn one(visit: Visit, Path(id): Path<String>) -> Response {
    match show(&visit.admin, &visit.signed.actor, &id).await {
        Ok(signed) => {
            let call = format!("GET /api/v1/drills/{id}");
            let shell = visit.shell(Here::Drills, "Drill report").same(format!("lifeboat drill show {id}"), call);
            html(&report_page::report(shell, &signed))
        }
        Err(fault) => visit.fail(&fault),
    }
}

async fn download(visit: Visit, Path(id): Path<String>) -> Response {
    match show(&visit.admin, &visit.signed.actor, &id).await {
        Ok(signed) => {
            let text = serde_json::to_string_pretty(&signed).unwrap_or_default();
            let name = format!("attachment; filename=\"{}.json\"", signed.report.id);
            ([(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_DISPOSITION, name)], text).into_response()
        }
        Err(fault) => visit.fail(&fault),
    }
}

async fn do_run(visit: Visit, fields: Fields) -> Response {
    let order = DrillOrder { scenario: Some(fields.get("scenario").to_owned()).filter(|word| !word.is_empty()), identity: None };
    let (admin, actor) = (visit.admin.clone(), visit.signed.actor.clone());
    let running = tokio::spawn(async move { run(&admin, &actor, order).await });
    match tokio::time::timeout(SOON, running).await {
        // It goes on by itself; the page shows how far it is.
        Err(_) => visit.done("/drills", "The drill runs. This page shows each step as it ends."),
        Ok(Ok(Ok(drill))) => visit.done(&format!("/drills/{}", drill.id), sentence(&drill.summary)),
        Ok(Ok(Err(fault))) => {
            let refusal = format!("Not run. {}", sentence(&fault.message));
            whole(&visit, page::status_of(fault.kind), None, Some(refusal)).await
        }
        Ok(Err(_)) => visit.fail(&crate::base::fault::Fault::bug("the drill's task ended")),
    }
}

async fn do_schedule(visit: Visit, fields: Fields) -> Response {
    let cron = fields.get("cron").trim().to_owned();
    let paused = Some(fields.get("paused") == "yes");
    let order = SetSchedule { job: fields.get("job").to_owned(), cron: Some(cron.clone()), paused };
    match schedule::set(&visit.admin, &visit.signed.actor, order).await {
        Ok(_) => visit.done("/drills", format!("The {} is scheduled anew.", fields.get("job"))),
        Err(fault) => {
            let refusal = format!("Not changed. {}", sentence(&fault.to_string()));
            let bad = Some((fields.get("job").to_owned(), cron));
            whole(&visit, page::status_of(fault.kind), bad, Some(refusal)).await
        }
    }
}
