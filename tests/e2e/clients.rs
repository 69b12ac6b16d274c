//! The real clients, each run by a program of its own that takes orders. Holds no assertion: what a client saw comes back as its answer.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Once;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Lifeboat, root};
use crate::rig::{Running, node_dir, python};

const PATIENCE: Duration = Duration::from_secs(60);

/// One client in one era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    PythonAuto,
    PythonLegacy,
    TypeScript2Auto,
    TypeScript2Legacy,
    TypeScript1,
    RustAuto,
    RustLegacy,
    /// The bridge from stdio to HTTP, driven by the Python SDK over stdio.
    McpRemote,
    /// The same, speaking the newest era that the server knows to the outside.
    McpRemoteAuto,
}

/// All of them.
pub const EVERY: [Sdk; 9] = [
    Sdk::PythonAuto,
    Sdk::PythonLegacy,
    Sdk::TypeScript2Auto,
    Sdk::TypeScript2Legacy,
    Sdk::TypeScript1,
    Sdk::RustAuto,
    Sdk::RustLegacy,
    Sdk::McpRemote,
    Sdk::McpRemoteAuto,
];

impl Sdk {
    /// A name for the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::PythonAuto => "python-auto",
            Self::PythonLegacy => "python-legacy",
            Self::TypeScript2Auto => "typescript2-auto",
            Self::TypeScript2Legacy => "typescript2-legacy",
            Self::TypeScript1 => "typescript1",
            Self::RustAuto => "rust-auto",
            Self::RustLegacy => "rust-legacy",
            Self::McpRemote => "mcp-remote",
            Self::McpRemoteAuto => "mcp-remote-auto",
        }
    }

    /// Whether it asks for the modern era first.
    pub fn is_auto(self) -> bool {
        matches!(self, Self::PythonAuto | Self::TypeScript2Auto | Self::RustAuto | Self::McpRemoteAuto)
    }

    /// Whether a program stands between the client and Lifeboat; its client is of the legacy era whatever it speaks itself.
    pub fn is_bridge(self) -> bool {
        matches!(self, Self::McpRemote | Self::McpRemoteAuto)
    }

    fn command(self) -> Command {
        match self {
            Self::PythonAuto | Self::PythonLegacy | Self::McpRemote | Self::McpRemoteAuto => {
                let mut command = Command::new(python());
                command.arg(root().join("tests/e2e/clients/py_client.py"));
                command
            }
            Self::RustAuto | Self::RustLegacy => Command::new(env!("CARGO_BIN_EXE_rmcp_client")),
            Self::TypeScript2Auto | Self::TypeScript2Legacy | Self::TypeScript1 => {
                let mut command = Command::new("node");
                command.arg(node_scripts().join(if self == Self::TypeScript1 { "v1_client.mjs" } else { "v2_client.mjs" }));
                command
            }
        }
    }
}

/// The folder of packages with the scripts in it: node looks for packages beside the script. They are laid there once, since a client that has just
/// been started may be reading them.
fn node_scripts() -> PathBuf {
    static LAID: Once = Once::new();
    LAID.call_once(|| {
        for script in ["steps.mjs", "v1_client.mjs", "v2_client.mjs"] {
            std::fs::copy(root().join("tests/e2e/clients").join(script), node_dir().join(script)).unwrap();
        }
    });
    node_dir()
}

/// A client at work. It ends with this value.
pub struct Driver {
    pub sdk: Sdk,
    _child: Running,
    orders: ChildStdin,
    lines: Receiver<Value>,
    early: HashMap<u64, Value>,
    next: u64,
    proxy: String,
    log: PathBuf,
}

impl Driver {
    /// Starts the client with a key; it has no connection yet.
    pub fn start(sdk: Sdk, lifeboat: &Lifeboat, key: &str) -> Self {
        Self::launch(sdk, lifeboat, key, &[])
    }

    /// Starts the client with its name and secret: the SDK gets tokens by itself.
    pub fn with_secret(sdk: Sdk, lifeboat: &Lifeboat, client: &str, secret: &str) -> Self {
        Self::launch(sdk, lifeboat, "", &[("LIFEBOAT_CLIENT", client), ("LIFEBOAT_SECRET", secret)])
    }

