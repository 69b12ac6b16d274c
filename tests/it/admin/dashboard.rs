//! The dashboard as an attacker meets it: the setup code, sign-ins, cookies, other sites, framing, planted text.

use std::time::Duration;

use serde_json::{Value, json};

use crate::proxy::{call, modern};
use crate::support::upstream::json_answer;
use crate::support::wire::{self, Reply};
use crate::support::{TestApp, alone};

const PASSWORD: &str = "correct horse battery staple";

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn form(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

async fn send(app: &TestApp, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Reply {
    let mut headers = vec![("Sec-Fetch-Site", "same-origin")];
    if method == "POST" {
        headers.push(("Content-Type", "application/x-www-form-urlencoded"));
    }
    headers.retain(|(name, _)| !more.iter().any(|(have, _)| have.eq_ignore_ascii_case(name)));
    headers.extend_from_slice(more);
    // An empty value stands for a header that is not sent.
    headers.retain(|(_, value)| !value.is_empty());
    wire::request(app.app.admin_address(), &app.ca, method, path, &headers, body.as_bytes()).await
}

fn setup_code(app: &TestApp) -> String {
    let text = std::fs::read_to_string(app.data.path().join("keys/first-run.txt")).expect("the secrets of the first run");
    let line = text.lines().find(|line| line.starts_with("setup-code")).expect("a setup code");
    line.split_whitespace().last().expect("its text").to_owned()
}

/// `__Host-lifeboat=…` of the answer.
fn cookie(reply: &Reply) -> String {
    let set = reply.header("set-cookie").unwrap_or_default();
    set.split(';').next().unwrap_or_default().to_owned()
}

async fn set_up(app: &TestApp) -> Reply {
    let code = setup_code(app);
    send(app, "POST", "/setup", &[], &form(&[("code", &code), ("name", "ana"), ("password", PASSWORD)])).await
}

async fn sign_in(app: &TestApp, more: &[(&str, &str)], next: &str) -> Reply {
    send(app, "POST", "/login", more, &form(&[("operator", "ana"), ("password", PASSWORD), ("next", next)])).await
}

#[tokio::test]
async fn atk_c04_there_is_no_default_credential_and_the_setup_code_counts_once() {
    let app = TestApp::start().await;
    for (name, password) in [("admin", "admin"), ("lifeboat", "lifeboat"), ("root", "")] {
        let reply = send(&app, "POST", "/login", &[], &form(&[("operator", name), ("password", password)])).await;
        assert!(cookie(&reply).is_empty() && reply.status != 303, "{name}: {}", reply.status);
    }
    let wrong = form(&[("code", "aaaaa-bbbbb-ccccc-ddddd"), ("name", "eve"), ("password", PASSWORD)]);
    let reply = send(&app, "POST", "/setup", &[], &wrong).await;
    assert_eq!((reply.status, cookie(&reply).as_str()), (403, ""));
    let code = setup_code(&app);
    let done = set_up(&app).await;
    assert_eq!(done.status, 303, "{}", String::from_utf8_lossy(&done.body));
    assert!(cookie(&done).starts_with("__Host-lifeboat="));
    let again = send(&app, "POST", "/setup", &[], &form(&[("code", &code), ("name", "eve"), ("password", PASSWORD)])).await;
    assert!(again.status >= 400 && cookie(&again).is_empty(), "{}", again.status);
    assert_eq!(send(&app, "GET", "/setup", &[], "").await.header("location"), Some("/login"));
    let app = app.restart().await;
    assert_eq!(send(&app, "GET", "/setup", &[], "").await.header("location"), Some("/login"), "also after a restart");
    assert!(!app.ledger_text().contains(&code) && !app.ledger_text().contains(PASSWORD));
}

#[tokio::test]
async fn atk_a03_atk_a04_sessions_are_new_flagged_and_end_at_the_server() {
    let app = TestApp::start().await;
    let first = cookie(&set_up(&app).await);
    for flag in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        let reply = sign_in(&app, &[], "/").await;
        assert!(reply.header("set-cookie").is_some_and(|set| set.contains(flag) && !set.contains("Domain")), "{flag}");
    }
    // A cookie that somebody planted is not taken up.
    let planted = sign_in(&app, &[("Cookie", "__Host-lifeboat=planted")], "/").await;
    let own = cookie(&planted);
    assert!(planted.status == 303 && own != "__Host-lifeboat=planted" && own != first);
    assert_eq!(send(&app, "GET", "/", &[("Cookie", "__Host-lifeboat=planted")], "").await.status, 303, "still nobody's");
    assert_eq!(send(&app, "GET", "/", &[("Cookie", &own)], "").await.status, 200);
    // A new sign-in ends the session it replaces, a sign-out its own.
    let next = cookie(&sign_in(&app, &[("Cookie", &own)], "/").await);
    assert_eq!(send(&app, "GET", "/", &[("Cookie", &own)], "").await.status, 303);
    assert_eq!(send(&app, "GET", "/", &[("Cookie", &next)], "").await.status, 200);
    assert_eq!(send(&app, "POST", "/logout", &[("Cookie", &next)], "").await.status, 303);
    assert_eq!(send(&app, "GET", "/", &[("Cookie", &next)], "").await.status, 303);
    let text = app.ledger_text();
    assert!([&first, &own, &next].iter().all(|cookie| !text.contains(cookie.trim_start_matches("__Host-lifeboat="))));
}

#[tokio::test]
async fn atk_a01_wrong_passwords_wait_longer_and_stand_in_the_ledger() {
    let app = TestApp::start().await;
    set_up(&app).await;
    let mut statuses = Vec::new();
    for n in 0..12 {
        let body = form(&[("operator", "ana"), ("password", &format!("wrong password {n}"))]);
        statuses.push(send(&app, "POST", "/login", &[], &body).await.status);
    }
    let looked_at = statuses.iter().filter(|status| **status == 401).count();
    assert!((1..=6).contains(&looked_at) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(sign_in(&app, &[], "/").await.status, 429, "even the right password waits");
    app.settle().await;
    assert_eq!(app.ledger_text().matches("\"login.refused\"").count(), looked_at);
}

#[tokio::test]
async fn atk_a02_an_unknown_name_takes_as_long_as_a_wrong_password() {
    // The turns in which passwords are looked at are those of the whole process.
    if !alone("admin::dashboard::atk_a02_an_unknown_name_takes_as_long_as_a_wrong_password") {
        return;
    }
    use lifeboat::base::secret::Secret;
    use lifeboat::crypto::password::{self, Queue};
    let stored = password::hash(Secret::new(PASSWORD.to_owned())).await.expect("a hash");
    password::dummy_verify(Secret::new("warm".into()), Queue::Known).await.expect("looked at");
    // At full size the middle ones of 500 are within 5 %. A few samples are mostly the machine's noise, so there the shortest of each,
    // which is what the work takes, must agree.
    let full = std::env::var_os("LIFEBOAT_LONG").is_some();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for n in 0..if full { 500 } else { 25 } {
        let wrong = || Secret::new(format!("wrong {n}"));
        let started = std::time::Instant::now();
        assert_eq!(password::verify(wrong(), stored.clone(), Queue::Known).await.expect("a turn"), Some(false));
        known.push(started.elapsed());
        let started = std::time::Instant::now();
        assert_eq!(password::dummy_verify(wrong(), Queue::Known).await.expect("a turn"), Some(false));
        unknown.push(started.elapsed());
    }
    let middle = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    let shortest = |times: &[Duration]| times.iter().min().map_or(0.0, Duration::as_secs_f64);
    let (ratio, bounds) = if full {
        (middle(&mut unknown) / middle(&mut known), 0.95..1.05)
    } else {
        (shortest(&unknown) / shortest(&known), 0.8..1.25)
    };
    assert!(bounds.contains(&ratio), "an unknown name takes {ratio:.3} of the time of a wrong password");
    // And through the door both say the same.
    let app = TestApp::start().await;
    set_up(&app).await;
    let try_with = async |name: &str| {
        let reply = send(&app, "POST", "/login", &[], &form(&[("operator", name), ("password", "wrong password")])).await;
        let text = String::from_utf8_lossy(&reply.body).replace(name, "NAME");
        (reply.status, text.contains("Name or password is wrong"), text.len())
    };
    let (known, unknown) = (try_with("ana").await, try_with("bob").await);
    assert_eq!(known.0, 401);
    assert!(known.1 && unknown.1 && known.0 == unknown.0, "{known:?} {unknown:?}");
}

#[tokio::test]
async fn atk_a05_no_other_site_can_do_anything_with_a_cookie() {
    let app = TestApp::start().await;
    let own = cookie(&set_up(&app).await);
    let entries = lifeboat::admin::routes::ROUTES.iter().copied().flatten().filter(|(method, ..)| *method == "POST");
    let mut tried = 0;
    for (_, path, _) in entries {
        let path = path.replace("{name}", "ana").replace("{kid}", "x").replace("{id}", "x");
        for foreign in [
            vec![("Sec-Fetch-Site", "cross-site")],
            vec![("Sec-Fetch-Site", "same-site")],
            vec![("Sec-Fetch-Site", "cross-site"), ("HX-Request", "true")],
            vec![("Sec-Fetch-Site", ""), ("Origin", "https://evil.example")],
            vec![("Sec-Fetch-Site", ""), ("Origin", "null"), ("Content-Type", "text/plain")],
            vec![("Sec-Fetch-Site", "")],
        ] {
            let mut headers = foreign.clone();
            headers.push(("Cookie", &own));
            let reply = send(&app, "POST", &path, &headers, "reason=x&name=eve&operator=ana").await;
            assert_eq!(reply.status, 403, "{path} {foreign:?}");
            tried += 1;
        }
    }
    assert!(tried > 60, "{tried}");
    assert_eq!(app.api("GET", "/api/v1/kill", Value::Null).await["engaged"], json!(false));
    assert_eq!(send(&app, "GET", "/", &[("Cookie", &own)], "").await.status, 200, "the session lives on");
}

#[tokio::test]
async fn atk_a07_no_answer_can_be_framed() {
    let app = TestApp::start().await;
    let own = cookie(&set_up(&app).await);
    for (method, path, more) in [
        ("GET", "/", vec![]),
        ("GET", "/", vec![("Cookie", own.as_str())]),
        ("GET", "/kill", vec![("Cookie", own.as_str())]),
        ("GET", "/login", vec![]),
        ("GET", "/nothing-here", vec![("Cookie", own.as_str())]),
        ("GET", "/health", vec![]),
        ("GET", "/static/nothing.js", vec![]),
        ("GET", "/api/v1/status", vec![]),
        ("DELETE", "/kill", vec![("Cookie", own.as_str())]),
        ("POST", "/kill/engage", vec![("Sec-Fetch-Site", "cross-site")]),
        ("GET", "/", vec![("Host", "evil.example")]),
        ("GET", "/", vec![("Cookie", "__Host-lifeboat=a; __Host-lifeboat=b")]),
    ] {
        let reply = send(&app, method, path, &more, "").await;
        let policy = reply.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("frame-ancestors 'none'"), "{method} {path} {}: {policy}", reply.status);
        assert_eq!(reply.header("x-frame-options"), Some("DENY"), "{method} {path} {}", reply.status);
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{method} {path} {}", reply.status);
    }
}

#[tokio::test]
async fn atk_a13_a_sign_in_leads_nowhere_else() {
    let app = TestApp::start().await;
    set_up(&app).await;
    for next in [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/\t/evil.example",
        "\\\\evil",
        "javascript:alert(1)",
        "/%0d%0aX: y",
        "/kill",
    ] {
        let reply = sign_in(&app, &[], next).await;
        assert_eq!(reply.status, 303);
        let location = reply.header("location").unwrap_or_default();
        let stays =
            location.starts_with('/') && !location.starts_with("//") && !location.contains('\\') && reply.header("x").is_none();
        assert!(stays, "{next}: {location}");
        assert!(location == "/" || location == next, "{next}: {location}");
    }
    let page = send(&app, "GET", "/login?next=//evil.example", &[], "").await;
    assert!(!String::from_utf8_lossy(&page.body).contains("evil.example"));
}

#[tokio::test]
async fn atk_a17_two_session_cookies_are_no_session() {
    let app = TestApp::start().await;
    let own = cookie(&set_up(&app).await);
    for both in [format!("{own}; __Host-lifeboat=tossed"), format!("__Host-lifeboat=tossed; {own}"), format!("{own}; {own}")] {
        let reply = send(&app, "GET", "/", &[("Cookie", &both)], "").await;
        assert_eq!(reply.status, 403, "{both}");
        assert!(reply.header("set-cookie").is_some_and(|set| set.contains("Max-Age=0")));
    }
    assert_eq!(send(&app, "GET", "/", &[("Cookie", &own), ("Cookie", "__Host-lifeboat=tossed")], "").await.status, 403);
    assert_eq!(send(&app, "GET", "/", &[("Cookie", &format!("other=1; {own}; __Secure-lifeboat=x"))], "").await.status, 200);
}

#[tokio::test]
async fn atk_a08_planted_text_stays_text() {
    const PLANTED: &str = "\"><img src=x onerror=alert(1) hx-get=\"\u{2f}kill\">{{7*7}}<script>x()";
    let app = TestApp::start().await;
    let tool = PLANTED.replace('/', "");
    let (name, wild) = (tool.clone(), PLANTED.to_owned());
    app.upstream.script(move |hit| {
        let id = hit.json()["id"].clone();
        let result = match hit.rpc().as_str() {
            "tools/list" => json!({"tools": [{"name": name, "title": wild, "description": wild,
                "inputSchema": {"type": "object", "properties": {wild.clone(): {"type": "string", "description": wild}}}}],
                "resultType": "complete", "ttlMs": 1, "cacheScope": "private"}),
            "server/discover" => json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                "serverInfo": {"name": wild, "version": wild}, "resultType": "complete", "ttlMs": 1, "cacheScope": "private"}),
            _ => return None,
        };
        Some(json_answer(&json!({"jsonrpc": "2.0", "id": id, "result": result})))
    });
    app.api("POST", "/api/v1/servers", json!({"name": "wild", "url": app.upstream.url(), "plain_loopback": true})).await;
    app.post(&app.writer, &modern("tools/call", "echo"), call(1, "echo", json!({PLANTED: PLANTED})).to_string().as_bytes()).await;
    let plain = tool.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    assert!(plain);
    app.post(&app.writer, &modern("tools/call", &tool), call(2, &tool, json!({})).to_string().as_bytes()).await;
    app.api("POST", "/api/v1/kill/engage", json!({"reason": PLANTED, "server": "wild"})).await;
    std::fs::write(app.data.path().join("config/runbooks.txt"), PLANTED).ok();
    let role = "[[grant]]\ntools = [\"up/echo\"]\nclasses = [\"read\"]\n# changed\n";
    std::fs::write(app.data.path().join("config/roles/reader.toml"), role).expect("edited");
    app.api("POST", "/api/v1/config/commit", json!({"message": PLANTED})).await;
    set_up(&app).await;
    let own = cookie(&sign_in(&app, &[("User-Agent", "<img src=x onerror=alert(2)>{{7*7}}")], "/").await);
    app.settle().await;
    let mut escaped = 0;
    for path in [
        "/",
        "/kill",
        "/activity",
        "/servers",
        "/servers/wild",
        "/servers/up",
        "/clients",
        "/clients/writer",
        "/operators",
        "/activity?client=%22%3E%3Cimg+src%3Dx+onerror%3Dalert(1)%3E",
    ] {
        let reply = send(&app, "GET", path, &[("Cookie", &own)], "").await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let leads_on = reply.status == 303
            && reply.header("location").is_some_and(|to| to.starts_with("/servers#") || to.starts_with("/clients#"));
        assert!(leads_on || matches!(reply.status, 200 | 400), "{path}: {}", reply.status);
        for markup in ["<img src=x", "<script>x()", "hx-get=\"/kill\">{{"] {
            assert!(!text.contains(markup), "{path}: {markup}");
        }
        escaped += text.matches("&#60;img src=x").count() + text.matches("&lt;img src=x").count();
        assert!(!text.contains(">49<"), "{path}: a template ran");
        let policy = reply.header("content-security-policy").unwrap_or_default();
        assert!(!policy.contains("unsafe") && policy.contains("default-src 'none'"), "{path}: {policy}");
    }
    assert!(escaped >= 3, "the planted text was hardly shown: {escaped}");
}

