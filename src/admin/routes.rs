//! The admin listener: every route with who may use it, the gate in front of them, and how faults look there. A path that is not in a
//! table is not served.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use super::actor::Right;
use super::operators::{self, Touch};
use super::shell::{FaultPage, FaultPart, FaultView, Here, Shell, Signed, Solo, SoloFault};
use super::{
    Admin, activity, again, alerts, api, clients, credentials, drills, health, kill, overview, revisions, servers, vaults,
};
use crate::base::fault::{Fault, FaultKind};
use crate::base::secret::Secret;
use crate::telemetry::metrics;
use crate::web::context::{Dressing, dress};
use crate::web::cookie::{self, Shown};
use crate::web::{Context, assets, form, html_with, origin, page, see_other};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// A signed-in operator with the right.
    Signed(Right),
    /// As `Signed`, for streams: looking does not keep the session alive.
    Stream(Right),
    /// An operator API key with the right; never a cookie.
    Key(Right),
}

/// One route: method, path, who may use it.
pub type Entry = (&'static str, &'static str, Access);

const OWN: [Entry; 5] = [
    ("GET", "/health", Access::Public),
    ("GET", "/ready", Access::Public),
    ("GET", "/metrics", Access::Key(Right::Read)),
    ("GET", "/static/{*name}", Access::Public),
    ("GET", "/favicon.ico", Access::Public),
];

/// All routes but `/api/v1`, which takes operator keys only and whose verbs check the rights themselves.
pub const ROUTES: &[&[Entry]] = &[
    &OWN,
    &operators::routes::ROUTES,
    &operators::account::routes::ROUTES,
    &overview::routes::ROUTES,
    &kill::routes::ROUTES,
    &activity::routes::ROUTES,
    &servers::routes::ROUTES,
    &clients::routes::ROUTES,
    &credentials::routes::ROUTES,
    &alerts::routes::ROUTES,
    &vaults::routes::ROUTES,
    &drills::routes::ROUTES,
    &revisions::routes::ROUTES,
];

const API: &str = "/api/";

/// Everything the admin listener serves.
pub fn router(admin: Arc<Admin>) -> Router {
    let dressing = Arc::new(Dressing { clock: admin.clock.clone(), entropy: admin.entropy.clone() });
    Router::new()
        .route("/health", get(serve_health))
        .route("/ready", get(serve_ready))
        .route("/metrics", get(serve_metrics))
        .route("/static/{*name}", get(serve_static))
        .route("/favicon.ico", get(favicon))
        .merge(operators::routes::routes())
        .merge(operators::account::routes::routes())
        .merge(overview::routes::routes())
        .merge(kill::routes::routes())
        .merge(activity::routes::routes())
        .merge(servers::routes::routes())
        .merge(clients::routes::routes())
        .merge(credentials::routes::routes())
        .merge(alerts::routes::routes())
        .merge(vaults::routes::routes())
        .merge(drills::routes::routes())
        .merge(revisions::routes::routes())
        .merge(api::router())
        .fallback(nowhere)
        .layer(middleware::from_fn_with_state(admin.clone(), gate))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn_with_state(dressing, dress))
        .with_state(admin)
}

/// Who may use a route; `None` when it is in no table.
pub fn access(method: &Method, matched: &str) -> Option<Access> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    ROUTES.iter().copied().flatten().find(|(m, path, _)| *m == method && *path == matched).map(|(_, _, access)| *access)
}

