//! Where everything stands in the data directory (docs/CONTRACT.md, "Data directory"). Creates directories; never writes a file.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::base::fault::{Fault, Verb};

/// The data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir(PathBuf);

macro_rules! places {
    ($($(#[$doc:meta])* $name:ident = $path:literal;)*) => {
        impl DataDir {
            $($(#[$doc])* pub fn $name(&self) -> PathBuf { self.0.join($path) })*
        }
    };
}

places! {
    /// The git repository of the desired state.
    config = "config";
    /// Runtime state.
    state_db = "state.db";
    /// Segments of the ledger.
    audit = "audit";
    /// Derived index of the ledger.
    audit_index = "audit/index.db";
    /// Encrypted archives.
    archives = "archives";
    /// One directory per server.
    vaults = "vaults";
    /// Output of commands that a rebuild brought back, by vault.
    outputs = "outputs";
    /// Certificates.
    tls = "tls";
    /// The CA's certificate, readable by everybody.
    ca_pem = "tls/ca.pem";
    /// The server's certificate chain.
    server_pem = "tls/server.pem";
    /// The server's private key.
    server_key = "tls/server.key";
    /// Private keys of this instance.
    keys = "keys";
    /// The CA's private key.
    ca_key = "keys/ca.key";
    /// Seals secrets in the database.
    instance_key = "keys/instance.key";
    /// Signs the ledger's checkpoints.
    ledger_key = "keys/ledger.key";
    /// The public half of that key, for `rebuild --trust`.
    instance_pub = "keys/instance.pub";
    /// The recovery identity, until it is stored elsewhere.
    recovery_key = "keys/recovery.key";
    /// The public half of the recovery identity.
    recovery_pub = "keys/recovery.pub";
    /// Secrets of a first run without a terminal.
    first_run = "keys/first-run.txt";
    /// Sockets and the token of a running Lifeboat.
    run = "run";
    /// The control socket.
    socket = "run/lifeboat.sock";
    /// What a caller at the socket must show.
    socket_token = "run/token";
    /// Held by the running process.
    lock = "run/lock";
    /// Present means the kill switch is engaged.
    kill_file = "KILL";
}

impl DataDir {
    /// The data directory at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The memory store of one server. The name must have passed `check_name`.
    pub fn vault(&self, server: &str) -> PathBuf {
        self.vaults().join(server)
    }

    /// Creates what is missing and sets the modes: 0700, but 0711 for the root and `vaults/` when running as root, so that servers with
    /// uids of their own reach their vaults.
    ///
    /// # Errors
    /// `Unavailable` when a directory cannot be made; `Invalid` when one of them is a link or a file.
    pub fn create(&self) -> Verb<()> {
        let open = open_mode();
        make(&self.0, open)?;
        make(&self.vaults(), open)?;
        for path in [self.config(), self.audit(), self.archives(), self.tls(), self.keys(), self.run()] {
            make(&path, 0o700)?;
        }
        Ok(())
    }
}

/// Mode of a directory that servers must be able to walk through: where each has an account of its own, they may pass and not look.
pub fn open_mode() -> u32 {
    if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 }
}

fn make(path: &Path, mode: u32) -> Verb<()> {
    let unavailable = |e: std::io::Error| Fault::unavailable(format!("cannot create {}", path.display())).because(e);
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(unavailable)?;
    let found = std::fs::symlink_metadata(path).map_err(unavailable)?;
    if !found.is_dir() {
        return Err(Fault::invalid(path.display().to_string(), "must be a directory, not a link or a file"));
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(unavailable)
}
