//! Setup, sign in with its two steps, sign out, and the page of operators. Cookies are set here, and by the page that asks for a password again.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};

use super::model::{AddOperator, NotSignedIn, SignedIn, Visitor};
use super::pages::{self, AddForm, CodePage, CodeView, LoginPage, LoginView, SetupPage, SetupView};
use super::{
    Touch, add, disable, key_list, key_revoke, list, login, login_code, logout, needs_setup, reset, session_list, sessions_end,
    set_role, set_up, totp_remove, waits, who,
};
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit, stranger};
use crate::admin::shell::{Here, Solo, sentence};
use crate::admin::{Admin, OperatorRole};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::web::cookie::{self, Shown};
use crate::web::{Context, Fields, html_with, origin, page, see_other};

/// Who may use what.
pub const ROUTES: [Entry; 15] = [
    ("GET", "/setup", Access::Public),
    ("POST", "/setup", Access::Public),
    ("GET", "/login", Access::Public),
    ("POST", "/login", Access::Public),
    ("GET", "/login/code", Access::Public),
    ("POST", "/login/code", Access::Public),
    ("POST", "/logout", Access::Signed(Right::Read)),
    ("GET", "/operators", Access::Signed(Right::Read)),
    ("POST", "/operators/add", Access::Signed(Right::Administer)),
    ("POST", "/operators/{name}/role", Access::Signed(Right::Administer)),
    ("POST", "/operators/{name}/disable", Access::Signed(Right::Administer)),
    ("POST", "/operators/{name}/reset", Access::Signed(Right::Administer)),
    ("POST", "/operators/{name}/totp/remove", Access::Signed(Right::Administer)),
    ("POST", "/operators/{name}/sessions/end", Access::Signed(Right::Administer)),
    ("POST", "/operators/keys/{kid}/revoke", Access::Signed(Right::Administer)),
];

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/setup", get(show_setup).post(do_setup))
        .route("/login", get(show_login).post(do_login))
        .route("/login/code", get(show_code).post(do_code))
        .route("/logout", post(do_logout))
        .route("/operators", get(show))
        .route("/operators/add", post(do_add))
        .route("/operators/{name}/role", post(do_role))
        .route("/operators/{name}/disable", post(do_disable))
        .route("/operators/{name}/reset", post(do_reset))
        .route("/operators/{name}/totp/remove", post(do_totp_remove))
        .route("/operators/{name}/sessions/end", post(do_sessions_end))
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
    let secret = Secret::new(fields.raw("password").to_owned());
    let name = fields.get("operator");
    let next = origin::local_path(fields.get("next"));
    let view = |fault: String| LoginView { fault, name: name.to_owned(), next: next.to_owned() };
    let wrong = || "Name or password is wrong, or the operator is disabled.".to_owned();
    match login(&admin, name, &secret, &visitor(&context), (replaced(&headers), next)).await {
        Ok(signed) => enter(&signed, next),
        Err(NotSignedIn::Code(token)) => {
            let mut response = see_other("/login/code");
            page::put(response.headers_mut(), header::SET_COOKIE, &cookie::set_step(token.reveal()));
            response
        }
        Err(NotSignedIn::Wrong | NotSignedIn::Over) => login_page(&context, StatusCode::UNAUTHORIZED, view(wrong())),
        Err(NotSignedIn::Later(seconds)) => {
            later(login_page(&context, StatusCode::TOO_MANY_REQUESTS, view(too_soon(seconds))), seconds)
        }
        Err(NotSignedIn::Fault(fault)) => stranger(&context, &fault),
    }
}

fn replaced(headers: &HeaderMap) -> Option<&str> {
    match cookie::read(headers) {
        Shown::One(token) => Some(token),
        _ => None,
    }
}

fn too_soon(seconds: u64) -> String {
    format!("Too many tries. The next one counts in {seconds} s; until then even the right one is not looked at.")
}

fn later(mut response: Response, seconds: u64) -> Response {
    page::put(response.headers_mut(), header::RETRY_AFTER, &seconds.to_string());
    response
}

fn code_page(context: &Context, status: StatusCode, operator: String, fault: String) -> Response {
    html_with(status, &CodePage { shell: Solo::new(context, "Code"), view: CodeView { operator, fault } })
}

// Back to the password. The first step, if there was one, is forgotten here and in the browser.
fn over(context: &Context) -> Response {
    let fault = "Sign in with your password first; its code is then taken for five minutes and five tries.".to_owned();
    let mut response = login_page(context, StatusCode::UNAUTHORIZED, LoginView { fault, ..LoginView::default() });
    page::put(response.headers_mut(), header::SET_COOKIE, &cookie::clear_step());
    response
}

async fn show_code(State(admin): State<Arc<Admin>>, context: Context, headers: HeaderMap) -> Response {
    match cookie::read_step(&headers) {
        Shown::One(token) => match waits(&admin, token) {
            Some(operator) => code_page(&context, StatusCode::OK, operator, String::new()),
            None => see_other("/login"),
        },
        _ => see_other("/login"),
    }
}