    fn launch(sdk: Sdk, lifeboat: &Lifeboat, key: &str, more: &[(&str, &str)]) -> Self {
        let log = lifeboat.home().join(format!("{}.log", sdk.name()));
        let mut child = sdk
            .command()
            .arg(lifeboat.ca())
            .arg(if sdk.is_auto() && !sdk.is_bridge() { "auto" } else { "legacy" })
            .env("LIFEBOAT_KEY", key)
            .envs(more.iter().copied())
            .env("BRIDGE_AUTHORIZATION", format!("Bearer {key}"))
            .env("MCP_REMOTE_CONFIG_DIR", lifeboat.home().join("mcp-remote").join(sdk.name()))
            .env("NODE_EXTRA_CA_CERTS", lifeboat.ca())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if serde_json::from_str::<Value>(&line).is_ok_and(|answer| sender.send(answer).is_err()) {
                    break;
                }
            }
        });
        let (early, proxy) = (HashMap::new(), lifeboat.proxy.clone());
        Self { sdk, _child: Running(child), orders, lines, early, next: 0, proxy, log }
    }

    /// Starts it and connects to one server; panics when that fails.
    pub fn at(sdk: Sdk, lifeboat: &Lifeboat, key: &str, server: &str) -> Self {
        let mut this = Self::start(sdk, lifeboat, key);
        let connected = this.connect(server);
        assert_eq!(connected["ok"], true, "{sdk:?} at {server}: {connected}");
        this
    }

    /// Gives an order and does not wait.
    pub fn give(&mut self, mut order: Value) -> u64 {
        self.next += 1;
        order["n"] = self.next.into();
        if let Err(error) = writeln!(self.orders, "{order}") {
            panic!("{:?} takes no order: {error}\n{}", self.sdk, self.log());
        }
        self.next
    }

    /// The answer to an order that was given.
    pub fn answer(&mut self, order: u64) -> Value {
        loop {
            if let Some(answer) = self.early.remove(&order) {
                return answer;
            }
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("{:?} does not answer:\n{}", self.sdk, self.log());
            };
            self.early.insert(line["n"].as_u64().unwrap_or_default(), line);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// An order and its answer.
    pub fn ask(&mut self, order: Value) -> Value {
        let order = self.give(order);
        self.answer(order)
    }

    /// Connects to `/mcp/SERVER`.
    pub fn connect(&mut self, server: &str) -> Value {
        let order = self.connecting(server);
        self.ask(order)
    }

    /// Connects as a client whose user answers every question with `elicit`.
    pub fn connect_with_user(&mut self, server: &str, elicit: Value) -> Value {
        let mut order = self.connecting(server);
        order["elicit"] = elicit;
        self.ask(order)
    }

    fn connecting(&self, server: &str) -> Value {
        let url = format!("https://{}/mcp/{server}", self.proxy);
        let mut order = json!({"do": "connect", "as": server, "url": url});
        if self.sdk.is_bridge() {
            let script = node_dir().join("node_modules/mcp-remote/dist/proxy.js");
            let era = if self.sdk.is_auto() { "auto" } else { "legacy" };
            order["bridge"] =
                json!(["node", script, url, "--header", "Authorization:${BRIDGE_AUTHORIZATION}", "--silent", "--protocol", era]);
        }
        order
    }

    /// Lists the tools of a server.
    pub fn list(&mut self, server: &str) -> Value {
        self.ask(json!({"do": "list", "as": server}))
    }

    /// Calls a tool and waits.
    pub fn call(&mut self, server: &str, tool: &str, arguments: Value) -> Value {
        let order = self.give_call(server, tool, arguments);
        self.answer(order)
    }

    /// Calls a tool and does not wait.
    pub fn give_call(&mut self, server: &str, tool: &str, arguments: Value) -> u64 {
        self.give(json!({"do": "call", "as": server, "tool": tool, "arguments": arguments}))
    }

    /// Calls a tool that reports its progress.
    pub fn progress(&mut self, server: &str, tool: &str, arguments: Value) -> Value {
        self.ask(json!({"do": "progress", "as": server, "tool": tool, "arguments": arguments}))
    }

    /// Calls a tool and gives it up after a while.
    pub fn cancel(&mut self, server: &str, tool: &str, arguments: Value, after_ms: u64) -> Value {
        self.ask(json!({"do": "cancel", "as": server, "tool": tool, "arguments": arguments, "after_ms": after_ms}))
    }
}
