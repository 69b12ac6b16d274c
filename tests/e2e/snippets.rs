//! The snippets that `up --demo` prints and the README shows, run as they stand. Changes no byte of them.

use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use crate::harness::{Lifeboat, root, text};
use crate::ledger;
use crate::rig::{node_dir, python};

/// Runs one snippet as a reader pastes it: into a shell that stands beside the packages it names, in the directory that holds the data directory.
fn run(lifeboat: &Lifeboat, snippet: &str) -> Output {
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

/// The fenced blocks of README.md under a line `<!-- tested: NAME -->`, with their names.
fn readme_blocks() -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let parts = readme.split("<!-- tested: ").skip(1);
    let blocks = parts.map(|part| {
        let (name, rest) = part.split_once(" -->").expect("the marker ends");
        let fenced = rest.split("```").nth(1).expect("a fenced block follows the marker");
        let (_, body) = fenced.split_once('\n').expect("the block has lines");
        (name.to_owned(), body.to_owned())
    });
    blocks.collect()
}

/// On the default ports, because the README names them.
#[test]
fn the_snippets_of_the_readme_run_verbatim() {
    let blocks = readme_blocks();
    assert!(!blocks.is_empty(), "README.md marks no block as tested");
    let lifeboat = Lifeboat::start_on("127.0.0.1:8443", "127.0.0.1:8444");
    for (name, block) in &blocks {
        works_stops_and_comes_back(&lifeboat, name, block);
    }
}
