//! Every real client against every real server, through one Lifeboat: list, write, read, progress, cancel, a stop and its release, and
//! what the ledger says of each pairing. Goes on after a pairing that fails, and tells all of them at the end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clients::{self, Driver, Sdk};
use crate::harness::{Lifeboat, wait};
use crate::ledger;
use crate::real::{self, Real, Slow, Step};

/// What went wrong, by pairing.
#[derive(Default)]
struct Verdict(Vec<String>);

impl Verdict {
    fn check(&mut self, good: bool, (sdk, server): (Sdk, &Real), what: &str, seen: &Value) {
        if !good {
            self.0.push(format!("{sdk:?} x {}: {what}: {seen}", server.name));
        }
    }
}

/// One client with a connection to each server.
struct Table<'a> {
    lifeboat: &'a Lifeboat,
    driver: Driver,
    verdict: &'a mut Verdict,
}

#[test]
fn every_client_with_every_server() {
    let lifeboat = Lifeboat::start();
    let began = std::time::Instant::now();
    let _servers = real::raise(&lifeboat);
    println!("servers up after {} ms", began.elapsed().as_millis());
    let globs: Vec<String> = real::EVERY.iter().map(|server| format!("\"{}/*\"", server.name)).collect();
    let grant = format!("[[grant]]\ntools = [{}]\nclasses = [\"read\", \"write\", \"destructive\"]\n", globs.join(", "));
    lifeboat.configure("roles/sailor.toml", &grant);
    let mut verdict = Verdict::default();
    for sdk in clients::EVERY {
        let added = lifeboat.json(&["client", "add", sdk.name(), "--role", "sailor", "--rate", "0"]);
        let driver = Driver::start(sdk, &lifeboat, added["key"].as_str().unwrap());
        let mut table = Table { lifeboat: &lifeboat, driver, verdict: &mut verdict };
        table.works();
        table.stops_and_comes_back();
        drop(table);
        stands_in_the_ledger(&lifeboat, sdk, &mut verdict);
        println!("{sdk:?} done after {} ms", began.elapsed().as_millis());
    }
    ledger::verified(&lifeboat);
    assert!(verdict.0.is_empty(), "{} checks failed:\n{}", verdict.0.len(), verdict.0.join("\n"));
}

impl Table<'_> {
    fn check(&mut self, good: bool, server: &Real, what: &str, seen: &Value) {
        let sdk = self.driver.sdk;
        self.verdict.check(good, (sdk, server), what, seen);
    }

    fn arguments(&self, server: &Real, text: &str) -> Value {
        serde_json::from_str(&self.filled(server, text)).unwrap()
    }

    fn filled(&self, server: &Real, text: &str) -> String {
        let vault = real::vault(self.lifeboat, server.name);
        text.replace("WHO", self.driver.sdk.name()).replace("VAULT", vault.to_str().unwrap())
    }

    fn call(&mut self, server: &Real, step: Step, what: &str) {
        let arguments = self.arguments(server, step.arguments);
        let answer = self.driver.call(server.name, step.tool, arguments);
        let says = self.filled(server, step.says);
        let good = answer["ok"] == true && answer["text"].as_str().is_some_and(|text| text.contains(&says));
        self.check(good, server, what, &answer);
    }

    fn works(&mut self) {
        for server in &real::EVERY {
            let connected = self.driver.connect(server.name);
            let sdk = self.driver.sdk;
            let modern = connected["protocol"] == "2026-07-28";
            let good = connected["ok"] == true && (sdk.is_bridge() || modern == speaks_modern(sdk, server));
            self.check(good, server, "connects in the newest era that both know", &connected);
            let list = self.driver.list(server.name);
            let tools = list["tools"].as_array().map_or(&[][..], Vec::as_slice);
            self.check(tools.len() == server.tools && tools.contains(&json!(server.read.tool)), server, "lists", &list);
            if let Some(write) = server.write {
                self.call(server, write, "writes");
            }
            self.call(server, server.read, "reads");
            if let Some(slow) = server.progress {
                self.shows_progress(server, slow);
            }
            if let Some(long) = given_up(sdk, server) {
                self.gives_up(server, long);
            }
        }
    }

    fn shows_progress(&mut self, server: &Real, slow: Slow) {
        let arguments = self.arguments(server, slow.arguments);
        let answer = self.driver.progress(server.name, slow.tool, arguments);
        let steps = json!([[1.0, 4.0], [2.0, 4.0], [3.0, 4.0], [4.0, 4.0]]);
        self.check(answer["ok"] == true && alike(&answer["progress"], &steps), server, "tells its progress", &answer);
        let spread = answer["spread_ms"].as_u64().unwrap_or_default();
        self.check(spread > 400, server, "tells its progress while it happens", &answer);
    }

    fn gives_up(&mut self, server: &Real, long: Slow) {
        let arguments = self.arguments(server, long.arguments);
        let answer = self.driver.cancel(server.name, long.tool, arguments, 400);
        let soon = answer["ms"].as_u64().is_some_and(|ms| ms < 5_000);
        self.check(answer["ok"] == true && soon, server, "gives a call up", &answer);
        self.call(server, server.read, "reads on after a cancel");
    }

    /// Of a call that was given up the end is known when its server has said something, or after two seconds; a stop before that would be its end.
    fn given_up_is_over(&self) {
        let sdk = self.driver.sdk;
        for (server, long) in real::EVERY.iter().filter_map(|server| Some((server, given_up(sdk, server)?))) {
            let tool = format!("{}/{}", server.name, long.tool);
            let filters = ["--client", sdk.name(), "--tool", &tool, "--status", "cancelled"];
            wait("the end of a call that was given up", 10, || (!ledger::query(self.lifeboat, &filters).is_empty()).then_some(()));
        }
    }

    fn stops_and_comes_back(&mut self) {
        self.given_up_is_over();
        let engaged = self.lifeboat.json(&["kill", "engage", "--reason", "seen on the water"]);
        assert_eq!(engaged["effective"], true, "{engaged}");
        for server in &real::EVERY {
            let list = self.driver.list(server.name);
            self.check(list["ok"] == true, server, "still lists under a kill", &list);
            for step in [Some(server.read), server.write].into_iter().flatten() {
                let arguments = self.arguments(server, step.arguments);
                let answer = self.driver.call(server.name, step.tool, arguments);
                let data = &answer["data"];
                let told = answer["message"].as_str().is_some_and(|text| text.contains("Stopped by an operator"));
                let good = answer["code"] == -31001 && told && data["reason"] == "kill.engaged" && data["executed"] == "no";
                self.check(good && data["request_id"].is_string(), server, "shows a stop so that it is understood", &answer);
            }
        }
        self.lifeboat.json(&["kill", "release", "--reason", "known now"]);
        for server in &real::EVERY {
            self.call(server, server.read, "reads again after the release");
        }
    }
}

