//! How well a stdio server is confined on this machine, as measured by the stages themselves. Never claims what was not done.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::params::Params;

/// What the line of the last stage on standard error begins with, before the server itself can write one.
pub const REPORT: &str = "lifeboat-sandbox ";

/// What was done to confine one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strength {
    /// It runs as a user of its own.
    pub uid: bool,
    /// It runs in a process namespace of its own, whose end ends every descendant.
    pub pid_namespace: bool,
    /// It runs in a user namespace of its own.
    pub user_namespace: bool,
    /// It sees neither the data directory nor foreign processes (mount namespace).
    pub hidden: bool,
    /// Version of Landlock that holds it to its directories.
    pub landlock: Option<u32>,
    /// Named paths that the server's own user may not open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<PathBuf>,
}

impl Strength {
    /// Whether the files of Lifeboat are out of reach by at least one of the means.
    pub fn confined(&self) -> bool {
        // Root could take a cover away again, if nothing else holds it.
        self.uid || self.landlock.is_some() || (self.hidden && self.user_namespace)
    }

    /// One sentence for the dashboard and `doctor`. Begins with "not confined" when that is so.
    pub fn sentence(&self) -> String {
        let mut has = Vec::new();
        if self.uid {
            has.push("its own user".to_owned());
        }
        if self.pid_namespace {
            has.push("its own process namespace".to_owned());
        }
        if self.hidden {
            has.push("a file system without the data directory".to_owned());
        }
        if let Some(abi) = self.landlock {
            has.push(format!("Landlock {abi}"));
        }
        let mut text = match (self.confined(), has.is_empty()) {
            (true, _) => format!("confined by {}", has.join(", ")),
            (false, true) => "not confined: it can read whatever Lifeboat can".to_owned(),
            (false, false) => format!("not confined: it has {}, but can read whatever Lifeboat can", has.join(", ")),
        };
        if !self.pid_namespace {
            text.push_str("; a descendant that leaves its process group may outlive a crash");
        }
        if !self.unreachable.is_empty() {
            let names: Vec<_> = self.unreachable.iter().map(|path| path.display().to_string()).collect();
            text.push_str(&format!("; its own user may not open {}", names.join(", ")));
        }
        text
    }

    /// Reads the line of the last stage.
    pub fn from_report(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix(REPORT)?).ok()
    }
}

/// What this machine allows, found out by doing it: starts the trampoline of `exe` (this program) without a server. Blocks
/// for some milliseconds. Nothing is confined when the trampoline does not answer.
pub fn strength(exe: &Path) -> Strength {
    ask(exe).unwrap_or_default()
}

fn ask(exe: &Path) -> Option<Strength> {
    let nowhere = PathBuf::from("/");
    let uid = super::uid::may_change().then(|| super::uid::uid_of("probe"));
    let params =
        Params { parent: std::process::id(), data: nowhere.clone(), vault: nowhere, uid, env: vec![], dirs: vec![], probe: true };
    let mut command = Command::new(exe);
    command.args([super::SUBCOMMAND, "--", "/"]).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let line = params.line().ok()?;
    child.stdin.take().and_then(|mut stdin| stdin.write_all(&line).ok());
    let output = child.wait_with_output().ok()?;
    String::from_utf8_lossy(&output.stderr).lines().find_map(Strength::from_report)
}
