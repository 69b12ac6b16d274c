//! Restores in place with the real program, its demo server and real calls: the memory is the old one or the new one at every moment, and who
//! calls meanwhile hears that it was stopped.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::proxy::{call, modern};
use crate::recovery::SmallDisk;
use crate::support::program::{Running, ask, start};
use crate::support::wire::{self, Reply};

fn done(data: &Path, words: &[&str]) -> Value {
    let (answer, exit) = ask(data, words);
    assert_eq!(exit, Some(0), "{words:?}: {answer}");
    answer
}

/// A client of the demo.
#[derive(Clone)]
struct Client {
    proxy: SocketAddr,
    ca: Vec<u8>,
    key: String,
}

impl Client {
    fn of(data: &Path) -> Self {
        let told: Value =
            serde_json::from_slice(&fs::read(data.join("run/addresses.json")).expect("addresses")).expect("they are JSON");
        let secrets = fs::read_to_string(data.join("keys/first-run.txt")).expect("the secrets of the first run");
        let key = secrets.lines().find_map(|line| line.strip_prefix("demo-client key: ")).expect("a key").to_owned();
        let proxy = told["proxy"].as_str().expect("an address").parse().expect("an address");
        Self { proxy, ca: fs::read(data.join("tls/ca.pem")).expect("the CA"), key }
    }

    async fn call(&self, tool: &str, arguments: Value) -> Reply {
        let bearer = format!("Bearer {}", self.key);
        let mut headers = vec![("Authorization", bearer.as_str())];
        headers.extend(modern("tools/call", tool));
        wire::request(self.proxy, &self.ca, "POST", "/mcp/demo", &headers, call(1, tool, arguments).to_string().as_bytes()).await
    }

    async fn note(&self, text: &str) {
        let reply = self.call("add_note", json!({"text": text})).await;
        assert!(reply.json()["result"]["isError"] != true && reply.code() == 0, "{}", reply.json());
    }

    async fn notes(&self) -> Vec<String> {
        let reply = self.call("read_graph", json!({})).await.json();
        let notes = reply["result"]["structuredContent"]["notes"].as_array();
        assert!(notes.is_some(), "no notes: {reply}");
        notes.into_iter().flatten().filter_map(|note| note.as_str().map(str::to_owned)).collect()
    }
}

/// So much that reading and writing it takes a while.
fn noise(data: &Path, mib: u32) {
    let noise: Vec<u8> = (0..mib << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes()).collect();
    let place = data.join("vaults/demo");
    fs::write(place.join("noise"), noise).expect("noise");
    // As if the server had written it.
    let owner = fs::metadata(&place).expect("a vault");
    chown(place.join("noise"), Some(owner.uid()), Some(owner.gid())).expect("given");
}

/// What lies in `vaults/` besides the demo's own.
fn beside(data: &Path) -> Vec<String> {
    let names = data.join("vaults").read_dir().expect("vaults").flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name != "demo").collect();
    names.sort();
    names
}

fn notes_of(memory: &Path) -> Vec<String> {
    let text = fs::read_to_string(memory).unwrap_or_default();
    let items = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    items.filter_map(|item| item["text"].as_str().map(str::to_owned)).collect()
}

