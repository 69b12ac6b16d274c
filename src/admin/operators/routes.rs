//! Setup, sign in, sign out, and the page of operators. Only here is a cookie set.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};

use super::model::{AddOperator, NotSignedIn, SignedIn, Visitor};
use super::pages::{self, AddForm, LoginPage, LoginView, NewKey, SetupPage, SetupView};
use super::{Touch, add, disable, key_add, key_list, key_revoke, list, login, logout, needs_setup, set_role, set_up, who};
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit, stranger};
use crate::admin::shell::{Here, Solo, sentence};
use crate::admin::{Admin, OperatorRole};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::web::cookie::{self, Shown};
use crate::web::{Context, Fields, html_with, origin, page, see_other};

/// Who may use what.
pub const ROUTES: [Entry; 11] = [
    ("GET", "/setup", Access::Public),
    ("POST", "/setup", Access::Public),
    ("GET", "/login", Access::Public),
    ("POST", "/login", Access::Public),
    ("POST", "/logout", Access::Signed(Right::Read)),
    ("GET", "/operators", Access::Signed(Right::Read)),
    ("POST", "/operators/add", Access::Signed(Right::Administer)),
    ("POST", "/operators/{name}/role", Access::Signed(Right::Administer)),
    ("POST", "/operators/{name}/disable", Access::Signed(Right::Administer)),
    ("POST", "/operators/keys/add", Access::Signed(Right::Read)),
    ("POST", "/operators/keys/{kid}/revoke", Access::Signed(Right::Read)),
];

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/setup", get(show_setup).post(do_setup))
        .route("/login", get(show_login).post(do_login))
        .route("/logout", post(do_logout))
        .route("/operators", get(show))
        .route("/operators/add", post(do_add))
        .route("/operators/{name}/role", post(do_role))
        .route("/operators/{name}/disable", post(do_disable))
        .route("/operators/keys/add", post(do_key_add))
        .route("/operators/keys/{kid}/revoke", post(do_key_revoke))
}

fn visitor(context: &Context) -> Visitor {
    Visitor { remote: context.remote, agent: context.agent.clone() }
}

fn setup_page(context: &Context, status: StatusCode, view: SetupView) -> Response {
    let shell = Solo { wide: true, ..Solo::new(context, "Set up") };
    html_with(status, &SetupPage { shell, view })
}

async fn show_setup(State(admin): State<Arc<Admin>>, context: Context) -> Response {
    if !needs_setup(&admin) {
        return see_other("/login");
    }
    setup_page(&context, StatusCode::OK, SetupView::typed(&Fields::default()))
}

async fn do_setup(State(admin): State<Arc<Admin>>, context: Context, fields: Fields) -> Response {
    let secret = Secret::new(fields.raw("password").to_owned());
    match set_up(&admin, fields.get("code"), fields.get("name"), &secret, &visitor(&context)).await {
        Ok(signed) => enter(&signed, "/"),
        Err(fault) => setup_page(&context, page::status_of(fault.kind), SetupView::typed(&fields).faulted(&fault)),
    }
}

fn enter(signed: &SignedIn, next: &str) -> Response {
    let mut response = see_other(next);
    page::put(response.headers_mut(), header::SET_COOKIE, &cookie::set(signed.token.reveal()));
    response
}

fn login_page(context: &Context, status: StatusCode, view: LoginView) -> Response {
    html_with(status, &LoginPage { shell: Solo::new(context, "Sign in"), view })
}

async fn show_login(State(admin): State<Arc<Admin>>, context: Context, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::parse(query.as_deref().unwrap_or_default());
    if needs_setup(&admin) {
        return see_other("/setup");
    }
    let next = origin::local_path(fields.get("next")).to_owned();
    let known = match cookie::read(&headers) {
        Shown::One(token) => who(&admin, token, Touch::No),
        _ => None,
    };
    match known {
        // Somebody who is signed in comes here only to give the password again.
        Some(actor) if fields.has("again") => {
            login_page(&context, StatusCode::OK, LoginView { name: actor.name, next, ..LoginView::default() })
        }
        Some(_) => see_other(&next),
        None => {
            let fault = admin
                .operators
                .unread
                .as_ref()
                .map(|why| format!("Nobody can sign in: {why}. Stop from the host."))
                .unwrap_or_default();
            login_page(&context, StatusCode::OK, LoginView { next, fault, ..LoginView::default() })
        }
    }
}

