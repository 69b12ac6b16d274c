//! Taking the configuration to a remote repository and back, with the system's git for transport and nothing else: no hook, no configuration but
//! our own, no question, no more than a minute. Never forces, and never lets a word become an option.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::base::fault::{Fault, Verb};

/// A remote that hangs is given up after this.
const PATIENCE: Duration = Duration::from_secs(60);
const MAIN: &str = "refs/heads/main";
/// Where what the remote has is kept; never HEAD.
pub(super) const SEEN: &str = "refs/lifeboat/remote";

/// Our own settings, above those of the repository.
const SETTINGS: [&str; 6] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.ssh.allow=always",
    "protocol.file.allow=always",
];

/// How a push ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// The remote has it, by this push or before.
    There,
    /// The remote has commits that are not here; ours went to this branch.
    Aside(String),
}

/// Sends HEAD to the remote's `main`; where that has gone another way, to a branch of its own.
///
/// # Errors
/// `Unavailable` when git or the remote do not do it.
pub(super) async fn push(git_dir: &Path, remote: &str, aside: &str) -> Verb<Pushed> {
    let sent = git(git_dir, &["push", "--porcelain", "--no-verify", "--", remote, &format!("{MAIN}:{MAIN}")]).await?;
    if sent.status.success() {
        return Ok(Pushed::There);
    }
    // The line of a reference that was refused begins with an exclamation mark.
    let text = String::from_utf8_lossy(&sent.stdout).into_owned();
    let behind =
        text.lines().any(|line| line.starts_with('!') && (line.contains("non-fast-forward") || line.contains("fetch first")));
    if !behind {
        return Err(failed("push", &sent));
    }
    let beside = git(git_dir, &["push", "--porcelain", "--no-verify", "--", remote, &format!("{MAIN}:refs/heads/{aside}")]).await?;
    if beside.status.success() { Ok(Pushed::Aside(aside.to_owned())) } else { Err(failed("push", &beside)) }
}

/// Fetches the remote's `main` into `SEEN`.
///
/// # Errors
/// `Conflict` when the remote's history was rewritten since the last fetch; `Unavailable` when git or the remote do not do it.
pub(super) async fn fetch(git_dir: &Path, remote: &str) -> Verb<()> {
    let words = ["fetch", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--", remote, &format!("{MAIN}:{SEEN}")];
    let got = git(git_dir, &words).await?;
    if got.status.success() {
        return Ok(());
    }
    if String::from_utf8_lossy(&got.stderr).contains("non-fast-forward") {
        let message = "the remote's history was rewritten since it was last seen: nothing is taken from it. Find out who did that";
        return Err(Fault::conflict(message));
    }
    Err(failed("fetch", &got))
}

async fn git(git_dir: &Path, words: &[&str]) -> Verb<Output> {
    let mut command = Command::new("git");
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command.arg("--git-dir").arg(git_dir).args(words).env_clear();
    for name in ["PATH", "HOME", "SSH_AUTH_SOCK"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // Its words are compared above, so they must be those of the source.
    let own = [
        ("LC_ALL", "C"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=10"),
    ];
    command.envs(own).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let running = command.output();
    match tokio::time::timeout(PATIENCE, running).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(e)) => Err(Fault::unavailable("git cannot be started; install it, for a remote is reached with it").because(e)),
        Err(_) => Err(Fault::unavailable(format!("the remote did not answer in {} s", PATIENCE.as_secs()))),
    }
}

/// What git said, in one line; it never holds a credential, since the remote's address holds none.
fn failed(verb: &str, output: &Output) -> Fault {
    let text = String::from_utf8_lossy(&output.stderr);
    let said = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect::<Vec<_>>().join("; ");
    Fault::unavailable(format!("git {verb} failed: {said}"))
}
