//! What only real clients at real servers can show of streams and ids: PIT-1, PIT-13, PIT-16, PIT-17, PIT-22, PIT-27.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clients::{Driver, EVERY, Sdk};
use crate::harness::{Lifeboat, wait};
use crate::https;
use crate::ledger;
use crate::real;
use crate::rig::{Running, everything_at, free_port};

/// A deployment with server-everything and the fastmcp server, and a client for both.
struct Sea {
    lifeboat: Lifeboat,
    key: String,
    _servers: [Running; 2],
}

impl Sea {
    fn new() -> Self {
        let lifeboat = Lifeboat::start();
        let ports = [free_port(), free_port()];
        let servers = [real::fast(ports[0], &["watched"]), everything_at(ports[1])];
        for (name, port) in ["fast", "everything"].into_iter().zip(ports) {
            wait(name, 30, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
            let url = format!("http://127.0.0.1:{port}/mcp");
            lifeboat.json(&["server", "add", name, "--url", &url, "--plain-loopback"]);
        }
        let grant =
            "[[grant]]\ntools = [\"fast/*\", \"everything/*\", \"demo/*\"]\nclasses = [\"read\", \"write\", \"destructive\"]\n";
        lifeboat.configure("roles/sailor.toml", grant);
        let added = lifeboat.json(&["client", "add", "sailor", "--role", "sailor", "--rate", "0"]);
        let key = added["key"].as_str().unwrap().to_owned();
        Self { lifeboat, key, _servers: servers }
    }

    fn driver(&self, sdk: Sdk, server: &str) -> Driver {
        Driver::at(sdk, &self.lifeboat, &self.key, server)
    }

    fn recalled(&self, observer: &mut Driver) -> Vec<String> {
        Self::texts(observer, "recall")
    }

    fn texts(observer: &mut Driver, tool: &str) -> Vec<String> {
        let answer = observer.call("fast", tool, json!({}));
        serde_json::from_value(answer["structured"]["result"].clone()).unwrap_or_else(|_| panic!("{tool}: {answer}"))
    }
}

fn has(texts: &[String], text: &str) -> bool {
    texts.iter().any(|seen| seen == text)
}

/// A question that waits in a stream which somebody buffers is never answered. The bridge's client has no user.
#[test]
fn pit_1_a_question_to_the_user_comes_while_the_call_waits() {
    let sea = Sea::new();
    let user = json!({"name": "Ahab", "value": true});
    for sdk in EVERY.into_iter().filter(|sdk| !sdk.is_bridge()) {
        let mut driver = Driver::start(sdk, &sea.lifeboat, &sea.key);
        let connected = driver.connect_with_user("everything", user.clone());
        assert_eq!(connected["ok"], true, "{sdk:?}: {connected}");
        let began = Instant::now();
        let answer = driver.call("everything", "trigger-elicitation-request", json!({}));
        let took = began.elapsed();
        assert_eq!(answer["ok"], true, "{sdk:?}: {answer}");
        assert!(answer["text"].as_str().unwrap().contains("Ahab"), "the user's answer reached the tool: {sdk:?}: {answer}");
        assert_eq!(answer["asked"].as_array().unwrap().len(), 1, "{sdk:?}: {answer}");
        assert!(took < Duration::from_secs(3), "{sdk:?} waited {took:?}");
        if !sdk.is_auto() {
            driver.connect_with_user("fast", user.clone());
            let answer = driver.call("fast", "confirm", json!({}));
            assert_eq!(answer["text"], "the user said accept", "{sdk:?}: {answer}");
        }
    }
}

/// The documents a 401 leads to: the metadata of each resource, and of who gives tokens.
#[test]
fn pit_13_the_challenge_of_each_path_leads_to_its_document() {
    let sea = Sea::new();
    let (proxy, ca) = (&sea.lifeboat.proxy, sea.lifeboat.ca());
    for server in ["demo", "fast", "everything", "never-registered"] {
        let refused = https::get(proxy, &ca, &format!("/mcp/{server}")).unwrap();
        assert_eq!(refused.status, 401, "{server}");
        let challenge = refused.header("www-authenticate").expect("a challenge");
        let (_, rest) = challenge.split_once("resource_metadata=\"").expect("the challenge names the document");
        let url = rest.split('"').next().unwrap();
        let path = url.strip_prefix(&format!("https://{proxy}")).unwrap_or_else(|| panic!("{url} is not at https://{proxy}"));
        let document = https::get(proxy, &ca, path).unwrap();
        assert_eq!((document.status, document.header("content-type")), (200, Some("application/json")), "{url}");
        let document: Value = serde_json::from_str(&document.body).unwrap();
        assert_eq!(document["resource"], sea.lifeboat.url(server), "byte for byte what the client calls: {document}");
        for issuer in document["authorization_servers"].as_array().into_iter().flatten() {
            let path = "/.well-known/oauth-authorization-server";
            let metadata: Value = serde_json::from_str(&https::get(proxy, &ca, path).unwrap().body).unwrap();
            assert_eq!(&metadata["issuer"], issuer);
        }
    }
    for sdk in [Sdk::PythonAuto, Sdk::TypeScript2Auto, Sdk::TypeScript1] {
        for server in ["demo", "fast", "everything"] {
            let url = sea.lifeboat.url(server);
            let found = Driver::start(sdk, &sea.lifeboat, "").ask(json!({"do": "discover", "url": url}));
            assert_eq!((&found["ok"], &found["status"]), (&json!(true), &json!(401)), "{sdk:?} at {server}: {found}");
            assert_eq!(found["document"]["resource"], url, "{sdk:?} at {server}: {found}");
        }
    }
}

/// Two clients of one kind number their requests and tokens alike; the servers have one connection, or one child, for both.
#[test]
fn pit_16_two_clients_with_the_same_ids_do_not_meet() {
    let sea = Sea::new();
    let slow = |server: &str, steps: u64, ms: u64| match server {
        "demo" => ("slow_count", json!({"seconds": ms as f64 / 1000.0, "steps": steps})),
        "fast" => ("count", json!({"steps": steps, "pause_ms": ms / steps})),
        _ => ("trigger-long-running-operation", json!({"steps": steps, "duration": ms as f64 / 1000.0})),
    };
    for sdk in [Sdk::PythonAuto, Sdk::PythonLegacy, Sdk::TypeScript2Auto, Sdk::TypeScript1, Sdk::RustAuto, Sdk::RustLegacy] {
        for server in ["demo", "fast", "everything"] {
            let (mut left, mut right) = (sea.driver(sdk, server), sea.driver(sdk, server));
            let order = |what: &str, (tool, arguments): (&str, Value)| json!({"do": what, "as": server, "tool": tool, "arguments": arguments, "after_ms": 300});
            let (two, five) =
                (left.give(order("progress", slow(server, 2, 800))), right.give(order("progress", slow(server, 5, 800))));
            for (driver, given, steps) in [(&mut left, two, 2), (&mut right, five, 5)] {
                let answer = driver.answer(given);
                let seen = answer["progress"].as_array().map_or(&[][..], Vec::as_slice);
                assert_eq!((&answer["ok"], seen.len()), (&json!(true), steps), "{sdk:?} at {server}: {answer}");
                assert!(
                    seen.iter().all(|step| step[1].as_f64() == Some(steps as f64)),
                    "another's progress: {sdk:?} at {server}: {answer}"
                );
            }
            let (given_up, kept) =
                (left.give(order("cancel", slow(server, 4, 20_000))), right.give(order("progress", slow(server, 4, 1_200))));
            assert_eq!(left.answer(given_up)["ok"], true, "{sdk:?} at {server}");
            let kept = right.answer(kept);
            assert_eq!(kept["ok"], true, "the other's call goes on: {sdk:?} at {server}: {kept}");
            assert_eq!(kept["progress"].as_array().map(Vec::len), Some(4), "{sdk:?} at {server}: {kept}");
        }
    }
}

/// A modern client that is gone has cancelled; a legacy one has not, and its call runs to its end.
#[test]
fn pit_17_a_client_that_is_gone_stops_its_call_only_in_the_modern_era() {
    let sea = Sea::new();
    let mut observer = sea.driver(Sdk::RustAuto, "fast");
    for (sdk, fate, status) in [
        (Sdk::PythonAuto, "cancelled", "cancelled"),
        (Sdk::TypeScript2Auto, "cancelled", "cancelled"),
        (Sdk::RustAuto, "cancelled", "cancelled"),
        (Sdk::PythonLegacy, "", "unknown"),
        (Sdk::TypeScript1, "", "unknown"),
        (Sdk::RustLegacy, "", "unknown"),
    ] {
        let text = format!("from {}", sdk.name());
        let mut driver = sea.driver(sdk, "fast");
        let sent = ["--tool", "fast/remember_slowly"];
        let is_mine = |row: &&Value, kind: &str| row["kind"] == kind && row["params_sha256"].is_string();
        let before = sea.recalled(&mut observer).len();
        let intents = ledger::query(&sea.lifeboat, &sent).iter().filter(|row| is_mine(row, "call.outcome")).count();
        // What is to be cancelled must not end by itself before the client is gone.
        let ms = if fate.is_empty() { 2_500 } else { 20_000 };
        driver.give_call("fast", "remember_slowly", json!({"text": text, "ms": ms}));
        wait("the call is under way", 10, || {
            let rows = ledger::query(&sea.lifeboat, &sent);
            (rows.iter().filter(|row| is_mine(row, "call.intent")).count() > intents).then_some(())
        });
        std::thread::sleep(Duration::from_millis(300));
        drop(driver);
        let wanted = if fate.is_empty() { text.clone() } else { format!("{fate} {text}") };
        let gone = Instant::now();
        wait(&wanted, 8, || has(&sea.recalled(&mut observer), &wanted).then_some(()));
        println!("{sdk:?}: {wanted:?} {} ms after the client was gone", gone.elapsed().as_millis());
        assert!(fate.is_empty() || gone.elapsed() < Duration::from_millis(1_500), "{sdk:?}: the server heard late of it");
        assert_eq!(sea.recalled(&mut observer).len(), before + 1, "{sdk:?}: and nothing else");
        let outcome = wait("the outcome", 10, || {
            let rows = ledger::query(&sea.lifeboat, &sent);
            let outcomes: Vec<&Value> = rows.iter().filter(|row| is_mine(row, "call.outcome")).collect();
            (outcomes.len() > intents).then(|| outcomes[0].clone())
        });
        assert_eq!((&outcome["status"], &outcome["executed"]), (&json!(status), &json!("unknown")), "{sdk:?}: {outcome}");
    }
}

#[test]
fn pit_22_auto_clients_fall_back_at_servers_of_the_legacy_era() {
    let sea = Sea::new();
    real::add_memory(&sea.lifeboat);
    let key = sea.lifeboat.client_for("memory", "librarian");
    for sdk in EVERY.into_iter().filter(|sdk| sdk.is_auto() && !sdk.is_bridge()) {
        for (server, key) in [("everything", &sea.key), ("memory", &key)] {
            let mut driver = Driver::start(sdk, &sea.lifeboat, key);
            let connected = driver.connect(server);
            assert_eq!(
                (&connected["ok"], &connected["protocol"]),
                (&json!(true), &json!("2025-11-25")),
                "{sdk:?} at {server}: {connected}"
            );
            let list = driver.list(server);
            assert!(list["tools"].as_array().is_some_and(|tools| tools.len() >= 9), "{sdk:?} at {server}: {list}");
        }
    }
}

/// Calls in flight end with the stop's own words, the servers are told, and the session of each client goes on.
#[test]
fn pit_27_a_stop_cuts_the_calls_of_each_client_and_leaves_its_session() {
    let sea = Sea::new();
    // A client each: all of their calls together are more than one client may have in flight.
    let start = |sdk: Sdk| {
        let added = sea.lifeboat.json(&["client", "add", sdk.name(), "--role", "sailor", "--rate", "0"]);
        Driver::start(sdk, &sea.lifeboat, added["key"].as_str().unwrap())
    };
    let mut drivers: Vec<Driver> = EVERY.into_iter().map(start).collect();
    let servers =
        [("fast", "count", json!({"steps": 4, "pause_ms": 10_000})), ("demo", "slow_count", json!({"seconds": 40, "steps": 4}))];
    let long = ("everything", "trigger-long-running-operation", json!({"duration": 40, "steps": 4}));
    let servers = [&servers[..], &[long]].concat();
    for (server, tool, _) in &servers[1..] {
        // Of a write it is written down when it begins; the first stays what it is.
        sea.lifeboat.json(&["tool", "class", &format!("{server}/{tool}"), "write"]);
    }
    for driver in &mut drivers {
        for (server, _, _) in &servers {
            let connected = driver.connect(server);
            assert_eq!(connected["ok"], true, "{:?} at {server}: {connected}", driver.sdk);
        }
    }
    let mut flying = Vec::new();
    for (at, driver) in drivers.iter_mut().enumerate() {
        for (server, tool, arguments) in &servers {
            flying.push((at, *server, driver.give_call(server, tool, arguments.clone())));
        }
        flying.push((at, "fast", driver.give_call("fast", "remember_slowly", json!({"text": driver.sdk.name(), "ms": 40_000}))));
    }
    wait("all calls are under way", 30, || {
        let rows = ledger::query(&sea.lifeboat, &[]);
        (rows.iter().filter(|row| row["kind"] == "call.intent").count() == flying.len() - EVERY.len()).then_some(())
    });
    // From what is written down to what the server has begun.
    let has_begun = |texts: &[String]| EVERY.iter().all(|sdk| has(texts, sdk.name()));
    wait("the server is at work on them", 30, || has_begun(&Sea::texts(&mut drivers[0], "under_way")).then_some(()));
    let engaged = sea.lifeboat.json(&["kill", "engage", "--reason", "man overboard"]);
    assert_eq!((&engaged["effective"], &engaged["cut_in_flight"]), (&json!(true), &json!(flying.len())), "{engaged}");
    for (at, server, order) in flying {
        let driver = &mut drivers[at];
        let answer = driver.answer(order);
        let seen = format!("{:?} at {server}: {answer}", driver.sdk);
        assert_eq!((&answer["code"], &answer["data"]["reason"]), (&json!(-31001), &json!("kill.engaged")), "{seen}");
        assert_eq!(answer["data"]["executed"], "unknown", "{seen}");
        assert!(answer["message"].as_str().unwrap().contains("Stopped by an operator"), "{seen}");
    }
    let cut = ledger::query(&sea.lifeboat, &["--status", "cut"]);
    assert_eq!(cut.len(), 4 * EVERY.len(), "{cut:?}");
    sea.lifeboat.json(&["kill", "release", "--reason", "man on board"]);
    for driver in &mut drivers {
        for (server, tool, arguments) in
            [("fast", "recall", json!({})), ("demo", "read_graph", json!({})), ("everything", "echo", json!({"message": "ahoy"}))]
        {
            let answer = driver.call(server, tool, arguments);
            assert_eq!(answer["ok"], true, "{:?} at {server}, in the session it had: {answer}", driver.sdk);
        }
    }
    for sdk in EVERY {
        let told = format!("cancelled {}", sdk.name());
        wait(&format!("the server was told of {sdk:?}"), 10, || has(&sea.recalled(&mut drivers[0]), &told).then_some(()));
    }
}
