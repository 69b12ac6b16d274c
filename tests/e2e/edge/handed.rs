//! A service manager in small: two listening sockets that outlive the processes they are handed to, one after another.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::binary;

/// The sockets, as a socket unit holds them.
pub struct Sockets {
    admin: TcpListener,
    proxy: TcpListener,
}

impl Sockets {
    /// On free ports of loopback.
    pub fn open() -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        Self { admin: bind(), proxy: bind() }
    }

    /// Starts a process on them as systemd does: descriptors 3 and 4, known by their names.
    pub fn start(&self, home: &Path) -> Child {
        let copy = |listener: &TcpListener| Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
        // The shell moves what it gets as input and output to where the service wants its sockets; its process becomes the service.
        let script = "exec \"$0\" up --demo --data lifeboat-data 3<&0 4<&1 0</dev/null 1>>lifeboat.log 2>&1";
        Command::new("sh")
            .args(["-c", script])
            .arg(binary())
            .current_dir(home)
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", "admin:proxy")
            .env_remove("LISTEN_PID")
            .stdin(copy(&self.admin))
            .stdout(copy(&self.proxy))
            .spawn()
            .unwrap()
    }
}

/// A directory for one deployment, as the harness makes it.
pub fn home() -> tempfile::TempDir {
    let home = tempfile::Builder::new().prefix("lifeboat-e2e-").tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    home
}
