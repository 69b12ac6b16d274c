//! Commands and flags over clients, what they show, and tokens. Never does anything.

use clap::Subcommand;

/// `client …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Adds a client and shows its key, or its secret, once
    Add {
        /// Name
        name: String,
        /// Role, once or more
        #[arg(long = "role", required = true, value_name = "ROLE")]
        roles: Vec<String>,
        // `--role a b` means two roles, and `--role a NAME` a role and the name.
        #[arg(hide = true)]
        more_roles: Vec<String>,
        /// Calls per second; 0 means no limit
        #[arg(long)]
        rate: Option<u32>,
        /// Days until the key or secret stops counting
        #[arg(long, value_name = "DAYS")]
        expires: Option<u32>,
        /// Gives it a secret for the token endpoint instead of a key
        #[arg(long)]
        oauth: bool,
    },
    /// Every client
    List,
    /// One client
    Show {
        /// Name
        name: String,
    },
    /// Ends every key, secret and token of a client at once
    Revoke {
        /// Name
        name: String,
    },
    /// Secrets for the token endpoint
    #[command(subcommand)]
    Secret(ClientSecretCommand),
    /// Public keys for the token endpoint
    #[command(subcommand)]
    Jwk(ClientJwkCommand),
}

/// `client secret …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientSecretCommand {
    /// Adds a secret and shows it once; those the client has count on
    Add {
        /// Client
        name: String,
        /// Days until it stops counting
        #[arg(long, value_name = "DAYS")]
        expires: Option<u32>,
    },
    /// Secrets, without their text
    List {
        /// Only this client's
        name: Option<String>,
    },
    /// Ends a secret, and every token it got, at once
    Revoke {
        /// Secret id
        kid: String,
    },
}

/// `client jwk …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientJwkCommand {
    /// Registers the public key (a JSON Web Key) that standard input holds
    Add {
        /// Client
        name: String,
    },
    /// Removes a public key for good, with every token it got, at once
    Remove {
        /// Client
        name: String,
        /// Name of the key
        kid: String,
    },
}

/// `token …`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// The keys that sign tokens, and what was cut
    List,
    /// Publishes the key that will sign next
    Stage,
    /// Has the published key sign from now on
    Activate {
        /// Key id
        kid: String,
        /// Does not wait until everybody can have seen the key
        #[arg(long)]
        force: bool,
    },
    /// Ends a replaced key once its last token has expired
    Retire {
        /// Key id
        kid: String,
    },
    /// Ends a key now; every token it signed is refused
    Remove {
        /// Key id
        kid: String,
    },
    /// Ends every token issued before now; clients get new ones
    Cut {
        /// Only this client's
        #[arg(long)]
        client: Option<String>,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
}
