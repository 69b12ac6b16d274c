//! A real PostgreSQL for tests: Debian's, as an account without rights, in a directory of its own, on loopback, with TLS, SCRAM and every statement in its log.

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::admin::servers::{self, ServerKeep};
use crate::admin::tests_house::{House, root};
use crate::admin::tree;
use crate::base::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::config::postgres::PostgresConfig;
use crate::crypto::ca;

/// Passwords of the rig's own, never of Lifeboat's making.
pub(super) const ADMIN: &str = "admin-of-the-roles";
pub(super) const FIRST: &str = "first-password-of-a";
const SUPER: &str = "superuser-of-the-rig";

/// What docs/OPERATING.md says to do first.
const PREPARE: &str = "
CREATE ROLE lifeboat LOGIN CREATEROLE PASSWORD 'admin-of-the-roles';
GRANT pg_signal_backend, pg_read_all_stats TO lifeboat;
CREATE ROLE notes NOLOGIN;
CREATE ROLE notes_a LOGIN PASSWORD 'first-password-of-a' IN ROLE notes;
CREATE ROLE notes_b NOLOGIN IN ROLE notes;
ALTER ROLE notes_a SET role = 'notes';
ALTER ROLE notes_b SET role = 'notes';
CREATE ROLE single LOGIN PASSWORD 'first-password-of-a';
CREATE TABLE note (id int PRIMARY KEY, body text);
INSERT INTO note VALUES (1, 'hello');
ALTER TABLE note OWNER TO notes;
GRANT SELECT ON note TO single;
";

/// A running server.
pub(super) struct Cluster {
    pub(super) port: u16,
    dir: tempfile::TempDir,
    child: Child,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // At once, and with what it keeps in shared memory taken away.
        let _ = Command::new("kill").arg("-QUIT").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// The newest of Debian's versions.
fn bin() -> PathBuf {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path()).collect();
    found.sort();
    found.pop().expect("apt-get install postgresql").join("bin")
}

/// The account that runs it: PostgreSQL refuses to run as root.
fn account() -> Option<(u32, u32)> {
    let id = |flag: &str, who: &[&str]| {
        let out = Command::new("id").arg(flag).args(who).output().expect("id runs");
        String::from_utf8_lossy(&out.stdout).trim().parse::<u32>().expect("a number")
    };
    (id("-u", &[]) == 0).then(|| (id("-u", &["postgres"]), id("-g", &["postgres"])))
}

