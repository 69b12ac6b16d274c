//! Real servers that go away in the middle: restarted between two calls, killed during one. Never an empty success, never a write twice. PIT-4.

use std::path::Path;

use serde_json::{Value, json};

use crate::clients::{Driver, EVERY, Sdk};
use crate::harness::{Lifeboat, wait};
use crate::ledger;
use crate::raw::{Raw, message};
use crate::real;
use crate::rig::{Running, everything_at, free_port};

struct Restarted {
    lifeboat: Lifeboat,
    port: u16,
    server: Running,
    key: String,
}

impl Restarted {
    fn new(name: &'static str) -> Self {
        let (lifeboat, port) = (Lifeboat::start(), free_port());
        let server = started(name, port);
        let url = format!("http://127.0.0.1:{port}/mcp");
        lifeboat.json(&["server", "add", name, "--url", &url, "--plain-loopback"]);
        let key = lifeboat.client_for(name, "sailor");
        Self { lifeboat, port, server, key }
    }

    fn kill_9(&mut self) {
        self.server.0.kill().unwrap();
        self.server.0.wait().unwrap();
    }

    fn start_again(&mut self, name: &str) {
        self.server = started(name, self.port);
    }
}

fn started(name: &str, port: u16) -> Running {
    if name == "everything" {
        return everything_at(port);
    }
    let server = real::fast(port, &[]);
    wait(name, 30, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    server
}

/// While it is away the call did not run, and says so; when it is back the session is over, and says so.
#[test]
fn pit_4_a_restart_of_server_everything_is_never_an_empty_success() {
    let mut sea = Restarted::new("everything");
    let mut raw = Raw::through(&sea.lifeboat, "everything", &sea.key);
    raw.initialize();
    let mut drivers: Vec<Driver> = EVERY.into_iter().map(|sdk| Driver::at(sdk, &sea.lifeboat, &sea.key, "everything")).collect();
    sea.kill_9();
    for driver in &mut drivers {
        let away = driver.call("everything", "toggle-simulated-logging", json!({}));
        let data = &away["data"];
        assert_eq!((&away["code"], &data["reason"]), (&json!(-31007), &json!("upstream.unavailable")), "{:?}: {away}", driver.sdk);
        assert_eq!(data["executed"], "no", "{:?}: {away}", driver.sdk);
    }
    sea.start_again("everything");
    // After so many failures it is left alone, until a look finds it back.
    let shown = || sea.lifeboat.json(&["server", "show", "everything"]);
    wait("it is found back", 20, || (shown()["breaker"] == "closed" && shown()["state"] == "up").then_some(()));
    let toggle = r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"toggle-simulated-logging","arguments":{}}}"#;
    let over = raw.legacy(toggle);
    assert_eq!(over.status, 404, "the server's session is over, and ours with it: {}", over.body);
    assert_eq!(raw.legacy(toggle).status, 404, "and it stays over");
    for driver in &mut drivers {
        let answer = driver.call("everything", "toggle-simulated-logging", json!({}));
        let text = if answer["ok"] == true { &answer["text"] } else { &answer["message"] };
        assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{:?}: an empty answer: {answer}", driver.sdk);
        println!("{:?} after the restart: ok {} {text}", driver.sdk, answer["ok"]);
        if answer["ok"] != true {
            assert_eq!(driver.connect("everything")["ok"], true, "{:?} connects again", driver.sdk);
        }
        let echo = driver.call("everything", "echo", json!({"message": "still afloat"}));
        assert!(echo["text"].as_str().is_some_and(|text| text.contains("still afloat")), "{:?}: {echo}", driver.sdk);
    }
}

/// What a write says of itself is what became of it, in both eras.
#[test]
fn pit_4_a_write_after_a_restart_is_there_or_is_an_error() {
    let mut sea = Restarted::new("fast");
    let mut drivers: Vec<Driver> = EVERY.into_iter().map(|sdk| Driver::at(sdk, &sea.lifeboat, &sea.key, "fast")).collect();
    sea.kill_9();
    sea.start_again("fast");
    let mut told = Vec::new();
    for driver in &mut drivers {
        let answer = driver.call("fast", "remember", json!({"text": driver.sdk.name()}));
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(answer["ok"] == true || !message.is_empty(), "{:?}: {answer}", driver.sdk);
        assert!(
            answer["ok"] == true || !driver.sdk.is_auto(),
            "without a session there is nothing to lose: {:?}: {answer}",
            driver.sdk
        );
        told.push((driver.sdk, answer["ok"] == true));
    }
    let texts = Driver::at(Sdk::RustAuto, &sea.lifeboat, &sea.key, "fast").call("fast", "recall", json!({}));
    let texts: Vec<String> = serde_json::from_value(texts["structured"]["result"].clone()).unwrap();
    for (sdk, kept) in told {
        assert_eq!(
            texts.iter().filter(|text| *text == sdk.name()).count(),
            usize::from(kept),
            "{sdk:?} was told {kept}: {texts:?}"
        );
    }
}

/// The outcome of the one write in `rows`: unknown, after a permitted intent, and no second attempt.
fn is_unknown(rows: &[Value]) {
    let outcomes: Vec<&Value> = rows.iter().filter(|row| row["kind"] == "call.outcome").collect();
    assert_eq!((rows.len(), outcomes.len()), (2, 1), "one intent, one outcome: {rows:?}");
    let (status, executed) = (&outcomes[0]["status"], &outcomes[0]["executed"]);
    assert_eq!((status, executed), (&json!("unknown"), &json!("unknown")), "{rows:?}");
    assert_eq!(outcomes[0]["reason"], "upstream.outcome_unknown", "{rows:?}");
}

