//! Tokens with the official SDKs: they follow our documents, get a token, call, and get a wider one when a tool needs it, with no code beside their
//! own. And what becomes of a program whose secret is revoked while it works.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clients::{Driver, Sdk};
use crate::dashboard::sign_in;
use crate::harness::{Lifeboat, text, wait};
use crate::https;
use crate::ledger;
use crate::rig::{Issuer, Scripted};
use crate::snippets;

const BOTH: [Sdk; 4] = [Sdk::PythonAuto, Sdk::PythonLegacy, Sdk::TypeScript2Auto, Sdk::TypeScript2Legacy];

/// A client with a secret that reaches everything of the demo server.
fn client(lifeboat: &Lifeboat, name: &str) -> (String, String) {
    let file = lifeboat.data().join("config/roles/all.toml");
    if !file.exists() {
        lifeboat.configure("roles/all.toml", "[[grant]]\ntools = [\"*/*\"]\nclasses = [\"read\", \"write\", \"destructive\"]\n");
    }
    let added = lifeboat.json(&["client", "add", name, "--role", "all", "--rate", "0", "--oauth"]);
    let of = |field: &str| added[field].as_str().unwrap_or_else(|| panic!("{field}: {added}")).to_owned();
    (of("kid"), of("secret"))
}

/// What was given to a client, oldest first: scope of each token.
fn given(lifeboat: &Lifeboat, client: &str) -> Vec<String> {
    let events = ledger::query(lifeboat, &["--client", client]);
    let issued = events.iter().rev().filter(|event| event["action"] == "token.issue");
    issued.filter_map(|event| event["params"]["scope"].as_str().map(str::to_owned)).collect()
}

#[test]
fn the_official_sdks_get_tokens_and_step_up_by_themselves() {
    let lifeboat = Lifeboat::start();
    for sdk in BOTH {
        let name = sdk.name();
        let (kid, secret) = client(&lifeboat, name);
        let mut driver = Driver::with_secret(sdk, &lifeboat, name, &secret);
        let connected = driver.connect("demo");
        assert_eq!(connected["ok"], true, "{sdk:?}: {connected}");
        let read = driver.call("demo", "read_graph", json!({}));
        assert_eq!(read["ok"], true, "{sdk:?}: {read}");
        assert_eq!(given(&lifeboat, name), ["tools:read"], "{sdk:?}: it asks for what the challenge names");
        let wrote = driver.call("demo", "add_note", json!({"text": format!("by {name}")}));
        assert_eq!(wrote["ok"], true, "{sdk:?} steps up: {wrote}");
        assert_eq!(given(&lifeboat, name), ["tools:read", "tools:read tools:write"], "{sdk:?}");
        let wiped = driver.call("demo", "wipe", json!({}));
        assert_eq!(wiped["ok"], true, "{sdk:?} steps up again: {wiped}");
        assert_eq!(given(&lifeboat, name).len(), 3, "{sdk:?}");
        let rows = ledger::query(&lifeboat, &["--client", name, "--tool", "demo/add_note"]);
        let ran: Vec<&Value> = rows.iter().filter(|row| row["status"] == "ok").collect();
        assert_eq!((ran.len(), &ran[0]["kid"]), (1, &json!(kid)), "{sdk:?}: it ran once: {rows:?}");
    }
}

/// Tokens of an issuer elsewhere, shown by the official SDKs: its next key counts as soon as it signs, and the one that it removed no more.
#[test]
fn tokens_of_an_issuer_elsewhere_follow_its_keys() {
    let lifeboat = Lifeboat::start();
    let issuer = Issuer::start();
    let before = std::fs::read_to_string(lifeboat.data().join("config/lifeboat.toml")).unwrap_or_default();
    let named = format!("\n[[issuer]]\nname = \"idp\"\nissuer = \"{}\"\nplain_loopback = true\n", issuer.url);
    lifeboat.configure("lifeboat.toml", &(before + &named));
    client(&lifeboat, "elsewhere");
    let token = || issuer.token("elsewhere", &lifeboat.url("demo"), "tools:read");
    let works = |sdk: Sdk, token: &str| {
        let mut driver = Driver::start(sdk, &lifeboat, token);
        driver.connect("demo")["ok"] == true && driver.call("demo", "read_graph", json!({}))["ok"] == true
    };
    issuer.keys("stage");
    let first = token();
    assert!(BOTH.into_iter().all(|sdk| works(sdk, &first)), "by the first key");
    issuer.keys("activate");
    let second = token();
    assert!(works(Sdk::PythonAuto, &second), "by the key that was published before it signed");
    assert!(works(Sdk::TypeScript2Auto, &first), "both are published");
    issuer.keys("remove");
    issuer.keys("stage");
    issuer.keys("activate");
    // A key that nobody knows yet is asked for once a minute at most.
    let third = token();
    let bare = |token: &str| {
        let head = hyper::Request::post("/mcp/demo").header("authorization", format!("Bearer {token}"));
        let head = head.header("content-type", "application/json").header("accept", "application/json, text/event-stream");
        https::send(&lifeboat.proxy, &lifeboat.ca(), head, json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string())
            .unwrap()
            .status
    };
    wait("the new key", 90, || (bare(&third) != 401).then_some(()));
    assert!(works(Sdk::PythonAuto, &third) && works(Sdk::TypeScript2Auto, &second));
    assert_eq!(bare(&first), 401, "the removed key counts no more");
    let kids: Vec<Value> = ledger::query(&lifeboat, &["--client", "elsewhere"]).iter().map(|row| row["kid"].clone()).collect();
    assert!(!kids.is_empty() && kids.iter().all(|kid| kid == "ext:idp"), "{kids:?}");
}

