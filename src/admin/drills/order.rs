//! What a drill is told and what it tells: between the process that orders it and the one that performs it. Identities travel by standard input,
//! never by an argument or a file.

use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::steps::Step;
use crate::base::clock::Timestamp;
use crate::base::fault::Fault;

/// The subcommand that performs a drill; nobody types it.
pub const SUBCOMMAND: &str = "drill-child";

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// The machine: everything comes from the archives.
    HostLost,
    /// state.db: the configuration is the one that runs.
    StateLost,
    /// The configuration: state.db is the one that runs.
    ConfigLost,
    /// A byte of the newest archive of each vault: the one before must do.
    ArchiveCorrupt,
    /// The identity: another one is at hand.
    KeyLost,
    /// The program of a server.
    PackageMissing,
    /// Every archive younger than the target for lost data.
    StaleBackup,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 7] = [
        Self::HostLost,
        Self::StateLost,
        Self::ConfigLost,
        Self::ArchiveCorrupt,
        Self::KeyLost,
        Self::PackageMissing,
        Self::StaleBackup,
    ];

    /// The word in commands and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::HostLost => "host-lost",
            Self::StateLost => "state-lost",
            Self::ConfigLost => "config-lost",
            Self::ArchiveCorrupt => "archive-corrupt",
            Self::KeyLost => "key-lost",
            Self::PackageMissing => "package-missing",
            Self::StaleBackup => "stale-backup",
        }
    }

    /// The end that is right for it.
    pub fn expected(self) -> &'static str {
        match self {
            Self::HostLost | Self::StateLost | Self::ConfigLost => "everything is rebuilt within the targets",
            Self::ArchiveCorrupt => "the damaged archive is found, and the one before it is used",
            Self::KeyLost => "it fails at the first archive and names the identities that would open it",
            Self::PackageMissing => "the server without its program is named, the others work",
            Self::StaleBackup => {
                "everything is rebuilt, and the verdict says that too much is lost: the disaster is taken to come an hour later than a backup may be old"
            }
        }
    }
}

impl FromStr for Scenario {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        Self::ALL.into_iter().find(|one| one.word() == text).ok_or_else(|| {
            let words: Vec<&str> = Self::ALL.iter().map(|one| one.word()).collect();
            Fault::invalid("scenario", format!("must be one of {}", words.join(", ")))
        })
    }
}

/// What the performing process is told.
#[derive(Clone, Serialize, Deserialize)]
pub struct Instructions {
    /// Archives.
    pub from: PathBuf,
    /// Texts of age identities.
    pub identities: Vec<String>,
    /// The key that the notes must be signed with.
    pub trust: String,
    /// An empty directory that is the drill's own.
    pub sandbox: PathBuf,
    /// The data directory of the deployment that runs: paths below it are moved into the sandbox.
    pub root: PathBuf,
    /// What is lost.
    pub scenario: Scenario,
    /// The configuration to use instead of the archived one.
    pub bundle: Option<PathBuf>,
    /// The database to use instead of the archived one.
    pub state: Option<PathBuf>,
}

/// The step in which the process leaves this host's network.
pub const ISOLATE: &str = "isolate-network";

/// What the servers of a drill can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Themselves: only loopback exists, and nobody else is on it.
    Own,
    /// Whatever this host can reach.
    Host,
}

/// The words for what becomes of a server.
pub const REBUILT: &str = "rebuilt";
/// A stand-in took its place.
pub const SUBSTITUTED: &str = "substituted";
/// It was left out, or did not work.
pub const SKIPPED: &str = "skipped";

/// What became of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fate {
    /// Its name.
    pub name: String,
    /// `rebuilt`, `substituted` or `skipped`.
    pub state: String,
    /// Whether the drill cannot pass without it.
    pub critical: bool,
    /// What was seen of it, or why it was skipped.
    pub detail: String,
    /// Variables whose values the drill made itself; known to the performing process only.
    #[serde(skip)]
    pub replaced: Vec<String>,
}

impl Fate {
    /// Whether something answers under its name: itself or a stand-in.
    pub fn stands(&self) -> bool {
        self.state != SKIPPED
    }
}

/// What the performing process tells, one a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// A step ended.
    Step(Step),
    /// It is over.
    Over(Outcome),
}

/// How it ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether every check was made and passed.
    pub recovered: bool,
    /// Seconds from the beginning to the last check, or to the failure.
    pub seconds: f64,
    /// Every server of the configuration.
    pub servers: Vec<Fate>,
    /// What was written after the earliest of these moments is lost.
    pub oldest: Option<Timestamp>,
    /// The configuration's commit that was rebuilt.
    pub head: String,
    /// What an operator must know.
    pub warnings: Vec<String>,
    /// Why it did not recover.
    pub fault: Option<String>,
}
