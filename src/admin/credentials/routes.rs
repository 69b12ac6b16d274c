//! Credentials in the dashboard: the table, one with its rotation, the new secret on one answer and nowhere else, proofs.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::model::{AdminOrder, OrderBody, RevokeOrder, RotateOrder, SupplyOrder};
use super::pages::{self, Facts, path};
use super::proof::{self, ProveOrder};
use super::{fetch, list, order, plan, revoke, rotate, show, supply, systems};
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::{Here, sentence};
use crate::base::fault::Fault;
use crate::base::secret::Secret;
use crate::web::{Fields, html, html_with, human, page};

/// Who may use what.
pub const ROUTES: [Entry; 14] = [
    ("GET", "/credentials", Access::Signed(Right::Read)),
    ("GET", "/credentials/plan", Access::Signed(Right::Read)),
    ("POST", "/credentials/plan", Access::Signed(Right::Operate)),
    ("POST", "/credentials/prove", Access::Signed(Right::Operate)),
    ("GET", "/credentials/proofs/{id}", Access::Signed(Right::Read)),
    ("GET", "/credentials/proofs/{id}/chart.svg", Access::Signed(Right::Read)),
    ("POST", "/credentials/revoke", Access::Signed(Right::Operate)),
    ("GET", "/credentials/{kind}/{name}", Access::Signed(Right::Read)),
    ("POST", "/credentials/{kind}/{name}/rotate", Access::Signed(Right::Operate)),
    ("POST", "/credentials/{kind}/{name}/fetch", Access::Signed(Right::Operate)),
    ("POST", "/credentials/{kind}/{name}/supply", Access::Signed(Right::Operate)),
    ("POST", "/credentials/{kind}/{name}/order", Access::Signed(Right::Operate)),
    ("POST", "/credentials/{kind}/{name}/admin", Access::Signed(Right::Administer)),
    ("POST", "/credentials/{kind}/{name}/approve", Access::Signed(Right::Administer)),
];

const SHOWN: u32 = 10;

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/credentials", get(all))
        .route("/credentials/plan", get(show_plan).post(do_plan))
        .route("/credentials/prove", post(do_prove))
        .route("/credentials/proofs/{id}", get(download))
        .route("/credentials/proofs/{id}/chart.svg", get(chart))
        .route("/credentials/revoke", post(do_revoke))
        .route("/credentials/{kind}/{name}", get(one))
        .route("/credentials/{kind}/{name}/rotate", post(do_rotate))
        .route("/credentials/{kind}/{name}/fetch", post(do_fetch))
        .route("/credentials/{kind}/{name}/supply", post(do_supply))
        .route("/credentials/{kind}/{name}/order", post(do_order))
        .route("/credentials/{kind}/{name}/admin", post(do_admin))
        .route("/credentials/{kind}/{name}/approve", post(do_approve))
}

type Named = Path<(String, String)>;

fn named(Path((kind, name)): Named) -> String {
    format!("{kind}/{name}")
}

async fn all(visit: Visit) -> Response {
    table(&visit, StatusCode::OK, None).await
}

async fn table(visit: &Visit, status: StatusCode, refusal: Option<String>) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let read = async || Ok((list(admin, actor).await?, proof::list(admin, actor, SHOWN).await?));
    match read().await {
        Ok((found, proofs)) => {
            let shell = visit
                .shell(Here::Credentials, "Credentials")
                .same("lifeboat credential list", "GET /api/v1/credentials")
                .refusing(refusal);
            html_with(status, &pages::page(shell, &found.credentials, &proofs.proofs, actor))
        }
        Err(fault) => visit.fail(&fault),
    }
}

async fn one(visit: Visit, name: Named) -> Response {
    detail(&visit, StatusCode::OK, &named(name), None).await
}

async fn detail(visit: &Visit, status: StatusCode, name: &str, refusal: Option<String>) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    match show(admin, actor, name).await {
        Ok(found) => {
            let shell = visit
                .shell(Here::Credentials, &found.credential.name)
                .same(format!("lifeboat credential show {name}"), format!("GET /api/v1{}", path(name)))
                .refusing(refusal);
            html_with(status, &pages::detail(shell, &Facts { found: &found, actor, path: path(name) }))
        }
        Err(fault) => visit.fail(&fault),
    }
}

async fn refused(visit: &Visit, name: &str, fault: &Fault) -> Response {
    // What there is not has no page to say so on.
    match show(&visit.admin, &visit.signed.actor, name).await {
        Ok(_) => detail(visit, page::status_of(fault.kind), name, Some(sentence(&fault.message))).await,
        Err(_) => visit.fail(fault),
    }
}

async fn do_rotate(visit: Visit, name: Named, fields: Fields) -> Response {
    let name = named(name);
    let given = |field: &str| Some(fields.get(field).to_owned()).filter(|value| !value.is_empty());
    let order = RotateOrder {
        overlap: given("overlap"),
        force: fields.has("force"),
        reason: given("reason"),
        note: fields.get("note").to_owned(),
        fetch: false,
    };
    match rotate(&visit.admin, &visit.signed.actor, &name, order).await {
        Ok(rotated) => visit.done(&path(&name), sentence(&rotated.next)),
        Err(fault) => refused(&visit, &name, &fault).await,
    }
}

