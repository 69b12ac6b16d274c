//! The kill switch in the dashboard: page, engage, release, drill, and the live stream that every page listens to.

use std::sync::Arc;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::{get, post};

use super::pages;
use super::{Engaged, OrderBody, Released, engage, history, prove, release, status};
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::{Here, StatePart, sentence};
use crate::admin::{Admin, operators};
use crate::base::fault::{Fault, FaultKind, Verb};
use crate::web::{Fields, html, html_with, human, page, see_other};

/// Who may use what.
pub const ROUTES: [Entry; 5] = [
    ("GET", "/kill", Access::Signed(Right::Read)),
    ("POST", "/kill/engage", Access::Signed(Right::Operate)),
    ("POST", "/kill/release", Access::Signed(Right::Read)),
    ("POST", "/kill/drill", Access::Signed(Right::Operate)),
    ("GET", "/live/state", Access::Stream(Right::Read)),
];

const PAST: u32 = 25;

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/kill", get(show))
        .route("/kill/engage", post(do_engage))
        .route("/kill/release", post(do_release))
        .route("/kill/drill", post(do_drill))
        .route("/live/state", get(live_state))
}

async fn show(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::parse(query.as_deref().unwrap_or_default());
    let response = whole(&visit, None, &fields).await;
    response.map_or_else(|fault| visit.fail(&fault), |page| html(&page))
}

async fn whole(visit: &Visit, refusal: Option<String>, fields: &Fields) -> Verb<pages::KillPage> {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let mut shell = visit.shell(Here::Kill, "Kill switch").same("lifeboat kill status", "GET /api/v1/kill").refusing(refusal);
    let scope = fields.get("scope");
    if matches!(scope, "server" | "tool" | "client") {
        shell = shell.choosing(scope, fields.get(scope));
    }
    let past = tokio::time::timeout(std::time::Duration::from_secs(2), history(admin, actor, PAST)).await;
    let past = match past {
        Ok(read) => read.map_err(|fault| fault.message),
        Err(_) => Err("the database is slow".to_owned()),
    };
    Ok(pages::page(admin, shell, &status(admin, actor)?, past, actor))
}

/// The fields of the stop panel as an order: `scope` chooses which of the names counts.
fn order(fields: &Fields) -> OrderBody {
    let scope = fields.get("scope");
    let named = |name: &str| (scope == name).then(|| fields.get(name).to_owned());
    OrderBody {
        reason: fields.get("reason").to_owned(),
        server: named("server"),
        tool: named("tool"),
        client: named("client"),
        mode: Some(fields.get("mode").to_owned()),
        to: None,
    }
}

async fn do_engage(visit: Visit, headers: HeaderMap, fields: Fields) -> Response {
    let known = matches!(fields.get("scope"), "everything" | "server" | "tool" | "client" | "");
    let act = async || {
        if !known {
            return Err(Fault::invalid("scope", "A scope is everything, server, tool or client"));
        }
        engage(&visit.admin, &visit.signed.actor, order(&fields).into_order()?).await
    };
    match act().await {
        Err(fault) => visit.fail(&fault),
        Ok(engaged) if visit.context.part => {
            let mut shell = visit.shell(Here::Elsewhere, "Stopped");
            shell.flash = Some(said(&engaged));
            html(&StatePart { shell })
        }
        Ok(engaged) => visit.done(&came_from(&headers), said(&engaged)),
    }
}

// The page the button was pressed on, so that the banner appears there.
fn came_from(headers: &HeaderMap) -> String {
    let referer = headers.get(header::REFERER).and_then(|value| value.to_str().ok());
    let path = referer.and_then(|text| text.parse::<axum::http::Uri>().ok()).map(|uri| uri.path().to_owned());
    path.filter(|path| ["/", "/activity", "/servers", "/clients", "/operators"].contains(&path.as_str()))
        .unwrap_or_else(|| "/kill".into())
}

fn said(engaged: &Engaged) -> String {
    let what = match (engaged.scope.as_str(), engaged.mode.as_str()) {
        ("everything", "full") => "Stopped everywhere".to_owned(),
        ("everything", _) => "Read-only everywhere".to_owned(),
        (scope, "full") => format!("Stopped for {scope}"),
        (scope, _) => format!("Read-only for {scope}"),
    };
    let kept = match engaged.persisted.as_str() {
        "file" => " Stopped by the KILL file. The database did not answer; it will be told when it does.",
        "memory" => " Neither disk nor database took it: it holds until Lifeboat ends.",
        _ => "",
    };
    let cut = human::plural(engaged.cut_in_flight as u64, "call");
    match engaged.effective_ms {
        Some(ms) => format!("{what} in {ms} ms. {cut} in flight cut.{kept}"),
        None => format!("{what}, unproven: a listener did not answer. {cut} in flight cut.{kept}"),
    }
}

