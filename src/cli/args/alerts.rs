//! Alerts and their receivers, as the command line takes them. Never does anything; a secret is never an argument.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `alert …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AlertCommand {
    /// What should have happened and did not
    List,
    /// Says that somebody is at it
    Ack {
        /// Its id
        id: String,
    },
    /// Sends a signed test to every receiver, or to one
    Test {
        /// Only this receiver
        receiver: Option<String>,
    },
    /// Who is told of alerts
    #[command(subcommand)]
    Receiver(ReceiverCommand),
}

/// `alert receiver …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ReceiverCommand {
    /// Adds a receiver and shows its secret once
    Add(ReceiverAddArgs),
    /// Every receiver, and how its last notices went
    List,
    /// Mints another secret and shows it once; the one before signs beside it for a day
    Secret {
        /// Name
        name: String,
    },
    /// Takes a receiver out
    Remove {
        /// Name
        name: String,
    },
}

/// `alert receiver add`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ReceiverAddArgs {
    /// What to call it
    pub name: String,
    /// https://…, or http:// on loopback with --plain-loopback; it stands in git, so no secret belongs into it
    #[arg(long)]
    pub url: String,
    /// Only alerts of these rules, such as backup.*; once or more
    #[arg(long = "rule", value_name = "GLOB")]
    pub rules: Vec<String>,
    /// A private address range that its name may resolve to, once or more
    #[arg(long = "allow-address", value_name = "CIDR")]
    pub allow_addresses: Vec<String>,
    /// Allows loopback, and http:// there
    #[arg(long)]
    pub plain_loopback: bool,
    /// CA certificates that sign it, instead of the system's roots; the file is read at each notice
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}
