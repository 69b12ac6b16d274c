//! The client of the official client suite with a Lifeboat between: takes the mock server's URL, registers it as a server of the running
//! deployment, runs the client against the proxy, and ends as the client ended. Never probes the mock server: that would answer for the client
//! what the suite asks of it, so the server is written into the configuration as a file of the scenario's own.
//!
//! From the environment: LIFEBOAT_BIN, LIFEBOAT_DATA, LIFEBOAT_PROXY (`https://HOST:PORT`), THROUGH_SERVERS (a folder with SCENARIO.toml),
//! THROUGH_CLIENT (the command, split at blanks), and what the client itself reads.

use std::path::Path;
use std::process::{Command, Stdio};

use lifeboat_peers::flags::fail;

fn main() {
    let url = std::env::args().nth(1).unwrap_or_else(|| fail("through: the URL of the mock server is missing"));
    let scenario = variable("MCP_CONFORMANCE_SCENARIO");
    let server = format!("suite-{}", scenario.replace('_', "-"));
    if let Err(error) = register(&url, &scenario, &server) {
        fail(&format!("through: {error}"));
    }
    let client = variable("THROUGH_CLIENT");
    let mut words = client.split(' ');
    let program = words.next().unwrap_or_default();
    let target = format!("{}/mcp/{server}", variable("LIFEBOAT_PROXY"));
    match Command::new(program).args(words).arg(target).status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => fail(&format!("through: {program}: {error}")),
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| fail(&format!("through: {name} is not set")))
}

fn register(url: &str, scenario: &str, server: &str) -> Result<(), String> {
    let tools = Path::new(&variable("THROUGH_SERVERS")).join(format!("{scenario}.toml"));
    let tools = std::fs::read_to_string(&tools).map_err(|error| format!("{}: {error}", tools.display()))?;
    let file = Path::new(&variable("LIFEBOAT_DATA")).join("config/servers").join(format!("{server}.toml"));
    let upstream = format!("[upstream.http]\nurl = \"{url}\"\nplain_loopback = true\n\n{tools}");
    std::fs::write(&file, upstream).map_err(|error| format!("{}: {error}", file.display()))?;
    let committed = Command::new(variable("LIFEBOAT_BIN"))
        .args(["config", "commit", "--as", "conformance", "-m"])
        .arg(format!("register {server}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if committed.status.success() {
        return Ok(());
    }
    Err(format!("config commit: {}{}", String::from_utf8_lossy(&committed.stdout), String::from_utf8_lossy(&committed.stderr)))
}
