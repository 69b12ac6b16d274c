//! Who may what, written by hand: each route of the admin listener against a stranger and every role (ATK-A09). A route that is missing here, is
//! here and nowhere else, or behaves otherwise is a failure. Change a row only when the change is meant.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use tower::ServiceExt;

use super::api;
use super::operators::{self, AddKey};
use super::routes::ROUTES;
use super::tests_ask::{Ask, location, session};
use super::tests_gate::concrete;
use super::tests_house::{House, root};
use super::{Admin, OperatorRole};

type Row = (&'static str, &'static str, &'static str);

// One letter each for a stranger, viewer, auditor, operator and admin:
// S served · L sent to the login page · F 403 · U 401 · P 403 for a key whatever its role, served to the local account.

/// The dashboard, by cookie.
#[rustfmt::skip]
const DASHBOARD: [Row; 90] = [
    ("GET", "/health", "SSSSS"),
    ("GET", "/ready", "SSSSS"),
    ("GET", "/static/{*name}", "SSSSS"),
    ("GET", "/favicon.ico", "SSSSS"),
    ("GET", "/setup", "SSSSS"),
    ("POST", "/setup", "SSSSS"),
    ("GET", "/login", "SSSSS"),
    ("POST", "/login", "SSSSS"),
    ("GET", "/login/code", "SSSSS"),
    ("POST", "/login/code", "UUUUU"),
    ("POST", "/logout", "LSSSS"),
    ("GET", "/account", "LSSSS"),
    ("POST", "/account/password", "LSSSS"),
    ("POST", "/account/totp/begin", "LSSSS"),
    ("POST", "/account/totp/confirm", "LSSSS"),
    ("POST", "/account/totp/remove", "LSSSS"),
    ("POST", "/account/recovery-codes", "LSSSS"),
    ("POST", "/account/sessions/end", "LSSSS"),
    ("POST", "/account/sessions/{id}/end", "LSSSS"),
    ("POST", "/account/keys/add", "LSSSS"),
    ("POST", "/account/keys/{kid}/revoke", "LSSSS"),
    ("GET", "/operators", "LSSSS"),
    ("POST", "/operators/add", "LFFFS"),
    ("POST", "/operators/{name}/role", "LFFFS"),
    ("POST", "/operators/{name}/disable", "LFFFS"),
    ("POST", "/operators/{name}/reset", "LFFFS"),
    ("POST", "/operators/{name}/totp/remove", "LFFFS"),
    ("POST", "/operators/{name}/sessions/end", "LFFFS"),
    ("POST", "/operators/keys/{kid}/revoke", "LFFFS"),
    ("GET", "/", "LSSSS"),
    ("GET", "/kill", "LSSSS"),
    ("POST", "/kill/engage", "LFFSS"),
    ("POST", "/kill/release", "LFFFS"),
    ("POST", "/kill/drill", "LFFSS"),
    ("GET", "/live", "LSSSS"),
    ("GET", "/live/state", "LSSSS"),
    ("GET", "/activity", "LSSSS"),
    ("GET", "/activity/export", "LFSFS"),
    ("GET", "/servers", "LSSSS"),
    ("GET", "/servers/{name}", "LSSSS"),
    ("POST", "/servers/add", "LFFFS"),
    ("POST", "/servers/{name}/probe", "LFFSS"),
    ("POST", "/servers/{name}/approve", "LFFFS"),
    ("POST", "/servers/{name}/secrets", "LFFFS"),
    ("POST", "/servers/{name}/remove", "LFFFS"),
    ("GET", "/clients", "LSSSS"),
    ("GET", "/clients/{name}", "LSSSS"),
    ("POST", "/clients/add", "LFFFS"),
    ("POST", "/clients/{name}/revoke", "LFFSS"),
    ("POST", "/clients/secrets", "LFFFS"),
    ("POST", "/clients/secrets/{kid}/revoke", "LFFSS"),
    ("POST", "/clients/jwks", "LFFFS"),
    ("POST", "/clients/jwks/remove", "LFFSS"),
    ("GET", "/credentials", "LSSSS"),
    ("GET", "/credentials/plan", "LSSSS"),
    ("POST", "/credentials/plan", "LFFSS"),
    ("POST", "/credentials/prove", "LFFSS"),
    ("GET", "/credentials/proofs/{id}", "LSSSS"),
    ("GET", "/credentials/proofs/{id}/chart.svg", "LSSSS"),
    ("POST", "/credentials/revoke", "LFFSS"),
    ("GET", "/credentials/{kind}/{name}", "LSSSS"),
    ("POST", "/credentials/{kind}/{name}/rotate", "LFFSS"),
    ("POST", "/credentials/{kind}/{name}/fetch", "LFFSS"),
    ("POST", "/credentials/{kind}/{name}/supply", "LFFSS"),
    ("POST", "/credentials/{kind}/{name}/order", "LFFSS"),
    ("POST", "/credentials/{kind}/{name}/admin", "LFFFS"),
    ("POST", "/credentials/{kind}/{name}/approve", "LFFFS"),
    ("GET", "/alerts", "LSSSS"),
    ("POST", "/alerts/{id}/ack", "LFFSS"),
    ("POST", "/alerts/test", "LFFSS"),
    ("POST", "/alerts/receivers/add", "LFFFS"),
    ("POST", "/alerts/receivers/{name}/test", "LFFSS"),
    ("POST", "/alerts/receivers/{name}/secret", "LFFFS"),
    ("POST", "/alerts/receivers/{name}/remove", "LFFFS"),
    ("GET", "/vaults", "LSSSS"),
    ("GET", "/vaults/kit", "LSSSS"),
    ("POST", "/vaults/add", "LFFFS"),
    ("POST", "/vaults/{name}/approve", "LFFFS"),
    ("POST", "/vaults/backup", "LFFSS"),
    ("POST", "/vaults/verify", "LFFSS"),
    ("POST", "/vaults/restore", "LFFFS"),
    ("POST", "/vaults/live", "LFFFS"),
    ("GET", "/drills", "LSSSS"),
    ("GET", "/drills/{id}", "LSSSS"),
    ("GET", "/drills/{id}/report.json", "LSSSS"),
    ("POST", "/drills/run", "LFFSS"),
    ("POST", "/drills/schedule", "LFFFS"),
    ("GET", "/revisions", "LSSSS"),
    ("GET", "/revisions/diff", "LSSSS"),
    ("POST", "/revisions/rollback", "LFFFS"),
];

/// The API and the metrics, by operator key.
#[rustfmt::skip]
const API: [Row; 115] = [
    ("GET", "/metrics", "USSSS"),
    ("GET", "/api/openapi.json", "USSSS"),
    ("GET", "/api/v1/status", "USSSS"),
    ("GET", "/api/v1/overview", "USSSS"),
    ("GET", "/api/v1/health", "USSSS"),
    ("GET", "/api/v1/doctor", "USSSS"),
    ("GET", "/api/v1/kill", "USSSS"),
    ("GET", "/api/v1/kill/history", "USSSS"),
    ("POST", "/api/v1/kill/engage", "UFFSS"),
    ("POST", "/api/v1/kill/release", "UFFFS"),
    ("POST", "/api/v1/kill/prove", "UFFSS"),
    ("GET", "/api/v1/clients", "USSSS"),
    ("POST", "/api/v1/clients", "UFFFS"),
    ("GET", "/api/v1/clients/{name}", "USSSS"),
    ("POST", "/api/v1/clients/{name}/revoke", "UFFSS"),
    ("GET", "/api/v1/client-secrets", "USSSS"),
    ("POST", "/api/v1/client-secrets/{kid}/revoke", "UFFSS"),
    ("POST", "/api/v1/clients/{name}/secrets", "UFFFS"),
    ("POST", "/api/v1/clients/{name}/jwks", "UFFFS"),
    ("POST", "/api/v1/clients/{name}/jwks/remove", "UFFSS"),
    ("GET", "/api/v1/token-keys", "USSSS"),
    ("POST", "/api/v1/token-keys/stage", "UFFSS"),
    ("POST", "/api/v1/token-keys/{kid}/activate", "UFFSS"),
    ("POST", "/api/v1/token-keys/{kid}/retire", "UFFSS"),
    ("POST", "/api/v1/token-keys/{kid}/remove", "UFFSS"),
    ("POST", "/api/v1/tokens/cut", "UFFSS"),
    ("GET", "/api/v1/credentials", "USSSS"),
    ("GET", "/api/v1/credential-due", "USSSS"),
    ("GET", "/api/v1/credential-plan", "USSSS"),
    ("POST", "/api/v1/credential-plan", "UFFSS"),
    ("GET", "/api/v1/credential-proofs", "USSSS"),
    ("POST", "/api/v1/credential-proofs", "UFFSS"),
    ("GET", "/api/v1/credential-proofs/{id}", "USSSS"),
    ("POST", "/api/v1/credential-revoke", "UFFSS"),
    ("GET", "/api/v1/credentials/{kind}/{name}", "USSSS"),
    ("POST", "/api/v1/credentials/{kind}/{name}/rotate", "UFFSS"),
    ("POST", "/api/v1/credentials/{kind}/{name}/fetch", "UFFSS"),
    ("POST", "/api/v1/credentials/{kind}/{name}/supply", "UFFSS"),
    ("POST", "/api/v1/credentials/{kind}/{name}/order", "UFFSS"),
    ("POST", "/api/v1/credentials/{kind}/{name}/admin", "UFFFS"),
    ("POST", "/api/v1/credentials/{kind}/{name}/approve", "UFFFP"),
    ("GET", "/api/v1/roles", "USSSS"),
    ("GET", "/api/v1/roles/{name}", "USSSS"),
    ("POST", "/api/v1/roles/{name}", "UFFFS"),
    ("GET", "/api/v1/servers", "USSSS"),
    ("POST", "/api/v1/servers", "UFFFS"),
    ("POST", "/api/v1/server-import", "UFFFS"),
    ("GET", "/api/v1/servers/{name}", "USSSS"),
    ("POST", "/api/v1/servers/{name}/probe", "UFFSS"),
    ("POST", "/api/v1/servers/{name}/approve", "UFFFP"),
    ("POST", "/api/v1/servers/{name}/secrets", "UFFFS"),
    ("POST", "/api/v1/servers/{name}/remove", "UFFFS"),
    ("GET", "/api/v1/tools", "USSSS"),
    ("GET", "/api/v1/tools/diff", "UFFSS"),
    ("POST", "/api/v1/tools/class", "UFFFS"),
    ("POST", "/api/v1/tools/approve", "UFFFS"),
    ("GET", "/api/v1/policy/explain", "USSSS"),
    ("POST", "/api/v1/policy/explain", "USSSS"),
    ("POST", "/api/v1/policy/test", "USSSS"),
    ("GET", "/api/v1/config/history", "USSSS"),
    ("GET", "/api/v1/config/status", "USSSS"),
    ("POST", "/api/v1/config/check", "USSSS"),
    ("POST", "/api/v1/config/commit", "UFFFS"),
    ("GET", "/api/v1/config/diff", "USSSS"),
    ("POST", "/api/v1/config/rollback", "UFFFS"),
    ("POST", "/api/v1/config/push", "UFFFS"),
    ("POST", "/api/v1/config/pull", "UFFFS"),
    ("GET", "/api/v1/audit", "USSSS"),
    ("GET", "/api/v1/audit/verify", "USSSS"),
    ("GET", "/api/v1/audit/tail", "USSSS"),
    ("GET", "/api/v1/audit/export", "UFSFS"),
    ("POST", "/api/v1/audit/checkpoint", "UFFSS"),
    ("GET", "/api/v1/operators", "USSSS"),
    ("POST", "/api/v1/operators", "UFFFP"),
    ("POST", "/api/v1/operators/{name}/disable", "UFFFS"),
    ("POST", "/api/v1/operators/{name}/role", "UFFFP"),
    ("POST", "/api/v1/operators/{name}/reset", "UFFFP"),
    ("POST", "/api/v1/operators/{name}/keys", "UFFFP"),
    ("POST", "/api/v1/operators/{name}/totp/remove", "UFFFP"),
    ("POST", "/api/v1/operators/{name}/sessions/end", "UFFFS"),
    ("GET", "/api/v1/operator-keys", "USSSS"),
    ("POST", "/api/v1/operator-keys/{kid}/revoke", "USSSS"),
    ("GET", "/api/v1/operator-sessions", "USSSS"),
    ("POST", "/api/v1/operator-sessions/{session}/end", "USSSS"),
    ("POST", "/api/v1/operator-sessions/end", "UFFFS"),
    ("GET", "/api/v1/vaults", "USSSS"),
    ("POST", "/api/v1/vaults", "UFFFS"),
    ("POST", "/api/v1/vaults/{name}/approve", "UFFFP"),
    ("GET", "/api/v1/archives", "USSSS"),
    ("GET", "/api/v1/archives/copies", "USSSS"),
    ("POST", "/api/v1/backup", "UFFSS"),
    ("POST", "/api/v1/archives/verify", "UFFSS"),
    ("POST", "/api/v1/archives/prune", "UFFFS"),
    ("POST", "/api/v1/archives/reencrypt", "UFFFS"),
    ("POST", "/api/v1/archives/{id}/hold", "UFFSS"),
    ("POST", "/api/v1/restore", "UFFFS"),
    ("POST", "/api/v1/restore/live", "UFFFS"),
    ("GET", "/api/v1/vaults/kept", "USSSS"),
    ("POST", "/api/v1/vaults/{name}/clean", "UFFFS"),
    ("GET", "/api/v1/recipients", "USSSS"),
    ("POST", "/api/v1/recipients", "UFFFP"),
    ("POST", "/api/v1/recipients/{name}/prove", "UFFSS"),
    ("POST", "/api/v1/recipients/{name}/remove", "UFFFP"),
    ("GET", "/api/v1/drills", "USSSS"),
    ("GET", "/api/v1/drills/{id}", "USSSS"),
    ("POST", "/api/v1/drills", "UFFSS"),
    ("GET", "/api/v1/schedules", "USSSS"),
    ("POST", "/api/v1/schedules", "UFFFS"),
    ("GET", "/api/v1/alerts", "USSSS"),
    ("POST", "/api/v1/alerts/{id}/ack", "UFFSS"),
    ("POST", "/api/v1/alerts/test", "UFFSS"),
    ("GET", "/api/v1/alerts/receivers", "USSSS"),
    ("POST", "/api/v1/alerts/receivers", "UFFFS"),
    ("POST", "/api/v1/alerts/receivers/{name}/secret", "UFFFS"),
    ("POST", "/api/v1/alerts/receivers/{name}/remove", "UFFFS"),
];

fn letter(status: StatusCode, to: &str) -> char {
    match status.as_u16() {
        303 if to.starts_with("/login") || to.starts_with("/setup") => 'L',
        401 => 'U',
        403 => 'F',
        405 | 500 => '!',
        _ => 'S',
    }
}

fn names(rows: &[Row]) -> BTreeSet<(String, String)> {
    let names: BTreeSet<_> = rows.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(names.len(), rows.len(), "a route stands here twice");
    names
}

#[test]
fn atk_a09_the_routers_have_exactly_these_routes() {
    let both = |method: &str, path: &str| (method.to_owned(), path.to_owned());
    let own = ROUTES.iter().copied().flatten().map(|(method, path, _)| both(method, path));
    let described = api::described_routes().into_iter().map(|(method, path, ..)| both(&method, &path));
    let served: BTreeSet<_> = own.chain(described).chain([both("GET", "/api/openapi.json")]).collect();
    let written: BTreeSet<_> = names(&DASHBOARD).union(&names(&API)).cloned().collect();
    assert_eq!(served.difference(&written).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "served, and not in the table");
    assert_eq!(written.difference(&served).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "in the table, and not served");
    let person = api::described_routes().into_iter().filter(|(.., person, _)| *person).map(|(method, path, ..)| (method, path));
    let written: Vec<Row> = API.into_iter().filter(|(.., who)| who.ends_with('P')).collect();
    assert_eq!(person.collect::<BTreeSet<_>>(), names(&written), "what no key may do is described so");
}

// Those whose answer is not the gate's: signing in and out sends to the login page whoever comes.
const ALWAYS_LOGIN: [&str; 2] = ["/logout", "/login/code"];

#[tokio::test(flavor = "multi_thread")]
async fn atk_a09_each_page_and_form_is_for_whom_the_table_says() {
    let house = House::open().await;
    let mut faults = Vec::new();
    let mut tokens = vec![None];
    for role in OperatorRole::ALL {
        tokens.push(Some(session(&house.admin, role).await));
    }
    for (method, path, wanted) in DASHBOARD.iter().filter(|(_, path, _)| !ALWAYS_LOGIN.contains(path)) {
        for (token, wanted) in tokens.iter().zip(wanted.chars()) {
            let concrete = concrete(path);
            let body = if *path == "/kill/release" { "scope=everything&to=everything&reason=over" } else { "" };
            let ask = Ask::new(method, &concrete).body(body);
            let ask = if let Some(token) = token { ask.cookie(token) } else { ask };
            let response = ask.send(&house).await;
            let mut seen = letter(response.status(), location(&response));
            // Whoever signs in with nothing typed is told so by the page itself.
            if matches!((*method, *path, seen), ("POST", "/login", 'U') | ("GET", "/setup" | "/login", 'L')) {
                seen = 'S';
            }
            if seen != wanted {
                faults.push(format!("{method} {path}: {} instead of {wanted}, for {}", response.status(), token.is_some()));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    for token in tokens.iter().flatten() {
        let left = Ask::new("POST", "/logout").cookie(token).send(&house).await;
        assert_eq!(location(&left), "/login");
        assert_eq!(letter(left.status(), location(&Ask::new("GET", "/").cookie(token).send(&house).await)), 'L');
    }
    assert_eq!(location(&Ask::new("POST", "/logout").send(&house).await), "/login");
}

async fn key(admin: &Admin, role: OperatorRole) -> String {
    drop(session(admin, role).await);
    operators::key_add(admin, &root(), role.word(), AddKey::default()).await.unwrap().key
}

fn api_path(path: &str) -> String {
    let query = match path {
        "/api/v1/policy/explain" => "?client=ci&tool=demo/add",
        "/api/v1/audit/tail" => "?since=0",
        _ => "",
    };
    let path = concrete(path).replace("{session}", "none");
    format!("{path}{query}")
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a09_each_verb_of_the_api_is_for_whom_the_table_says() {
    let house = House::open().await;
    house.listen("proxy").await;
    let mut keys = vec![None];
    for role in OperatorRole::ALL {
        keys.push(Some(key(&house.admin, role).await));
    }
    let examples = api::described_routes();
    let mut faults = Vec::new();
    for (method, path, wanted) in API {
        let example = examples.iter().find(|(m, p, ..)| m == method && p == path).map_or(String::new(), |(.., body)| body.clone());
        for (key, wanted) in keys.iter().zip(wanted.chars()) {
            let concrete = api_path(path);
            let ask = Ask::new(method, &concrete).with("content-type", "application/json").body(&example);
            let ask = if let Some(key) = key { ask.with("authorization", format!("Bearer {key}")) } else { ask };
            let seen = letter(ask.send(&house).await.status(), "");
            if seen != if wanted == 'P' { 'F' } else { wanted } {
                faults.push(format!("{method} {path}: {seen} instead of {wanted}"));
            }
        }
        if wanted.ends_with('P') {
            let request = Request::builder().method(method).uri(api_path(path)).body(Body::from(example)).unwrap();
            let local = api::router().with_state(house.admin.clone()).layer(axum::Extension(root()));
            let status = local.oneshot(request).await.unwrap().status();
            if letter(status, "") != 'S' {
                faults.push(format!("{method} {path}: {status} for the local account"));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}
