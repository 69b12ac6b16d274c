//! The gate of the admin listener, walked with every route and every role: who may come in, from which page, and in which clothes.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::actor::Right;
use super::operators::{self, AddOperator, NotSignedIn, Visitor};
use super::routes::{Access, Entry, ROUTES, router};
use super::tests_house::{House, root};
use super::{Admin, OperatorRole};
use crate::audit::Event;
use crate::base::secret::Secret;

const PASSWORD: &str = "correct horse battery";
const HOST: &str = "localhost:8443";

fn visitor() -> Visitor {
    Visitor { remote: [127, 0, 0, 1].into(), agent: "test".into() }
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

async fn session(admin: &Admin, role: OperatorRole) -> String {
    let name = role.word();
    let input = AddOperator { name: name.into(), role, password: secret(PASSWORD) };
    operators::add(admin, &root(), input).await.unwrap();
    operators::login(admin, name, &secret(PASSWORD), &visitor(), None).await.unwrap().token.reveal().clone()
}

struct Ask<'a> {
    method: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, String)>,
    body: &'a str,
}

impl<'a> Ask<'a> {
    fn new(method: &'a str, path: &'a str) -> Self {
        let mut headers = vec![("host", HOST.to_owned()), ("sec-fetch-site", "same-origin".to_owned())];
        if method == "POST" {
            headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
        }
        Self { method, path, headers, body: "" }
    }

    fn with(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.retain(|(have, _)| *have != name);
        self.headers.push((name, value.into()));
        self
    }

    fn cookie(self, token: &str) -> Self {
        self.with("cookie", format!("__Host-lifeboat={token}"))
    }

    fn body(mut self, body: &'a str) -> Self {
        self.body = body;
        self
    }

    async fn send(self, house: &House) -> Response<Body> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(self.body.to_owned())).unwrap();
        router(house.admin.clone()).oneshot(request).await.unwrap()
    }
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn location(response: &Response<Body>) -> &str {
    response.headers().get(header::LOCATION).map_or("", |value| value.to_str().unwrap())
}

fn entries() -> impl Iterator<Item = Entry> {
    ROUTES.iter().copied().flatten().copied()
}

