//! The three official client SDKs, each run by its own script. Holds no assertion: what a client saw comes back as its lines.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Lifeboat, root, text};
use crate::rig::{node_dir, python};

/// One client SDK in one era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    PythonAuto,
    PythonLegacy,
    TypeScript2Auto,
    TypeScript2Legacy,
    TypeScript1,
}

/// All of them.
pub const EVERY: [Sdk; 5] = [Sdk::PythonAuto, Sdk::PythonLegacy, Sdk::TypeScript2Auto, Sdk::TypeScript2Legacy, Sdk::TypeScript1];

impl Sdk {
    fn mode(self) -> &'static str {
        if self.is_auto() { "auto" } else { "legacy" }
    }

    /// Whether it asks for the modern era first.
    pub fn is_auto(self) -> bool {
        matches!(self, Self::PythonAuto | Self::TypeScript2Auto)
    }

    /// Runs the steps against `/mcp/SERVER`; one line per step, the first is `connect` or its failure.
    pub fn run(self, lifeboat: &Lifeboat, server: &str, key: &str, steps: &[&str]) -> Vec<Value> {
        let scripts = root().join("tests/e2e/clients");
        let mut command = match self {
            Self::PythonAuto | Self::PythonLegacy => {
                let mut command = Command::new(python());
                command.arg(scripts.join("py_client.py"));
                command
            }
            sdk => {
                // Node looks for packages beside the script, so it runs from the folder that has them.
                for script in ["steps.mjs", "v1_client.mjs", "v2_client.mjs"] {
                    std::fs::copy(scripts.join(script), node_dir().join(script)).unwrap();
                }
                let mut command = Command::new("node");
                command.arg(node_dir().join(if sdk == Self::TypeScript1 { "v1_client.mjs" } else { "v2_client.mjs" }));
                command
            }
        };
        let output = command
            .arg(lifeboat.url(server))
            .arg(lifeboat.ca())
            .arg(self.mode())
            .args(steps)
            .env("LIFEBOAT_KEY", key)
            .env("NODE_EXTRA_CA_CERTS", lifeboat.ca())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let lines: Vec<Value> = text(&output.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert!(!lines.is_empty(), "{self:?} said nothing: {}", text(&output.stderr));
        lines
    }
}
