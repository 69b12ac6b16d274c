//! The real program as a process: ended with the test that started it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

/// A copy of it that every account may run, started by a python program that gives up something first; not yet up.
pub(crate) fn start_through(program: &[&str], folder: &Path) -> (Running, PathBuf, PathBuf) {
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("open to every account");
    let (binary, data) = (folder.join("lifeboat"), folder.join("data"));
    std::fs::copy(env!("CARGO_BIN_EXE_lifeboat"), &binary).expect("copied");
    let child = Command::new("python3")
        .arg("-c")
        .args(program)
        .env("HOME", folder)
        .arg(&binary)
        .args(["up", "--demo", "--admin", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--data"])
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    (Running(child.expect("python3 runs")), binary, data)
}

/// Starts it on free ports, and waits until its first server is up.
pub(crate) fn start(data: &Path, words: &[&str]) -> Running {
    let child = Command::new(env!("CARGO_BIN_EXE_lifeboat"))
        .args(words)
        .args(["--admin", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let running = Running(child.expect("lifeboat runs"));
    let (started, pid) = (Instant::now(), running.0.id());
    // The socket answers before the addresses are told.
    let is_told = || {
        let text = std::fs::read(data.join("run/addresses.json")).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).is_ok_and(|told| told["pid"] == pid)
    };
    while !is_told() || ask(data, &["status"]).0["servers"][0]["state"] != "up" {
        assert!(started.elapsed() < Duration::from_secs(30), "the demo is not up: {}", ask(data, &["status"]).0);
        std::thread::sleep(Duration::from_millis(100));
    }
    running
}
