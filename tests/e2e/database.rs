//! A real PostgreSQL: Debian's, as an account without rights, in a directory of its own, on loopback, with TLS and SCRAM. Ends with its value.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{text, wait};
use crate::rig::free_port;

const SUPER: &str = "superuser-of-the-rig";

/// A running server with one database, `notes`.
pub struct Database {
    pub port: u16,
    dir: tempfile::TempDir,
    child: Child,
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-QUIT").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the database ---\n{}", std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
        }
    }
}

/// The newest of Debian's versions.
fn bin() -> PathBuf {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found.pop().expect("tests/run installs postgresql").join("bin")
}

/// The account that runs it: PostgreSQL refuses to run as root.
fn account() -> Option<(u32, u32)> {
    let id = |words: &[&str]| {
        let out = Command::new("id").args(words).output().unwrap();
        text(&out.stdout).trim().parse::<u32>().unwrap()
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

fn command(program: &str) -> Command {
    let mut command = Command::new(bin().join(program));
    if let Some((uid, gid)) = account() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    command
}

impl Database {
    /// Serves with the certificate and key at these places.
    pub fn start(certificate: &Path, key: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::copy(certificate, dir.path().join("server.pem")).unwrap();
        std::fs::copy(key, dir.path().join("server.key")).unwrap();
        std::fs::write(dir.path().join("password"), SUPER).unwrap();
        std::fs::create_dir(&data).unwrap();
        if let Some((uid, gid)) = account() {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            for name in ["data", "password", "server.pem", "server.key"] {
                chown(dir.path().join(name), Some(uid), Some(gid)).unwrap();
            }
        }
        let mut made = command("initdb");
        made.arg("-D").arg(&data).arg("--pwfile").arg(dir.path().join("password"));
        made.args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]);
        assert!(made.status().unwrap().success(), "initdb");
        let port = free_port();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = off\nssl = on\n\
             ssl_cert_file = '{0}/server.pem'\nssl_key_file = '{0}/server.key'\nlogging_collector = off\n",
            dir.path().display()
        );
        std::fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = command("postgres").arg("-D").arg(&data).stderr(log).spawn().unwrap();
        let database = Self { port, dir, child };
        wait("the database", 30, || database.query("postgres", "SELECT 1").ok());
        database.query("postgres", "CREATE DATABASE notes").unwrap();
        database
    }

    /// As the superuser: the rows as text, or what the server said.
    pub fn query(&self, database: &str, sql: &str) -> Result<String, String> {
        self.login("postgres", SUPER, database, sql)
    }

    /// The same as somebody else.
    pub fn login(&self, role: &str, password: &str, database: &str, sql: &str) -> Result<String, String> {
        let out = Command::new("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", role, "-p"])
            .args([&self.port.to_string(), database, "-c", sql])
            .env("PGPASSWORD", password)
            .output()
            .unwrap();
        if out.status.success() { Ok(text(&out.stdout).trim().to_owned()) } else { Err(text(&out.stderr)) }
    }

    /// Its major version.
    pub fn version(&self) -> u32 {
        self.query("postgres", "SHOW server_version_num").unwrap().parse::<u32>().unwrap() / 10_000
    }
}