/// The long call that a client gives up. In the modern era that is a closed stream, which the bridge keeps open: its call runs on.
fn given_up(sdk: Sdk, server: &Real) -> Option<Slow> {
    server.long.filter(|_| !(sdk == Sdk::McpRemoteAuto && server.modern))
}

fn speaks_modern(sdk: Sdk, server: &Real) -> bool {
    sdk.is_auto() && server.modern
}

/// Whether two lists of numbers are the same, however the numbers are written.
fn alike(seen: &Value, wanted: &Value) -> bool {
    match (seen, wanted) {
        (Value::Array(seen), Value::Array(wanted)) => {
            seen.len() == wanted.len() && seen.iter().zip(wanted).all(|(seen, wanted)| alike(seen, wanted))
        }
        (seen, wanted) => seen.as_f64() == wanted.as_f64(),
    }
}

type Row = (String, &'static str, &'static str, &'static str, &'static str);

/// Each call of the pairing stands in the ledger as what it was, and nothing else does.
fn stands_in_the_ledger(lifeboat: &Lifeboat, sdk: Sdk, verdict: &mut Verdict) {
    let events = ledger::query(lifeboat, &["--client", sdk.name()]);
    for server in &real::EVERY {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for event in events.iter().filter(|event| event["server"] == server.name && event["method"] == "tools/call") {
            let word = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
            let row = ["tool", "kind", "class", "status", "executed"].map(word).join(" ");
            *seen.entry(row).or_default() += 1;
            let whole = event["revision"].is_string() && event["request_id"].is_string() && event["params_sha256"].is_string();
            let decided = event["decision"] == if event["status"] == "refused" { "refuse" } else { "permit" };
            verdict.check(whole && decided, (sdk, server), "a whole row", event);
            let in_session = event["session"].is_string();
            let fits = in_session != speaks_modern(sdk, server);
            verdict.check(fits, (sdk, server), "a session in the legacy era and in no other", event);
        }
        let wanted = rows(sdk, server);
        let seen: Vec<String> = seen.into_iter().map(|(row, count)| format!("{count} {row}")).collect();
        verdict.check(seen == wanted, (sdk, server), &format!("the ledger has {wanted:#?} and no other row"), &json!(seen));
    }
}

fn rows(sdk: Sdk, server: &Real) -> Vec<String> {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    let mut add = |row: Row, count: usize| {
        let (tool, kind, class, status, executed) = row;
        *rows.entry([&tool, kind, class, status, executed].join(" ")).or_default() += count;
    };
    let read = || server.read.tool.to_owned();
    add((read(), "call", "read", "ok", "yes"), if given_up(sdk, server).is_some() { 3 } else { 2 });
    add((read(), "call", "read", "refused", "no"), 1);
    if let Some(write) = server.write {
        add((write.tool.to_owned(), "call.intent", write.class, "-", "-"), 1);
        add((write.tool.to_owned(), "call.outcome", write.class, "ok", "yes"), 1);
        add((write.tool.to_owned(), "call.outcome", write.class, "refused", "no"), 1);
    }
    if let Some(slow) = server.progress {
        add((slow.tool.to_owned(), "call", "read", "ok", "yes"), 1);
    }
    if let Some(long) = given_up(sdk, server) {
        add((long.tool.to_owned(), "call", "read", "cancelled", "unknown"), 1);
    }
    rows.into_iter().map(|(row, count)| format!("{count} {row}")).collect()
}
