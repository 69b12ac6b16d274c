//! The dashboard in a real browser: set up, stop, release in few actions; every page in light and dark, wide and narrow; and all of it without script.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Lifeboat, text};
use crate::https;
use crate::ledger;
use crate::pages::{
    ADMIN, ARCHIVE_ROW, BACK_UP_ALL, CLIENT_NAME, CLIENT_SUBMIT, CLIENTS, DRILL_REPORT, DRILL_SUBMIT, GO_BACK, GO_BACK_REASON,
    GO_BACK_SUBMIT, KEPT_ROW, KILL, LOGIN, LOGIN_NAME, LOGIN_PASSWORD, LOGIN_SUBMIT, NAV, NEW_KEY, PASSWORD, RELEASE_EVERYTHING,
    RELEASE_REASON, RELEASE_SUBMIT, RESTORE_IN_PLACE, RESTORE_REASON, RESTORE_SURE, RESTORE_WHICH, SETUP, SETUP_CODE, SETUP_NAME,
    SETUP_PASSWORD, SETUP_SUBMIT, STOP, STOP_NOW, STOPPED_BANNER,
};
use crate::snippets::run;

/// Makes the first admin by the plain form and returns the session's cookies.
pub fn sign_in(lifeboat: &Lifeboat) -> String {
    let code = lifeboat.first_run().value("setup-code").to_owned();
    let fields = [("code", code.as_str()), ("name", ADMIN), ("password", PASSWORD)];
    let made = https::post_form(&lifeboat.admin, &lifeboat.ca(), SETUP, "", &fields).unwrap();
    assert_eq!(made.status, 303, "setup: {}", made.body);
    log_in(lifeboat)
}

fn log_in(lifeboat: &Lifeboat) -> String {
    let fields = [("operator", ADMIN), ("password", PASSWORD)];
    let answer = https::post_form(&lifeboat.admin, &lifeboat.ca(), LOGIN, "", &fields).unwrap();
    assert_eq!(answer.status, 303, "login: {}", answer.body);
    let cookies = answer.cookies();
    assert!(!cookies.is_empty(), "login sets a cookie");
    cookies
}