async fn do_fetch(visit: Visit, name: Named) -> Response {
    let name = named(name);
    match fetch(&visit.admin, &visit.signed.actor, &name).await {
        Ok(fetched) => {
            let shell = visit
                .shell(Here::Credentials, "New secret")
                .same(format!("lifeboat credential fetch {name}"), format!("POST /api/v1{}/fetch", path(&name)));
            html(&pages::fetched(shell, &fetched, path(&name)))
        }
        Err(fault) => refused(&visit, &name, &fault).await,
    }
}

async fn do_supply(visit: Visit, name: Named, fields: Fields) -> Response {
    let name = named(name);
    let value = Some(fields.raw("value").trim_end_matches(['\r', '\n'])).filter(|value| !value.is_empty());
    let order = SupplyOrder { value: value.map(|value| Secret::new(value.to_owned())) };
    match supply(&visit.admin, &visit.signed.actor, &name, order).await {
        Ok(rotated) => visit.done(&path(&name), sentence(&rotated.next)),
        Err(fault) => refused(&visit, &name, &fault).await,
    }
}

async fn do_order(visit: Visit, name: Named, fields: Fields) -> Response {
    let name = named(name);
    let by = Some(fields.get("by").to_owned()).filter(|by| !by.is_empty());
    let body = OrderBody { order: fields.get("order").to_owned(), by };
    match order(&visit.admin, &visit.signed.actor, &name, &body).await {
        Ok(rotated) => visit.done(&path(&name), sentence(&rotated.next)),
        Err(fault) => refused(&visit, &name, &fault).await,
    }
}

async fn do_admin(visit: Visit, name: Named, fields: Fields) -> Response {
    let name = named(name);
    let password = Some(fields.raw("password")).filter(|text| !text.is_empty()).map(|text| Secret::new(text.to_owned()));
    match systems::keep_admin(&visit.admin, &visit.signed.actor, &name, AdminOrder { password }).await {
        Ok(kept) => visit.done(&path(&name), format!("The password of role {} is kept for {} alone.", kept.role, kept.system)),
        Err(fault) => refused(&visit, &name, &fault).await,
    }
}

async fn do_approve(visit: Visit, name: Named, fields: Fields) -> Response {
    let name = named(name);
    let digest = Some(fields.get("digest").to_owned()).filter(|digest| !digest.is_empty());
    match systems::approve(&visit.admin, &visit.signed.actor, &name, systems::ApproveOrder { digest }).await {
        Ok(done) => visit.done(&path(&done.name), "The command lines are approved on this host."),
        Err(fault) => refused(&visit, &name, &fault).await,
    }
}

async fn do_revoke(visit: Visit, fields: Fields) -> Response {
    let order = RevokeOrder { name: fields.get("name").to_owned(), since: None, reason: fields.get("reason").to_owned() };
    match revoke(&visit.admin, &visit.signed.actor, order).await {
        Ok(done) => {
            let what = if done.keys.is_empty() { done.name.clone() } else { format!("Key lbk_{}", done.keys.join(", lbk_")) };
            let open = if done.open.is_empty() { String::new() } else { format!(" Not everywhere yet: {}.", done.open.join("; ")) };
            let cut = human::plural(done.cut_in_flight as u64, "call");
            let said = format!(
                "{what} revoked. Refused since {} UTC, in {} ms; {cut} in flight cut.{open}",
                human::clock_ms(done.at),
                done.effective_ms
            );
            visit.done("/credentials", said)
        }
        Err(fault) => table(&visit, page::status_of(fault.kind), Some(sentence(&fault.message))).await,
    }
}

async fn do_prove(visit: Visit) -> Response {
    let order = ProveOrder { seconds: 6, ..ProveOrder::default() };
    match proof::prove(&visit.admin, &visit.signed.actor, order).await {
        Ok(signed) => visit.done("/credentials", sentence(&signed.report.summary)),
        Err(fault) => table(&visit, page::status_of(fault.kind), Some(format!("Not proved. {}", sentence(&fault.message)))).await,
    }
}

async fn download(visit: Visit, Path(id): Path<String>) -> Response {
    match proof::show(&visit.admin, &visit.signed.actor, &id).await {
        Ok(signed) => {
            let text = serde_json::to_string_pretty(&signed).unwrap_or_default();
            let name = format!("attachment; filename=\"{}.json\"", signed.report.id);
            ([(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_DISPOSITION, name)], text).into_response()
        }
        Err(fault) => visit.fail(&fault),
    }
}

async fn chart(visit: Visit, Path(id): Path<String>) -> Response {
    match proof::chart_of(&visit.admin, &visit.signed.actor, &id).await {
        Ok(svg) => ([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response(),
        Err(fault) => visit.fail(&fault),
    }
}

async fn show_plan(visit: Visit) -> Response {
    match plan::read(&visit.admin, &visit.signed.actor).await {
        Ok(plan) => {
            let shell =
                visit.shell(Here::Credentials, "Rotation plan").same("lifeboat credential plan", "GET /api/v1/credential-plan");
            html(&pages::plan(shell, &plan, &visit.signed.actor))
        }
        Err(fault) => visit.fail(&fault),
    }
}

async fn do_plan(visit: Visit) -> Response {
    match plan::write(&visit.admin, &visit.signed.actor).await {
        Ok(_) => visit.done("/credentials/plan", "The plan stands in the configuration."),
        Err(fault) => visit.fail(&fault),
    }
}
