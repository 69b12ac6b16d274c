//! My account: the second factor, recovery codes, password, sessions, keys of whoever is signed in.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

use super::super::model::{AddKey, KeyAdded};
use super::super::{
    key_add, key_list, key_revoke, recovery_renew, session_end, session_list, session_name, sessions_end, set_password, standing,
    totp_begin, totp_confirm, totp_remove,
};
use super::pages::{self, CodesPage, Facts, KeyForm, Shown, TotpPage, TotpView};
use crate::admin::Admin;
use crate::admin::actor::Right;
use crate::admin::routes::{Access, Entry, Visit};
use crate::admin::shell::{Here, Wrong, sentence};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::web::{Fields, html, html_with, origin, page};

/// Who may use what: everybody, for what is its own.
pub const ROUTES: [Entry; 10] = [
    ("GET", "/account", Access::Signed(Right::Read)),
    ("POST", "/account/password", Access::Signed(Right::Read)),
    ("POST", "/account/totp/begin", Access::Signed(Right::Read)),
    ("POST", "/account/totp/confirm", Access::Signed(Right::Read)),
    ("POST", "/account/totp/remove", Access::Signed(Right::Read)),
    ("POST", "/account/recovery-codes", Access::Signed(Right::Read)),
    ("POST", "/account/sessions/end", Access::Signed(Right::Read)),
    ("POST", "/account/sessions/{id}/end", Access::Signed(Right::Read)),
    ("POST", "/account/keys/add", Access::Signed(Right::Read)),
    ("POST", "/account/keys/{kid}/revoke", Access::Signed(Right::Read)),
];

/// The routes.
pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/account", get(show))
        .route("/account/password", post(do_password))
        .route("/account/totp/begin", post(do_begin))
        .route("/account/totp/confirm", post(do_confirm))
        .route("/account/totp/remove", post(do_remove))
        .route("/account/recovery-codes", post(do_renew))
        .route("/account/sessions/end", post(do_end_others))
        .route("/account/sessions/{id}/end", post(do_end))
        .route("/account/keys/add", post(do_key_add))
        .route("/account/keys/{kid}/revoke", post(do_key_revoke))
}

const TITLE: &str = "My account";

/// What a form that was sent left behind.
#[derive(Default)]
struct Left {
    key: Option<KeyForm>,
    password: Wrong,
    added: Option<KeyAdded>,
    refusal: Option<String>,
}

async fn show(visit: Visit) -> Response {
    whole(&visit, StatusCode::OK, Left::default())
}

fn whole(visit: &Visit, status: StatusCode, left: Left) -> Response {
    let (admin, actor) = (&visit.admin, &visit.signed.actor);
    let read = || Ok((session_list(admin, actor, Some(&actor.name))?.sessions, key_list(admin, actor)?.keys));
    let read: Verb<_> = read();
    let (sessions, mut keys) = match read {
        Ok(read) => read,
        Err(fault) => return visit.fail(&fault),
    };
    keys.retain(|key| key.operator == actor.name);
    let command = format!("lifeboat operator sessions list {}", actor.name);
    let shell =
        visit.shell(Here::Account, TITLE).same(command, "GET /api/v1/operator-sessions?operator=NAME").refusing(left.refusal);
    let facts = Facts {
        actor,
        standing: standing(admin, &actor.name),
        sessions: (&sessions, session_name(visit.signed.token.reveal())),
        keys: &keys,
        added: left.added.as_ref().map(|added| (added, admin.dashboard_base(&visit.context.host))),
    };
    html_with(status, &pages::page(shell, &facts, left.key.unwrap_or_else(|| KeyForm::empty(actor)), left.password))
}

fn refuse(visit: &Visit, fault: &Fault) -> Response {
    whole(visit, page::status_of(fault.kind), Left { refusal: Some(sentence(&fault.message)), ..Left::default() })
}

async fn do_password(visit: Visit, fields: Fields) -> Response {
    let secret = Secret::new(fields.raw("password").to_owned());
    match set_password(&visit.admin, &visit.signed.actor, &secret, visit.signed.token.reveal()).await {
        Ok(_) => visit.done("/account", "The new password counts. Your other sessions have ended; your API keys go on."),
        Err(fault) => {
            let password = Wrong::of(&fault, &[("password", "password")]);
            whole(&visit, page::status_of(fault.kind), Left { password, ..Left::default() })
        }
    }
}

