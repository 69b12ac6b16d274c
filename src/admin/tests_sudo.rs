//! Fresh logins, sessions, keys, and what no form can smuggle in: each dangerous verb with a login that is too old, and each of the ways up.

use std::collections::BTreeMap;

use axum::http::StatusCode;

use super::actor::Right;
use super::operators::{self, AddKey};
use super::routes::{Access, ROUTES};
use super::tests_ask::{Ask, PASSWORD, cookie_of, location, secret, session, text, visitor};
use super::tests_gate::{age, concrete};
use super::tests_house::{House, root};
use super::{Actor, OperatorRole, Via, servers, vaults};
use crate::base::fault::FaultKind;
use crate::web::cookie;

/// Each form whose verb wants a fresh login, with what makes it one.
const WANTS: [(&str, &str); 33] = [
    ("/kill/release", "scope=everything&to=everything&reason=over"),
    ("/operators/add", "name=eve&role=admin&password=correct+horse+battery"),
    ("/operators/viewer/role", "role=admin"),
    ("/operators/viewer/disable", ""),
    ("/operators/viewer/reset", "password=correct+horse+battery"),
    ("/operators/viewer/totp/remove", ""),
    ("/account/password", "password=correct+horse+battery"),
    ("/account/totp/begin", ""),
    ("/account/totp/remove", ""),
    ("/account/recovery-codes", ""),
    ("/account/keys/add", "expires=30"),
    ("/servers/add", "name=web&kind=http&url=https%3A%2F%2Ftools.example.com%2Fmcp"),
    ("/servers/demo/approve", ""),
    ("/servers/demo/secrets", "headers=x-a%3A+b"),
    ("/vaults/restore", "archive=latest%3Ademo&to=%2Ftmp%2Fnowhere&dry=no"),
    ("/vaults/live", "archive=latest%3Ademo&reason=x&sure=yes"),
    ("/vaults/add", "name=notes&kind=path&path=%2Ftmp"),
    ("/drills/schedule", "job=backup&cron=1+2+*+*+*"),
    ("/alerts/receivers/add", "name=pager&url=https%3A%2F%2Fhooks.example.com%2Fa"),
    ("/alerts/receivers/demo/secret", ""),
    ("/alerts/receivers/demo/remove", ""),
    ("/vaults/demo/approve", ""),
    ("/revisions/rollback", "to=HEAD&reason=x"),
    ("/clients/add", "name=ci&roles=demo"),
    ("/clients/secrets", "client=demo"),
    ("/clients/jwks", "client=demo&jwk=x"),
    ("/credentials/prove", ""),
    ("/credentials/client-key/demo/rotate", ""),
    ("/credentials/client-key/demo/fetch", ""),
    ("/credentials/client-key/demo/supply", "value=correct+horse+battery"),
    ("/credentials/client-key/demo/order", "order=cancel"),
    ("/credentials/client-key/demo/admin", "password=correct+horse+battery"),
    ("/credentials/client-key/demo/approve", ""),
];

/// Each form that never asks: it stops, takes away, looks, or gives nothing.
const NEVER: [&str; 22] = [
    "/logout",
    "/account/totp/confirm",
    "/account/sessions/end",
    "/account/sessions/{id}/end",
    "/account/keys/{kid}/revoke",
    "/operators/{name}/sessions/end",
    "/operators/keys/{kid}/revoke",
    "/kill/engage",
    "/kill/drill",
    "/servers/{name}/probe",
    "/servers/{name}/remove",
    "/clients/secrets/{kid}/revoke",
    "/clients/jwks/remove",
    "/credentials/plan",
    "/credentials/revoke",
    "/clients/{name}/revoke",
    "/alerts/{id}/ack",
    "/alerts/test",
    "/alerts/receivers/{name}/test",
    "/vaults/backup",
    "/vaults/verify",
    "/drills/run",
];

