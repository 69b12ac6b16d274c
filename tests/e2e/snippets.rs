//! The snippets that `up --demo` prints and the README shows, run as they stand. Changes no byte of them.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output, Stdio};

use crate::harness::{Lifeboat, binary, root, text};
use crate::ledger;
use crate::rig::{node_dir, python};

/// Runs one snippet as a reader pastes it: into a shell that stands beside the packages it names, in the directory that holds the data directory.
pub fn run(lifeboat: &Lifeboat, snippet: &str) -> Output {
    let modules = lifeboat.home().join("node_modules");
    if !modules.exists() {
        symlink(node_dir().join("node_modules"), modules).unwrap();
    }
    let programs = python().parent().map(std::path::Path::to_path_buf).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    Command::new("bash")
        .arg("-c")
        .arg(snippet)
        .env("PATH", path)
        .current_dir(lifeboat.home())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Works, shows a stop that a reader understands, works again; and each call stands in the ledger.
fn works_stops_and_comes_back(lifeboat: &Lifeboat, name: &str, snippet: &str) {
    let rows = || ledger::query(lifeboat, &["--client", "demo-client"]).iter().filter(|row| ledger::is_outcome(row)).count();
    let before = rows();
    let good = run(lifeboat, snippet);
    assert!(good.status.success(), "{name}: {}{}", text(&good.stdout), text(&good.stderr));
    assert!(!good.stdout.is_empty(), "{name} prints what the tool said");
    assert!(rows() > before, "{name} left no row");
    lifeboat.json(&["kill", "engage", "--reason", "not known yet"]);
    let stopped = run(lifeboat, snippet);
    let shown = text(&stopped.stdout) + &text(&stopped.stderr);
    assert!(shown.contains("Stopped by an operator"), "{name} under a kill shows: {shown}");
    lifeboat.json(&["kill", "release", "--reason", "seen enough"]);
    let again = run(lifeboat, snippet);
    assert!(again.status.success(), "{name} after the release: {}", text(&again.stderr));
}

#[test]
fn the_printed_snippets_run_verbatim() {
    let lifeboat = Lifeboat::start();
    let printed = lifeboat.first_run();
    for name in ["python", "typescript", "curl"] {
        works_stops_and_comes_back(&lifeboat, name, &printed.snippet(name));
    }
}

/// The fenced blocks of README.md under a line `<!-- tested: NAME -->`, as they stand.
fn readme_blocks(name: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let marker = format!("<!-- tested: {name} -->\n");
    let blocks = readme.split(&marker).skip(1).map(|part| {
        let fenced = part.strip_prefix("```sh\n").expect("a fenced block of sh follows the marker");
        fenced.split("```").next().expect("the block ends").to_owned()
    });
    blocks.collect()
}

/// A folder that looks like a checkout with a release build, without building one: `cargo run --release --` runs the binary under test.
fn checkout() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("lifeboat-e2e-").tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    let release = folder.path().join("target/release");
    std::fs::create_dir_all(&release).unwrap();
    symlink(binary(), release.join("lifeboat")).unwrap();
    let cargo = folder.path().join("cargo");
    let script = "#!/bin/sh\n[ \"$1 $2 $3\" = 'run --release --' ] || exit 64\nshift 3\nexec target/release/lifeboat \"$@\"\n";
    std::fs::write(&cargo, script).unwrap();
    std::fs::set_permissions(&cargo, Permissions::from_mode(0o755)).unwrap();
    folder
}

/// On the default ports and in the default data directory, because the README names neither.
#[test]
fn the_commands_of_the_readme_run_verbatim() {
    let folder = checkout();
    let at = folder.path().to_path_buf();
    let shell = |text: &str| {
        let path = format!("{}:{}", at.display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("bash");
        shell.args(["-e", "-c", text]).env("PATH", path).env_remove("LIFEBOAT_DATA").current_dir(&at).stdin(Stdio::null());
        shell
    };
    let log = std::fs::File::create(at.join("lifeboat.log")).unwrap();
    let started = shell(&readme_blocks("start").concat()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let lifeboat = Lifeboat::adopt(folder, started);
    assert_eq!((lifeboat.admin.as_str(), lifeboat.proxy.as_str()), ("127.0.0.1:8443", "127.0.0.1:8444"));

    let done = shell(&readme_blocks("session").concat()).output().unwrap();
    let shown = text(&done.stdout);
    assert!(done.status.success(), "{shown}{}", text(&done.stderr));
    assert_eq!(shown.matches("Stopped by an operator").count(), 1, "one call met the stop, and said so: {shown}");
    let rows = ledger::query(&lifeboat, &["--client", "demo-client", "--tool", "demo/read_graph"]);
    let ends: Vec<&str> = rows.iter().rev().filter_map(|row| row["status"].as_str()).collect();
    assert_eq!(ends, ["ok", "refused", "ok"], "{rows:?}");
    assert_eq!(lifeboat.json(&["kill", "status"])["engaged"], false);
    assert_eq!(lifeboat.json(&["client", "show", "my-agent"])["name"], "my-agent");
}
