//! Archives of some size with the real program: what they cost in memory and time by the product's own measure, what a pause, a full disk and a
//! lost power line leave of them.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::faults::sized;
use crate::recovery::{Kit, SmallDisk, demo, done, rebuild};
use crate::support::program::{ask, start};

const MIB: u64 = 1024 * 1024;

/// Half text, half noise: what the goals of the design are measured with.
fn fill(folder: &Path, mib: u64) {
    let mut words = Vec::with_capacity(MIB as usize);
    let mut n = 0u32;
    while words.len() < MIB as usize {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        words.extend_from_slice(["harbour ", "lighthouse ", "tide ", "mooring "][(n >> 30) as usize].as_bytes());
        words.extend_from_slice((n >> 20).to_string().as_bytes());
    }
    words.truncate(MIB as usize);
    let mut text = fs::File::create(folder.join("text")).expect("a file");
    for _ in 0..mib / 2 {
        text.write_all(&words).expect("written");
    }
    let noise = Command::new("head").args(["-c", &(mib / 2 * MIB).to_string(), "/dev/urandom"]).stdout(Stdio::piped()).spawn();
    let mut noise = noise.expect("head runs");
    let mut out = fs::File::create(folder.join("noise")).expect("a file");
    std::io::copy(noise.stdout.as_mut().expect("its output"), &mut out).expect("written");
    noise.wait().expect("it ends");
}

/// One more vault, of this size.
fn vault(data: &Path, folder: &Path, mib: u64) {
    fs::create_dir_all(folder).expect("a folder");
    fill(folder, mib);
    done(data, &["vault", "add", "large", "--path", &folder.display().to_string()]);
}

fn promise(data: &Path, rto_seconds: i64) {
    let file = data.join("config/lifeboat.toml");
    let mut settings: toml::Table = fs::read_to_string(&file).expect("settings").parse().expect("toml");
    let recovery = settings.entry("recovery").or_insert_with(|| toml::Table::new().into());
    recovery.as_table_mut().expect("a table").insert("rto_seconds".into(), rto_seconds.into());
    fs::write(&file, settings.to_string()).expect("edited");
    done(data, &["config", "commit", "--as", "e2e", "-m", "another promise"]);
}

fn backing_up(data: &Path) -> Child {
    let mut order = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    order.args(["--json", "backup", "run", "--data"]).arg(data).stdout(Stdio::piped()).stderr(Stdio::null());
    order.spawn().expect("a backup begins")
}

fn answer(order: Child) -> Value {
    let output = order.wait_with_output().expect("it ends");
    serde_json::from_slice(&output.stdout).expect("one document")
}

/// The most memory it ever held, as the system counts it.
fn peak_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("kB") / 1024
}

#[test]
fn a_thousand_entities_are_rebuilt_within_ten_seconds_with_every_step_told() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let _running = demo(&data);
    let entity = |n| format!("{{\"type\":\"entity\",\"name\":\"e{n}\",\"entityType\":\"t\",\"observations\":[\"seen {n}\"]}}\n");
    fs::write(data.join("vaults/demo/memory.jsonl"), (0..1_000).map(entity).collect::<String>()).expect("memories");
    promise(&data, 10);
    done(&data, &["backup", "run"]);
    let drill = done(&data, &["drill", "run"]);
    assert_eq!((&drill["passed"], &drill["verdict"]), (&true.into(), &"met".into()), "{drill}");
    let steps = drill["steps"].as_array().expect("steps");
    assert!(steps.len() >= 13, "{drill}");
    assert!(
        steps.iter().all(|step| step["detail"].as_str().is_some_and(|detail| !detail.is_empty())),
        "each with evidence: {drill}"
    );
}

#[test]
fn rec_27_a_large_vault_is_archived_in_bounded_memory_and_rebuilt_as_promised() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = demo(&data);
    vault(&data, &folder.path().join("large"), sized(192, 1_024));
    promise(&data, 120);
    done(&data, &["backup", "run"]);
    let drill = done(&data, &["drill", "run"]);
    assert_eq!((&drill["passed"], &drill["verdict"]), (&true.into(), &"met".into()), "{drill}");
    // More than fits into any bound: the archive is a stream.
    if sized(0, 1) == 1 {
        fill(&folder.path().join("large"), 5 * 1_024);
        done(&data, &["backup", "run", "large"]);
    }
    let peak = peak_mib(running.0.id());
    assert!(peak < 150, "{peak} MiB at most");
}

