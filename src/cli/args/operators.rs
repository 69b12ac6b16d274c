//! The words of `operator …`. A password is never one of them: it comes by standard input.

use clap::Subcommand;

/// `operator …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum OperatorCommand {
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
    /// Sets a new password; second factor, sessions and keys end; works with Lifeboat down
    Reset {
        /// Sign-in name
        name: String,
        /// Reads the password from standard input, as without it
        #[arg(long)]
        password_stdin: bool,
    },
    /// API keys of operators
    #[command(subcommand)]
    Key(OperatorKeyCommand),
    /// Second factors of operators; they are set up on the page My account
    #[command(subcommand)]
    Totp(OperatorTotpCommand),
    /// Who is signed in at the dashboard
    #[command(subcommand)]
    Sessions(OperatorSessionsCommand),
}

/// `operator totp …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum OperatorTotpCommand {
    /// Removes a second factor and ends the operator's sessions; works with Lifeboat down
    Remove {
        /// Sign-in name
        name: String,
    },
}

/// `operator sessions …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum OperatorSessionsCommand {
    /// Sessions of everybody, or of one operator
    List {
        /// Sign-in name
        name: Option<String>,
    },
    /// Ends every session of an operator, one session, or all of them
    #[command(group = clap::ArgGroup::new("which").required(true))]
    End {
        /// Sign-in name
        #[arg(group = "which")]
        name: Option<String>,
        /// Name of one session, as `list` shows it
        #[arg(long, group = "which", value_name = "SESSION")]
        session: Option<String>,
        /// Those of everybody
        #[arg(long, group = "which")]
        all: bool,
    },
}

/// `operator key …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum OperatorKeyCommand {
    /// Makes a key with the operator's role, or a narrower one
    Add {
        /// Operator
        name: String,
        /// viewer, auditor, operator or admin, not more than the operator's own
        #[arg(long)]
        role: Option<String>,
        /// Days until it stops counting, 1 to 730; 90 when not given
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