pub async fn enter(browser: &Browser) {
    browser.goto(LOGIN).await;
    browser.fill(LOGIN_NAME, ADMIN).await;
    browser.fill(LOGIN_PASSWORD, PASSWORD).await;
    browser.click(LOGIN_SUBMIT).await;
    browser.find(STOP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_stop_and_release_take_at_most_12_actions() {
    let lifeboat = Lifeboat::start();
    let code = lifeboat.first_run().value("setup-code").to_owned();
    let browser = Browser::open(&lifeboat.admin).await;
    browser.show_as(1280, "light").await;
    browser.goto(SETUP).await;
    browser.fill(SETUP_CODE, &code).await;
    browser.fill(SETUP_NAME, ADMIN).await;
    browser.fill(SETUP_PASSWORD, PASSWORD).await;
    browser.click(SETUP_SUBMIT).await;
    browser.click(STOP).await;
    browser.click(STOP_NOW).await;
    browser.find(STOPPED_BANNER).await;
    let seen = browser.actions();
    browser.picture("flow-stopped").await;
    assert_eq!(lifeboat.json(&["kill", "status"])["engaged"], true);
    browser.goto(KILL).await;
    browser.click(RELEASE_EVERYTHING).await;
    browser.fill(RELEASE_REASON, "seen enough").await;
    browser.click(RELEASE_SUBMIT).await;
    crate::harness::wait("released", 10, || (lifeboat.json(&["kill", "status"])["engaged"] == false).then_some(()));
    browser.picture("flow-released").await;
    assert!(browser.actions() <= 12, "{} actions, {seen} to the stop", browser.actions());
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    let done = ledger::query(&lifeboat, &[]);
    for action in ["kill.engage", "kill.release"] {
        assert!(done.iter().any(|event| event["action"] == action && event["operator"] == ADMIN), "{action} stands in the ledger");
    }
}

/// Also while engaged, so that the red state is looked at too.
#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_quiet_and_fits_each_screen() {
    let lifeboat = Lifeboat::start();
    let browser = Browser::open(&lifeboat.admin).await;
    let mut faults = Vec::new();
    look(&browser, SETUP, "setup", &mut faults).await;
    sign_in(&lifeboat);
    look(&browser, LOGIN, "login", &mut faults).await;
    have_something_to_show(&lifeboat);
    enter(&browser).await;
    for path in NAV {
        let name = if *path == "/" { "overview".to_owned() } else { path.trim_start_matches('/').replace('/', "-") };
        look(&browser, path, &name, &mut faults).await;
    }
    let drill = lifeboat.json(&["drill", "list"])["drills"][0]["id"].as_str().unwrap().to_owned();
    look(&browser, &format!("/drills/{drill}"), "drill-report", &mut faults).await;
    look(&browser, "/revisions/diff?from=HEAD&to=HEAD~1", "revisions-diff", &mut faults).await;
    lifeboat.json(&["kill", "engage", "--reason", "runaway client"]);
    for (path, name) in [("/", "overview-stopped"), (KILL, "kill-stopped")] {
        look(&browser, path, name, &mut faults).await;
    }
    assert_eq!(faults, Vec::<String>::new());
}

/// Calls that were answered, refused and stopped, a stranger, a second client and server, so that the pages have rows.
fn have_something_to_show(lifeboat: &Lifeboat) {
    let call = lifeboat.first_run().snippet("curl");
    let called = || assert!(run(lifeboat, &call).status.success(), "the curl snippet calls a tool");
    called();
    lifeboat.json(&["kill", "engage", "--reason", "leaked key", "--client", "demo-client"]);
    called();
    lifeboat.json(&["kill", "release", "--reason", "a new key is out", "--client", "demo-client"]);
    called();
    lifeboat.client_for("demo", "second-client");
    lifeboat.json(&["backup", "run"]);
    lifeboat.json(&["drill", "run"]);
    lifeboat.cli(&["client", "revoke", "second-client"]);
    https::get(&lifeboat.proxy, &lifeboat.ca(), "/mcp/demo").unwrap();
}

/// One page in four shapes: picture, axe, console, no sideways scrolling, one h1 and a title.
pub async fn look(browser: &Browser, path: &str, name: &str, faults: &mut Vec<String>) {
    for (width, scheme) in SHAPES {
        browser.show_as(width, scheme).await;
        browser.goto(path).await;
        see(browser, (width, scheme), name, faults).await;
    }
}

/// Wide and narrow, light and dark.
pub const SHAPES: [(u32, &str); 4] = [(1280, "light"), (1280, "dark"), (375, "light"), (375, "dark")];

/// The page that is shown now, as `look` looks at it: for pages that come once.
pub async fn see(browser: &Browser, shape: (u32, &str), name: &str, faults: &mut Vec<String>) {
    let (width, scheme) = shape;
    browser.find("h1").await;
    browser.show_whole(width).await;
    browser.picture(&format!("{name}-{width}-{scheme}")).await;
    let facts = "return [document.querySelectorAll('h1').length, document.title.length > 0, document.documentElement.scrollWidth]";
    let facts = browser.client.execute(facts, vec![]).await.unwrap();
    let mut found = Vec::new();
    if facts[0] != 1 || facts[1] != true {
        found.push(format!("h1 and title: {facts}"));
    }
    if facts[2].as_u64().unwrap_or(0) > u64::from(width) {
        found.push(format!("scrolls sideways: {} px", facts[2]));
    }
    found.extend(browser.complaints().await);
    found.extend(browser.axe().await);
    // What axe itself made the console say is no fault of the page.
    browser.complaints().await;
    faults.extend(found.into_iter().map(|fault| format!("{name} {width} {scheme}: {fault}")));
}

/// From the first backup to a report, by hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_rehearsed_from_the_pages() {
    let lifeboat = Lifeboat::start();
    sign_in(&lifeboat);
    let browser = Browser::open(&lifeboat.admin).await;
    enter(&browser).await;
    browser.goto("/vaults").await;
    browser.click(BACK_UP_ALL).await;
    browser.find(ARCHIVE_ROW).await;
    browser.goto("/drills").await;
    browser.click(DRILL_SUBMIT).await;
    // The page shows the drill at work, and renews itself until it is over.
    browser.find_within(DRILL_REPORT, 60).await;
    browser.click(DRILL_REPORT).await;
    let title = browser.find("h1").await.text().await.unwrap();
    assert_eq!(title, "Rebuild drill: passed");
    let listed = lifeboat.json(&["drill", "list"]);
    assert!(listed["drills"][0]["passed"] == true && listed["drills"][0]["by"] == ADMIN, "{listed}");
    // A vault is brought back in its place: what stops is said first, on every screen, and nothing happens until it is confirmed.
    browser.goto("/vaults").await;
    browser.fill(RESTORE_WHICH, "latest:demo").await;
    browser.click(RESTORE_IN_PLACE).await;
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (375, "light"), (375, "dark")] {
        browser.show_as(width, scheme).await;
        browser.find(RESTORE_REASON).await;
        browser.picture(&format!("vaults-in-place-{width}-{scheme}")).await;
        assert_eq!(browser.axe().await, Vec::<String>::new(), "in place, {width} {scheme}");
    }
    assert_eq!(lifeboat.json(&["vault", "kept"])["kept"], json!([]));
    browser.show_as(1280, "light").await;
    browser.fill(RESTORE_REASON, "poisoned since noon").await;
    browser.click(RESTORE_SURE).await;
    browser.find(KEPT_ROW).await;
    assert_eq!(lifeboat.json(&["kill", "status"])["engaged"], false, "it released what it had stopped");
    // A revision is gone back to from the history.
    lifeboat.configure("roles/by-hand.toml", "[[grant]]\ntools = [\"demo/read_graph\"]\nclasses = [\"read\"]\n");
    browser.goto("/revisions").await;
    browser.click(GO_BACK).await;
    browser.fill(GO_BACK_REASON, "it was a mistake").await;
    browser.click(GO_BACK_SUBMIT).await;
    browser.find("#history").await;
    assert!(!lifeboat.data().join("config/roles/by-hand.toml").exists());
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_and_release_work_without_script() {
    let lifeboat = Lifeboat::start();
    sign_in(&lifeboat);
    let browser = Browser::open(&lifeboat.admin).await;
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    browser.show_as(375, "dark").await;
    enter(&browser).await;
    for path in NAV {
        browser.goto(path).await;
        browser.find("h1").await;
    }
    browser.click(STOP).await;
    browser.click(STOP_NOW).await;
    browser.find(STOPPED_BANNER).await;
    assert_eq!(lifeboat.json(&["kill", "status"])["engaged"], true);
    browser.goto(KILL).await;
    browser.click(RELEASE_EVERYTHING).await;
    browser.fill(RELEASE_REASON, "seen enough").await;
    browser.click(RELEASE_SUBMIT).await;
    crate::harness::wait("released", 10, || (lifeboat.json(&["kill", "status"])["engaged"] == false).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_client_gets_its_key_once_with_texts_that_run() {
    let lifeboat = Lifeboat::start();
    sign_in(&lifeboat);
    let browser = Browser::open(&lifeboat.admin).await;
    browser.show_as(1280, "light").await;
    enter(&browser).await;
    browser.goto(CLIENTS).await;
    browser.fill(CLIENT_NAME, "pasted").await;
    browser.click(CLIENT_SUBMIT).await;
    browser.find(NEW_KEY).await;
    browser.picture("client-added-1280-light").await;
    assert_eq!(browser.axe().await, Vec::<String>::new());
    let texts = "return [...document.querySelectorAll('main .code pre')].map(pre => pre.textContent)";
    let texts = browser.client.execute(texts, vec![]).await.unwrap();
    let texts: Vec<&str> = texts.as_array().unwrap().iter().filter_map(serde_json::Value::as_str).collect();
    let shells: Vec<&str> = texts.iter().filter(|text| text.contains("<<'")).copied().collect();
    assert_eq!(shells.len(), 3, "curl, Python, TypeScript: {texts:?}");
    for shell in shells {
        let done = run(&lifeboat, shell);
        let shown = text(&done.stdout);
        assert!(done.status.success() && shown.contains("read_graph"), "{shell}\n{shown}{}", text(&done.stderr));
        assert!(!shown.contains("wipe"), "the list shows only what the role permits: {shown}");
    }
    browser.goto(CLIENTS).await;
    let page = browser.client.source().await.unwrap();
    assert!(!page.contains(texts[0].trim()), "the key is shown once");
}

/// The forms alone, as a text browser would use them.
#[test]
fn a_stranger_gets_no_page_and_no_kill() {
    let lifeboat = Lifeboat::start();
    sign_in(&lifeboat);
    for path in NAV {
        let answer = https::get(&lifeboat.admin, &lifeboat.ca(), path).unwrap();
        assert!(matches!(answer.status, 302 | 303 | 401), "{path} for a stranger: {}", answer.status);
    }
    let fields = [("scope", "everything"), ("mode", "full"), ("reason", "not known yet")];
    let answer = https::post_form(&lifeboat.admin, &lifeboat.ca(), "/kill/engage", "", &fields).unwrap();
    assert!(matches!(answer.status, 302 | 303 | 401 | 403), "{}", answer.status);
    assert_eq!(lifeboat.json(&["kill", "status"])["engaged"], false);
    let again =
        https::post_form(&lifeboat.admin, &lifeboat.ca(), SETUP, "", &[("code", "0"), ("name", "eve"), ("password", PASSWORD)])
            .unwrap();
    assert_ne!(again.status, 200, "setup is over once an admin exists");
    assert_eq!(again.header("set-cookie"), None);
}
