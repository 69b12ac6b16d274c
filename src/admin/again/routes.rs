//! What stands around a form of somebody whose login is no longer fresh: when its verb asks for a fresh one, so does the page, and the same
//! request goes on with it. Never repeats a request whose verb did something: it was refused before anything was done.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::pages::{AgainPage, AgainView, CODE, OWN, PASSWORD};
use crate::admin::operators::{self, NotSignedIn, Touch, Visitor};
use crate::admin::shell::{Here, Shell, Signed};
use crate::admin::{Admin, routes};
use crate::base::secret::Secret;
use crate::web::{Context, Fields, cookie, form, html_with, page};

/// Serves a form of a signed-in operator whose login is not fresh.
pub async fn pass(admin: &Arc<Admin>, context: &Context, signed: Signed, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, form::LARGEST).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let fields = read(&parts.headers, &bytes);
    if !fields.has(PASSWORD) {
        parts.extensions.insert(signed.clone());
        let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
        return if response.status() == StatusCode::UNAUTHORIZED { ask(admin, context, &signed, &fields, None) } else { response };
    }
    let visitor = Visitor { remote: context.remote, agent: context.agent.clone() };
    let secret = Secret::new(fields.raw(PASSWORD).to_owned());
    let shown = (signed.token.reveal().as_str(), &secret, fields.get(CODE));
    let entered = match operators::again(admin, &signed.actor, shown, &visitor).await {
        Ok(entered) => entered,
        Err(why) => return ask(admin, context, &signed, &fields, Some(&why)),
    };
    let Some(actor) = operators::who(admin, entered.token.reveal(), Touch::Yes) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    parts.extensions.insert(Signed { actor, token: entered.token.clone() });
    parts.headers.remove(header::CONTENT_LENGTH);
    let rest = fields.without(&OWN).encoded();
    let mut response = next.run(Request::from_parts(parts, Body::from(rest))).await;
    page::put(response.headers_mut(), header::SET_COOKIE, &cookie::set(entered.token.reveal()));
    response
}

// A body that is no form has no fields; its handler refuses it.
fn read(headers: &HeaderMap, bytes: &Bytes) -> Fields {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_form = kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded");
    match std::str::from_utf8(bytes) {
        Ok(text) if is_form => Fields::parse(text),
        _ => Fields::default(),
    }
}

fn ask(admin: &Arc<Admin>, context: &Context, signed: &Signed, fields: &Fields, why: Option<&NotSignedIn>) -> Response {
    let stale = match signed.actor.need_fresh_login(admin.clock.now()) {
        Err(stale) => stale,
        // It became fresh meanwhile, in another window: what was asked can simply be sent again.
        Ok(()) => return routes::fail(admin, context, signed, &crate::base::fault::Fault::conflict("Send it again")),
    };
    if context.part {
        return routes::fail(admin, context, signed, &crate::base::fault::Fault::denied(stale.message));
    }
    let sentence = match context.path.as_str() {
        "/kill/release" => format!("Not released. {}; your reason is kept.", stale.message),
        _ => format!("Not done yet. {}; what you typed is kept.", stale.message),
    };
    let asks_code = operators::standing(admin, &signed.actor.name).since.is_some();
    let view = AgainView { asks_code, ..AgainView::of(&signed.actor, &context.path, fields) }.saying(sentence);
    let (status, fault) = match why {
        None => (StatusCode::FORBIDDEN, String::new()),
        Some(NotSignedIn::Later(seconds)) => {
            let text =
                format!("Too many tries. The next one counts in {seconds} s; until then even the right password is not looked at.");
            (StatusCode::TOO_MANY_REQUESTS, text)
        }
        Some(NotSignedIn::Fault(fault)) => (page::status_of(fault.kind), crate::admin::shell::sentence(&fault.message)),
        Some(_) if asks_code => (StatusCode::FORBIDDEN, "Password or code is wrong. A code counts once.".to_owned()),
        Some(_) => (StatusCode::FORBIDDEN, "The password is wrong.".to_owned()),
    };
    let shell = Shell::new(admin, context, signed, Here::Elsewhere, "Sign in again");
    html_with(status, &AgainPage { shell, page: view.faulted(fault) })
}