fn owners(tree: &Path) -> String {
    let listed = Command::new("find").arg(tree).args(["-not", "-name", "tmp", "-printf", "%U:%G %m %P\n"]).output().expect("find");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_18_the_memory_of_a_running_server_is_the_old_one_again_and_nobody_saw_a_mixture() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let _running = start(&data, &["up", "--demo"]);
    let client = Client::of(&data);
    client.note("right").await;
    noise(&data, 24);
    let archive = done(&data, &["backup", "run", "demo"])["archives"][0]["id"].as_str().expect("an id").to_owned();
    client.note("poison").await;
    let before = owners(&data.join("vaults/demo"));
    let looked = done(&data, &["restore", "latest:demo", "--live", "--dry-run"]);
    assert!(looked["dry_run"] == true && looked["servers"] == json!(["demo"]), "{looked}");
    assert_eq!(client.notes().await, ["right", "poison"]);
    let over = Arc::new(AtomicBool::new(false));
    let calling = tokio::spawn({
        let (over, client) = (over.clone(), client.clone());
        async move {
            let mut seen: Vec<String> = Vec::new();
            // Once it is over, until what came back was seen.
            let began = Instant::now();
            while !over.load(Ordering::SeqCst) || seen.last().is_none_or(|last| last != "[\"right\"]") {
                assert!(began.elapsed() < Duration::from_secs(60), "{seen:?}");
                // Not faster than the client may.
                tokio::time::sleep(Duration::from_millis(25)).await;
                let reply = client.call("read_graph", json!({})).await;
                seen.push(if reply.code() == 0 {
                    reply.json()["result"]["structuredContent"]["notes"].to_string()
                } else {
                    reply.reason()
                });
            }
            seen
        }
    });
    let words = data.clone();
    let restored =
        tokio::task::spawn_blocking(move || done(&words, &["restore", "latest:demo", "--live", "--reason", "poisoned since noon"]));
    let restored = restored.await.expect("it ends");
    over.store(true, Ordering::SeqCst);
    let mut seen = calling.await.expect("it ends");
    seen.dedup();
    // The one that was there, the stop, the one that came back.
    assert_eq!(seen, ["[\"right\",\"poison\"]", "kill.engaged", "[\"right\"]"], "{restored}");
    let steps: Vec<&str> = restored["steps"].as_array().expect("steps").iter().filter_map(|step| step["name"].as_str()).collect();
    assert_eq!(steps, ["backup", "unpack", "stop", "quiet", "swap", "compare", "start", "tools", "release"]);
    assert!(restored["ok"] == true && restored["released"] == true && restored["archive"] == archive.as_str(), "{restored}");
    assert_eq!(client.notes().await, ["right"]);
    assert_eq!(owners(&data.join("vaults/demo")), before, "owners and modes are as they were");
    let kept = PathBuf::from(restored["kept"].as_str().expect("what was there"));
    assert_eq!(notes_of(&kept.join("memory.jsonl")), ["right", "poison"]);
    assert_eq!(beside(&data), [kept.file_name().expect("a name").to_string_lossy()]);
    ledger(&data, restored["id"].as_str().expect("an id"));
    // The server lives on the new tree, not beside it.
    client.note("after").await;
    assert_eq!(notes_of(&data.join("vaults/demo/memory.jsonl")), ["right", "after"]);
    let listed = done(&data, &["vault", "kept"]);
    assert_eq!(listed["kept"][0]["path"], kept.display().to_string(), "{listed}");
    done(&data, &["vault", "clean", "demo"]);
    assert!(beside(&data).is_empty());
    // The archive of what was there is at hand, and is never the latest.
    let again = done(&data, &["restore", "latest:demo", "--live", "--reason", "once more"]);
    assert_eq!(again["archive"], archive.as_str());
    let safety = restored["safety"].as_str().expect("an archive").to_owned();
    let identity = data.join("keys/recovery.key").display().to_string();
    done(&data, &["restore", &safety, "--live", "--reason", "it was right after all", "--identity", &identity]);
    assert_eq!(client.notes().await, ["right", "poison"]);
}

