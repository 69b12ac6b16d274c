//! Vaults, archives, recipients, restores, rebuilding and drills, as the command line takes them. Never does anything.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `recipient …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RecipientCommand {
    /// Who can open archives, and the instance's public key
    List,
    /// Adds a recipient for the archives to come
    Add {
        /// What to call it
        name: String,
        /// age1…
        recipient: String,
    },
    /// Shows that the identity is at hand: asks for a word to decrypt, or takes it
    Prove {
        /// Name
        name: String,
        /// Decrypts the word with this age identity file; it does not leave this command
        #[arg(long, value_name = "FILE", conflicts_with = "answer_stdin")]
        identity: Option<PathBuf>,
        /// Reads the decrypted word from standard input
        #[arg(long)]
        answer_stdin: bool,
    },
    /// Takes a recipient out of the archives to come
    Remove {
        /// Name
        name: String,
    },
}

/// `vault …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum VaultCommand {
    /// Every vault and its newest archive
    List,
    /// Adds a directory or file to protect, the output of a command, or the memory of a server whose kind is known
    Add(VaultAddArgs),
    /// Approves the command line of a vault on this host, as it stands in the configuration
    Approve {
        /// Name
        name: String,
        /// Variables that the command needs and git must not hold, one NAME=value a line; replaces what is kept
        #[arg(long, value_name = "FILE")]
        env_file: Option<PathBuf>,
    },
    /// What restores in place have kept, with size and age
    Kept,
    /// Removes what restores in place have kept of a vault
    Clean {
        /// Name
        vault: String,
        /// Only says what would go
        #[arg(long)]
        dry_run: bool,
    },
}

/// `vault add`.
#[derive(Debug, Args)]
pub(in crate::cli) struct VaultAddArgs {
    /// Name
    pub name: String,
    /// What to protect; SQLite databases in it are copied consistently
    #[arg(long, value_name = "PATH", required_unless_present_any = ["command", "preset"])]
    pub path: Option<PathBuf>,
    /// A command whose output is the content; it begins with an absolute path, and no shell reads it
    #[arg(long, value_name = "CMD ARGS", conflicts_with_all = ["path", "preset", "exclude"])]
    pub command: Option<String>,
    /// Variables that the command needs and git must not hold, one NAME=value a line
    #[arg(long, value_name = "FILE", requires = "command")]
    pub env_file: Option<PathBuf>,
    /// Fills in path and exclude for a server that many use
    #[arg(long, value_name = "KIND", requires = "server", value_parser = ["server-memory", "mcp-memory-service", "basic-memory", "memory-keeper"])]
    pub preset: Option<String>,
    /// The server whose memory it is
    #[arg(long, value_name = "S")]
    pub server: Option<String>,
    /// A path inside that is left out, once or more
    #[arg(long, value_name = "PATH")]
    pub exclude: Vec<String>,
}

/// `backup …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum BackupCommand {
    /// Makes an archive of every vault, or of one
    Run {
        /// Only this vault
        vault: Option<String>,
    },
    /// Every archive, newest first
    List,
    /// What the copies of the archives lack, and until when a bucket keeps them
    Copies,
    /// Compares every archive with its signed note
    Verify,
    /// Removes archives that no rule keeps
    Prune {
        /// Only says what would go, and why the others stay
        #[arg(long)]
        dry_run: bool,
        /// Removes even when that is much at once
        #[arg(long)]
        much: bool,
    },
    /// Encrypts archives anew that open for others than the present recipients
    Reencrypt {
        /// An age identity file, for archives that this host keeps none for
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
        /// Only says what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Holds an archive whatever the rules say, or ends that
    Hold {
        /// Its id
        archive: String,
        /// Why it stays
        #[arg(long, required_unless_present = "end")]
        reason: Option<String>,
        /// The rules decide again
        #[arg(long, conflicts_with = "reason")]
        end: bool,
    },
}

/// `restore`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreArgs {
    /// An archive's id, latest, or latest:VAULT
    pub archive: String,
    /// Where to: a directory that is empty or not there
    #[arg(long, value_name = "DIR", required_unless_present_any = ["dry_run", "live"])]
    pub to: Option<PathBuf>,
    /// Only this path of the archive, or what stands below it
    #[arg(long, value_name = "P")]
    pub path: Option<String>,
    /// The newest archive that is not younger than this (RFC 3339)
    #[arg(long, value_name = "T")]
    pub at: Option<String>,
    /// Reads and compares everything, and writes nothing
    #[arg(long)]
    pub dry_run: bool,
    /// An age identity file, for archives that this host keeps no identity for
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Into its place in the running deployment, one vault: stops its server, swaps, starts, compares, releases
    #[arg(long, conflicts_with = "to")]
    pub live: bool,
    /// With --live: why
    #[arg(long, value_name = "TEXT", requires = "live")]
    pub reason: Option<String>,
    /// With --live: goes on when no archive of what is there can be made
    #[arg(long, requires = "live")]
    pub without_backup: bool,
}

/// `rebuild`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RebuildArgs {
    /// Directory of archives
    #[arg(long, value_name = "DIR_OR_S3_URL")]
    pub from: String,
    /// Age identity file that opens them
    #[arg(long, value_name = "FILE")]
    pub identity: PathBuf,
    /// Public key of the instance that made them: ed25519/…, or a file that holds it
    #[arg(long, value_name = "PUBKEY")]
    pub trust: String,
    /// Where to: a directory that is empty or not there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

/// `evidence …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum EvidenceCommand {
    /// Whether a report of a drill or a proof of a rotation is as it was signed, and what it says; needs no running Lifeboat
    Verify {
        /// The report, as drill show --json or credential proofs ID --json gives it
        file: PathBuf,
        /// The key it must be signed with: ed25519/…, or a file that holds it [default: keys/instance.pub of the data directory]
        #[arg(long, value_name = "PUBKEY")]
        trust: Option<String>,
    },
}

/// `drill …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DrillCommand {
    /// Rebuilds the deployment from its archives in a place of its own, and times it
    Run {
        /// What is lost
        #[arg(long, value_name = "NAME", default_value = "host-lost")]
        scenario: String,
        /// An age identity file: proves the recovery key itself
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
    },
    /// Every drill, newest first
    List,
    /// One drill's report
    Show {
        /// Its id
        id: String,
    },
    /// When drills, backups and checks of archives are due next; with an option, changes it
    Schedule {
        /// Whose schedule changes
        #[arg(long, value_parser = ["drill", "backup", "verify", "rotate"], default_value = "drill")]
        job: String,
        /// Minute, hour, day of month, month, day of week, in UTC
        #[arg(long, value_name = "FIELDS")]
        cron: Option<String>,
        /// Whether nothing is done
        #[arg(long)]
        paused: Option<bool>,
    },
}
