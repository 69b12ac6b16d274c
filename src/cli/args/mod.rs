//! The commands and flags of docs/CONTRACT.md as types. Never does anything; secrets are never arguments.

mod alerts;
mod clients;
mod credentials;
mod desired;
mod operators;
mod recovery;

use std::path::PathBuf;

pub(super) use alerts::{AlertCommand, ReceiverCommand};
use clap::{Args, Parser, Subcommand, ValueEnum};
pub(super) use clients::{ClientCommand, ClientJwkCommand, ClientSecretCommand, TokenCommand};
pub(super) use credentials::{CredentialCommand, RotateArgs};
pub(super) use desired::{
    AuditCommand, ConfigCommand, FilterArgs, ImportArgs, PolicyCommand, RoleCommand, ServerAddArgs, ServerCommand,
    ServerSecretsArgs, ToolCommand,
};
pub(super) use operators::{OperatorCommand, OperatorKeyCommand, OperatorSessionsCommand, OperatorTotpCommand};
pub(super) use recovery::{
    BackupCommand, DrillCommand, EvidenceCommand, RebuildArgs, RecipientCommand, RestoreArgs, VaultAddArgs, VaultCommand,
};

/// An enforcement proxy for MCP servers, with a ledger and a kill switch that proves itself.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, propagate_version = true)]
pub(super) struct Cli {
    /// The data directory
    #[arg(long, global = true, env = "LIFEBOAT_DATA", default_value = "./lifeboat-data", value_name = "DIR")]
    pub data: PathBuf,
    /// One JSON document on stdout and nothing else
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// First run: makes what is missing, then serves
    Up(UpArgs),
    /// Serves an existing data directory
    Serve,
    /// State of the kill switch, the servers and the ledger
    Status,
    /// The kill switch
    #[command(subcommand)]
    Kill(KillCommand),
    /// People at the dashboard
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Programs that call tools
    #[command(subcommand)]
    Client(ClientCommand),
    /// Access tokens: the keys that sign them, and ending tokens at once
    #[command(subcommand)]
    Token(TokenCommand),
    /// MCP servers behind the proxy
    #[command(subcommand)]
    Server(ServerCommand),
    /// Tools and their classes
    #[command(subcommand)]
    Tool(ToolCommand),
    /// Roles of clients
    #[command(subcommand)]
    Role(RoleCommand),
    /// Why a call would be permitted or refused
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// What is shown to prove who one is: age, rotation, end
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// The desired state in git
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The ledger
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Who can open archives
    #[command(subcommand)]
    Recipient(RecipientCommand),
    /// Memory stores to protect
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Encrypted archives of every vault
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Brings archives back into an empty directory
    Restore(RestoreArgs),
    /// A deployment from archives and an identity alone; it starts stopped
    Rebuild(RebuildArgs),
    /// What should have happened and did not
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Signed reports
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// Timed rehearsals of a rebuild
    #[command(subcommand)]
    Drill(DrillCommand),
    /// What is wrong on this host and how to mend it
    Doctor,
    /// Certificates of the listeners
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Whether this host trusts Lifeboat's own CA
    #[command(subcommand)]
    Trust(TrustCommand),
    /// A capability that this version does not have
    #[command(external_subcommand)]
    Later(Vec<String>),
}

/// `up`.
#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// Adds the built-in demo server, a role, a client and its key
    #[arg(long)]
    pub demo: bool,
    /// Address of the dashboard [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Address of the proxy [default: 127.0.0.1:8444]
    #[arg(long, value_name = "ADDR")]
    pub proxy: Option<String>,
    /// Host names and addresses for the certificate [default: localhost, 127.0.0.1, ::1]
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
}

/// `tls …`.
#[derive(Debug, Subcommand)]
pub(super) enum TlsCommand {
    /// Prints a request for a certificate of the configured names, for an authority of your own
    Csr,
}

/// `trust …`.
#[derive(Debug, Subcommand)]
pub(super) enum TrustCommand {
    /// Adds the CA to the system's store (Debian; needs root)
    Install,
    /// Takes it out again
    Remove,
}

/// What a kill covers.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct ScopeArgs {
    /// Only this server
    #[arg(long, value_name = "S")]
    pub server: Option<String>,
    /// Only this tool
    #[arg(long, value_name = "S/T")]
    pub tool: Option<String>,
    /// Only this client
    #[arg(long, value_name = "C")]
    pub client: Option<String>,
}

/// How far a kill goes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ModeArg {
    /// Everything that executes
    Full,
    /// Write and destructive calls
    ReadOnly,
}

impl ModeArg {
    /// The word in the API.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read-only",
        }
    }
}

/// `kill …`.
#[derive(Debug, Subcommand)]
pub(super) enum KillCommand {
    /// Stops tool execution, then proves it
    Engage {
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        scope: ScopeArgs,
        /// How far
        #[arg(long, value_enum, default_value = "full")]
        mode: ModeArg,
    },
    /// Allows tool execution again
    Release {
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        scope: ScopeArgs,
        /// Not wholly, but down to this
        #[arg(long, value_parser = ["read-only"])]
        to: Option<String>,
    },
    /// What is stopped, and the last proof
    Status,
}