#[tokio::test]
async fn a_vault_is_added_and_its_command_approved_by_forms_that_need_no_script() {
    let app = TestApp::start().await;
    let session = cookie(&set_up(&app).await);
    let with = [("Cookie", session.as_str())];
    let text_of = |reply: &Reply| String::from_utf8_lossy(&reply.body).into_owned();
    let page = async || text_of(&send(&app, "GET", "/vaults", &with, "").await);
    let empty = page().await;
    assert!(empty.contains("action=\"/vaults/add\"") && empty.contains("No vault is of up"), "a remote server without a vault");
    let wrong = form(&[("kind", "command"), ("name", "dump"), ("command", "pg_dump <x>"), ("env", "PW=never-shown")]);
    let refused = send(&app, "POST", "/vaults/add", &with, &wrong).await;
    let text = text_of(&refused);
    assert!(refused.status == 422 && text.contains("absolute path") && text.contains("pg_dump &#60;x&#62;"), "{}", refused.status);
    assert!(!text.contains("never-shown"), "a value is never shown again");
    let right = form(&[("kind", "command"), ("name", "dump"), ("server", "up"), ("command", "/usr/bin/env"), ("env", "PW=word")]);
    assert_eq!(send(&app, "POST", "/vaults/add", &with, &right).await.status, 303);
    let added = page().await;
    assert!(added.contains("/usr/bin/env, memory of up") && !added.contains("No vault is of"), "{added}");
    assert!(!added.contains("Approve this command line"));
    let preset = form(&[("kind", "preset"), ("name", "notes"), ("server", "up"), ("preset", "basic-memory")]);
    let asked = send(&app, "POST", "/vaults/add", &with, &preset).await;
    assert!(asked.status == 422 && text_of(&asked).contains("it is remote"), "{}", text_of(&asked));
    // As a pull brings it.
    let file = app.data.path().join("config/vaults/dump.toml");
    let other = std::fs::read_to_string(&file).expect("its file").replace("/usr/bin/env", "/usr/bin/id");
    std::fs::write(&file, other).expect("edited");
    app.api("POST", "/api/v1/config/commit", json!({"as": "it", "message": "another command"})).await;
    let waits = page().await;
    let digest = waits.split("name=\"digest\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a form");
    assert!(waits.contains("waits for approval") && digest.len() == 64, "{waits}");
    let stale = send(&app, "POST", "/vaults/dump/approve", &with, &form(&[("digest", &"0".repeat(64))])).await;
    assert_eq!(stale.status, 409, "what was looked at is what is approved");
    assert_eq!(send(&app, "POST", "/vaults/dump/approve", &with, &form(&[("digest", digest)])).await.status, 303);
    assert!(!page().await.contains("Approve this command line"));
    let events = app.events("limit=20").await;
    let approval = events.iter().find(|event| event["action"] == "vault.approve").expect("an event");
    assert_eq!((&approval["object"], &approval["operator"]), (&json!("dump"), &json!("ana")));
    assert_eq!(approval["params"]["approved"], digest);
}
