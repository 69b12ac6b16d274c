//! Archives, rebuild and drills with the real program: what is destroyed comes back from archives and an identity alone, and what was ended
//! stays ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::program::{Running, ask, start};

pub(crate) fn done(data: &Path, words: &[&str]) -> Value {
    let (answer, exit) = ask(data, words);
    assert_eq!(exit, Some(0), "{words:?}: {answer}");
    answer
}

pub(crate) fn demo(data: &Path) -> Running {
    let running = start(data, &["up", "--demo"]);
    fs::write(data.join("vaults/demo/memory.jsonl"), memory()).expect("the demo remembers");
    running
}

/// As the demo server writes it.
fn memory() -> String {
    (0..100).map(|n| format!("{{\"type\":\"entity\",\"name\":\"e{n}\",\"entityType\":\"t\",\"observations\":[]}}\n")).collect()
}

pub(crate) struct Kit {
    pub(crate) archives: PathBuf,
    pub(crate) identity: PathBuf,
    pub(crate) trust: PathBuf,
}

/// A stop waits for no disk: what is told beside the archives comes there right after it.
fn reaches(file: &Path, word: &str) {
    let started = Instant::now();
    while !fs::read_to_string(file).is_ok_and(|text| text.contains(word)) {
        assert!(started.elapsed() < Duration::from_secs(10), "{word} is not in {}", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What an operator keeps elsewhere, and the machine is gone.
fn lose(data: &Path, kit: &Path) -> Kit {
    let kit = Kit { archives: kit.join("archives"), identity: kit.join("recovery.key"), trust: kit.join("instance.pub") };
    fs::copy(data.join("keys/recovery.key"), &kit.identity).expect("the identity is kept");
    fs::copy(data.join("keys/instance.pub"), &kit.trust).expect("the public key is kept");
    fs::rename(data.join("archives"), &kit.archives).expect("the archives are elsewhere");
    fs::remove_dir_all(data).expect("everything else is gone");
    kit
}

pub(crate) fn rebuild(kit: &Kit, to: &Path) -> (Value, Option<i32>) {
    let text = |path: &Path| path.display().to_string();
    let (from, identity, trust, to) = (text(&kit.archives), text(&kit.identity), text(&kit.trust), text(to));
    ask(Path::new("/nonexistent"), &["rebuild", "--from", &from, "--identity", &identity, "--trust", &trust, "--to", &to])
}

#[test]
fn what_was_destroyed_comes_back_and_what_was_ended_stays_ended() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = demo(&data);
    done(&data, &["client", "add", "late", "--role", "demo"]);
    done(&data, &["client", "add", "early", "--role", "demo"]);
    done(&data, &["client", "revoke", "early"]);
    let backup = done(&data, &["backup", "run"]);
    assert_eq!(backup["archives"].as_array().map(Vec::len), Some(2), "{backup}");
    let status = done(&data, &["status"]);
    assert!(status["last_archive"].is_string() && status["last_drill"].is_null(), "{status}");
    let revision = status["revision"].as_str().expect("a revision").split('+').next().map(str::to_owned);
    done(&data, &["client", "revoke", "late"]);
    done(&data, &["kill", "engage", "--reason", "runaway", "--client", "demo-client"]);
    reaches(&data.join("archives/checkpoint.json"), "kill.engage");
    reaches(&data.join("archives/deny-list.json"), "runaway");
    drop(running);
    let kit = lose(&data, folder.path());
    let (rebuilt, exit) = rebuild(&kit, &data);
    assert_eq!(exit, Some(0), "{rebuilt}");
    let warned = rebuilt["warnings"].to_string();
    assert!(warned.contains("came after the backup"), "the stop and the revocation are in no archive: {warned}");
    let steps: Vec<&str> = rebuilt["steps"].as_array().expect("steps").iter().filter_map(|step| step["name"].as_str()).collect();
    assert!(steps.len() >= 13, "{steps:?}");
    assert_eq!(fs::read_to_string(data.join("vaults/demo/memory.jsonl")).expect("memory"), memory());
    assert!(!data.join("keys/recovery.key").exists(), "the identity is in no archive");
    let left: Vec<_> = folder.path().read_dir().expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".rebuild")), "{left:?}");
    let _again = start(&data, &["up"]);
    let kill = done(&data, &["kill", "status"]);
    let scopes: Vec<&str> = kill["states"].as_array().expect("states").iter().filter_map(|state| state["scope"].as_str()).collect();
    assert!(scopes.contains(&"everything") && scopes.contains(&"client demo-client"), "{kill}");
    for (client, alive) in [("late", false), ("early", false), ("demo-client", true)] {
        let shown = done(&data, &["client", "show", client]);
        assert_eq!(shown["state"] == "active", alive, "{shown}");
    }
    let status = done(&data, &["status"]);
    assert_eq!(status["revision"].as_str().expect("a revision").split('+').next().map(str::to_owned), revision);
    assert_eq!(done(&data, &["audit", "verify"])["ok"], true);
    let again = rebuild(&kit, &data);
    assert_eq!(again.0["error"]["kind"], "conflict", "a deployment that is there is not touched: {}", again.0);
}