async fn do_code(State(admin): State<Arc<Admin>>, context: Context, headers: HeaderMap, fields: Fields) -> Response {
    // Two of them: nobody can tell which is the planted one (ATK-A17).
    let Shown::One(token) = cookie::read_step(&headers) else { return over(&context) };
    let operator = || waits(&admin, token).unwrap_or_default();
    match login_code(&admin, token, fields.get("code"), &visitor(&context), replaced(&headers)).await {
        Ok((signed, next)) => {
            let mut response = enter(&signed, origin::local_path(&next));
            if let Ok(clear) = cookie::clear_step().parse() {
                response.headers_mut().append(header::SET_COOKIE, clear);
            }
            response
        }
        Err(NotSignedIn::Wrong) => {
            let fault = "The code is wrong, or was used already. Each counts once; wait for the next one.";
            code_page(&context, StatusCode::UNAUTHORIZED, operator(), fault.to_owned())
        }
        Err(NotSignedIn::Later(seconds)) => {
            later(code_page(&context, StatusCode::TOO_MANY_REQUESTS, operator(), too_soon(seconds)), seconds)
        }
        Err(NotSignedIn::Fault(fault)) => code_page(&context, page::status_of(fault.kind), operator(), sentence(&fault.message)),
        Err(NotSignedIn::Over | NotSignedIn::Code(_)) => over(&context),
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
    whole(&visit, StatusCode::OK, AddForm::default(), None)
}

fn whole(visit: &Visit, status: StatusCode, form: AddForm, refusal: Option<String>) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let all = actor.role.has(Right::Administer);
    let read = || {
        let sessions = if all { session_list(admin, actor, None)?.sessions } else { Vec::new() };
        let keys = if all { key_list(admin, actor)?.keys } else { Vec::new() };
        Ok((list(admin, actor)?.operators, keys, sessions))
    };
    let read: Verb<_> = read();
    match read {
        Err(fault) => visit.fail(&fault),
        Ok((operators, keys, sessions)) => {
            let shell =
                visit.shell(Here::Operators, "Operators").same("lifeboat operator list", "GET /api/v1/operators").refusing(refusal);
            html_with(status, &pages::page(shell, (&operators, &keys, &sessions), actor, form))
        }
    }
}

fn refuse(visit: &Visit, fault: &Fault, form: AddForm) -> Response {
    whole(visit, page::status_of(fault.kind), form, Some(sentence(&fault.message)))
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
        Err(fault) => refuse(&visit, &fault, AddForm::typed(&fields).faulted(&fault)),
    }
}

async fn do_role(visit: Visit, Path(name): Path<String>, fields: Fields) -> Response {
    let act = async || set_role(&visit.admin, &visit.signed.actor, &name, fields.get("role").parse()?).await;
    match act().await {
        Ok(now) => visit.done("/operators", format!("{} is {} now. Its sessions have ended.", now.name, now.role)),
        Err(fault) => refuse(&visit, &fault, AddForm::default()),
    }
}

async fn do_disable(visit: Visit, Path(name): Path<String>) -> Response {
    match disable(&visit.admin, &visit.signed.actor, &name).await {
        Ok(now) => visit.done("/operators", format!("{} is disabled. Its sessions and keys have ended.", now.name)),
        Err(fault) => refuse(&visit, &fault, AddForm::default()),
    }
}

async fn do_reset(visit: Visit, Path(name): Path<String>, fields: Fields) -> Response {
    let secret = Secret::new(fields.raw("password").to_owned());
    match reset(&visit.admin, &visit.signed.actor, &name, &secret).await {
        Ok(now) => {
            let text =
                format!("{} signs in with the new password alone; its second factor, sessions and keys have ended.", now.name);
            visit.done("/operators", text)
        }
        Err(fault) => refuse(&visit, &fault, AddForm::default()),
    }
}

async fn do_totp_remove(visit: Visit, Path(name): Path<String>) -> Response {
    match totp_remove(&visit.admin, &visit.signed.actor, &name).await {
        Ok(now) => visit.done("/operators", format!("{} has no second factor any more. Its sessions have ended.", now.name)),
        Err(fault) => refuse(&visit, &fault, AddForm::default()),
    }
}

async fn do_sessions_end(visit: Visit, Path(name): Path<String>) -> Response {
    match sessions_end(&visit.admin, &visit.signed.actor, Some(&name), None).await {
        Ok(done) => visit.done("/operators", format!("Ended of {name}: {}.", pages::sessions(done.ended))),
        Err(fault) => refuse(&visit, &fault, AddForm::default()),
    }
}

async fn do_key_revoke(visit: Visit, Path(kid): Path<String>) -> Response {
    match key_revoke(&visit.admin, &visit.signed.actor, &kid).await {
        Ok(key) => visit.done("/operators", format!("Key lbo_{} of {} revoked.", key.kid, key.operator)),
        Err(fault) => refuse(&visit, &fault, AddForm::default()),
    }
}
