//! The child process itself: a thread of its own starts it and waits for it. Never signals a process that was taken already.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{oneshot, watch};

use super::launch::Launch;
use super::locked;
use crate::proxy::{descriptors, sandbox};

/// How long the trampoline gets to end everything below it, before the whole group is killed.
const TIDY: Duration = Duration::from_millis(1500);

/// Why no more of them can run: their pipes must leave files for the ledger, the kill and everybody else.
const NO_FILES: &str =
    "as many servers run already as this process may have files for: raise its limit of open files (LimitNOFILE)";

type Started = (Pid, std::process::ChildStdin, std::process::ChildStdout, std::process::ChildStderr);

/// The three pipes.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// A started child.
pub(super) struct Running {
    pid: Pid,
    // Whether the process id still means this child.
    ours: Arc<Mutex<bool>>,
    ended: watch::Receiver<Option<String>>,
}

/// Starts the trampoline. The kernel kills it with the thread that started it, so that thread lives as long as it does.
pub(super) async fn start(launch: Launch) -> Result<(Running, Pipes), String> {
    let place = descriptors::for_children().try_acquire_owned().map_err(|_| NO_FILES)?;
    let (told, started) = oneshot::channel();
    let ours = Arc::new(Mutex::new(true));
    let (over, ended) = watch::channel(None);
    let alive = ours.clone();
    let thread = std::thread::Builder::new().name(format!("stdio {}", launch.name));
    let body = move || match spawn(&launch) {
        Ok((child, started)) => {
            let _ = told.send(Ok(started));
            over.send_replace(Some(wait(child, &alive)));
            drop(place);
        }
        Err(fault) => {
            let _ = told.send(Err(fault));
        }
    };
    thread.spawn(body).map_err(|fault| format!("cannot start a thread: {fault}"))?;
    let (pid, stdin, stdout, stderr) = started.await.map_err(|_| "the starting thread ended")??;
    let told = |fault: std::io::Error| fault.to_string();
    let pipes = Pipes {
        stdin: ChildStdin::from_std(stdin).map_err(told)?,
        stdout: ChildStdout::from_std(stdout).map_err(told)?,
        stderr: ChildStderr::from_std(stderr).map_err(told)?,
    };
    Ok((Running { pid, ours, ended }, pipes))
}

fn spawn(launch: &Launch) -> Result<(std::process::Child, Started), String> {
    let mut command = Command::new(&launch.exe);
    command.arg(sandbox::SUBCOMMAND).arg("--").args(&launch.command).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    let line = launch.params.line()?;
    let mut child = command.spawn().map_err(|fault| format!("cannot start {}: {fault}", launch.exe.display()))?;
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(|fault| fault.to_string())?);
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err("the child has no pipes".to_owned());
    };
    // A trampoline that has ended already says why on standard error.
    let _ = stdin.write_all(&line);
    Ok((child, (pid, stdin, stdout, stderr)))
}

// First waits without taking the child, so that its process id stays taken until nobody signals it any more.
fn wait(mut child: std::process::Child, ours: &Mutex<bool>) -> String {
    let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
    while waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    *locked(ours) = false;
    match child.wait() {
        Ok(status) => match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Err(fault) => format!("cannot be waited for: {fault}"),
    }
}

impl Running {
    /// Waits for the end; the sentence says how it was.
    pub(super) async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        let how = ended.wait_for(Option::is_some).await;
        how.ok().and_then(|how| how.clone()).unwrap_or_else(|| "ended".to_owned())
    }

    /// Asks the server to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::SIGTERM, Reach::Trampoline);
    }

    /// Ends everything of it: the trampoline does it with what it alone can see; then its whole group is killed. Returns when
    /// the trampoline is gone.
    pub(super) async fn kill(&self) {
        self.signal(sandbox::STOP_NOW, Reach::Trampoline);
        if tokio::time::timeout(TIDY, self.ended()).await.is_err() {
            self.signal(Signal::SIGKILL, Reach::Group);
            self.ended().await;
        }
    }

    fn signal(&self, signal: Signal, reach: Reach) {
        let ours = locked(&self.ours);
        if !*ours {
            return;
        }
        if reach == Reach::Group {
            // Fails while the trampoline has not made its group; it dies by the line below then.
            let _ = killpg(self.pid, signal);
        }
        let _ = kill(self.pid, signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL, Reach::Group);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Trampoline,
    Group,
}
