//! What the stages of the trampoline tell each other. Handed to the first as the first line of its standard input and on as
//! one variable that the last stage drops: nothing of it stands in an argument list.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::strength::Strength;
use crate::demo;

/// The program that means the built-in demo server.
pub const DEMO_PROGRAM: &str = "@demo";
/// The hidden subcommand it is started with.
pub const DEMO_ARGUMENT: &str = demo::SUBCOMMAND;

/// The hidden subcommand of a built-in server; `None` for a program of the system.
pub(super) fn built_in(program: &OsStr) -> Option<&'static str> {
    match program.to_str()? {
        DEMO_PROGRAM => Some(DEMO_ARGUMENT),
        demo::STAND_IN_PROGRAM => Some(demo::STAND_IN_SUBCOMMAND),
        _ => None,
    }
}

const STAGE_VARIABLE: &str = "LIFEBOAT_SANDBOX_STAGE";
const LONGEST_LINE: usize = 1 << 20;
// One variable may hold 128 KiB on Linux; a longer one makes exec fail without a reason.
const LONGEST_VARIABLE: usize = 127 * 1024;

/// What Lifeboat hands to the trampoline, as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Process id of Lifeboat: the trampoline ends when its parent is another one.
    pub parent: u32,
    /// The data directory, absolute.
    pub data: PathBuf,
    /// `vaults/NAME` in it.
    pub vault: PathBuf,
    /// The server's own user and group, where Lifeboat may change to one.
    pub uid: Option<u32>,
    /// The whole environment of the server.
    pub env: Vec<(String, String)>,
    /// Directories it may read and write besides its vault, absolute.
    pub dirs: Vec<PathBuf>,
    /// Only reports what can be confined here, and starts nothing.
    pub probe: bool,
}

impl Params {
    /// The line for the trampoline's standard input, with its end.
    ///
    /// # Errors
    /// A sentence, when the environment is too large.
    pub fn line(&self) -> Result<Vec<u8>, String> {
        let mut line = serde_json::to_vec(self).map_err(|fault| fault.to_string())?;
        if line.len() > LONGEST_VARIABLE - 4096 {
            return Err("the environment of the server is too large".to_owned());
        }
        line.push(b'\n');
        Ok(line)
    }

    /// Reads the line byte by byte, because what follows it belongs to the server.
    pub(super) fn read() -> Result<Self, String> {
        let stdin = std::io::stdin();
        let mut line = Vec::with_capacity(1024);
        let mut byte = [0u8; 1];
        loop {
            match nix::unistd::read(&stdin, &mut byte) {
                Ok(0) => return Err("standard input ended before the parameters".to_owned()),
                Ok(_) if byte[0] == b'\n' => break,
                Ok(_) if line.len() < LONGEST_LINE => line.push(byte[0]),
                Ok(_) => return Err("the parameters are too long".to_owned()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(fault) => return Err(format!("cannot read the parameters: {}", fault.desc())),
            }
        }
        serde_json::from_slice(&line).map_err(|_| "the first line of standard input holds no parameters".to_owned())
    }
}

/// How the last stage becomes somebody with fewer rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Identity {
    /// From root to this user and group.
    Own(u32),
    /// From the root of a user namespace back to the user and group outside, in a namespace of its own.
    Nested {
        /// User outside.
        uid: u32,
        /// Group outside.
        gid: u32,
    },
    /// Stays who it is.
    Same,
}

/// Everything init and leaf need.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) params: Params,
    /// The program's absolute path; `None` for this program itself.
    pub(super) program: Option<PathBuf>,
    /// Arguments, the first of them the program's name.
    pub(super) argv: Vec<OsText>,
    /// What the command line names besides the system's own directories: read-only.
    pub(super) reads: Vec<PathBuf>,
    pub(super) identity: Identity,
    /// Process id of the stage before, as the system's `/proc` has it.
    pub(super) starter: i32,
    pub(super) strength: Strength,
}

/// Text of the operating system, which need not be UTF-8, as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OsText(Vec<u8>);

impl From<&OsStr> for OsText {
    fn from(text: &OsStr) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl OsText {
    pub(super) fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A later stage and its plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// The first process of a private process namespace.
    Init(Plan),
    /// What becomes the server.
    Leaf(Plan),
}

impl Stage {
    /// The stage this process was started as; `None` for the first.
    pub(super) fn take() -> Result<Option<Self>, String> {
        let Some(text) = std::env::var_os(STAGE_VARIABLE) else { return Ok(None) };
        serde_json::from_slice(text.as_bytes()).map(Some).map_err(|_| format!("{STAGE_VARIABLE} holds no stage"))
    }

    /// Starts this program again as that stage, with nothing else in its environment.
    pub(super) fn start(&self) -> Result<std::process::Child, String> {
        let text = serde_json::to_vec(self).map_err(|fault| fault.to_string())?;
        let mut command = std::process::Command::new("/proc/self/exe");
        std::os::unix::process::CommandExt::arg0(&mut command, "lifeboat");
        command.arg(super::SUBCOMMAND).env_clear().env(STAGE_VARIABLE, OsString::from_vec_checked(text)?);
        if matches!(self, Self::Leaf(_)) {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        command.spawn().map_err(|fault| format!("cannot start the next stage: {fault}"))
    }
}

trait FromVecChecked: Sized {
    fn from_vec_checked(bytes: Vec<u8>) -> Result<Self, String>;
}

impl FromVecChecked for OsString {
    fn from_vec_checked(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() > LONGEST_VARIABLE {
            return Err("command line and environment are too large".to_owned());
        }
        Ok(std::os::unix::ffi::OsStringExt::from_vec(bytes))
    }
}

/// Whether one path is the other or lies in it.
pub(super) fn within(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder)
}