fn ledger(data: &Path, id: &str) {
    let events = done(data, &["audit", "query", "--limit", "200"])["events"].as_array().expect("events").clone();
    let of = |action: &str| events.iter().filter(|event| event["action"] == action).cloned().collect::<Vec<_>>();
    let live = of("restore.live");
    assert!(live.len() == 1 && live[0]["object"] == id && live[0]["params"]["reason"] == "poisoned since noon", "{live:?}");
    for action in ["kill.engage", "kill.release"] {
        let reason = of(action)[0]["params"]["reason"].as_str().expect("a reason").to_owned();
        assert_eq!(reason, format!("restore {id}: poisoned since noon"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_18_what_was_stopped_before_stays_stopped_after() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let _running = start(&data, &["up", "--demo"]);
    let client = Client::of(&data);
    client.note("right").await;
    done(&data, &["backup", "run", "demo"]);
    client.note("poison").await;
    done(&data, &["kill", "engage", "--reason", "looking", "--server", "demo", "--mode", "read-only"]);
    let restored = done(&data, &["restore", "latest:demo", "--live", "--reason", "poisoned"]);
    assert!(restored["released"] == true, "{restored}");
    let kill = done(&data, &["kill", "status"]);
    assert_eq!((&kill["states"][0]["scope"], &kill["states"][0]["mode"]), (&json!("server demo"), &json!("read-only")), "{kill}");
    assert_eq!(client.notes().await, ["right"], "reads go on, as before");
    done(&data, &["kill", "engage", "--reason", "all of it"]);
    done(&data, &["kill", "engage", "--reason", "this one", "--server", "demo"]);
    let restored = done(&data, &["restore", "latest:demo", "--live", "--reason", "again"]);
    assert!(restored["ok"] == true && restored["released"] == false, "{restored}");
    let kill = done(&data, &["kill", "status"]);
    let mut scopes: Vec<&str> = kill["states"].as_array().expect("states").iter().filter_map(|one| one["scope"].as_str()).collect();
    scopes.sort_unstable();
    assert_eq!(scopes, ["everything", "server demo"], "{kill}");
    assert_eq!(client.call("read_graph", json!({})).await.reason(), "kill.engaged");
}

#[test]
fn restores_in_place_that_are_not_meant_so_are_refused_in_words() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let _running = start(&data, &["up", "--demo"]);
    done(&data, &["backup", "run"]);
    for (words, word, exit) in [
        (vec!["latest", "--live", "--reason", "x"], "one vault at a time", 64),
        (vec!["latest:lifeboat", "--live", "--reason", "x"], "rebuild", 64),
        (vec!["latest:demo", "--live"], "reason", 64),
        (vec!["latest:demo", "--live", "--reason", "x", "--path", "memory.jsonl"], "--to", 64),
        (vec!["latest:nothing", "--live", "--reason", "x"], "no archive", 1),
    ] {
        let (answer, code) = ask(&data, &[&["restore"], words.as_slice()].concat());
        assert!(code == Some(exit) && answer["error"].to_string().contains(word), "{words:?}: {code:?} {answer}");
    }
    let both = ["restore", "latest:demo", "--live", "--reason", "x", "--to", "/tmp/x"];
    assert_eq!(ask(&data, &both).1, Some(64), "in place or elsewhere, not both");
    assert_eq!(done(&data, &["kill", "status"])["engaged"], false);
    assert!(beside(&data).is_empty());
}

#[test]
fn a_vault_comes_back_also_while_lifeboat_is_down() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = start(&data, &["up", "--demo"]);
    let memory = data.join("vaults/demo/memory.jsonl");
    fs::write(&memory, "{\"type\":\"note\",\"text\":\"right\"}\n").expect("a memory");
    done(&data, &["backup", "run", "demo"]);
    drop(running);
    fs::write(&memory, "nothing a server could read").expect("spoiled");
    let restored = done(&data, &["restore", "latest:demo", "--live", "--reason", "it does not start"]);
    assert!(restored["ok"] == true && restored["steps"][2]["detail"].to_string().contains("not running"), "{restored}");
    let _running = restarted(&data);
    assert_eq!(notes_of(&memory), ["right"]);
    assert_eq!(done(&data, &["kill", "status"])["engaged"], false);
}

/// What there is to see from outside of how far a restore has come.
fn seen(data: &Path, moment: usize) -> bool {
    let mut run = data.join("run").read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let note = run.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("restore-")));
    let note: Option<Value> = note.and_then(|path| serde_json::from_slice(&fs::read(path).ok()?).ok());
    match moment {
        0 => note.is_some(),
        1 => beside(data)
            .iter()
            .any(|name| name.starts_with(".restoring-") && data.join("vaults").join(name).join("content").exists()),
        2 => note.is_some() && data.join("KILL").exists(),
        3 | 4 => note.is_some_and(|note| !note["new"].is_null()),
        _ => beside(data).iter().any(|name| name.starts_with("demo.before-")),
    }
}

#[test]
fn rec_18_killed_at_any_moment_the_next_start_has_the_old_memory_or_the_new_one_and_says_which() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let mut running = start(&data, &["up", "--demo"]);
    let memory = data.join("vaults/demo/memory.jsonl");
    let write = |text: &str| fs::write(&memory, format!("{{\"type\":\"note\",\"text\":\"{text}\"}}\n")).expect("a memory");
    write("right");
    noise(&data, 24);
    let archive = done(&data, &["backup", "run", "demo"])["archives"][0]["id"].as_str().expect("an id").to_owned();
    let (mut old, mut new) = (0, 0);
    for moment in 0..9usize {
        write("poison");
        fs::write(data.join("vaults/demo/noise"), format!("poison {moment}")).expect("other noise");
        let mut order = begin(&data, &archive);
        let began = Instant::now();
        while !seen(&data, moment) && order.try_wait().expect("it is known").is_none() {
            assert!(began.elapsed() < Duration::from_secs(60), "moment {moment} never came");
        }
        std::thread::sleep(Duration::from_millis([0, 20, 0, 0, 3, 0, 10, 40, 200][moment]));
        running.0.kill().expect("killed");
        drop(running);
        let _ended = order.wait();
        running = restarted(&data);
        let noise = fs::metadata(data.join("vaults/demo/noise")).expect("noise").len();
        let notes = notes_of(&memory);
        let is_new = notes == ["right"];
        assert!(is_new || notes == ["poison"], "moment {moment}: {notes:?}");
        assert_eq!(is_new, noise > 1000, "moment {moment}: a mixture of the old memory and the new one");
        (old, new) = (old + usize::from(!is_new), new + usize::from(is_new));
        let told = said(&data);
        let kill = done(&data, &["kill", "status"]);
        let stopped = kill["states"].as_array().expect("states").iter().any(|one| one["scope"] == "server demo");
        assert!(
            !stopped || told.contains("was cut off") || told.contains("not everything passed"),
            "moment {moment}: {kill} {told}"
        );
        assert!(!beside(&data).iter().any(|name| name.starts_with(".restoring-")), "moment {moment}: {:?}", beside(&data));
        if stopped {
            done(&data, &["kill", "release", "--reason", "looked", "--server", "demo"]);
        }
        done(&data, &["vault", "clean", "demo"]);
        assert!(!said(&data).contains("restore"), "{}", said(&data));
    }
    assert!(old > 0 && new > 0, "the moments were all on one side: {old} old, {new} new");
    let settled = done(&data, &["audit", "query", "--limit", "500"]).to_string();
    assert!(settled.contains("restore.settled"), "it stands in the ledger");
}

