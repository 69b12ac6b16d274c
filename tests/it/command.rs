//! Vaults that are the output of a command, with the real program: opened with stock tools, rebuilt, rehearsed, and never fed to anything.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::program::{Running, ask, start};

const MIB: u64 = 1 << 20;

fn done(data: &Path, words: &[&str]) -> Value {
    let (answer, exit) = ask(data, words);
    assert_eq!(exit, Some(0), "{words:?}: {answer}");
    answer
}

/// `full` with LIFEBOAT_LONG set, else `quick`.
fn sized(quick: u64, full: u64) -> u64 {
    if std::env::var_os("LIFEBOAT_LONG").is_some() { full } else { quick }
}

/// Noise that is the same each time, as a shell command. It does not compress.
fn noise(mib: u64) -> String {
    format!(
        "openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff -iv 0 -nosalt </dev/zero 2>/dev/null | head -c {}",
        mib * MIB
    )
}

fn digest_of(script: &str) -> String {
    let sum = Command::new("sh").args(["-c", &format!("{{ {script}; }} | sha256sum")]).output().expect("sha256sum runs");
    String::from_utf8_lossy(&sum.stdout).split_whitespace().next().unwrap_or_default().to_owned()
}

/// The most memory that the process ever had, in MiB.
fn peak(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.0.id())).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn rec_11_a_large_output_opens_with_stock_tools_as_it_was_and_takes_little_memory() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = start(&data, &["up", "--demo"]);
    done(&data, &["backup", "run"]);
    let before = peak(&running);
    let size = sized(160, 1024);
    done(&data, &["vault", "add", "dump", "--command", &format!("/bin/sh -c '{}'", noise(size))]);
    let made = done(&data, &["backup", "run", "dump"]);
    let grown = peak(&running) - before;
    assert!(grown < 120, "the output is never in memory as a whole: {grown} MiB more");
    let to = folder.path().join("back");
    let archive = made["archives"][0]["file"].as_str().expect("a file").to_owned();
    if has("age") && has("zstd") {
        fs::create_dir(&to).expect("a place");
        let open = format!(
            "age -d -i '{}' '{archive}' | zstd -d | tar x -C '{}' --strip-components=1 payload",
            data.join("keys/recovery.key").display(),
            to.display()
        );
        assert!(Command::new("sh").args(["-c", &open]).status().expect("a shell").success());
    } else {
        done(&data, &["restore", "latest:dump", "--to", to.to_str().expect("UTF-8")]);
    }
    let parts = fs::read_dir(&to).expect("it is back").count() as u64;
    assert_eq!(parts, size.div_ceil(64));
    assert_eq!(fs::metadata(to.join("output.part-000001")).expect("the first part").len(), 64 * MIB);
    assert_eq!(digest_of(&format!("cat '{}'/output.part-*", to.display())), digest_of(&noise(size)));
    // The same much, and then a failure: nothing that counts, and room for the next.
    let fails = format!("/bin/sh -c '{}; exit 1'", noise(sized(80, 1024)));
    done(&data, &["vault", "add", "broken", "--command", &fails]);
    let (answer, exit) = ask(&data, &["backup", "run", "broken"]);
    assert_eq!((exit, &answer["failed"][0]["why"]), (Some(2), &"its command ended with status 1".into()), "{answer}");
    let parts = ["(", "-name", "*broken*", "-o", "-name", ".staging-*", "-o", "-name", ".partial-*", ")", "-printf", "%f\n"];
    let left = Command::new("find").arg(data.join("archives")).args(["-mindepth", "2"]).args(parts).output().expect("find");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn rec_11_a_rebuild_brings_the_output_back_feeds_it_to_nothing_and_a_drill_starts_no_command() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let (data, trace) = (folder.path().join("data"), folder.path().join("trace"));
    let running = start(&data, &["up", "--demo"]);
    fs::write(data.join("vaults/demo/memory.jsonl"), "").expect("the demo remembers");
    let command = format!("/bin/sh -c 'echo ran >>{}; echo \"rows of notes\"'", trace.display());
    done(&data, &["vault", "add", "dump", "--command", &command, "--server", "demo"]);
    // A configured vault in the server's own folder, by a preset.
    let place = data.join("vaults/demo/memory.jsonl").display().to_string();
    let (deep, exit) = ask(&data, &["vault", "add", "deep", "--path", &place]);
    assert!(exit == Some(64) && deep.to_string().contains("is in the vault demo"), "{deep}");
    let preset = ["vault", "add", "demo", "--preset", "server-memory", "--server", "demo", "--path", &place];
    let added = done(&data, &preset);
    assert_eq!(added["path"], data.join("vaults/demo").display().to_string(), "{added}");
    assert!(added["notes"][0].as_str().is_some_and(|note| note.contains("memory.jsonl")), "{added}");
    fs::create_dir_all(data.join("vaults/demo/.cache")).expect("a cache");
    fs::write(data.join("vaults/demo/.cache/large"), "x").expect("in it");
    done(&data, &["backup", "run"]);
    let drill = done(&data, &["drill", "run"]);
    assert!(drill["passed"] == true && drill["warnings"].to_string().contains("outputs/dump"), "{drill}");
    assert_eq!(drill["servers"][0]["state"], "rebuilt", "{drill}");
    assert_eq!(fs::read_to_string(&trace).expect("a trace"), "ran\n", "by the backup, and by nothing else");
    drop(running);
    let text = |path: std::path::PathBuf| path.display().to_string();
    let to = folder.path().join("elsewhere");
    let (from, identity, trust) = (data.join("archives"), data.join("keys/recovery.key"), data.join("keys/instance.pub"));
    let (from, identity, trust) = (text(from), text(identity), text(trust));
    let words = ["rebuild", "--from", &from, "--identity", &identity, "--trust", &trust, "--to", to.to_str().expect("UTF-8")];
    let rebuilt = done(Path::new("/nonexistent"), &words);
    let warned = rebuilt["warnings"].to_string();
    assert!(warned.contains("outputs/dump") && warned.contains("fed to nothing"), "{warned}");
    assert_eq!(fs::read_to_string(to.join("outputs/dump/output")).expect("it is back"), "rows of notes\n");
    for path in ["outputs", "outputs/dump", "outputs/dump/output"] {
        let mode = fs::metadata(to.join(path)).expect("it is back").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path}: {mode:o}");
    }
    assert_eq!(fs::read_to_string(to.join("vaults/demo/memory.jsonl")).expect("where it is now"), "");
    assert!(!to.join("vaults/demo/.cache").exists(), "a cache is no memory");
    assert_eq!(fs::read_to_string(&trace).expect("a trace"), "ran\n");
}

#[test]
fn a_stop_of_lifeboat_ends_the_command_that_runs() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let mut running = start(&data, &["up", "--demo"]);
    let pid_file = folder.path().join("pid");
    let command = format!("/bin/sh -c 'echo $$ >{}; echo x; sleep 97561; :'", pid_file.display());
    done(&data, &["vault", "add", "dump", "--command", &command]);
    let mut order = Command::new(env!("CARGO_BIN_EXE_lifeboat"))
        .args(["--json", "backup", "run", "dump", "--data"])
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a backup begins");
    let begun = std::time::Instant::now();
    while !fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n')) {
        assert!(begun.elapsed().as_secs() < 20, "it starts");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = fs::read_to_string(&pid_file).expect("a process id").trim().to_owned();
    let told = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status();
    assert!(told.expect("kill runs").success());
    let asked = std::time::Instant::now();
    let _ended = running.0.wait();
    assert!(asked.elapsed().as_secs() < 20, "a command holds up no stop: {:?}", asked.elapsed());
    let _answered = order.wait();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the command went with it");
}
