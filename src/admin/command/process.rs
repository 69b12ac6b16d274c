//! A command as a process: started with nothing but what was declared, read as a stream, ended as a group. A stream that did not end well gives
//! no end but a failure. Never a shell, never Lifeboat's own environment.

use std::io::{self, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, ChildStdout};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::words::LastWords;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::base::size::ByteSize;

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const LANG: &str = "C.UTF-8";
/// Between two looks at whether it has ended.
const TICK: Duration = Duration::from_millis(20);
/// How long the group gets to end by itself, and then to be gone.
const GRACE: Duration = Duration::from_secs(5);
/// How long what was started by it may keep the pipe open when it has ended.
const LEFT: Duration = Duration::from_secs(1);
/// How long its last words are waited for.
const WORDS: Duration = Duration::from_millis(200);
const STOPPED: &str = "was ended because Lifeboat stops";

/// What is started, and what bounds it.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Line {
    /// The program, an absolute path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Declared variables.
    pub env: Vec<(String, String)>,
    /// Kept variables.
    pub secrets: Vec<(String, Secret<String>)>,
    /// What it reads on standard input, at most some KiB: never a variable, which other processes of the account can read.
    pub input: Option<Secret<Vec<u8>>>,
    /// Values of that, which its last words must not repeat.
    pub hidden: Vec<Secret<String>>,
    /// Whether its last words are told when it fails: not when it may say what nobody knows yet to be a secret.
    pub tells: bool,
    /// How long it may take.
    pub limit: Duration,
    /// The least and the most it may write.
    pub bytes: (ByteSize, ByteSize),
    /// Ends it when Lifeboat stops.
    pub stop: CancellationToken,
}

/// A started command. Its output is read from it; the end of the output comes only when everything is well.
pub(in crate::admin) struct Running {
    line: Line,
    child: Child,
    group: Pid,
    /// It was waited for: its process id may be another's by now.
    reaped: bool,
    output: ChildStdout,
    errors: Option<ChildStderr>,
    words: LastWords,
    until: Instant,
    passed: u64,
    /// Why there will be no more.
    ended: Option<Result<(), String>>,
}

enum Heard {
    Bytes(usize),
    End,
    /// It ended and nothing more is there to read, but the pipe is open.
    Left,
}

