//! Waits for a stage to end, passes on the wish to end, and leaves nothing behind. Never waits for ever on what was told to die.

use std::collections::{BTreeSet, HashMap};
use std::process::Child;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Ends with everything below it at once: what Lifeboat sends when a server must stop now.
pub const STOP_NOW: Signal = Signal::SIGQUIT;

const KILLED: u8 = 137;
const ROUNDS: u32 = 200;
const ROUND: Duration = Duration::from_millis(5);

/// Whom a wish to end is passed on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Below {
    /// The init stage, which passes it on itself.
    Init,
    /// The server's process group.
    Server,
}

/// Holds back the signals that [`watch`] takes one by one. Before any child is started.
pub(super) fn hold_signals() -> Result<SigSet, String> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, STOP_NOW] {
        set.add(signal);
    }
    set.thread_block().map_err(|fault| format!("cannot hold signals: {}", fault.desc()))?;
    Ok(set)
}

/// Waits for `child` and gives its exit status; by then every descendant that this process can see has ended.
pub(super) fn watch(child: &Child, below: Below, signals: &SigSet) -> Result<u8, String> {
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(|fault| fault.to_string())?);
    loop {
        if let Some(status) = reap(Some(pid)) {
            kill_descendants();
            return Ok(status);
        }
        match signals.wait() {
            Ok(Signal::SIGCHLD) | Err(Errno::EINTR) => {}
            Ok(signal) if signal == STOP_NOW => {
                kill_descendants();
                return Ok(KILLED);
            }
            Ok(_) => {
                // Whoever is gone already needs no signal.
                let _ = match below {
                    Below::Init => kill(pid, Signal::SIGTERM),
                    Below::Server => killpg(pid, Signal::SIGTERM),
                };
            }
            Err(fault) => return Err(format!("cannot wait for signals: {}", fault.desc())),
        }
    }
}

/// Takes every ended child; the exit status of `wanted` when it was among them.
fn reap(wanted: Option<Pid>) -> Option<u8> {
    let mut status = None;
    loop {
        let (pid, code) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, u8::try_from(code & 0xff).unwrap_or(1)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128u8.saturating_add(u8::try_from(signal as i32).unwrap_or(0))),
            Ok(WaitStatus::StillAlive) | Err(_) => return status,
            Ok(_) => continue,
        };
        if Some(pid) == wanted {
            status = Some(code);
        }
    }
}

/// Kills everything below this process, also what left its group or session, and takes it; gives up after a second.
pub(super) fn kill_descendants() {
    for _ in 0..ROUNDS {
        reap(None);
        let below = descendants();
        if below.is_empty() {
            return;
        }
        for pid in below {
            // It may have ended since.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::park_timeout(ROUND);
    }
}

fn descendants() -> BTreeSet<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeSet::new() };
    for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut open = vec![nix::unistd::getpid().as_raw()];
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            found.insert(child);
            open.push(child);
        }
    }
    found
}

/// The parent of a process as `/proc` has it; `self` is written 0.
pub(super) fn parent_of(pid: i32) -> Option<i32> {
    let name = if pid == 0 { "self".to_owned() } else { pid.to_string() };
    let stat = std::fs::read_to_string(format!("/proc/{name}/stat")).ok()?;
    // The name in brackets may hold anything, also brackets.
    stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(1)?.parse().ok()
}