/// The scope of a release as its text: `everything`, `server S`, `tool S/T`, `client C`.
fn release_order(fields: &Fields) -> Verb<OrderBody> {
    let mut body = OrderBody { reason: fields.get("reason").to_owned(), ..OrderBody::default() };
    body.to = (fields.get("to") == "read-only").then(|| "read-only".to_owned());
    match fields.get("scope").split_once(' ') {
        None if fields.get("scope") == "everything" => {}
        Some(("server", name)) => body.server = Some(name.to_owned()),
        Some(("tool", name)) => body.tool = Some(name.to_owned()),
        Some(("client", name)) => body.client = Some(name.to_owned()),
        _ => return Err(Fault::invalid("scope", "A scope is everything, server S, tool S/T or client C")),
    }
    Ok(body)
}

async fn do_release(visit: Visit, fields: Fields) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let act = async || release(admin, actor, release_order(&fields)?.into_release()?).await;
    let fault = match act().await {
        Ok(released) => {
            operators::keep_draft(admin, &actor.name, None);
            return visit.done("/kill", released_text(&released, fields.get("reason")));
        }
        Err(fault) => fault,
    };
    let text = match fault.kind {
        FaultKind::Stale => {
            operators::keep_draft(admin, &actor.name, Some(fields.get("reason").to_owned()));
            format!("Not released. {}; your reason is kept.", fault.message)
        }
        FaultKind::Denied => format!("Only an admin can release. You are signed in as {}, {}.", actor.name, actor.role),
        _ => sentence(&fault.message),
    };
    match whole(&visit, Some(text), &Fields::default()).await {
        Ok(page) => html_with(page::status_of(fault.kind), &page),
        Err(other) => visit.fail(&other),
    }
}

fn released_text(released: &Released, reason: &str) -> String {
    let clock = human::clock(released.at);
    let what = match (released.to.as_deref(), released.scope.as_str()) {
        (Some(_), _) => "Released to read-only".to_owned(),
        (None, "everything") => "Released".to_owned(),
        (None, scope) => format!("Released {scope}"),
    };
    format!("{what} {clock} by {}: {}", released.by, sentence(reason))
}

async fn do_drill(visit: Visit) -> Response {
    match prove(&visit.admin, &visit.signed.actor).await {
        Err(fault) => visit.fail(&fault),
        Ok(proof) => {
            let refused = proof.proofs.iter().filter(|p| p.refused).count();
            let all = proof.proofs.len();
            let text = match proof.effective_ms {
                Some(ms) => format!("Kill drill: {refused} of {all} listeners refused the canary in {ms} ms."),
                None => format!("Kill drill failed: {refused} of {all} listeners refused the canary in 5 s."),
            };
            visit.done("/kill", text)
        }
    }
}

async fn live_state(visit: Visit) -> Response {
    if !visit.context.part {
        return see_other("/kill");
    }
    let shell = visit.shell(Here::Elsewhere, "");
    html(&StatePart { shell })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Mode, Scope};

    #[test]
    fn the_panel_orders_exactly_what_is_chosen() {
        let all = Fields::parse("scope=everything&server=s&tool=s%2Ft&client=c&mode=full&reason=not+known+yet");
        assert_eq!(order(&all).into_order().unwrap().scope, Scope::Everything);
        let tool = Fields::parse("scope=tool&server=s&tool=s%2Ft&client=c&mode=read-only&reason=x");
        let tool = order(&tool).into_order().unwrap();
        assert_eq!((tool.scope, tool.mode), (Scope::Tool { server: "s".into(), tool: "t".into() }, Mode::ReadOnly));
    }

    #[test]
    fn a_release_names_its_scope_as_the_status_does() {
        let one = release_order(&Fields::parse("scope=client+ci-runner&to=read-only&reason=r")).unwrap().into_release().unwrap();
        assert_eq!((one.scope, one.to), (Scope::Client { client: "ci-runner".into() }, Some(Mode::ReadOnly)));
        let all = release_order(&Fields::parse("scope=everything&to=everything&reason=r")).unwrap().into_release().unwrap();
        assert_eq!((all.scope, all.to), (Scope::Everything, None));
        assert!(release_order(&Fields::parse("scope=&reason=r")).is_err());
    }
}