impl Running {
    /// Starts it. Must be called on a thread that may block, within the runtime.
    ///
    /// # Errors
    /// `Unavailable` when there is no such program or it cannot be started.
    pub(in crate::admin) fn start(line: Line) -> Verb<Self> {
        let mut command = Command::new(&line.program);
        command.args(&line.arguments).env_clear().env("PATH", PATH).env("LANG", LANG);
        command.envs(line.env.iter().map(|(name, value)| (name, value)));
        command.envs(line.secrets.iter().map(|(name, value)| (name, value.reveal())));
        command.stdin(if line.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/").process_group(0);
        let unstarted = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => {
                Fault::unavailable(format!("there is no program {} on this host", line.program)).because(cause)
            }
            _ => Fault::unavailable(format!("{} cannot be started: {cause}", line.program)).because(cause),
        };
        let mut child = command.spawn().map_err(unstarted)?;
        let group = i32::try_from(child.id()).map(Pid::from_raw).map_err(|e| Fault::bug("a process id that is none").because(e))?;
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), &line.input) {
            // It fits into the pipe. A command that reads nothing has closed it, which is no failure.
            let _ = pipe.write_all(input.reveal());
        }
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let mut held = Unread { child: Some(child), group };
        let _within = Handle::current().enter();
        let piped = output.zip(errors).map(|(output, errors)| Ok((ChildStdout::from_std(output)?, ChildStderr::from_std(errors)?)));
        let piped = piped.unwrap_or_else(|| Err(io::Error::other("a process without pipes")));
        let (output, errors) = piped.map_err(|e: io::Error| Fault::unavailable("a command's pipes cannot be read").because(e))?;
        let child = held.child.take().ok_or_else(|| Fault::bug("a process that is gone at once"))?;
        let until = Instant::now() + line.limit;
        let (words, ended) = (LastWords::default(), None);
        Ok(Self { line, child, group, reaped: false, output, errors: Some(errors), words, until, passed: 0, ended })
    }

    /// Ends it unless it has ended, and says how that was: nothing when everything is well, else a sentence.
    pub(in crate::admin) fn close(mut self) -> Result<(), String> {
        self.end();
        match self.ended.take() {
            Some(ended) => ended,
            None => Err("was not read to its end".to_owned()),
        }
    }

    async fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        let read = match self.hear(buffer).await? {
            Heard::Bytes(count) => count,
            Heard::End => 0,
            Heard::Left => {
                // What it started may be about to end too. Whatever that writes now is not the command's any more.
                let last = timeout(LEFT, self.output.read(buffer)).await;
                if !matches!(last, Ok(Ok(0))) {
                    return Err("ended, but something that it started still holds its output".to_owned());
                }
                0
            }
        };
        self.passed += read as u64;
        if self.passed > self.line.bytes.1.0 {
            return Err(format!("wrote more than max_bytes, {}", self.line.bytes.1));
        }
        if read == 0 {
            self.finish().await?;
        }
        Ok(read)
    }

    /// Waits for output; takes what is said on standard error meanwhile.
    async fn hear(&mut self, buffer: &mut [u8]) -> Result<Heard, String> {
        let (mut over, mut look) = (false, Instant::now() + TICK);
        loop {
            let mut said = [0u8; 4096];
            tokio::select! {
                biased;
                () = self.line.stop.cancelled() => return Err(STOPPED.to_owned()),
                () = sleep_until(self.until) => return Err(self.late()),
                read = self.output.read(buffer) => {
                    let count = read.map_err(|cause| format!("cannot be read: {cause}"))?;
                    return Ok(if count == 0 { Heard::End } else { Heard::Bytes(count) });
                }
                () = sleep_until(look) => {
                    // The pipe is looked at once more after the end was seen: until then it had time to write.
                    if over {
                        return Ok(Heard::Left);
                    }
                    over = self.has_ended();
                    look = Instant::now() + TICK;
                }
                count = listen(&mut self.errors, &mut said) => self.words.take(said.get(..count).unwrap_or_default()),
            }
        }
    }

    fn late(&self) -> String {
        format!("was not done after {} seconds", self.line.limit.as_secs())
    }

    /// After the last byte: how it ended.
    async fn finish(&mut self) -> Result<(), String> {
        while !self.has_ended() {
            let mut said = [0u8; 4096];
            tokio::select! {
                biased;
                () = self.line.stop.cancelled() => return Err(STOPPED.to_owned()),
                () = sleep_until(self.until) => return Err(self.late()),
                count = listen(&mut self.errors, &mut said) => self.words.take(said.get(..count).unwrap_or_default()),
                () = sleep(TICK) => {}
            }
        }
        let status = self.reap().map_err(|cause| format!("cannot be waited for: {cause}"))?;
        self.last_words().await;
        match (status.code(), status.signal()) {
            (Some(0), _) if self.passed < self.line.bytes.0.0 => {
                Err(format!("wrote {} bytes, less than min_bytes, {}", self.passed, self.line.bytes.0))
            }
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(format!("ended with status {code}")),
            (None, Some(signal)) => Err(format!("was ended by signal {signal}")),
            (None, None) => Err("ended in an unknown way".to_owned()),
        }
    }

    /// What is in the pipe already: whoever else holds it is not waited for.
    async fn last_words(&mut self) {
        let mut said = [0u8; 4096];
        while self.errors.is_some() {
            let Ok(count) = timeout(WORDS, listen(&mut self.errors, &mut said)).await else { return };
            self.words.take(said.get(..count).unwrap_or_default());
        }
    }

    fn has_ended(&self) -> bool {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        self.reaped || !matches!(waitid(Id::Pid(self.group), look), Ok(WaitStatus::StillAlive))
    }

    /// Ends what is left of its group, while its own process id still names the group, and takes its status.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        let _ = killpg(self.group, Signal::SIGKILL);
        self.reaped = true;
        self.child.wait()
    }

    fn end(&mut self) {
        if self.reaped {
            return;
        }
        let _ = killpg(self.group, Signal::SIGTERM);
        Handle::current().block_on(async {
            let until = Instant::now() + GRACE;
            while !self.has_ended() && Instant::now() < until {
                sleep(TICK).await;
            }
            self.last_words().await;
            let _ = killpg(self.group, Signal::SIGKILL);
            let until = Instant::now() + GRACE;
            while !self.has_ended() && Instant::now() < until {
                sleep(TICK).await;
            }
        });
        if self.has_ended() {
            let _ = self.reap();
        } else {
            // The system does not let go of it, as with a dead network disk: nothing here can wait for that.
            tracing::error!(pid = self.group.as_raw(), "a command does not end");
            self.reaped = true;
        }
    }
}

/// One piece of standard error; 0 at its end, which comes once.
async fn listen(errors: &mut Option<ChildStderr>, said: &mut [u8]) -> usize {
    let Some(open) = errors else { return std::future::pending().await };
    let count = open.read(said).await.unwrap_or(0);
    if count == 0 {
        *errors = None;
    }
    count
}

impl Read for Running {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.ended {
            Some(Ok(())) => return Ok(0),
            Some(Err(_)) => return Err(io::Error::other("the command failed")),
            None => {}
        }
        match Handle::current().block_on(self.read_some(buffer)) {
            Ok(0) => {
                self.ended = Some(Ok(()));
                Ok(0)
            }
            Ok(count) => Ok(count),
            Err(why) => {
                self.end();
                let secrets: Vec<Secret<String>> =
                    self.line.secrets.iter().map(|(_, value)| value.clone()).chain(self.line.hidden.iter().cloned()).collect();
                let said = self.words.told(&secrets);
                let said = if said.is_empty() || !self.line.tells { String::new() } else { format!("; it said: {said}") };
                self.ended = Some(Err(format!("{why}{said}")));
                Err(io::Error::other("the command failed"))
            }
        }
    }
}

/// Runs one to its end, on a thread of its own, and gives what it wrote.
///
/// # Errors
/// `Unavailable` when it cannot be started, or does not end well.
pub(in crate::admin) async fn collect(line: Line) -> Verb<Secret<Vec<u8>>> {
    let program = line.program.clone();
    let work = move || {
        let mut running = Running::start(line)?;
        let mut written = Vec::new();
        let read = running.read_to_end(&mut written);
        match (read, running.close()) {
            (Ok(_), Ok(())) => Ok(Secret::new(written)),
            (_, Err(why)) => Err(Fault::unavailable(format!("{program} {why}"))),
            (Err(cause), Ok(())) => Err(Fault::bug("a command that failed and ended well").because(cause)),
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| Fault::bug("a command's thread ended").because(e))?
}

/// A process that is not read yet.
struct Unread {
    child: Option<Child>,
    group: Pid,
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = killpg(self.group, Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}

/// The last resort, when nobody could end it in order: at once, and without the runtime, which may be gone.
impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = killpg(self.group, Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}
