//! The admin plane blocked for good: each of its threads is stopped by the kernel, as one that hangs on a dead disk is. The proxy goes on
//! to enforce, and the switch still works by file, by signal and by the command line.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lifeboat_peers::lines::wall_ns;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Lifeboat, text, wait};
use crate::kill_timing::Holder;
use crate::rig::{Load, Scripted};

/// Threads of a process that stand still until this value ends. Belongs to the thread that made it.
struct Frozen(Vec<Pid>);

impl Frozen {
    /// Stops every thread whose name passes.
    fn threads(pid: u32, stops: impl Fn(&str) -> bool) -> Self {
        let mut frozen = Self(Vec::new());
        for entry in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let entry = entry.unwrap();
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if !stops(name.trim()) {
                continue;
            }
            let thread = Pid::from_raw(entry.file_name().to_string_lossy().parse().unwrap());
            ptrace::seize(thread, ptrace::Options::empty()).unwrap();
            ptrace::interrupt(thread).unwrap();
            waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
            frozen.0.push(thread);
        }
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for thread in &self.0 {
            let _ = ptrace::detach(*thread, None);
        }
    }
}

struct Stage {
    lifeboat: Lifeboat,
    scripted: Scripted,
    load: Load,
    frozen: Frozen,
    holder: Holder,
}

/// Under load, with state.db locked as well, and the dashboard dead.
fn stage() -> Stage {
    let lifeboat = Lifeboat::start();
    let scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key_file = lifeboat.secret_file("loader.key", &lifeboat.client_for("scripted", "loader"));
    let load = Load::start(&lifeboat, "scripted", &key_file, "calls", &["--rate", "100", "--connections", "8", "--tool", "echo"]);
    sleep(Duration::from_millis(500));
    let holder = Holder::of(&lifeboat);
    let frozen = Frozen::threads(lifeboat.pid(), |name| name == "admin" || name == "lifeboat");
    assert!(frozen.0.len() >= 3, "the main thread and both workers of the admin plane stand still: {:?}", frozen.0);
    assert!(!answers(&lifeboat), "the dashboard must be dead for this test");
    Stage { lifeboat, scripted, load, frozen, holder }
}

/// Whether the dashboard answers within a second.
fn answers(lifeboat: &Lifeboat) -> bool {
    let (admin, ca) = (lifeboat.admin.clone(), lifeboat.ca());
    let (sender, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(crate::https::get(&admin, &ca, "/health").is_ok_and(|answer| answer.status == 200)));
    answer.recv_timeout(Duration::from_secs(1)).unwrap_or(false)
}

impl Stage {
    /// Waits until calls are refused; no call may have begun later than the limit after the order. Then all that was said is looked at.
    fn judge(self, ordered: u64, limit_ms: u64) {
        let Self { lifeboat, scripted, load, frozen, holder } = self;
        sleep(Duration::from_millis(limit_ms + 700));
        let enforced = wall_ns();
        drop(frozen);
        holder.let_go();
        let calls = load.finish();
        let stamps = scripted.call_stamps();
        let last = stamps.iter().filter(|stamp| **stamp > ordered).max();
        let late_ms = last.map_or(0, |stamp| (stamp - ordered) / 1_000_000);
        println!("last call {late_ms} ms after the order");
        assert!(late_ms <= limit_ms, "a call began {late_ms} ms after the order");
        assert!(stamps.iter().any(|stamp| *stamp < ordered), "the proxy served while the dashboard was dead");
        let ns = |line: &Value, name: &str| line[name].as_u64().unwrap_or(0);
        let since = ordered + limit_ms * 1_000_000;
        let refused: Vec<&Value> =
            calls.iter().filter(|line| ns(line, "sent_ns") > since && ns(line, "done_ns") < enforced).collect();
        assert!(refused.len() > 20, "the proxy goes on answering: {}", refused.len());
        assert!(refused.iter().all(|line| line["code"] == -31001), "{refused:?}");
        wait("the dashboard is alive again", 20, || answers(&lifeboat).then_some(()));
        assert_eq!(lifeboat.json(&["kill", "status"])["engaged"], true);
    }
}

#[test]
fn flt_25_with_the_admin_plane_dead_the_policy_holds_and_the_file_stops() {
    let stage = stage();
    let (proxy, ca): (String, PathBuf) = (stage.lifeboat.proxy.clone(), stage.lifeboat.ca());
    sleep(Duration::from_millis(500));
    let stranger = crate::https::get(&proxy, &ca, "/mcp/scripted").unwrap();
    assert_eq!(stranger.status, 401, "who has no key is refused as before");
    let ordered = wall_ns();
    std::fs::write(stage.lifeboat.data().join("KILL"), "").unwrap();
    stage.judge(ordered, 500);
}

#[test]
fn flt_25_with_the_admin_plane_dead_the_command_line_stops() {
    let stage = stage();
    let (ordered, began) = (wall_ns(), Instant::now());
    let lifeboat = &stage.lifeboat;
    let (data, binary) = (lifeboat.data(), crate::harness::binary());
    let mut command = std::process::Command::new(binary)
        .args(["kill", "engage", "--reason", "dashboard hangs", "--json", "--data"])
        .arg(&data)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It asks the control socket first, and gives it a second.
    wait("the file KILL", 5, || data.join("KILL").exists().then_some(()));
    println!("KILL stood {} ms after the command", began.elapsed().as_millis());
    let ended = command.wait().unwrap();
    let mut said = Vec::new();
    std::io::Read::read_to_end(command.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(ended.code(), Some(2), "engaged, and nobody could prove it: {}", text(&said));
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!((&said["effective"], &said["persisted"]), (&Value::Bool(false), &Value::from("file")));
    stage.judge(ordered, 2_000);
}

#[test]
fn flt_25_with_the_admin_plane_dead_the_signal_stops() {
    let stage = stage();
    let ordered = wall_ns();
    stage.lifeboat.signal("USR2");
    stage.judge(ordered, 500);
}