#[test]
fn rec_06_07_the_wrong_key_and_the_wrong_instance_rebuild_nothing_and_say_what_is_missing() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = demo(&data);
    let right = done(&data, &["recipient", "list"])["recipients"][0]["recipient"].as_str().expect("a recipient").to_owned();
    done(&data, &["backup", "run"]);
    drop(running);
    let kit = lose(&data, folder.path());
    let other = folder.path().join("other");
    let stranger = start_other(&other);
    let wrong = Kit { identity: other.join("keys/recovery.key"), archives: kit.archives.clone(), trust: kit.trust.clone() };
    let (answer, exit) = rebuild(&wrong, &data);
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(exit == Some(64) && message.contains(&right), "it names the identity that opens it: {answer}");
    let wrong = Kit { trust: other.join("keys/instance.pub"), archives: kit.archives.clone(), identity: kit.identity.clone() };
    let (answer, exit) = rebuild(&wrong, &data);
    assert!(exit == Some(1) && answer.to_string().contains("not signed by this instance"), "{answer}");
    drop(stranger);
    assert!(!data.exists());
    let list = kit.archives.join("deny-list.json");
    fs::write(&list, fs::read_to_string(&list).expect("a list").replace("\"client_keys\": []", "\"client_keys\": [\"x\"]"))
        .expect("changed");
    assert!(rebuild(&kit, &data).0.to_string().contains("deny-list"), "a changed deny-list is refused");
    assert!(!data.exists());
}

#[test]
fn what_a_host_still_has_outside_is_said_first_and_all_at_once() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = demo(&data);
    for name in ["notes", "letters"] {
        let place = folder.path().join(name);
        fs::create_dir(&place).expect("a folder");
        fs::write(place.join("one"), name).expect("written");
        done(&data, &["vault", "add", name, "--path", &place.display().to_string()]);
    }
    done(&data, &["backup", "run"]);
    drop(running);
    let kit = lose(&data, folder.path());
    let (answer, exit) = rebuild(&kit, &data);
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    let both = ["notes", "letters"].iter().all(|name| message.contains(&folder.path().join(name).display().to_string()));
    assert!(exit == Some(1) && both && message.contains("move them away"), "{exit:?} {answer}");
    assert!(!data.exists());
    for name in ["notes", "letters"] {
        assert_eq!(fs::read_to_string(folder.path().join(name).join("one")).expect("untouched"), name);
        fs::rename(folder.path().join(name), folder.path().join(format!("{name}.old"))).expect("moved away");
    }
    let (rebuilt, exit) = rebuild(&kit, &data);
    assert_eq!(exit, Some(0), "{rebuilt}");
    let steps: Vec<&str> = rebuilt["steps"].as_array().expect("steps").iter().filter_map(|step| step["name"].as_str()).collect();
    let at = |name: &str| steps.iter().position(|step| *step == name);
    assert!(
        at("check-places").is_some() && at("check-places") < at("restore-vault notes"),
        "before any vault is unpacked: {steps:?}"
    );
    assert_eq!(fs::read_to_string(folder.path().join("letters/one")).expect("back"), "letters");
}

fn start_other(data: &Path) -> Running {
    start(data, &["up", "--demo"])
}

#[test]
fn rec_23_every_drill_ends_as_its_scenario_says_and_touches_nothing() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let _running = demo(&data);
    assert_eq!(ask(&data, &["drill", "run"]).0["error"]["kind"], "not_found", "there is no archive yet");
    done(&data, &["backup", "run"]);
    let corrupt = ask(&data, &["drill", "run", "--scenario", "archive-corrupt"]);
    assert_eq!(corrupt.1, Some(2), "there is no older archive to go back to: {}", corrupt.0);
    done(&data, &["backup", "run"]);
    let before = done(&data, &["kill", "status"]);
    for scenario in ["state-lost", "config-lost", "archive-corrupt", "key-lost", "package-missing", "stale-backup", "host-lost"] {
        let drill = done(&data, &["drill", "run", "--scenario", scenario]);
        assert!(drill["passed"] == true && drill["rto_seconds"].is_number() && drill["rpo_seconds"].is_number(), "{drill}");
    }
    let drill = done(&data, &["drill", "list"])["drills"][0].clone();
    let report = done(&data, &["drill", "show", drill["id"].as_str().expect("an id")]);
    let steps = report["steps"].as_array().expect("steps");
    assert!(steps.len() >= 13 && steps.iter().all(|step| step["passed"] == true && step["detail"] != ""), "{report}");
    assert_eq!(
        (&report["verdict"], &report["key"], &report["servers"][0]["state"]),
        (&"met".into(), &"rolling".into(), &"rebuilt".into())
    );
    assert!(report["prev"].is_string() && report["signature"].is_string(), "{report}");
    assert_eq!(done(&data, &["kill", "status"])["engaged"], before["engaged"]);
    let left: Vec<_> = data.read_dir().expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".drill")), "{left:?}");
    evidence(&data, folder.path(), &report);
    let identity = data.join("keys/recovery.key").display().to_string();
    assert_eq!(done(&data, &["drill", "run", "--identity", &identity])["key"], "recovery");
    assert!(done(&data, &["status"])["last_drill"].is_string());
}