#[test]
fn rec_13_a_process_that_is_stopped_for_a_while_ends_its_backup_once() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = demo(&data);
    vault(&data, &folder.path().join("large"), 96);
    let pid = running.0.id().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().expect("kill runs").success());
    let order = backing_up(&data);
    std::thread::sleep(Duration::from_millis(150));
    signal("-STOP");
    // Another process does not take over what a living one holds, however long it says nothing.
    let mut second = Command::new(env!("CARGO_BIN_EXE_lifeboat"))
        .args(["serve", "--data"])
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    std::thread::sleep(Duration::from_secs(sized(3, 60)));
    let taken = second.try_wait().expect("its state");
    signal("-CONT");
    assert!(taken.is_none_or(|status| !status.success()), "a second one serves nothing");
    let _ = second.kill();
    let _ = second.wait();
    let done_once = answer(order);
    assert_eq!(done_once["ok"], true, "{done_once}");
    let listed = done(&data, &["backup", "list"]);
    let archives = listed["archives"].as_array().expect("archives");
    assert!(archives.len() == 3 && listed["faults"].is_null(), "one of each vault, and a whole chain: {listed}");
    // What a dead process held is free at once: nothing but the system keeps the lock.
    let order = backing_up(&data);
    std::thread::sleep(Duration::from_millis(150));
    drop(running);
    let _ = order.wait_with_output();
    let _again = start(&data, &["up"]);
    assert_eq!(done(&data, &["backup", "run"])["ok"], true);
}

#[test]
fn rec_02_a_restore_and_a_rebuild_on_a_full_disk_leave_nothing_and_cost_nothing() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = demo(&data);
    vault(&data, &folder.path().join("large"), 48);
    done(&data, &["backup", "run"]);
    let Some(disk) = SmallDisk::mount(&folder.path().join("small"), "20m") else { return };
    let (answer, exit) = ask(&data, &["restore", "latest:large", "--to", &disk.0.join("back").display().to_string()]);
    assert!(exit == Some(1) && answer.to_string().contains("No space left"), "{answer}");
    assert_eq!(fs::read_dir(&disk.0).expect("the disk").count(), 0, "nothing of it is left");
    let kit =
        Kit { archives: data.join("archives"), identity: data.join("keys/recovery.key"), trust: data.join("keys/instance.pub") };
    // A host that is new does not have the vault.
    fs::rename(folder.path().join("large"), folder.path().join("elsewhere")).expect("moved");
    let (answer, exit) = rebuild(&kit, &disk.0.join("rebuilt"));
    assert!(exit == Some(1) && answer.to_string().contains("No space left"), "{answer}");
    assert_eq!(fs::read_dir(&disk.0).expect("the disk").count(), 0, "nothing of it is left");
    // A database is copied before it is archived; where there is no room for the copy, the vault says so and the others have theirs.
    assert_eq!(done(&data, &["backup", "verify"])["ok"], true);
    drop(running);
}

#[test]
fn flt_27_what_a_power_cut_leaves_of_the_archives_rebuilds() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = demo(&data);
    done(&data, &["backup", "run"]);
    let kit = |archives| Kit { archives, identity: data.join("keys/recovery.key"), trust: data.join("keys/instance.pub") };
    for round in 0..sized(4, 20) {
        let order = backing_up(&data);
        std::thread::sleep(Duration::from_millis(5 + round * 11 % 90));
        // As a disk is at one moment: whatever has a note had its archive before.
        let cut = folder.path().join(format!("cut-{round}"));
        for pattern in ["*.json", "*.jsonl", "*.age", ".*"] {
            copy_matching(&data.join("archives"), &cut, pattern);
        }
        let _ = order.wait_with_output();
        let (rebuilt, exit) = rebuild(&kit(cut), &folder.path().join(format!("rebuilt-{round}")));
        assert_eq!(exit, Some(0), "{rebuilt}");
        let steps = rebuilt["steps"].as_array().expect("steps");
        assert!(steps.iter().all(|step| step["passed"] == true), "nothing had to be passed over: {rebuilt}");
        assert!(!rebuilt["warnings"].to_string().contains("nobody signed that"), "the chain is whole: {rebuilt}");
    }
    drop(running);
}

fn copy_matching(from: &Path, to: &Path, pattern: &str) {
    // A file may be gone by the time it is copied, when it was a part that has got its name.
    let script = "mkdir -p \"$2\" && cd \"$1\" && find . -type f -name \"$3\" -exec cp --parents -p {} \"$2\" \\;";
    let done = Command::new("sh").args(["-c", script, "sh"]).args([from, to]).arg(pattern).status();
    assert!(done.expect("sh runs").code().is_some());
}
