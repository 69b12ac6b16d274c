//! Credentials, as the command line takes them. Never does anything; a secret is never an argument.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `credential …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CredentialCommand {
    /// Every credential with its versions, age and due date
    List,
    /// One credential with its rotations
    Show {
        /// KIND/NAME
        name: String,
    },
    /// What is due, stuck or missing; exit 2 unless it is nothing
    Due,
    /// Replaces a credential while old and new count side by side
    Rotate(RotateArgs),
    /// Hands the new secret over, once
    Fetch {
        /// KIND/NAME
        name: String,
    },
    /// Takes the new value of a rotation that waits for it
    Supply {
        /// KIND/NAME
        name: String,
        /// Reads it from this file instead of standard input
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Keeps the password with which Lifeboat replaces a credential at another system
    Admin {
        /// postgres/NAME, http/NAME, command/NAME
        name: String,
        /// Says that standard input holds it
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Approves the commands of command/NAME on this host, as they stand in the configuration
    Approve {
        /// command/NAME
        name: String,
        /// Only when they are those of this digest, as credential show has it
        #[arg(long, value_name = "SHA256")]
        digest: Option<String>,
    },
    /// Orders an open rotation: pause, resume, cancel, rollback, extend or retire
    Order {
        /// KIND/NAME
        name: String,
        /// What
        #[arg(value_parser = ["pause", "resume", "cancel", "rollback", "extend", "retire"])]
        order: String,
        /// For extend: how much longer both count, such as 24h
        #[arg(long)]
        by: Option<String>,
    },
    /// Ends what leaked at once, without overlap, and cuts what it has in flight
    Revoke {
        /// client-key/NAME, client-secret/NAME, key/KID, client/NAME, token-key/oauth, server/NAME, postgres/NAME, http/NAME, command/NAME, operator/NAME, operator-key/NAME, operator-session/NAME
        #[arg(required_unless_present = "since")]
        name: Option<String>,
        /// Everything issued from this moment on (RFC 3339)
        #[arg(long, value_name = "TIME", conflicts_with = "name")]
        since: Option<String>,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Proofs of rotations under traffic
    Proofs {
        /// One of them, signed
        id: Option<String>,
    },
    /// The rotation plan
    Plan {
        /// Commits it to the configuration when it changed
        #[arg(long)]
        commit: bool,
    },
}

/// `credential rotate`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// KIND/NAME
    #[arg(required_unless_present_any = ["all", "prove"], conflicts_with = "all")]
    pub name: Option<String>,
    /// How long both count: now, 1h, 24h, 7d
    #[arg(long)]
    pub overlap: Option<String>,
    /// The old one ends with the overlap whoever still uses it, and an open rotation is given up: its new one, handed out or not, ends at once
    #[arg(long)]
    pub force: bool,
    /// Why: manual, schedule, incident or leak
    #[arg(long)]
    pub reason: Option<String>,
    /// More of that
    #[arg(long, default_value = "")]
    pub note: String,
    /// Shows the new secret with the answer; the only time it is shown
    #[arg(long)]
    pub fetch: bool,
    /// Everything that Lifeboat rotates; new secrets go to files of mode 0600
    #[arg(long, requires = "prove")]
    pub all: bool,
    /// Proves it under traffic of its own; exit 2 when somebody would have noticed
    #[arg(long, conflicts_with = "name")]
    pub prove: bool,
    /// With --prove: seconds of traffic
    #[arg(long, default_value_t = 10, requires = "prove")]
    pub seconds: u32,
    /// With --prove: requests a second
    #[arg(long, default_value_t = 200, requires = "prove")]
    pub rate: u32,
}