fn command(program: &str, as_account: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(bin().join(program));
    if let Some((uid, gid)) = as_account {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    command
}

impl Cluster {
    pub(super) fn start() -> Self {
        let (dir, account) = (tempfile::tempdir().unwrap(), account());
        let (data, hosts) = (dir.path().join("data"), Settings::default().listen.hosts);
        let now = SystemClock.now();
        let authority = ca::ensure_ca(&dir.path().join("ca.pem"), &dir.path().join("ca.key"), &hosts, now).unwrap();
        ca::ensure_server(&authority, &dir.path().join("server.pem"), &dir.path().join("server.key"), &hosts, now).unwrap();
        std::fs::write(dir.path().join("password"), SUPER).unwrap();
        std::fs::write(dir.path().join("log"), "").unwrap();
        std::fs::create_dir(&data).unwrap();
        if let Some((uid, gid)) = account {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            for name in ["data", "password", "server.pem", "server.key"] {
                chown(dir.path().join(name), Some(uid), Some(gid)).unwrap();
            }
        }
        let made = command("initdb", account)
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", "--pwfile"])
            .arg(dir.path().join("password"))
            .status()
            .unwrap();
        assert!(made.success(), "initdb");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = off\nssl = on\nssl_cert_file = '{0}/server.pem'\nssl_key_file = '{0}/server.key'\nlog_statement = all\nlog_min_error_statement = info\nlog_connections = on\nlogging_collector = off\nmax_connections = 60\n",
            dir.path().display()
        );
        std::fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
        std::fs::write(data.join("pg_hba.conf"), "hostssl notes,postgres all 127.0.0.1/32 scram-sha-256\n").unwrap();
        let log = std::fs::OpenOptions::new().append(true).open(dir.path().join("log")).unwrap();
        let child = command("postgres", account).arg("-D").arg(&data).stderr(log).spawn().unwrap();
        let cluster = Self { port, dir, child };
        cluster.wait();
        cluster.psql("postgres", "CREATE DATABASE notes");
        cluster.psql("notes", PREPARE);
        cluster
    }

    fn wait(&self) {
        let began = Instant::now();
        while !self.run("postgres", "SELECT 1").0 {
            assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL does not come up: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn run(&self, database: &str, sql: &str) -> (bool, String) {
        let out = self.client("postgres", SUPER, database).args(["-At", "-c", sql]).output().unwrap();
        (out.status.success(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
    }

    /// Does something as the superuser.
    pub(super) fn psql(&self, database: &str, sql: &str) -> String {
        let (done, said) = self.run(database, sql);
        assert!(done, "{sql}: {said}");
        said.trim().to_owned()
    }

    /// Debian's own client, with the whole name verified.
    pub(super) fn client(&self, role: &str, password: &str, database: &str) -> Command {
        let mut client = command("psql", None);
        let dsn = format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname={database} user={role} sslmode=verify-full sslrootcert={}",
            self.port,
            self.ca().display()
        );
        client.env("PGPASSWORD", password).stdout(Stdio::piped()).arg("-X").arg("-v").arg("ON_ERROR_STOP=1").arg("-d").arg(dsn);
        client
    }

    /// A session of a role that stays open until it is ended.
    pub(super) fn session(&self, role: &str, password: &str) -> Child {
        let child =
            self.client(role, password, "notes").args(["-c", "SELECT pg_sleep(600)"]).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        let open = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND query LIKE '%pg_sleep%'");
        while self.psql("postgres", &open) == "0" {
            assert!(began.elapsed() < Duration::from_secs(10), "no session of {role}");
            std::thread::sleep(Duration::from_millis(50));
        }
        child
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Everything the server said.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// `credentials.toml` for it.
    pub(super) fn config(&self) -> String {
        let (port, ca) = (self.port, self.ca());
        let one = |name: &str, more: &str, variable: &str| {
            format!(
                "[[postgres]]\nname = \"{name}\"\nhost = \"localhost\"\nport = {port}\ndatabase = \"notes\"\nca = \"{}\"\nadmin = \"lifeboat\"\n{more}check = \"SELECT body FROM note LIMIT 1\"\nserver = \"demo\"\n[postgres.variables]\n{variable} = \"postgresql://{{role}}:{{password}}@localhost:{port}/notes?sslmode=verify-full\"\n",
                ca.display()
            )
        };
        let two = "owner = \"notes\"\nroles = [\"notes_a\", \"notes_b\"]\nvalid_days = 90\n";
        format!("{}{}", one("notes", two, "DATABASE_URL"), one("single", "roles = [\"single\"]\nconsent = true\n", "SINGLE_URL"))
    }

    /// What the file says of one of them.
    pub(super) fn read(&self, name: &str) -> PostgresConfig {
        let all: crate::config::credentials::Credentials = toml::from_str(&self.config()).unwrap();
        all.postgres.into_iter().find(|one| one.name == name).unwrap()
    }

    /// A house whose server `demo` logs in here.
    pub(super) async fn house(&self) -> House {
        let house = House::open().await;
        house.listen("proxy").await;
        let server = "[upstream.stdio]\ncommand = [\"/usr/bin/notes\"]\nsecret_env = [\"DATABASE_URL\", \"SINGLE_URL\"]\n[tools.read_graph]\nclass = \"read\"\n";
        let files = vec![tree::write("servers/demo.toml", server), tree::write("credentials.toml", self.config())];
        tree::edit(&house.admin, &root(), "a database", |_, _| Ok(files.clone())).await.unwrap();
        let value = |name: &str, role: &str| self.read(name).render(role, FIRST).remove(0).1;
        let env = format!("DATABASE_URL={}\nSINGLE_URL={}\n", value("notes", "notes_a"), value("single", "single"));
        let keep = ServerKeep { env: Some(env), ..ServerKeep::default() };
        servers::secrets(&house.admin, &root(), "demo", &keep).await.unwrap();
        house
    }
}

/// Whether a file of a directory holds a text.
pub(super) fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            holds(&path, text)
        } else {
            std::fs::read(&path).is_ok_and(|all| all.windows(text.len()).any(|part| part == text.as_bytes()))
        }
    })
}
