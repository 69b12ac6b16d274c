//! The official conformance suite, through Lifeboat with every control on: its server suites through the proxy to the fixture, its client suite
//! through the upstream leg to its own mock servers. What the policy loosens stands with its reason in conformance/policy/.

mod suite;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use self::suite::{Found, Suite};
use crate::harness::{Lifeboat, binary, root};
use crate::ledger;
use crate::rig::{Running, python};

/// Checks that each server suite makes of the fixture; all pass.
const CHECKS: [(Suite, usize); 3] = [(Suite::Modern, 197), (Suite::Legacy, 84), (Suite::Old, 47)];

/// Checks that each scenario of the client suite makes of the transport; all pass.
const CLIENT_CHECKS: [(&str, usize); 11] = [
    ("initialize", 1),
    ("tools_call", 2),
    ("elicitation-sep1034-client-defaults", 5),
    ("sse-retry", 3),
    ("request-metadata", 8),
    ("sep-2322-client-request-state", 5),
    ("http-standard-headers", 9),
    ("http-custom-headers", 18),
    ("http-invalid-tool-headers", 12),
    ("json-schema-ref-no-deref", 1),
    ("json-schema-2020-12-preservation", 9),
];

/// Scenarios that a refusal satisfies: the suite makes no request at all in the one, and is content with any error in the other.
const CONTENT_WITH_A_REFUSAL: [&str; 2] = ["tasks-status-notifications", "input-required-result-validate-input"];

/// A program that says where it listens.
struct Listening {
    _child: Running,
    address: String,
}

impl Listening {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening ").unwrap_or_else(|| panic!("{command:?} said {line:?}")).to_owned();
        Self { _child: Running(child), address }
    }

    fn fixture(args: &[&str]) -> Self {
        Self::start(Command::new(env!("CARGO_BIN_EXE_conformance")).args(args))
    }

    /// The suite knows neither TLS nor keys, so it goes through this door.
    fn shim(lifeboat: &Lifeboat, key: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shim"));
        command.args(["--to", &lifeboat.proxy]).arg("--ca").arg(lifeboat.ca()).env_remove("LIFEBOAT_KEY");
        if let Some(key) = key {
            command.env("LIFEBOAT_KEY", key);
        }
        Self::start(&mut command)
    }

    /// `http://localhost:PORT` and the path.
    fn url(&self, path: &str) -> String {
        let port = self.address.rsplit_once(':').unwrap().1;
        format!("http://localhost:{port}{path}")
    }
}

/// A deployment with the policy of the suite; the key of its client.
fn deployment() -> (Lifeboat, String) {
    let lifeboat = Lifeboat::start();
    let policy = |file: &str| std::fs::read_to_string(root().join("tests/e2e/conformance/policy").join(file)).unwrap();
    lifeboat.configure("roles/conformance.toml", &policy("roles/conformance.toml"));
    let added = lifeboat.json(&["client", "add", "conformance", "--role", "conformance"]);
    lifeboat.configure("clients/conformance.toml", &policy("clients/conformance.toml"));
    let key = added["key"].as_str().unwrap().to_owned();
    (lifeboat, key)
}

fn register(lifeboat: &Lifeboat, name: &str, server: &Listening) {
    lifeboat.json(&["server", "add", name, "--url", &server.url("/mcp"), "--plain-loopback"]);
}

fn assert_all_pass(what: &str, found: &Found, checks: usize) {
    let faults = found.faults();
    assert!(faults.is_empty(), "{what}: {} of {checks} checks passed; faults:\n{}", found.passed(), faults.join("\n"));
    assert!(found.content, "{what}: the suite is not content:\n{}", found.printed);
    assert_eq!(found.passed(), checks, "{what}: another number of checks than was known");
}

#[test]
fn the_server_suites_pass_through_every_control() {
    let (lifeboat, key) = deployment();
    let fixture = Listening::fixture(&[]);
    register(&lifeboat, "conformance", &fixture);
    let shim = Listening::shim(&lifeboat, Some(&key));
    for (suite, checks) in CHECKS {
        assert_all_pass(&format!("{suite:?}"), &suite::server(suite, &shim.url("/mcp/conformance")), checks);
    }
}

/// Many checks hold of a refusal too, so a pass of the suites means something only if nothing passes without a key.
#[test]
fn without_a_credential_every_scenario_fails() {
    let (lifeboat, _key) = deployment();
    let fixture = Listening::fixture(&[]);
    register(&lifeboat, "conformance", &fixture);
    let shim = Listening::shim(&lifeboat, None);
    for (suite, _) in CHECKS {
        let found = suite::server(suite, &shim.url("/mcp/conformance"));
        let unharmed: Vec<&str> = found.unharmed().into_iter().filter(|name| !CONTENT_WITH_A_REFUSAL.contains(name)).collect();
        assert!(unharmed.is_empty() && !found.content, "{suite:?}: passed without a key: {unharmed:?}");
    }
    assert!(ledger::query(&lifeboat, &["--client", "conformance"]).is_empty());
}

/// Headers that a server believes unseen are checked before it (SEP-2243).
#[test]
fn a_server_that_checks_no_header_passes_behind_lifeboat() {
    let (lifeboat, key) = deployment();
    let lax = Listening::fixture(&["--lax"]);
    register(&lifeboat, "lax", &lax);
    let shim = Listening::shim(&lifeboat, Some(&key));
    for scenario in ["http-header-validation", "http-custom-header-server-validation"] {
        let direct = suite::server_scenario(scenario, &lax.url("/mcp"));
        assert!(!direct.faults().is_empty(), "{scenario}: the server checks headers after all");
        let behind = suite::server_scenario(scenario, &shim.url("/mcp/lax"));
        assert_all_pass(scenario, &behind, direct.passed() + direct.faults().len());
    }
}

#[test]
fn the_client_suite_passes_through_the_upstream_leg() {
    let (lifeboat, key) = deployment();
    // Looks of our own would answer for the client what the suite asks of it.
    let settings = std::fs::read_to_string(lifeboat.data().join("config/lifeboat.toml")).unwrap();
    let unseen = settings.replace("health_seconds = 30", "health_seconds = 0");
    assert_ne!(unseen, settings, "lifeboat.toml names the looks:\n{settings}");
    lifeboat.configure("lifeboat.toml", &unseen);
    let here = root().join("tests/e2e");
    let client = format!("{} {}", python().display(), here.join("clients/conformance_client.py").display());
    let env = [
        ("LIFEBOAT_BIN", binary().display().to_string()),
        ("LIFEBOAT_DATA", lifeboat.data().display().to_string()),
        ("LIFEBOAT_PROXY", format!("https://{}", lifeboat.proxy)),
        ("LIFEBOAT_CA", lifeboat.ca().display().to_string()),
        ("LIFEBOAT_KEY", key),
        ("THROUGH_SERVERS", here.join("conformance/servers").display().to_string()),
        ("THROUGH_CLIENT", client),
    ];
    for (scenario, checks) in CLIENT_CHECKS {
        let found = suite::client_scenario(scenario, env!("CARGO_BIN_EXE_through"), &env);
        assert_all_pass(scenario, &found, checks);
    }
}
