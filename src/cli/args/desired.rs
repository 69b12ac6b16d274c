//! Commands and flags over servers, tools, roles, policy, configuration and ledger. Never does anything.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::time::moment;

/// `server …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Registers a server, looks at it and takes in its tools
    Add(Box<ServerAddArgs>),
    /// Every server
    List,
    /// One server and its tools
    Show {
        /// Name
        name: String,
    },
    /// Looks at a server now
    Probe {
        /// Name
        name: String,
    },
    /// Approves a server's command line on this host and takes in its new tools
    Approve {
        /// Name
        name: String,
    },
    /// Replaces the headers, variables or client certificate that this host keeps for a server
    Secrets(ServerSecretsArgs),
    /// Removes a server
    Remove {
        /// Name
        name: String,
    },
    /// Takes in the servers of a client's own file: Claude, VS Code, Cursor and others. Without --yes only says what it would do
    Import(ImportArgs),
}

/// `server import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// A file with mcpServers or servers, such as claude_desktop_config.json, .mcp.json or .vscode/mcp.json
    pub file: PathBuf,
    /// Does it, and approves the command lines on this host
    #[arg(long)]
    pub yes: bool,
    /// Only this server of the file, once or more
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Values for placeholders such as ${input:token}, one NAME=value a line
    #[arg(long, value_name = "FILE")]
    pub values: Option<PathBuf>,
}

/// `server add`.
#[derive(Debug, Args)]
pub(crate) struct ServerAddArgs {
    /// Name
    pub name: String,
    /// Streamable HTTP endpoint
    #[arg(long, conflicts_with = "stdio", required_unless_present = "stdio")]
    pub url: Option<String>,
    /// SPKI pin, sha256/BASE64
    #[arg(long = "pin")]
    pub pins: Vec<String>,
    /// Allows http:// on a loopback address
    #[arg(long)]
    pub plain_loopback: bool,
    /// A private address range the host may resolve to
    #[arg(long = "allow-address", value_name = "CIDR")]
    pub allow_addresses: Vec<String>,
    /// CA certificate in PEM that signs the server
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Headers to send, one `Name: value` a line
    #[arg(long, value_name = "FILE")]
    pub header_file: Option<PathBuf>,
    /// Client certificate in PEM, for a server that asks for one
    #[arg(long, value_name = "FILE", requires = "url")]
    pub client_cert: Option<PathBuf>,
    /// Its private key in PEM; not needed when the certificate's file holds both
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// Bears with TLS 1.2 through this day, such as 2026-12-31
    #[arg(long, value_name = "DAY", requires = "tls12_reason")]
    pub tls12_until: Option<String>,
    /// Why TLS 1.2 is borne with
    #[arg(long, value_name = "TEXT", requires = "tls12_until")]
    pub tls12_reason: Option<String>,
    /// Command line of a stdio server
    #[arg(long, value_name = "CMD ARGS")]
    pub stdio: Option<String>,
    /// Variables for the child, one NAME=value a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// A directory the child may use
    #[arg(long = "dir", value_name = "PATH")]
    pub dirs: Vec<String>,
    /// shared or per-session
    #[arg(long, default_value = "shared", value_parser = ["shared", "per-session"])]
    pub instances: String,
}

/// `server secrets`. An empty file removes what is kept.
#[derive(Debug, Args)]
pub(crate) struct ServerSecretsArgs {
    /// Name
    pub name: String,
    /// Headers to send, one `Name: value` a line
    #[arg(long, value_name = "FILE")]
    pub header_file: Option<PathBuf>,
    /// Variables for the child, one NAME=value a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Client certificate in PEM
    #[arg(long, value_name = "FILE")]
    pub client_cert: Option<PathBuf>,
    /// Its private key in PEM; not needed when the certificate's file holds both
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
}

/// `tool …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ToolCommand {
    /// Every tool of every server, or of one
    List {
        /// Server
        server: Option<String>,
    },
    /// One tool with its definition
    Show {
        /// SERVER/TOOL
        name: String,
    },
    /// Sets the class of a tool
    Class {
        /// SERVER/TOOL
        name: String,
        /// read, write or destructive
        class: String,
    },
    /// How tools differ, as their servers show them now, from what was taken in
    Diff {
        /// SERVER, or SERVER/TOOL; every server without it
        name: Option<String>,
    },
    /// Takes in a tool that its server has and the configuration lacks
    Approve {
        /// SERVER/TOOL
        name: String,
    },
}

/// `role …`.
#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// Every role
    List,
    /// One role
    Show {
        /// Name
        name: String,
    },
    /// Replaces a role by the TOML on standard input
    Set {
        /// Name
        name: String,
    },
}

/// `policy …`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// The decision for one client and one tool
    Explain {
        /// Client
        #[arg(long)]
        client: String,
        /// SERVER/TOOL
        #[arg(long)]
        tool: String,
        /// Arguments in JSON
        #[arg(long, value_name = "FILE")]
        arguments: Option<PathBuf>,
    },
    /// Tries the cases in policy-tests/ against the working tree
    Test {
        /// A file of cases instead
        file: Option<PathBuf>,
    },
}

/// `config …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Checks the working tree and HEAD
    Check,
    /// Commits the edits of the working tree
    Commit {
        /// Author
        #[arg(long = "as", value_name = "NAME")]
        author: String,
        /// Why
        #[arg(short)]
        message: String,
    },
    /// Commits, newest first
    History,
    /// How two states differ: the edits of the working tree from HEAD; or FROM from HEAD; or FROM from TO
    Diff {
        /// A commit, HEAD, running or working
        from: Option<String>,
        /// The same
        to: Option<String>,
    },
    /// Has the state of an earlier commit running again, by a new commit
    Rollback {
        /// Commit
        revision: String,
        /// Why
        #[arg(long, required_unless_present = "dry_run")]
        reason: Option<String>,
        /// Only says what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Takes HEAD to the remote; where that has gone another way, to a branch of its own
    Push,
    /// Takes what the remote has, where that is a fast forward, and runs it
    Pull {
        /// Even when it removes more than half of the files
        #[arg(long)]
        much: bool,
    },
}

/// `audit …`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Events, newest first
    Query(FilterArgs),
    /// Events as they come, one a line
    Tail,
    /// Checks the chain, the segments and the checkpoints
    Verify,
    /// Writes events as JSON lines
    Export(FilterArgs),
    /// Signs the ledger's head now
    Checkpoint,
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Client
    #[arg(long)]
    pub client: Option<String>,
    /// SERVER/TOOL
    #[arg(long)]
    pub tool: Option<String>,
    /// From this time on: RFC 3339, or how long ago (30m, 1h, 2d)
    #[arg(long, value_parser = moment)]
    pub since: Option<String>,
    /// Before this time: RFC 3339, or how long ago (30m, 1h, 2d)
    #[arg(long, value_parser = moment)]
    pub until: Option<String>,
    /// ok, tool_error, refused, upstream_error, cancelled, cut or unknown
    #[arg(long)]
    pub status: Option<String>,
    /// At most this many
    #[arg(long)]
    pub limit: Option<usize>,
    /// A cursor from the page before
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
}