/// A client that can never have the scope is told in-band, and asks for no token again and again.
#[test]
fn a_client_that_cannot_have_more_is_refused_without_a_loop() {
    let lifeboat = Lifeboat::start();
    for sdk in [Sdk::PythonAuto, Sdk::TypeScript2Auto] {
        let name = sdk.name();
        let added = lifeboat.json(&["client", "add", name, "--role", "demo", "--rate", "0", "--oauth"]);
        let mut driver = Driver::with_secret(sdk, &lifeboat, name, added["secret"].as_str().unwrap());
        assert_eq!(driver.connect("demo")["ok"], true, "{sdk:?}");
        let wiped = driver.call("demo", "wipe", json!({}));
        assert_eq!((&wiped["ok"], &wiped["code"]), (&json!(false), &json!(-31002)), "{sdk:?}: {wiped}");
        assert_eq!(given(&lifeboat, name), ["tools:read"], "{sdk:?}");
    }
}

#[test]
fn the_snippets_of_a_new_secret_run_verbatim() {
    let lifeboat = Lifeboat::start();
    client(&lifeboat, "pasted");
    let cookies = sign_in(&lifeboat);
    let page = https::post_form(&lifeboat.admin, &lifeboat.ca(), "/clients/secrets", &cookies, &[("client", "pasted")]).unwrap();
    assert_eq!(page.status, 200, "{}", page.body);
    let blocks: Vec<String> = page.body.split("<pre").skip(1).map(pasted).collect();
    assert_eq!(blocks.len(), 4, "the secret and three snippets");
    for snippet in &blocks[1..] {
        let ran = snippets::run(&lifeboat, snippet);
        let shown = text(&ran.stdout) + &text(&ran.stderr);
        assert!(ran.status.success() && shown.contains("read_graph"), "{shown}");
    }
}

/// The text of a block that begins with the rest of its tag.
fn pasted(rest: &str) -> String {
    let (_, rest) = rest.split_once('>').expect("a tag");
    let mut text = rest.split("</pre>").next().unwrap_or_default().to_owned();
    for (escaped, plain) in
        [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&#38;", "&")]
    {
        text = text.replace(escaped, plain);
    }
    text
}

/// A secret is revoked while its client calls without pause: nothing that the upstream sees begins later than 100 ms after the order.
#[test]
fn revoking_a_secret_stops_its_tokens_within_100_ms() {
    let lifeboat = Lifeboat::start();
    let scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let (kid, secret) = client(&lifeboat, "worker");
    let token = token(&lifeboat, "worker", &secret, "scripted");
    let file = lifeboat.secret_file("worker.token", &token);
    let quick = ["--rate", "300", "--connections", "16", "--tool", "echo"];
    let load = crate::rig::Load::start(&lifeboat, "scripted", &file, "worker", &quick);
    std::thread::sleep(Duration::from_millis(800));
    let ordered = lifeboat_peers::lines::wall_ns();
    let began = Instant::now();
    lifeboat.json(&["client", "secret", "revoke", &kid]);
    let answered = began.elapsed();
    std::thread::sleep(Duration::from_millis(500));
    load.finish();
    let stamps = scripted.call_stamps();
    assert!(stamps.iter().filter(|stamp| **stamp < ordered).count() > 100, "it was at work: {} calls", stamps.len());
    let late = stamps.iter().filter(|stamp| **stamp > ordered).map(|stamp| (stamp - ordered) / 1_000_000).max().unwrap_or(0);
    println!("last call {late} ms after the order, answered after {} ms", answered.as_millis());
    assert!(late <= 100, "the last call began {late} ms after the order");
    wait("the deny-list", 5, || {
        let list = std::fs::read_to_string(lifeboat.data().join("archives/deny-list.json")).ok()?;
        list.contains(&kid).then_some(())
    });
}

/// A token as a script gets one: curl and a form.
pub fn token(lifeboat: &Lifeboat, client: &str, secret: &str, server: &str) -> String {
    let config = format!(
        "url = \"https://{}/oauth/token\"\nuser = \"{client}:{secret}\"\ndata-urlencode = \"grant_type=client_credentials\"\n\
         data-urlencode = \"resource={}\"\ndata-urlencode = \"scope=tools:destructive\"\n",
        lifeboat.proxy,
        lifeboat.url(server)
    );
    let file = lifeboat.secret_file("curl.conf", &config);
    let output =
        Command::new("curl").args(["--silent", "--show-error", "--cacert"]).arg(lifeboat.ca()).arg("--config").arg(file).output();
    let output = output.unwrap();
    let answer: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}{}", text(&output.stdout), text(&output.stderr)));
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}
