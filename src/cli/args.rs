//! The commands and flags of contract.md as types. Never does anything; secrets are never arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Stop, see, undo and rebuild an MCP deployment, and prove all four.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, propagate_version = true)]
pub struct Cli {
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
pub enum Command {
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
    /// The desired state in git
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The ledger
    #[command(subcommand)]
    Audit(AuditCommand),
    /// What is wrong on this host and how to mend it
    Doctor,
    /// A capability that this version does not have
    #[command(external_subcommand)]
    Later(Vec<std::ffi::OsString>),
}

/// `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
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

/// What a kill covers.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct ScopeArgs {
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
pub enum ModeArg {
    /// Everything that executes
    Full,
    /// Write and destructive calls
    ReadOnly,
}

impl ModeArg {
    /// The word in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read-only",
        }
    }
}

/// `kill …`.
#[derive(Debug, Subcommand)]
pub enum KillCommand {
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

/// `operator …`.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Adds an operator
    Add {
        /// Sign-in name
        name: String,
        /// viewer, auditor, operator or admin
        #[arg(long)]
        role: String,
        /// Reads the password from standard input
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Every operator
    List,
    /// Ends an operator's access at once
    Disable {
        /// Sign-in name
        name: String,
    },
    /// Sets a new password; works with Lifeboat down
    Reset {
        /// Sign-in name
        name: String,
        /// Reads the password from standard input
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// API keys of operators
    #[command(subcommand)]
    Key(OperatorKeyCommand),
}

/// `operator key …`.
#[derive(Debug, Subcommand)]
pub enum OperatorKeyCommand {
    /// Makes a key with the operator's role
    Add {
        /// Operator
        name: String,
        /// Days until it stops counting
        #[arg(long, value_name = "DAYS")]
        expires: Option<u32>,
    },
    /// Every key, without its secret
    List,
    /// Ends a key at once
    Revoke {
        /// Key id
        kid: String,
    },
}

/// `client …`.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Adds a client and shows its key once
    Add {
        /// Name
        name: String,
        /// Role, once or more
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// Calls per second; 0 means no limit
        #[arg(long)]
        rate: Option<u32>,
        /// Days until the key stops counting
        #[arg(long, value_name = "DAYS")]
        expires: Option<u32>,
    },
    /// Every client
    List,
    /// One client
    Show {
        /// Name
        name: String,
    },
    /// Ends every key of a client at once
    Revoke {
        /// Name
        name: String,
    },
}

/// `server …`.
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
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
    /// Removes a server
    Remove {
        /// Name
        name: String,
    },
    /// Not available in this version
    Import {
        /// An mcpServers file
        file: PathBuf,
    },
}

/// `server add`.
#[derive(Debug, Args)]
pub struct ServerAddArgs {
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

/// `tool …`.
#[derive(Debug, Subcommand)]
pub enum ToolCommand {
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
    /// Not available in this version
    Diff {
        /// SERVER/TOOL
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
pub enum RoleCommand {
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
pub enum PolicyCommand {
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
    /// Not available in this version
    Test {
        /// A file of cases
        file: Option<PathBuf>,
    },
}

/// `config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
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
    /// Not available in this version
    Diff,
    /// Not available in this version
    Rollback {
        /// Commit
        revision: String,
    },
    /// Not available in this version
    Push,
    /// Not available in this version
    Pull,
}

/// `audit …`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
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
pub struct FilterArgs {
    /// Client
    #[arg(long)]
    pub client: Option<String>,
    /// SERVER/TOOL
    #[arg(long)]
    pub tool: Option<String>,
    /// From this time on, RFC 3339
    #[arg(long)]
    pub since: Option<String>,
    /// Before this time, RFC 3339
    #[arg(long)]
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