fn concrete(path: &str) -> String {
    path.replace("{kind}", "client-key")
        .replace("{name}", "nobody")
        .replace("{id}", "none")
        .replace("{kid}", "none")
        .replace("{*name}", "app.css")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_nothing_but_the_public_routes() {
    let house = House::open().await;
    drop(session(&house.admin, OperatorRole::Admin).await);
    for (method, path, access) in entries() {
        let path = concrete(path);
        let response = Ask::new(method, &path).send(&house).await;
        let status = response.status();
        match access {
            Access::Public => assert!(!matches!(status.as_u16(), 403..=405), "{method} {path}: {status}"),
            Access::Key(_) => assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}"),
            Access::Signed(_) | Access::Stream(_) => {
                assert_eq!(status, StatusCode::SEE_OTHER, "{method} {path}");
                assert!(location(&response).starts_with("/login"), "{method} {path}: {}", location(&response));
            }
        }
    }
    assert_eq!(Ask::new("GET", "/nope").send(&house).await.status(), StatusCode::SEE_OTHER);
    assert!(!house.admin.feed.kill().engaged());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_exactly_what_the_table_says() {
    let house = House::open().await;
    for role in OperatorRole::ALL {
        let token = session(&house.admin, role).await;
        for (method, path, access) in entries().filter(|(_, path, _)| *path != "/logout" && *path != "/kill/release") {
            let (Access::Signed(right) | Access::Stream(right)) = access else { continue };
            let path = concrete(path);
            let status = Ask::new(method, &path).cookie(&token).send(&house).await.status();
            if role.has(right) {
                assert!(!matches!(status.as_u16(), 401 | 403 | 405 | 500), "{role} {method} {path}: {status}");
            } else {
                assert_eq!(status, StatusCode::FORBIDDEN, "{role} {method} {path}");
            }
        }
        let released =
            Ask::new("POST", "/kill/release").cookie(&token).body("scope=everything&to=everything&reason=over").send(&house).await;
        assert_eq!(released.status() == StatusCode::FORBIDDEN, !role.has(Right::Administer), "{role} releases");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a05_no_other_site_can_post_anything() {
    let house = House::open().await;
    let token = session(&house.admin, OperatorRole::Admin).await;
    for (method, path, _) in entries().filter(|(method, _, _)| *method == "POST") {
        let path = concrete(path);
        let foreign = [
            Ask::new(method, &path).with("sec-fetch-site", "cross-site"),
            Ask::new(method, &path).with("sec-fetch-site", "same-site").with("hx-request", "true"),
            Ask::new(method, &path).with("sec-fetch-site", "cross-site").with("content-type", "text/plain").body("{}"),
        ];
        for ask in foreign {
            let response = ask.cookie(&token).send(&house).await;
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
            assert!(response.headers().contains_key("content-security-policy"));
        }
        let mut old = Ask::new(method, &path).cookie(&token).with("origin", "https://evil.example");
        old.headers.retain(|(name, _)| *name != "sec-fetch-site");
        assert_eq!(old.send(&house).await.status(), StatusCode::FORBIDDEN, "{path} with a foreign Origin alone");
    }
    let host = Ask::new("GET", "/login").with("host", "evil.example").send(&house).await;
    assert_eq!(host.status(), StatusCode::FORBIDDEN);
    assert!(!house.admin.feed.kill().engaged());
}

// Every element with an htmx attribute carries the nonce of its own response, or hx-csp strips it.
fn check_page(html: &str, nonce: &str, path: &str) {
    for tag in html.split('<').filter(|tag| tag.contains(" hx-") && !tag.starts_with("meta")) {
        let tag = tag.split('>').next().unwrap_or_default();
        assert!(tag.contains(&format!("hx-nonce=\"{nonce}\"")), "{path}: <{tag}>");
    }
    for bad in [" style=", "<style", "onclick=", "hx-on", "javascript:"] {
        assert!(!html.contains(bad), "{path} has {bad}");
    }
    assert_eq!(html.matches("<h1").count(), 1, "{path} has one h1");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a07_a08_every_page_is_dressed_and_every_htmx_element_has_its_nonce() {
    let house = House::open().await;
    let token = session(&house.admin, OperatorRole::Admin).await;
    for path in [
        "/",
        "/kill",
        "/activity",
        "/alerts",
        "/servers",
        "/clients",
        "/credentials",
        "/credentials/tls/server",
        "/credentials/plan",
        "/operators",
        "/login?again=1",
        "/nope",
        "/kill?scope=client&client=x",
    ] {
        let response = Ask::new("GET", path).cookie(&token).send(&house).await;
        let headers = response.headers().clone();
        for (name, value) in [("x-frame-options", "DENY"), ("x-content-type-options", "nosniff"), ("cache-control", "no-store")] {
            assert_eq!(headers[name], value, "{path}");
        }
        let policy = headers["content-security-policy"].to_str().unwrap().to_owned();
        let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
        let html = text(response).await;
        let nonce = nonce.replace('+', "&#43;");
        let html = html.replace('+', "&#43;");
        check_page(&html, &nonce, path);
        if !path.starts_with("/login") {
            assert!(html.contains("id=\"halt\"") && html.contains("id=\"stop\""), "{path} can stop");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_c04_the_first_admin_needs_the_code_and_there_is_only_one_first() {
    let house = House::open().await;
    let admin = &house.admin;
    let code = operators::ensure_setup_code(&admin.db, admin.entropy.as_ref()).await.unwrap().unwrap();
    assert!(operators::ensure_setup_code(&admin.db, admin.entropy.as_ref()).await.unwrap().is_none(), "shown once");
    let start = Ask::new("GET", "/").send(&house).await;
    assert_eq!(location(&start), "/setup");
    for (name, password) in [("admin", "admin"), ("admin", ""), ("root", "lifeboat")] {
        let body = format!("operator={name}&password={password}");
        assert_ne!(Ask::new("POST", "/login").body(&body).send(&house).await.status(), StatusCode::SEE_OTHER);
    }
    let wrong =
        Ask::new("POST", "/setup").body("code=aaaaa-bbbbb-ccccc-ddddd&name=eve&password=long+enough+words").send(&house).await;
    assert_eq!(wrong.status(), StatusCode::FORBIDDEN);
    let typed = code.reveal().to_uppercase().replace('-', "+");
    let short = format!("code={typed}&name=ana&password=short");
    assert_eq!(Ask::new("POST", "/setup").body(&short).send(&house).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let first = format!("code={typed}&name=ana&password=correct+horse+battery");
    let second = format!("code={typed}&name=eve&password=correct+horse+battery");
    let (a, b) =
        tokio::join!(Ask::new("POST", "/setup").body(&first).send(&house), Ask::new("POST", "/setup").body(&second).send(&house));
    let statuses = [a.status(), b.status()];
    assert!(statuses.contains(&StatusCode::SEE_OTHER) && statuses.contains(&StatusCode::CONFLICT), "{statuses:?}");
    assert_eq!(operators::admins(admin).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a03_a04_a_sign_in_makes_a_new_session_and_sign_out_ends_it() {
    let house = House::open().await;
    let old = session(&house.admin, OperatorRole::Admin).await;
    let body = "operator=admin&password=correct+horse+battery&next=%2F%2Fevil.example";
    let response = Ask::new("POST", "/login").cookie(&old).body(body).send(&house).await;
    assert_eq!((response.status(), location(&response)), (StatusCode::SEE_OTHER, "/"), "ATK-A13");
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{cookie}");
    let new = cookie.trim_start_matches("__Host-lifeboat=").split(';').next().unwrap().to_owned();
    assert_ne!(new, old);
    assert_eq!(Ask::new("GET", "/").cookie(&old).send(&house).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(Ask::new("GET", "/").cookie(&new).send(&house).await.status(), StatusCode::OK);
    let two = Ask::new("GET", "/").with("cookie", format!("__Host-lifeboat={new}; __Host-lifeboat=planted")).send(&house).await;
    assert_eq!(two.status(), StatusCode::FORBIDDEN, "ATK-A17");
    Ask::new("POST", "/logout").cookie(&new).send(&house).await;
    assert_eq!(Ask::new("GET", "/").cookie(&new).send(&house).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_role_ends_the_sessions_and_a_restart_keeps_them() {
    let house = House::open().await;
    let boss = session(&house.admin, OperatorRole::Admin).await;
    let viewer = session(&house.admin, OperatorRole::Viewer).await;
    let changed = Ask::new("POST", "/operators/viewer/role").cookie(&boss).body("role=operator").send(&house).await;
    assert_eq!(changed.status(), StatusCode::SEE_OTHER);
    assert_eq!(Ask::new("GET", "/").cookie(&viewer).send(&house).await.status(), StatusCode::SEE_OTHER, "ATK-A03");
    let last = Ask::new("POST", "/operators/admin/disable").cookie(&boss).send(&house).await;
    assert_eq!(last.status(), StatusCode::CONFLICT, "the only admin stays");
    let house = House::open_at(house.close().await).await;
    assert_eq!(Ask::new("GET", "/operators").cookie(&boss).send(&house).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_takes_keys_and_never_a_cookie() {
    let house = House::open().await;
    let token = session(&house.admin, OperatorRole::Operator).await;
    for path in ["/api/v1/status", "/api/v1/nope", "/metrics"] {
        assert_eq!(Ask::new("GET", path).cookie(&token).send(&house).await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    let made = operators::key_add(&house.admin, &root(), "operator", Some(1)).await.unwrap();
    let bearer = format!("Bearer {}", made.key);
    for path in ["/api/v1/status", "/metrics"] {
        assert_eq!(Ask::new("GET", path).with("authorization", &bearer).send(&house).await.status(), StatusCode::OK, "{path}");
    }
    let page = Ask::new("GET", "/kill").with("authorization", &bearer).send(&house).await;
    assert_eq!(page.status(), StatusCode::SEE_OTHER, "a key opens no page");
    let release = Ask::new("POST", "/api/v1/kill/release").with("authorization", &bearer).with("content-type", "application/json");
    assert_eq!(
        release.body(r#"{"reason":"x"}"#).send(&house).await.status(),
        StatusCode::FORBIDDEN,
        "the key has its operator's role"
    );
    operators::key_revoke(&house.admin, &root(), &made.kid).await.unwrap();
    let after = Ask::new("GET", "/api/v1/status").with("authorization", &bearer).send(&house).await;
    assert_eq!(after.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a01_wrong_passwords_wait_and_known_places_do_not_suffer() {
    let house = House::open().await;
    drop(session(&house.admin, OperatorRole::Admin).await);
    let elsewhere = Visitor { remote: [203, 0, 113, 9].into(), agent: String::new() };
    for _ in 0..5 {
        let tried = operators::login(&house.admin, "admin", &secret("wrong wrong wrong"), &elsewhere, None).await;
        assert!(matches!(tried, Err(NotSignedIn::Wrong)));
    }
    let slowed = operators::login(&house.admin, "admin", &secret(PASSWORD), &elsewhere, None).await;
    assert!(matches!(slowed, Err(NotSignedIn::Later(_))), "even the right one waits there");
    assert!(operators::login(&house.admin, "admin", &secret(PASSWORD), &visitor(), None).await.is_ok(), "and not at home");
    let nobody = operators::login(&house.admin, "nobody", &secret(PASSWORD), &visitor(), None).await;
    assert!(matches!(nobody, Err(NotSignedIn::Wrong)), "an unknown name is told the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_by_form_and_by_htmx_says_so_and_release_keeps_the_reason() {
    let house = House::open().await;
    house.listen("proxy").await;
    let token = session(&house.admin, OperatorRole::Admin).await;
    let body = "scope=everything&server=demo&mode=full&reason=runaway+client";
    let part = Ask::new("POST", "/kill/engage").cookie(&token).with("hx-request", "true").body(body).send(&house).await;
    assert_eq!(part.status(), StatusCode::OK);
    let html = text(part).await;
    assert!(html.contains("data-stopped=\"true\"") && html.contains("Stopped everywhere in "), "{html}");
    let page = text(Ask::new("GET", "/").cookie(&token).send(&house).await).await;
    assert!(page.contains("STOPPED · Overview · Lifeboat") && page.contains("Do this next"));
    for session in house.admin.operators.state().sessions.values_mut() {
        session.login_at = session.login_at.plus_ms(-22 * 60_000);
    }
    let release = "scope=everything&to=read-only&reason=cause+is+one+client";
    let old = Ask::new("POST", "/kill/release").cookie(&token).body(release).send(&house).await;
    assert_eq!(old.status(), StatusCode::FORBIDDEN);
    let html = text(old).await;
    assert!(html.contains("Not released. Your login is 22 minutes old. Sign in again; your reason is kept."));
    assert!(html.contains("value=\"cause is one client\""));
    assert!(house.admin.feed.kill().engaged());
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a04_a_tail_ends_with_its_key() {
    let house = House::open().await;
    drop(session(&house.admin, OperatorRole::Admin).await);
    let made = operators::key_add(&house.admin, &root(), "admin", None).await.unwrap();
    let tail = Ask::new("GET", "/api/v1/audit/tail").with("authorization", format!("Bearer {}", made.key)).send(&house).await;
    assert_eq!(tail.status(), StatusCode::OK);
    operators::key_revoke(&house.admin, &root(), &made.kid).await.unwrap();
    let rest = tokio::time::timeout(Duration::from_secs(20), text(tail)).await.expect("it ends");
    assert!(!rest.contains("operator.key.revoke"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a04_a_live_page_ends_with_its_session_however_many_calls_there_are() {
    let house = House::open().await;
    let token = session(&house.admin, OperatorRole::Viewer).await;
    let live = Ask::new("GET", "/live?calls=1").cookie(&token).send(&house).await;
    assert_eq!(live.status(), StatusCode::OK);
    operators::disable(&house.admin, &root(), "viewer").await.unwrap();
    let calls = async {
        for _ in 0..300 {
            house.admin.record(Event::system("test.call", "x")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = calls => panic!("it goes on after its session"),
        told = text(live) => assert!(told.contains("test.call"), "{told}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_added_by_a_plain_form_and_its_secret_is_on_that_answer_only() {
    let house = House::open().await;
    let token = session(&house.admin, OperatorRole::Admin).await;
    let wrong = "name=pager&url=https%3A%2F%2F2130706433%2F&rules=backup.*";
    let refused = Ask::new("POST", "/alerts/receivers/add").cookie(&token).body(wrong).send(&house).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let html = text(refused).await;
    assert!(html.contains("id=\"url-e\"") && html.contains("value=\"backup.*\""), "what was typed stays: {html}");
    let right = "name=pager&url=https%3A%2F%2Fhooks.example.com%2Fa&rules=backup.*+drill.*&addresses=10.0.0.0%2F8";
    let made = Ask::new("POST", "/alerts/receivers/add").cookie(&token).body(right).send(&house).await;
    assert_eq!(made.status(), StatusCode::OK);
    let html = text(made).await;
    let secret = html.split("whsec_").nth(1).and_then(|rest| rest.get(..44)).expect("shown once").to_owned();
    let page = text(Ask::new("GET", "/alerts").cookie(&token).send(&house).await).await;
    assert!(page.contains("https://hooks.example.com/a") && page.contains("alerts of backup.*, drill.*"), "{page}");
    assert!(!page.contains("whsec_") && !page.contains(&secret), "{page}");
    let viewer = session(&house.admin, OperatorRole::Viewer).await;
    let seen = text(Ask::new("GET", "/alerts").cookie(&viewer).send(&house).await).await;
    assert!(seen.contains("hooks.example.com") && !seen.contains("/alerts/receivers/"), "a viewer only reads: {seen}");
    let gone = Ask::new("POST", "/alerts/receivers/pager/remove").cookie(&token).send(&house).await;
    assert_eq!((gone.status(), location(&gone)), (StatusCode::SEE_OTHER, "/alerts"));
}
