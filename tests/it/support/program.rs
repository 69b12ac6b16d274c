//! The real program as a process: ended with the test that started it.

use std::path::Path;
use std::process::{Child, Command};

use serde_json::Value;

/// Ended when it is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command with `--json`: its document and its exit status.
pub(crate) fn ask(data: &Path, words: &[&str]) -> (Value, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_lifeboat")).arg("--data").arg(data).arg("--json").args(words).output();
    let output = output.expect("the command runs");
    (serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), output.status.code())
}