/// REC-24: a report verifies with the instance's key, and with no character changed.
fn evidence(data: &Path, folder: &Path, report: &Value) {
    let path = folder.join("report.json");
    let verify = |text: &str, more: &[&str]| {
        fs::write(&path, text).expect("written");
        ask(data, &[&["evidence", "verify", path.to_str().expect("UTF-8")], more].concat())
    };
    let whole = report.to_string();
    assert_eq!(verify(&whole, &[]).1, Some(0));
    let mut tried = 0;
    // Some sixty of them: each is a process of its own.
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone().into_bytes();
        bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        let (answer, exit) = verify(&changed, &[]);
        assert_eq!((exit, &answer["ok"]), (Some(2), &Value::Bool(false)), "byte {at}: {answer}");
        tried += 1;
    }
    assert!(tried > 50, "{tried}");
    let added = whole.replacen('{', "{\"later\":1,", 1);
    assert_eq!(verify(&added, &[]).1, Some(2), "a field that was added");
    let other = "ed25519/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(verify(&whole, &["--trust", other]).1, Some(2), "another instance");
}

/// A rebuilt deployment has the keys of production: nothing of it may reach the places that production writes to.
#[test]
fn rec_23_a_drill_writes_to_no_copy_and_pushes_nothing() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    let _running = demo(&data);
    fs::create_dir(&copy).expect("a copy");
    let text = fs::read_to_string(data.join("config/lifeboat.toml")).expect("settings");
    let mut settings: toml::Table = text.parse().expect("toml");
    let recovery = settings.entry("recovery").or_insert_with(|| toml::Table::new().into()).as_table_mut().expect("a table");
    recovery.insert("copies".into(), vec![copy.display().to_string()].into());
    fs::write(data.join("config/lifeboat.toml"), settings.to_string()).expect("edited");
    done(&data, &["config", "commit", "--as", "e2e", "-m", "a copy"]);
    done(&data, &["backup", "run"]);
    let look = || {
        let listed = Command::new("find").arg(&copy).args(["-type", "f", "-printf", "%p %s %T@\n"]).output().expect("find");
        let mut lines: Vec<String> = String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = look();
    assert!(before.len() >= 5, "two archives with their notes, and the deny-list: {before:?}");
    done(&data, &["drill", "run"]);
    assert_eq!(look(), before);
}

