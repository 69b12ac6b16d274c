//! Credentials by hand, in a browser: made, shown once, replaced, ended.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::dashboard::{enter, look, sign_in};
use crate::harness::{Lifeboat, wait};
use crate::pages::{
    CLIENTS, FETCH_SUBMIT, FETCHED, NEW_SECRET, RETIRE_SUBMIT, REVOKE_SUBMIT, ROTATE_SUBMIT, SECRET_CLIENT, SECRET_REVOKE,
    SECRET_SUBMIT,
};
use crate::{https, tokens};

/// What the proxy says to a ping with this credential.
fn ping(lifeboat: &Lifeboat, credential: &str) -> u16 {
    let head = hyper::Request::post("/mcp/demo").header("authorization", format!("Bearer {credential}"));
    let head = head.header("content-type", "application/json").header("accept", "application/json, text/event-stream");
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    https::send(&lifeboat.proxy, &lifeboat.ca(), head, ping).unwrap().status
}

fn state(lifeboat: &Lifeboat, name: &str) -> Value {
    lifeboat.json(&["credential", "show", name])["rotations"][0]["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_added_shown_once_and_ended_in_two_clicks() {
    let lifeboat = Lifeboat::start();
    sign_in(&lifeboat);
    lifeboat.client_for("demo", "worker");
    let browser = Browser::open(&lifeboat.admin).await;
    enter(&browser).await;
    browser.goto(CLIENTS).await;
    browser.fill(SECRET_CLIENT, "worker").await;
    browser.click(SECRET_SUBMIT).await;
    let secret = browser.find(NEW_SECRET).await.text().await.unwrap();
    browser.picture("secret-added-1280-light").await;
    assert!(secret.trim().starts_with("lbs_"), "a secret is shown");
    assert_eq!(browser.axe().await, Vec::<String>::new());
    let token = tokens::token(&lifeboat, "worker", secret.trim(), "demo");
    assert_eq!(ping(&lifeboat, &token), 200, "its token counts");
    let mut faults = Vec::new();
    look(&browser, CLIENTS, "clients-with-a-secret", &mut faults).await;
    assert_eq!(faults, Vec::<String>::new());
    assert!(!browser.client.source().await.unwrap().contains(secret.trim()), "the secret is shown once");
    let before = browser.actions();
    browser.goto(CLIENTS).await;
    browser.click(SECRET_REVOKE).await;
    assert!(browser.actions() - before <= 2);
    wait("the end of the token", 5, || (ping(&lifeboat, &token) == 401).then_some(()));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_replaced_and_then_revoked_from_its_page() {
    const NAME: &str = "client-key/worker";
    let lifeboat = Lifeboat::start();
    sign_in(&lifeboat);
    let old = lifeboat.client_for("demo", "worker");
    assert_eq!(ping(&lifeboat, &old), 200);
    let browser = Browser::open(&lifeboat.admin).await;
    enter(&browser).await;
    let page = format!("/credentials/{NAME}");
    browser.goto(&page).await;
    browser.click(ROTATE_SUBMIT).await;
    browser.click(FETCH_SUBMIT).await;
    let new = browser.find(FETCHED).await.text().await.unwrap().trim().to_owned();
    assert!(new.starts_with("lbk_") && new != old, "the new key is shown");
    assert_eq!((ping(&lifeboat, &old), ping(&lifeboat, &new)), (200, 200), "both count");
    let mut faults = Vec::new();
    look(&browser, &page, "credential-draining", &mut faults).await;
    assert!(!browser.client.source().await.unwrap().contains(&new), "the new key is shown once");
    browser.click(RETIRE_SUBMIT).await;
    wait("the end of the rotation", 10, || (state(&lifeboat, NAME) == "done").then_some(()));
    assert_eq!((ping(&lifeboat, &old), ping(&lifeboat, &new)), (401, 200), "the old one ended");
    look(&browser, &page, "credential-done", &mut faults).await;
    look(&browser, "/credentials", "credentials-after", &mut faults).await;
    assert_eq!(faults, Vec::<String>::new());
    browser.goto(&page).await;
    browser.click(REVOKE_SUBMIT).await;
    wait("the revocation", 5, || (ping(&lifeboat, &new) == 401).then_some(()));
    look(&browser, &page, "credential-revoked", &mut faults).await;
    assert_eq!(faults, Vec::<String>::new());
}