fn reads_as_unknown(answer: &Value, who: &str) {
    assert_eq!((&answer["code"], &answer["data"]["executed"]), (&json!(-31007), &json!("unknown")), "{who}: {answer}");
    assert_eq!(
        (&answer["data"]["reason"], &answer["data"]["retry"]),
        (&json!("upstream.outcome_unknown"), &json!("no")),
        "{who}: {answer}"
    );
    assert!(answer["message"].as_str().is_some_and(|text| text.contains("Do not repeat it")), "{who}: {answer}");
}

#[test]
fn a_write_whose_http_server_is_killed_reads_unknown_and_is_not_repeated() {
    let mut sea = Restarted::new("fast");
    for sdk in [Sdk::PythonAuto, Sdk::PythonLegacy, Sdk::TypeScript2Auto, Sdk::TypeScript1, Sdk::RustAuto, Sdk::RustLegacy] {
        let mut driver = Driver::at(sdk, &sea.lifeboat, &sea.key, "fast");
        let before = ledger::query(&sea.lifeboat, &["--tool", "fast/remember_slowly"]).len();
        let order = driver.give_call("fast", "remember_slowly", json!({"text": "lost", "ms": 60_000}));
        wait("the intent", 10, || (ledger::query(&sea.lifeboat, &["--tool", "fast/remember_slowly"]).len() > before).then_some(()));
        std::thread::sleep(std::time::Duration::from_millis(200));
        sea.kill_9();
        reads_as_unknown(&driver.answer(order), sdk.name());
        sea.start_again("fast");
        let rows = ledger::query(&sea.lifeboat, &["--tool", "fast/remember_slowly"]);
        is_unknown(&rows[..rows.len() - before]);
        let mut after = Driver::at(sdk, &sea.lifeboat, &sea.key, "fast");
        let texts = after.call("fast", "recall", json!({}));
        assert_eq!(texts["structured"]["result"], json!([]), "nobody sent it again: {sdk:?}: {texts}");
    }
}

/// The child of a stdio server that has `script` on its command line.
fn child_of(lifeboat: &Lifeboat, script: &str) -> u32 {
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok()).unwrap_or(0)
    };
    let descends = |pid: u32| {
        std::iter::successors(Some(pid), |pid| Some(parent(*pid)).filter(|pid| *pid > 1)).any(|pid| pid == lifeboat.pid())
    };
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let runs = |pid: &u32| {
        let line = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
        let words = crate::harness::text(&line);
        // The trampoline names the same script.
        words.contains(script) && !words.split('\0').any(|word| word == "sandbox") && descends(*pid)
    };
    let found: Vec<u32> = pids.filter(runs).collect();
    let [only] = found[..] else { panic!("one child runs {script}: {found:?}") };
    only
}

fn signal(pid: u32, name: &str) {
    assert!(std::process::Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap().success());
}

#[test]
fn a_write_whose_stdio_server_is_killed_reads_unknown_and_is_not_repeated() {
    let lifeboat = Lifeboat::start();
    real::add_memory(&lifeboat);
    let key = lifeboat.client_for("memory", "librarian");
    let entity = |name: &str| json!({"entities": [{"name": name, "entityType": "ship", "observations": []}]});
    for sdk in EVERY {
        let mut driver = Driver::at(sdk, &lifeboat, &key, "memory");
        let kept = driver.call("memory", "create_entities", entity(&format!("kept {}", sdk.name())));
        assert_eq!(kept["ok"], true, "{sdk:?}: {kept}");
        let before = ledger::query(&lifeboat, &["--tool", "memory/create_entities"]).len();
        let pid = child_of(&lifeboat, "server-memory/dist/index.js");
        // It stands still while the write comes in, so that it surely dies in the middle of it.
        signal(pid, "STOP");
        let order = driver.give_call("memory", "create_entities", entity(&format!("lost {}", sdk.name())));
        wait("the intent", 10, || (ledger::query(&lifeboat, &["--tool", "memory/create_entities"]).len() > before).then_some(()));
        std::thread::sleep(std::time::Duration::from_millis(200));
        signal(pid, "KILL");
        reads_as_unknown(&driver.answer(order), sdk.name());
        let rows = ledger::query(&lifeboat, &["--tool", "memory/create_entities"]);
        is_unknown(&rows[..rows.len() - before]);
        let graph = wait("the server is back", 60, || {
            let graph = driver.call("memory", "read_graph", json!({}));
            (graph["ok"] == true).then_some(graph)
        });
        let text = graph["text"].as_str().unwrap_or_default();
        assert!(text.contains(&format!("kept {}", sdk.name())), "the server is back, with what it had: {sdk:?}: {graph}");
        assert!(!text.contains(&format!("lost {}", sdk.name())), "nobody sent it again: {sdk:?}: {graph}");
    }
}

/// A session is with Lifeboat, not with the child: what has no session of its own goes on after a restart.
#[test]
fn pit_4_a_restarted_stdio_server_serves_the_sessions_there_were() {
    let lifeboat = Lifeboat::start();
    real::add_memory(&lifeboat);
    let key = lifeboat.client_for("memory", "librarian");
    let mut raw = Raw::through(&lifeboat, "memory", &key);
    raw.initialize();
    signal(child_of(&lifeboat, "server-memory/dist/index.js"), "KILL");
    let graph = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"read_graph","arguments":{}}}"#;
    let text = wait("the server is back", 60, || {
        let answer: Value = serde_json::from_str(&message(&raw.legacy(graph))).unwrap();
        let shown = answer["result"]["content"][0]["text"].as_str().map(str::to_owned);
        assert!(shown.is_some() || answer["error"]["code"] == -31007, "a whole answer or an error: {answer}");
        shown
    });
    assert!(text.contains("entities"), "{text}");
}