/// Orders a restore in place, as a process of its own.
fn begin(data: &Path, archive: &str) -> Child {
    let identity = data.join("keys/recovery.key");
    let mut order = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    order.args(["restore", archive, "--live", "--without-backup", "--reason", "poisoned", "--identity"]).arg(identity);
    order.arg("--data").arg(data).stdout(Stdio::null()).stderr(Stdio::null());
    order.spawn().expect("a restore begins")
}

fn restarted(data: &Path) -> Running {
    start(data, &["up"])
}

/// What doctor says of restores.
fn said(data: &Path) -> String {
    let doctor = ask(data, &["doctor"]).0;
    let checks = doctor["checks"].as_array().expect("checks").clone();
    checks.iter().filter(|check| check["name"] == "restore").map(Value::to_string).collect()
}

#[test]
fn rec_18_a_full_and_a_read_only_place_change_nothing_and_stop_nobody() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let _running = start(&data, &["up", "--demo"]);
    let Some(disk) = SmallDisk::mount(&folder.path().join("small"), "24m") else { return };
    let place = disk.0.join("notes");
    fs::create_dir(&place).expect("a vault");
    let noise: Vec<u8> = (0..9u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes()).collect();
    fs::write(place.join("memory"), &noise).expect("a memory");
    fs::write(data.join("config/lifeboat.toml"), crate::recovery::no_reserve(&data)).expect("edited");
    done(&data, &["config", "commit", "--as", "e2e", "-m", "no reserve"]);
    done(&data, &["vault", "add", "notes", "--path", place.to_str().expect("UTF-8"), "--server", "demo"]);
    done(&data, &["backup", "run", "notes"]);
    fs::write(place.join("memory"), "poison").expect("changed");
    fs::write(disk.0.join("filler"), vec![1u8; 20 << 20]).expect("others use the disk too");
    let restore = ["restore", "latest:notes", "--live", "--reason", "poisoned"];
    let untouched = |word: &str| {
        let (answer, exit) = ask(&data, &restore);
        assert!(exit == Some(1) && answer["error"].to_string().contains(word), "{answer}");
        assert_eq!(fs::read_to_string(place.join("memory")).expect("a memory"), "poison");
        assert_eq!(disk.0.read_dir().expect("a disk").count(), 2, "nothing is left beside it");
        assert_eq!(done(&data, &["kill", "status"])["engaged"], false);
        assert_eq!(done(&data, &["status"])["servers"][0]["state"], "up");
    };
    // Refused before an archive of what is there is made: each costs an older one its identity.
    for _ in 0..3 {
        untouched("MiB free");
    }
    fs::write(disk.0.join("filler"), "").expect("room again");
    let remount = |mode: &str| {
        let options = format!("remount,{mode}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&disk.0).status().expect("mount").success());
    };
    remount("ro");
    untouched("cannot be written");
    remount("rw");
    // A directory that nothing can be renamed in is found when the names change places: what was unpacked goes, and the stop is released.
    let fixed = Command::new("chattr").arg("+i").arg(&place).status().is_ok_and(|status| status.success());
    if fixed {
        let (answer, exit) = ask(&data, &restore);
        let _loose = Command::new("chattr").arg("-i").arg(&place).status();
        assert!(exit == Some(2) && answer["released"] == true, "{answer}");
        assert_eq!(disk.0.read_dir().expect("a disk").count(), 2, "what was unpacked is gone");
        assert_eq!(fs::read_to_string(place.join("memory")).expect("a memory"), "poison");
        assert_eq!(done(&data, &["kill", "status"])["engaged"], false);
    }
    assert_eq!(done(&data, &restore)["ok"], true);
    assert_eq!(fs::read(place.join("memory")).expect("a memory"), noise);
}