async fn do_login(State(admin): State<Arc<Admin>>, context: Context, headers: HeaderMap, fields: Fields) -> Response {
    let replaced = match cookie::read(&headers) {
        Shown::One(token) => Some(token),
        _ => None,
    };
    let secret = Secret::new(fields.raw("password").to_owned());
    let name = fields.get("operator");
    let next = origin::local_path(fields.get("next"));
    let view = |fault: String| LoginView { fault, name: name.to_owned(), next: next.to_owned() };
    match login(&admin, name, &secret, &visitor(&context), replaced).await {
        Ok(signed) => enter(&signed, next),
        Err(NotSignedIn::Wrong) => {
            login_page(&context, StatusCode::UNAUTHORIZED, view("Name or password is wrong, or the operator is disabled.".into()))
        }
        Err(NotSignedIn::Later(seconds)) => {
            let text =
                format!("Too many tries. The next one counts in {seconds} s; until then even the right password is not looked at.");
            let mut response = login_page(&context, StatusCode::TOO_MANY_REQUESTS, view(text));
            page::put(response.headers_mut(), header::RETRY_AFTER, &seconds.to_string());
            response
        }
        Err(NotSignedIn::Fault(fault)) => stranger(&context, &fault),
    }
}

async fn do_logout(visit: Visit) -> Response {
    if let Err(fault) = logout(&visit.admin, &visit.signed.actor, visit.signed.token.reveal()).await {
        tracing::warn!(%fault, "a sign-out could not be recorded");
    }
    let mut response = see_other("/login");
    page::put(response.headers_mut(), header::SET_COOKIE, &cookie::clear());
    response
}

async fn show(visit: Visit) -> Response {
    whole(&visit, StatusCode::OK, None, AddForm::default(), None).await
}

async fn whole(visit: &Visit, status: StatusCode, key: Option<NewKey>, form: AddForm, refusal: Option<String>) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let read = || Ok((list(admin, actor)?.operators, key_list(admin, actor)?.keys));
    let read: Verb<_> = read();
    match read {
        Err(fault) => visit.fail(&fault),
        Ok((operators, keys)) => {
            let shell =
                visit.shell(Here::Operators, "Operators").same("lifeboat operator list", "GET /api/v1/operators").refusing(refusal);
            html_with(status, &pages::page(shell, (&operators, &keys), actor, key, form))
        }
    }
}

async fn refuse(visit: &Visit, fault: &Fault, form: AddForm) -> Response {
    whole(visit, page::status_of(fault.kind), None, form, Some(sentence(&fault.message))).await
}

async fn do_add(visit: Visit, fields: Fields) -> Response {
    let act = async || {
        let role: OperatorRole = fields.get("role").parse()?;
        let input =
            AddOperator { name: fields.get("name").to_owned(), role, password: Secret::new(fields.raw("password").to_owned()) };
        add(&visit.admin, &visit.signed.actor, input).await
    };
    match act().await {
        Ok(added) => {
            visit.done("/operators", format!("{} added, {}. The first password is yours to hand over.", added.name, added.role))
        }
        Err(fault) => refuse(&visit, &fault, AddForm::typed(&fields).faulted(&fault)).await,
    }
}

async fn do_role(visit: Visit, Path(name): Path<String>, fields: Fields) -> Response {
    let act = async || set_role(&visit.admin, &visit.signed.actor, &name, fields.get("role").parse()?).await;
    match act().await {
        Ok(now) => visit.done("/operators", format!("{} is {} now. Its sessions have ended.", now.name, now.role)),
        Err(fault) => refuse(&visit, &fault, AddForm::default()).await,
    }
}

async fn do_disable(visit: Visit, Path(name): Path<String>) -> Response {
    match disable(&visit.admin, &visit.signed.actor, &name).await {
        Ok(now) => visit.done("/operators", format!("{} is disabled. Its sessions and keys have ended.", now.name)),
        Err(fault) => refuse(&visit, &fault, AddForm::default()).await,
    }
}

async fn do_key_add(visit: Visit, fields: Fields) -> Response {
    let actor = &visit.signed.actor;
    let act = async || {
        let days = match fields.get("expires") {
            "" => None,
            digits => Some(digits.parse().map_err(|_| Fault::invalid("expires", "Days are a whole number, or nothing"))?),
        };
        key_add(&visit.admin, actor, &actor.name, days).await
    };
    match act().await {
        Ok(added) => {
            let key = NewKey::of(&added, &visit.admin.dashboard_base(&visit.context.host), visit.admin.clock.now());
            whole(&visit, StatusCode::OK, Some(key), AddForm::default(), None).await
        }
        Err(fault) => refuse(&visit, &fault, AddForm::default()).await,
    }
}

async fn do_key_revoke(visit: Visit, Path(kid): Path<String>) -> Response {
    match key_revoke(&visit.admin, &visit.signed.actor, &kid).await {
        Ok(key) => visit.done("/operators", format!("Key lbo_{} of {} revoked.", key.kid, key.operator)),
        Err(fault) => refuse(&visit, &fault, AddForm::default()).await,
    }
}