/// Stands in front of every route: our own name, our own pages, then who it is and whether that is enough.
async fn gate(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    let Some(context) = request.extensions().get::<Context>().cloned() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let settings = admin.feed.snapshot().settings.clone();
    let checked = origin::check_host(request.uri(), request.headers(), |name| settings.dashboard_answers_to(name))
        .and_then(|()| origin::check_origin(request.method(), request.uri(), request.headers()));
    if let Err(foreign) = checked {
        admin.recorder.stranger(context.remote, "dashboard.foreign");
        return stranger(&context, &Fault::denied(foreign.to_string()));
    }
    if request.uri().path().starts_with(API) {
        return by_key(&admin, &context, request, next, Right::Read).await;
    }
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let access = matched.as_deref().and_then(|path| access(request.method(), path));
    let (right, touch) = match access {
        Some(Access::Key(right)) => return by_key(&admin, &context, request, next, right).await,
        Some(Access::Public) => (None, Touch::No),
        Some(Access::Signed(right)) => (Some(right), Touch::Yes),
        Some(Access::Stream(right)) => (Some(right), Touch::No),
        // What is in no table is not served, whatever the router knows.
        None if matched.is_some() => return StatusCode::METHOD_NOT_ALLOWED.into_response(),
        None => (Some(Right::Read), Touch::Yes),
    };
    let signed = match cookie::read(request.headers()) {
        Shown::Several => return two_cookies(&context),
        Shown::None => None,
        Shown::One(token) => {
            operators::who(&admin, token, touch).map(|actor| Signed { actor, token: Secret::new(token.to_owned()) })
        }
    };
    match (&signed, right) {
        (None, Some(_)) => return to_sign_in(&admin, &context),
        (Some(signed), Some(right)) => {
            if let Err(fault) = signed.actor.need(right, "This page") {
                return fail(&admin, &context, signed, &fault);
            }
        }
        (_, None) => {}
    }
    let Some(signed) = signed else { return next.run(request).await };
    if right.is_some() && operators::must_enrol(&admin, &signed.actor) && !may_without_second(matched.as_deref()) {
        return move_on(&context, StatusCode::OK, "/account");
    }
    if right.is_some() && context.writes && !signed.actor.is_fresh(admin.clock.now()) {
        return again::routes::pass(&admin, &context, signed, request, next).await;
    }
    request.extensions_mut().insert(signed);
    next.run(request).await
}

// What an operator may who must set up a second factor and has none: that, leave, and stop tools, from which nobody is ever kept.
fn may_without_second(matched: Option<&str>) -> bool {
    const PATHS: [&str; 8] =
        ["/account", "/account/totp/begin", "/account/totp/confirm", "/logout", "/kill", "/kill/engage", "/live", "/live/state"];
    matched.is_some_and(|path| PATHS.contains(&path))
}

fn move_on(context: &Context, status: StatusCode, path: &str) -> Response {
    if context.part { page::move_page(status, path) } else { see_other(path) }
}

async fn by_key(admin: &Admin, context: &Context, mut request: Request, next: Next, right: Right) -> Response {
    let credential = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = credential.and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let key = key.map(|(_, key)| key.trim());
    let found = key.and_then(|key| Some((operators::who_by_key(admin, key)?, operators::ShownKey::new(key))));
    let Some((actor, shown)) = found else {
        admin.recorder.stranger(context.remote, "operator.key");
        let body = r#"{"error":{"kind":"denied","message":"an operator API key is needed","where":null}}"#;
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, headers, body).into_response();
    };
    if actor.need(right, "This").is_err() {
        return StatusCode::FORBIDDEN.into_response();
    }
    request.extensions_mut().insert(actor);
    request.extensions_mut().insert(shown);
    next.run(request).await
}

// Nobody can tell which of the two is the planted one, so neither counts, and the browser forgets ours.
fn two_cookies(context: &Context) -> Response {
    let sentence =
        "Your browser sent two session cookies, so neither counts. Close it, or clear the cookies of this site, and sign in again";
    let mut response = stranger(context, &Fault::denied(sentence));
    page::put(response.headers_mut(), header::SET_COOKIE, &cookie::clear());
    response
}