#[test]
fn rec_01_a_backup_that_is_killed_leaves_nothing_that_counts() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let mut running = demo(&data);
    // Noise, so that writing takes long enough to be killed within.
    let noise: Vec<u8> = (0..24u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes()).collect();
    fs::write(data.join("vaults/demo/noise"), &noise).expect("noise");
    for round in 0..6u64 {
        let order = Command::new(env!("CARGO_BIN_EXE_lifeboat"))
            .args(["--json", "backup", "run", "--data"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut order = order.expect("a backup begins");
        std::thread::sleep(Duration::from_millis(30 + round * 60));
        drop(running);
        let _ended = order.wait();
        running = start(&data, &["up"]);
        let listed = done(&data, &["backup", "list"]);
        assert!(listed["faults"].is_null(), "{listed}");
        // ATK-B09: nothing plain and nothing half written is left either.
        let left =
            Command::new("find").arg(data.join("archives")).args(["-name", ".partial-*", "-o", "-name", ".staging-*"]).output();
        let left = left.expect("find").stdout;
        assert!(left.is_empty(), "{}", String::from_utf8_lossy(&left));
        assert!(listed["archives"].as_array().expect("archives").iter().all(|one| one["verified"] == true), "{listed}");
    }
    assert_eq!(done(&data, &["backup", "run"])["ok"], true);
    assert_eq!(done(&data, &["backup", "verify"])["ok"], true);
}

/// A small disk of its own, for as long as it lives; `None` where only root could make one.
pub(crate) struct SmallDisk(pub(crate) PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("a place");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"]).arg(at).status();
        done.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn rec_02_a_full_disk_costs_no_archive_that_is_there_and_leaves_no_part() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let _running = demo(&data);
    let Some(disk) = SmallDisk::mount(&data.join("archives"), "40m") else { return };
    done(&data, &["backup", "run"]);
    let noise: Vec<u8> = (0..14u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes()).collect();
    fs::write(data.join("vaults/demo/noise"), &noise).expect("noise");
    fs::write(disk.0.join("filler"), vec![1u8; 12 << 20]).expect("others use the disk too");
    // What is reserved for the ledger is not touched: it is refused before the first byte, and said.
    let (answer, exit) = ask(&data, &["backup", "run", "demo"]);
    assert!(exit == Some(2) && answer["failed"][0]["why"].as_str().is_some_and(|why| why.contains("reserve")), "{answer}");
    fs::write(data.join("config/lifeboat.toml"), no_reserve(&data)).expect("edited");
    done(&data, &["config", "commit", "--as", "e2e", "-m", "no reserve"]);
    // Nobody knows beforehand how large the deployment is: it is the write that fails.
    fs::rename(data.join("vaults/demo/noise"), data.join("tls/noise")).expect("moved");
    fs::write(disk.0.join("more"), vec![1u8; 16 << 20]).expect("hardly any room is left");
    let (answer, exit) = ask(&data, &["backup", "run", "lifeboat"]);
    assert!(exit == Some(2) && answer["failed"][0]["why"].as_str().is_some_and(|why| why.contains("disk is full")), "{answer}");
    let listed = done(&data, &["backup", "list"]);
    let archives = listed["archives"].as_array().expect("archives");
    assert!(archives.len() == 2 && archives.iter().all(|one| one["verified"] == true), "{listed}");
    let parts =
        Command::new("find").arg(&disk.0).args(["-name", ".partial-*", "-o", "-name", ".staging-*"]).output().expect("find");
    assert!(parts.stdout.is_empty(), "{}", String::from_utf8_lossy(&parts.stdout));
    for filler in [disk.0.join("filler"), disk.0.join("more"), data.join("tls/noise")] {
        fs::remove_file(filler).expect("room again");
    }
    assert_eq!(done(&data, &["backup", "run"])["ok"], true);
    // FLT-29: the place of the archives is gone; the backup says so, and calls go on.
    drop(disk);
    fs::remove_dir_all(data.join("archives")).expect("it is gone");
    assert_eq!(ask(&data, &["backup", "run"]).0["error"]["kind"], "not_found");
    assert_eq!(done(&data, &["status"])["servers"][0]["state"], "up");
}

pub(crate) fn no_reserve(data: &Path) -> String {
    let text = fs::read_to_string(data.join("config/lifeboat.toml")).expect("settings");
    let mut settings: toml::Table = text.parse().expect("toml");
    let audit = settings.entry("audit").or_insert_with(|| toml::Table::new().into());
    audit.as_table_mut().expect("a table").insert("reserve".into(), "0 B".into());
    settings.to_string()
}

/// Flips a byte of every page, so that wherever SQLite looks it finds damage.
fn damage(database: &Path) {
    let mut bytes = fs::read(database).expect("a database");
    for page in bytes.chunks_mut(4096).skip(1) {
        page[0] ^= 0xff;
        page[5] ^= 0xff;
    }
    fs::write(database, bytes).expect("damaged");
}

#[test]
fn flt_10_a_damaged_database_is_found_at_the_start_and_a_rebuild_brings_it_back() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let mut running = demo(&data);
    done(&data, &["client", "add", "agent", "--role", "demo"]);
    done(&data, &["backup", "run"]);
    done(&data, &["kill", "status"]);
    Command::new("kill").arg("-TERM").arg(running.0.id().to_string()).status().expect("asked to end");
    assert!(running.0.wait().expect("it ends").success());
    drop(running);
    for side in ["state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(data.join(side));
    }
    damage(&data.join("state.db"));
    let refused = Command::new(env!("CARGO_BIN_EXE_lifeboat")).arg("--data").arg(&data).arg("serve").output().expect("it ends");
    assert!(!refused.status.success(), "it does not serve from a damaged database");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("database"), "{}", String::from_utf8_lossy(&refused.stderr));
    let kit = lose(&data, folder.path());
    let began = Instant::now();
    let (rebuilt, exit) = rebuild(&kit, &data);
    assert!(exit == Some(0) && began.elapsed() < Duration::from_secs(60), "{rebuilt}");
    let _again = start(&data, &["up"]);
    assert_eq!(done(&data, &["client", "show", "agent"])["state"], "active");
}