async fn do_begin(visit: Visit) -> Response {
    let host = origin::name_of(&visit.context.host);
    match totp_begin(&visit.admin, &visit.signed.actor, visit.signed.token.reveal(), host) {
        Ok(begun) => {
            let shell = visit.shell(Here::Account, "Second factor");
            html(&TotpPage { shell, page: TotpView { secret: Some(Shown::of(&begun)), fault: String::new() } })
        }
        Err(fault) => refuse(&visit, &fault),
    }
}

async fn do_confirm(visit: Visit, fields: Fields) -> Response {
    let token = visit.signed.token.reveal();
    match totp_confirm(&visit.admin, &visit.signed.actor, token, fields.get("code")).await {
        Ok(codes) => html(&CodesPage { confirmed: true, ..pages::codes(visit.shell(Here::Account, "Recovery codes"), &codes) }),
        // The secret was shown once; the telephone has it, or one begins again.
        Err(fault) if fault.place.as_deref() == Some("code") => {
            let shell = visit.shell(Here::Account, "Second factor");
            let page = TotpView { secret: None, fault: sentence(&fault.message) };
            html_with(page::status_of(fault.kind), &TotpPage { shell, page })
        }
        Err(fault) => refuse(&visit, &fault),
    }
}

async fn do_remove(visit: Visit) -> Response {
    let actor = &visit.signed.actor;
    match totp_remove(&visit.admin, actor, &actor.name).await {
        Ok(_) => visit.done("/account", "Your second factor is gone; the password alone opens your account."),
        Err(fault) => refuse(&visit, &fault),
    }
}

async fn do_renew(visit: Visit) -> Response {
    match recovery_renew(&visit.admin, &visit.signed.actor).await {
        Ok(codes) => html(&pages::codes(visit.shell(Here::Account, "Recovery codes"), &codes)),
        Err(fault) => refuse(&visit, &fault),
    }
}

async fn do_end_others(visit: Visit) -> Response {
    let actor = &visit.signed.actor;
    match sessions_end(&visit.admin, actor, Some(&actor.name), Some(visit.signed.token.reveal())).await {
        Ok(done) => visit.done("/account", format!("Ended: {}.", super::super::pages::sessions(done.ended))),
        Err(fault) => refuse(&visit, &fault),
    }
}

async fn do_end(visit: Visit, Path(id): Path<String>) -> Response {
    match session_end(&visit.admin, &visit.signed.actor, &id).await {
        Ok(_) => visit.done("/account", "That session has ended."),
        Err(fault) => refuse(&visit, &fault),
    }
}

async fn do_key_add(visit: Visit, fields: Fields) -> Response {
    let actor = &visit.signed.actor;
    let act = async || {
        let role = match fields.get("role") {
            "" => None,
            word => Some(word.parse()?),
        };
        // One's own role is no role of its own: the key follows when it changes.
        let role = role.filter(|role| *role != actor.role);
        let expires_days = match fields.get("expires") {
            "" => None,
            digits => Some(digits.parse().map_err(|_| Fault::invalid("expires", "Days are a whole number"))?),
        };
        key_add(&visit.admin, actor, &actor.name, AddKey { role, expires_days }).await
    };
    match act().await {
        Ok(added) => whole(&visit, StatusCode::OK, Left { added: Some(added), ..Left::default() }),
        Err(fault) => {
            let key = Some(KeyForm::empty(actor).typed(&fields).faulted(&fault));
            whole(&visit, page::status_of(fault.kind), Left { key, ..Left::default() })
        }
    }
}

async fn do_key_revoke(visit: Visit, Path(kid): Path<String>) -> Response {
    match key_revoke(&visit.admin, &visit.signed.actor, &kid).await {
        Ok(key) => visit.done("/account", format!("Key lbo_{} revoked.", key.kid)),
        Err(fault) => refuse(&visit, &fault),
    }
}