fn to_sign_in(admin: &Admin, context: &Context) -> Response {
    let begin = if operators::needs_setup(admin) { "/setup" } else { "/login" };
    // A form cannot be sent again by following a link; its page can be opened again.
    let back = if context.writes && !context.part { "/" } else { origin::local_path(&context.page) };
    let path = if back == "/" || begin == "/setup" { begin.to_owned() } else { format!("{begin}?next={}", form::encode(back)) };
    move_on(context, StatusCode::UNAUTHORIZED, &path)
}

/// A fault for somebody who is not signed in.
pub fn stranger(context: &Context, fault: &Fault) -> Response {
    let view = FaultView::of(fault, context);
    let status = page::status_of(fault.kind);
    if context.part {
        return part(status, FaultPart { fault: view });
    }
    html_with(status, &SoloFault { shell: Solo::new(context, view.title), fault: view })
}

/// A fault for a signed-in operator: a page with the stop panel, or a part.
pub fn fail(admin: &Admin, context: &Context, signed: &Signed, fault: &Fault) -> Response {
    if matches!(fault.kind, FaultKind::Unavailable | FaultKind::Bug) {
        let cause = fault.source.as_ref().map(ToString::to_string);
        tracing::warn!(request.id = context.id, %fault, cause, "a page could not be served");
    }
    let view = FaultView::of(fault, context);
    let status = page::status_of(fault.kind);
    if context.part {
        return part(status, FaultPart { fault: view });
    }
    let shell = Shell::new(admin, context, signed, Here::Elsewhere, view.title);
    html_with(status, &FaultPage { shell, fault: view })
}

// A part of a fault goes to the top of the page, wherever its request wanted to put something.
fn part(status: StatusCode, fault: FaultPart) -> Response {
    let mut response = html_with(status, &fault);
    let headers = response.headers_mut();
    headers.insert("hx-retarget", HeaderValue::from_static("#main"));
    headers.insert("hx-reswap", HeaderValue::from_static("afterbegin"));
    response
}

/// One request of a signed-in operator, as handlers take it.
pub struct Visit {
    /// Everything a verb may use.
    pub admin: Arc<Admin>,
    /// The request.
    pub context: Context,
    /// Who.
    pub signed: Signed,
}

impl Visit {
    /// The shell of a page.
    pub fn shell(&self, here: Here, title: &str) -> Shell {
        Shell::new(&self.admin, &self.context, &self.signed, here, title)
    }

    /// A fault as a page or part.
    pub fn fail(&self, fault: &Fault) -> Response {
        fail(&self.admin, &self.context, &self.signed, fault)
    }

    /// Done: says so on the next page.
    pub fn done(&self, path: &str, sentence: impl Into<String>) -> Response {
        operators::leave_flash(&self.admin, self.signed.token.reveal(), sentence);
        if self.context.part { page::move_page(StatusCode::OK, path) } else { see_other(path) }
    }
}

impl FromRequestParts<Arc<Admin>> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Response> {
        let context = parts.extensions.get::<Context>().cloned();
        let signed = parts.extensions.get::<Signed>().cloned();
        match (context, signed) {
            (Some(context), Some(signed)) => Ok(Self { admin: admin.clone(), context, signed }),
            (Some(context), None) => Err(to_sign_in(admin, &context)),
            (None, _) => Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        }
    }
}

async fn nowhere(visit: Visit) -> Response {
    visit.fail(&Fault::not_found("There is no page here. The pages there are stand in the navigation"))
}

async fn serve_static(request: Request) -> Response {
    let name = request.uri().path().trim_start_matches("/static/").to_owned();
    assets::serve(&name, request.uri().query(), request.headers())
}

async fn favicon() -> Response {
    see_other(&assets::links().icon)
}

async fn serve_health(State(admin): State<Arc<Admin>>) -> Response {
    let health = health::health(&admin).await;
    let status = if health::ready(&admin) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = serde_json::to_string(&health).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn serve_metrics() -> Response {
    match metrics::install() {
        Ok(metrics) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn serve_ready(State(admin): State<Arc<Admin>>) -> StatusCode {
    if health::ready(&admin) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