#[test]
fn atk_a11_every_form_is_on_one_of_the_two_lists() {
    let place = |path: &str| {
        let path = path.replace("/client-key/", "/{kind}/");
        ["viewer", "demo"].into_iter().fold(path, |path, name| path.replace(&format!("/{name}/"), "/{name}/"))
    };
    for (method, path, access) in ROUTES.iter().copied().flatten().copied() {
        if let ("POST", Access::Signed(_)) = (method, access) {
            let lists = (WANTS.iter().any(|(wants, _)| place(wants) == path), NEVER.contains(&path));
            assert!(lists.0 != lists.1, "{path}: does it want a fresh login? {lists:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a11_each_dangerous_verb_wants_a_login_of_the_last_five_minutes() {
    let house = House::open().await;
    let token = session(&house.admin, OperatorRole::Admin).await;
    drop(session(&house.admin, OperatorRole::Viewer).await);
    house.listen("proxy").await;
    let stop = super::kill::OrderBody { reason: "runaway".into(), ..Default::default() };
    super::kill::engage(&house.admin, &root(), stop.into_order().unwrap()).await.unwrap();
    age(&house, 6);
    let head = house.admin.feed.snapshot().revision.to_string();
    for (path, body) in WANTS {
        let asked = Ask::new("POST", path).cookie(&token).body(body).send(&house).await;
        assert_eq!(asked.status(), StatusCode::FORBIDDEN, "{path}");
        assert_eq!(cookie_of(&asked, cookie::NAME), None, "{path}");
        let html = text(asked).await;
        assert!(html.contains("<h1>Sign in again</h1>") && html.contains("Your login is 6 minutes old."), "{path}: {html}");
        assert!(html.contains(&format!("action=\"{path}\"")), "{path} goes on where it was asked");
        assert!(!html.contains("correct horse battery") && !html.contains("x-a: b"), "{path} carries no secret: {html}");
        let wrong = format!("{body}&again_password=wrong+wrong+wrong");
        if path == "/kill/release" {
            let still = Ask::new("POST", path).cookie(&token).body(&wrong).send(&house).await;
            assert_eq!(still.status(), StatusCode::FORBIDDEN, "a wrong password is asked for again, and nothing is done");
        }
    }
    assert!(house.admin.feed.kill().engaged());
    assert_eq!(house.admin.feed.snapshot().revision.to_string(), head, "nothing was changed");
    let viewer = operators::list(&house.admin, &root()).unwrap().operators.into_iter().find(|o| o.name == "viewer").unwrap();
    assert_eq!((viewer.role, viewer.disabled_at), (OperatorRole::Viewer, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a11_stopping_and_taking_away_never_ask() {
    let house = House::open().await;
    house.listen("proxy").await;
    let token = session(&house.admin, OperatorRole::Admin).await;
    let key = operators::key_add(&house.admin, &root(), "admin", AddKey::default()).await.unwrap();
    let other = operators::login(&house.admin, "admin", &secret(PASSWORD), &visitor(), (None, "/")).await.unwrap();
    let add = super::clients::AddClient { name: "ci".into(), roles: vec!["demo".into()], ..Default::default() };
    super::clients::add(&house.admin, &root(), add).await.unwrap();
    age(&house, 600);
    let forms = [
        "/clients/ci/revoke".to_owned(),
        "/kill/engage".to_owned(),
        "/kill/drill".to_owned(),
        format!("/account/keys/{}/revoke", key.kid),
        format!("/account/sessions/{}/end", operators::session_name(other.token.reveal())),
        "/account/sessions/end".to_owned(),
        "/operators/admin/sessions/end".to_owned(),
    ];
    for path in forms {
        let done = Ask::new("POST", &path).cookie(&token).body("scope=everything&mode=full&reason=leaked+key").send(&house).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{path}");
    }
    assert!(house.admin.feed.kill().engaged());
    assert!(operators::who_by_key(&house.admin, &key.key).is_none());
    assert!(operators::who(&house.admin, other.token.reveal(), operators::Touch::No).is_none());
    assert!(operators::who(&house.admin, &token, operators::Touch::No).is_none(), "the last form ended its own session too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_right_there_goes_on_with_what_was_asked_once() {
    let house = House::open().await;
    let token = session(&house.admin, OperatorRole::Admin).await;
    age(&house, 6);
    let asked = Ask::new("POST", "/operators/add")
        .cookie(&token)
        .body("name=mira&role=auditor&password=a+password+of+mira")
        .send(&house)
        .await;
    let html = text(asked).await;
    assert!(html.contains("name=\"name\" value=\"mira\"") && html.contains("name=\"role\" value=\"auditor\""), "{html}");
    assert!(html.contains("The new password") && !html.contains("a password of mira"), "a secret is asked for again: {html}");
    let whole = "name=mira&role=auditor&again_operator=admin&again_password=correct+horse+battery&password=a+password+of+mira";
    let added = Ask::new("POST", "/operators/add").cookie(&token).body(whole).send(&house).await;
    assert_eq!((added.status(), location(&added)), (StatusCode::SEE_OTHER, "/operators"));
    let fresh = cookie_of(&added, cookie::NAME).expect("a new session id");
    let mira = operators::list(&house.admin, &root()).unwrap().operators.into_iter().find(|o| o.name == "mira").expect("added");
    assert_eq!(mira.role, OperatorRole::Auditor);
    assert!(operators::login(&house.admin, "mira", &secret("a password of mira"), &visitor(), (None, "/")).await.is_ok());
    let next = Ask::new("POST", "/operators/mira/disable").cookie(&fresh).send(&house).await;
    assert_eq!(next.status(), StatusCode::SEE_OTHER, "for five minutes nothing asks again");
    // What is wrong with the form itself is said by its own page, not by another round of passwords.
    age(&house, 6);
    let wrong = "name=NOT+A+NAME&role=auditor&again_password=correct+horse+battery&password=a+password+of+mira";
    let refused = Ask::new("POST", "/operators/add").cookie(&fresh).body(wrong).send(&house).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(cookie_of(&refused, cookie::NAME).is_some() && text(refused).await.contains("id=\"name-e\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a01_the_password_asked_for_again_waits_like_the_first() {
    let house = House::open().await;
    let token = session(&house.admin, OperatorRole::Admin).await;
    age(&house, 6);
    let mut seen = BTreeMap::new();
    for _ in 0..8 {
        let wrong = Ask::new("POST", "/operators/nobody/disable")
            .cookie(&token)
            .body("again_password=wrong+wrong+wrong")
            .send(&house)
            .await;
        *seen.entry(wrong.status().as_u16()).or_insert(0) += 1;
    }
    assert_eq!(seen.get(&403), Some(&5), "{seen:?}");
    assert_eq!(seen.get(&429), Some(&3), "{seen:?}");
    let right = Ask::new("POST", "/operators/nobody/disable")
        .cookie(&token)
        .body("again_password=correct+horse+battery")
        .send(&house)
        .await;
    assert_eq!(right.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(operators::who(&house.admin, &token, operators::Touch::No).is_some(), "the session itself goes on: it can still stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a11_an_api_key_is_no_person() {
    let house = House::open().await;
    let admin = &house.admin;
    drop(session(admin, OperatorRole::Admin).await);
    drop(session(admin, OperatorRole::Viewer).await);
    let key = Actor { name: "admin".into(), via: Via::Api, ..root() };
    let kind = |fault: crate::base::fault::Fault| (fault.kind, fault.message.contains("nothing an API key may do"));
    let denied = (FaultKind::Denied, true);
    let eve = operators::AddOperator { name: "eve".into(), role: OperatorRole::Viewer, password: secret(PASSWORD) };
    assert_eq!(kind(operators::add(admin, &key, eve).await.unwrap_err()), denied);
    assert_eq!(kind(operators::set_role(admin, &key, "viewer", OperatorRole::Admin).await.unwrap_err()), denied);
    assert_eq!(kind(operators::reset(admin, &key, "viewer", &secret(PASSWORD)).await.unwrap_err()), denied);
    assert_eq!(kind(operators::totp_remove(admin, &key, "viewer").await.unwrap_err()), denied);
    for name in ["admin", "viewer"] {
        assert_eq!(kind(operators::key_add(admin, &key, name, AddKey::default()).await.map(|_| ()).unwrap_err()), denied);
    }
    let child = servers::AddServer { name: "child".into(), stdio: Some("/bin/true".into()), ..Default::default() };
    assert_eq!(kind(servers::add(admin, &key, child).await.unwrap_err()), denied);
    assert_eq!(kind(servers::approve(admin, &key, "demo").await.unwrap_err()), denied);
    let recipient = vaults::AddRecipient { name: "eve".into(), recipient: crate::crypto::recovery::create().recipient };
    assert_eq!(kind(vaults::add_recipient(admin, &key, recipient).await.unwrap_err()), denied);
    // It may do what its role may, and take away.
    assert!(operators::disable(admin, &key, "viewer").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a10_nothing_in_a_form_makes_anybody_more_than_it_is() {
    let house = House::open().await;
    let admin = &house.admin;
    drop(session(admin, OperatorRole::Admin).await);
    let viewer = session(admin, OperatorRole::Viewer).await;
    let up = "role=admin&operator=admin&name=viewer&roles=admin&admin=true&password=correct+horse+battery&via=Socket&expires=30";
    for (method, path, access) in ROUTES.iter().copied().flatten().copied().filter(|(method, ..)| *method == "POST") {
        let Access::Signed(right) = access else { continue };
        if path == "/logout" || path == "/account/password" {
            continue;
        }
        let path = concrete(path).replace("nobody", "viewer");
        let answer = Ask::new(method, &path).cookie(&viewer).body(up).send(&house).await;
        let refused = answer.status() == StatusCode::FORBIDDEN;
        assert!(refused || right == Right::Read, "{path}: {}", answer.status());
        let actor = operators::who(admin, &viewer, operators::Touch::No).unwrap_or_else(|| panic!("{path} ended the session"));
        assert_eq!(actor.role, OperatorRole::Viewer, "{path}");
    }
    let all = operators::list(admin, &root()).unwrap().operators;
    assert_eq!(
        all.iter().map(|o| (o.name.as_str(), o.role)).collect::<Vec<_>>(),
        [("admin", OperatorRole::Admin), ("viewer", OperatorRole::Viewer)]
    );
    assert!(operators::key_list(admin, &root()).unwrap().keys.is_empty(), "no key was made with more");
    // The API takes no field that it does not know, and a path says whose role.
    let key = operators::key_add(admin, &root(), "viewer", AddKey::default()).await.unwrap();
    for (path, body) in [
        ("/api/v1/operators/viewer/role", r#"{"role":"admin"}"#),
        ("/api/v1/operators", r#"{"name":"eve","role":"admin","password":"correct horse battery"}"#),
        ("/api/v1/operators/viewer/keys", r#"{"role":"admin"}"#),
        ("/api/v1/operators/admin/keys", r#"{}"#),
        ("/api/v1/operators/admin/reset", r#"{"password":"correct horse battery"}"#),
    ] {
        let ask =
            Ask::new("POST", path).with("authorization", format!("Bearer {}", key.key)).with("content-type", "application/json");
        assert_eq!(ask.body(body).send(&house).await.status(), StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a10_a_key_is_never_wider_than_its_operator() {
    let house = House::open().await;
    let admin = &house.admin;
    drop(session(admin, OperatorRole::Admin).await);
    drop(session(admin, OperatorRole::Operator).await);
    let make =
        async |name: &str, role| operators::key_add(admin, &root(), name, AddKey { role: Some(role), expires_days: None }).await;
    for (name, role) in [("operator", OperatorRole::Admin), ("operator", OperatorRole::Auditor)] {
        let fault = make(name, role).await.map(|_| ()).unwrap_err();
        assert_eq!((fault.kind, fault.place.as_deref()), (FaultKind::Denied, Some("role")), "{name} {role}");
    }
    let narrow = make("admin", OperatorRole::Operator).await.unwrap();
    let wide = make("admin", OperatorRole::Admin).await.unwrap();
    let plain = operators::key_add(admin, &root(), "admin", AddKey::default()).await.unwrap();
    let role = |key: &operators::KeyAdded| operators::who_by_key(admin, &key.key).map(|actor| actor.role);
    assert_eq!(
        [role(&narrow), role(&wide), role(&plain)],
        [OperatorRole::Operator, OperatorRole::Admin, OperatorRole::Admin].map(Some)
    );
    let eve = operators::AddOperator { name: "eve".into(), role: OperatorRole::Admin, password: secret(PASSWORD) };
    operators::add(admin, &root(), eve).await.unwrap();
    operators::set_role(admin, &root(), "admin", OperatorRole::Auditor).await.unwrap();
    let after = [role(&narrow), role(&wide), role(&plain)];
    assert_eq!(
        after,
        [OperatorRole::Viewer, OperatorRole::Auditor, OperatorRole::Auditor].map(Some),
        "with its operator it loses what it had"
    );
    let house = House::open_at(house.close().await).await;
    let seen = operators::key_list(&house.admin, &root()).unwrap().keys;
    assert_eq!(
        seen.iter().find(|key| key.kid == narrow.kid).map(|key| key.role),
        Some(OperatorRole::Viewer),
        "also after a restart"
    );
    let ninety = seen.iter().find(|key| key.kid == plain.kid).and_then(|key| key.expires_at).expect("it ends");
    let days = ninety.since_ms(house.admin.clock.now()) / 86_400_000;
    assert!((89..=90).contains(&days), "{days} days");
    for days in [0, 731] {
        let order = AddKey { role: None, expires_days: Some(days) };
        assert_eq!(operators::key_add(&house.admin, &root(), "eve", order).await.map(|_| ()).unwrap_err().kind, FaultKind::Invalid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a09_sessions_are_seen_and_ended_by_their_own_operator_and_by_admins() {
    let house = House::open().await;
    let admin = &house.admin;
    let boss = session(admin, OperatorRole::Admin).await;
    let viewer = session(admin, OperatorRole::Viewer).await;
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0".to_owned();
    let phone = operators::Visitor { remote: [198, 51, 100, 7].into(), agent };
    let second = operators::login(admin, "viewer", &secret(PASSWORD), &phone, (None, "/")).await.unwrap().token;
    let page = text(Ask::new("GET", "/account").cookie(&viewer).send(&house).await).await;
    assert!(page.contains("Firefox on Linux") && page.contains("198.51.100.7") && page.contains("this one"), "{page}");
    let whole = text(Ask::new("GET", "/operators").cookie(&boss).send(&house).await).await;
    assert!(whole.contains("198.51.100.7"), "an admin sees everybody's: {whole}");
    let others = text(Ask::new("GET", "/operators").cookie(&viewer).send(&house).await).await;
    assert!(!others.contains("198.51.100.7") && !others.contains("127.0.0.1"), "{others}");
    let path = |token: &str| format!("/account/sessions/{}/end", operators::session_name(token));
    let foreign = Ask::new("POST", &path(&boss)).cookie(&viewer).send(&house).await;
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    let actor = operators::who(admin, &viewer, operators::Touch::No).unwrap();
    assert_eq!(operators::session_list(admin, &actor, Some("admin")).unwrap_err().kind, FaultKind::Denied);
    assert_eq!(operators::session_list(admin, &actor, None).unwrap().sessions.len(), 2, "one's own");
    let ended = Ask::new("POST", &path(second.reveal())).cookie(&viewer).send(&house).await;
    assert_eq!((ended.status(), location(&ended)), (StatusCode::SEE_OTHER, "/account"));
    let gone = Ask::new("GET", "/").cookie(second.reveal()).send(&house).await;
    assert_eq!(gone.status(), StatusCode::SEE_OTHER);
    Ask::new("POST", "/operators/viewer/sessions/end").cookie(&boss).send(&house).await;
    assert_eq!(Ask::new("GET", "/").cookie(&viewer).send(&house).await.status(), StatusCode::SEE_OTHER);
    let house = House::open_at(house.close().await).await;
    for token in [&viewer, second.reveal()] {
        assert_eq!(Ask::new("GET", "/").cookie(token).send(&house).await.status(), StatusCode::SEE_OTHER, "nor after a restart");
    }
    assert_eq!(operators::sessions_end(&house.admin, &root(), None, None).await.unwrap().ended, 1, "everybody's");
    assert_eq!(Ask::new("GET", "/").cookie(&boss).send(&house).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a12_no_form_reaches_into_this_host() {
    let house = House::open().await;
    let admin = &house.admin;
    let mark = house.path().join("started");
    let command = format!("/usr/bin/touch {}", mark.display()).replace(' ', "+").replace('/', "%2F");
    let child = format!("name=web&kind=stdio&stdio={command}");
    let also = format!("name=web&command={command}&args=x&url=https%3A%2F%2Ftools.example.com%2Fmcp&kind=http&stdio={command}");
    // Addresses of this host and of its cloud are the proxy's to refuse, when it connects: tests/it/faults/names.rs.
    let urls = [
        "file:///etc/passwd",
        "unix:/var/run/docker.sock",
        "http://10.0.0.1/mcp",
        "http://tools.example.com/mcp",
        "gopher://x/",
        "",
    ];
    let forms = urls.map(|url| format!("name=web&kind=http&url={}", crate::web::form::encode(url)));
    for role in OperatorRole::ALL {
        let token = session(admin, role).await;
        for body in [&child, &also].into_iter().chain(&forms) {
            for path in ["/servers/add", "/servers/web/probe", "/servers/web/approve"] {
                let path_is_add = path == "/servers/add";
                if role == OperatorRole::Admin && path_is_add && (body == &child || body == &also) {
                    // An admin with a fresh login may; that it is one is what is asked first.
                    age(&house, 6);
                    let asked = Ask::new("POST", path).cookie(&token).body(body).send(&house).await;
                    assert_eq!(asked.status(), StatusCode::FORBIDDEN);
                    age(&house, -6);
                    continue;
                }
                let answer = Ask::new("POST", path).cookie(&token).body(body).send(&house).await;
                let may = role.has(Right::Administer) || (role.has(Right::Operate) && path.ends_with("/probe"));
                assert!(may || answer.status() == StatusCode::FORBIDDEN, "{role} {path} {body}: {}", answer.status());
                assert!(answer.status().is_client_error(), "{role} {path} {body}: {}", answer.status());
            }
        }
    }
    assert!(!mark.exists(), "no process was started");
    assert!(!admin.feed.snapshot().servers.contains_key("web"), "nothing was taken in");
}
