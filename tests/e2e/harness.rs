//! One deployment under test: the real binary on free ports in a directory of its own. Never shares state between tests; ends its own process by id.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The target folder that product and tests share.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The binary under test: `LIFEBOAT_BIN`, or the dev build.
pub fn binary() -> PathBuf {
    std::env::var_os("LIFEBOAT_BIN").map_or_else(|| target().join("debug/lifeboat"), PathBuf::from)
}

/// `full` with LIFEBOAT_LONG set, else `quick`.
pub fn sized(quick: u64, full: u64) -> u64 {
    if std::env::var_os("LIFEBOAT_LONG").is_some() { full } else { quick }
}

/// Waits until `done` answers something; panics after `seconds`.
pub fn wait<T>(what: &str, seconds: u64, mut done: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < until, "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running (or killed) deployment.
pub struct Lifeboat {
    home: TempDir,
    child: Child,
    roots: Option<PathBuf>,
    /// `127.0.0.1:PORT` of the dashboard.
    pub admin: String,
    /// `127.0.0.1:PORT` of the proxy.
    pub proxy: String,
}

/// What `keys/first-run.txt` holds.
pub struct FirstRun {
    text: String,
}

impl FirstRun {
    /// The rest of the line that begins with `name: `.
    pub fn value(&self, name: &str) -> &str {
        let found = self.text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or_else(|| panic!("first-run.txt has no line `{name}:`")).trim()
    }

    /// The lines between `--- snippet: NAME ---` and `--- end ---`, as they stand.
    pub fn snippet(&self, name: &str) -> String {
        let (_, rest) = self.text.split_once(&format!("--- snippet: {name} ---\n")).unwrap_or_else(|| panic!("no snippet {name}"));
        rest.split_once("--- end ---").unwrap_or_else(|| panic!("snippet {name} has no end")).0.to_owned()
    }
}

impl Lifeboat {
    /// `up --demo` on free ports, ready to serve.
    pub fn start() -> Self {
        let home = tempfile::Builder::new().prefix("lifeboat-e2e-").tempdir().unwrap();
        // Children of a Lifeboat that runs as root have uids of their own and must be able to walk through.
        std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let child = spawn(home.path(), "127.0.0.1:0", "127.0.0.1:0");
        Self::adopt(home, child)
    }

    /// One that somebody else started with `home` as its working directory; waits until it is ready.
    pub fn adopt(home: TempDir, child: Child) -> Self {
        let mut this = Self { home, child, roots: None, admin: String::new(), proxy: String::new() };
        this.wait_ready();
        this
    }

    /// Starts it again on the same addresses; the time until it was ready.
    pub fn restart(&mut self) -> Duration {
        let _ = std::fs::remove_file(self.data().join("run/addresses.json"));
        let started = Instant::now();
        self.child = spawn(self.home.path(), &self.admin, &self.proxy);
        self.wait_ready();
        started.elapsed()
    }

    /// SIGKILL, and reaped.
    pub fn kill_9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the process has ended by itself.
    pub fn wait_exit(&mut self, seconds: u64) -> ExitStatus {
        let child = &mut self.child;
        wait("the end of the process", seconds, || child.try_wait().unwrap())
    }

    /// Waits until this process has ended and another one, started on the same directory already, is ready in its place.
    pub fn succeeded_by(&mut self, next: Child) -> ExitStatus {
        let status = self.wait_exit(60);
        self.child = next;
        let file = self.data().join("run/addresses.json");
        let pid = self.pid();
        wait("the addresses of the next process", 60, || {
            let addresses: Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
            (addresses["pid"] == pid).then_some(())
        });
        self.wait_ready();
        status
    }

    /// Waits until it has ended by itself, in order.
    pub fn wait_end(&mut self, seconds: u64) {
        let child = &mut self.child;
        let ended = wait("the end of the process", seconds, || child.try_wait().unwrap());
        assert!(ended.success(), "lifeboat {ended}");
    }

    /// Sends a signal by name, `USR2` for one.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success());
    }

    fn wait_ready(&mut self) {
        let file = self.data().join("run/addresses.json");
        let child = &mut self.child;
        let home = self.home.path();
        let addresses = wait("run/addresses.json", 60, || {
            assert!(child.try_wait().unwrap().is_none(), "lifeboat ended at start:\n{}", log_tail(home));
            serde_json::from_slice::<Value>(&std::fs::read(&file).ok()?).ok()
        });
        assert_eq!(addresses["pid"], child.id(), "another process than the one that was started serves here");
        self.admin = addresses["admin"].as_str().expect("addresses.json has admin").to_owned();
        self.proxy = addresses["proxy"].as_str().expect("addresses.json has proxy").to_owned();
        wait("/ready of the proxy", 60, || self.is_ready().then_some(()));
    }

    /// Whether the proxy's `/ready` says 200.
    pub fn is_ready(&self) -> bool {
        crate::https::get(&self.proxy, &self.ca(), "/ready").is_ok_and(|answer| answer.status == 200)
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("lifeboat-data")
    }

    /// The directory that holds the data directory; nothing of Lifeboat's is in it.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The CA to trust, or the file with what else was trusted.
    pub fn ca(&self) -> PathBuf {
        self.roots.clone().unwrap_or_else(|| self.data().join("tls/ca.pem"))
    }

    /// From here on clients of this deployment trust another authority too.
    pub fn trust(&mut self, authority: &Path) {
        self.roots = None;
        let both = std::fs::read_to_string(self.ca()).unwrap() + &std::fs::read_to_string(authority).unwrap();
        let file = self.home.path().join("roots.pem");
        std::fs::write(&file, both).unwrap();
        self.roots = Some(file);
    }

    /// Only Lifeboat's own CA again.
    pub fn distrust(&mut self) {
        self.roots = None;
    }

    /// What `doctor` finds wrong with one of its checks.
    pub fn complaint(&self, check: &str) -> Option<String> {
        let output = self.cli(&["doctor", "--json"]);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let checks = said["checks"].as_array().unwrap_or_else(|| panic!("doctor: {said} {}", text(&output.stderr)));
        let found = checks.iter().find(|found| found["name"] == check && found["state"] != "ok")?;
        Some(found["detail"].as_str().unwrap_or_default().to_owned())
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    /// `https://…/mcp/SERVER`.
    pub fn url(&self, server: &str) -> String {
        format!("https://{}/mcp/{server}", self.proxy)
    }

    /// What the first run left for the operator.
    pub fn first_run(&self) -> FirstRun {
        FirstRun { text: std::fs::read_to_string(self.data().join("keys/first-run.txt")).unwrap() }
    }

    /// Runs a command of the CLI, whatever comes of it.
    pub fn cli(&self, args: &[&str]) -> Output {
        Command::new(binary()).args(args).arg("--data").arg(self.data()).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command with `--json` and reads its one document; panics unless it exits 0.
    pub fn json(&self, args: &[&str]) -> Value {
        self.read(args, self.cli(&[args, &["--json"]].concat()))
    }

    /// The same with a secret at its standard input.
    pub fn json_with(&self, args: &[&str], input: &str) -> Value {
        let file = std::fs::File::open(self.secret_file("input", input)).unwrap();
        let mut command = Command::new(binary());
        command.args(args).arg("--json").arg("--data").arg(self.data()).stdin(file);
        self.read(args, command.output().unwrap())
    }

    fn read(&self, args: &[&str], output: Output) -> Value {
        assert!(
            output.status.success(),
            "lifeboat {}: {:?}\n{}{}",
            args.join(" "),
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("lifeboat {}: {error}\n{}", args.join(" "), text(&output.stdout)))
    }

    /// Commits a file of `config/`, as an operator with an editor does.
    pub fn configure(&self, file: &str, contents: &str) {
        let path = self.data().join("config").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
        self.json(&["config", "commit", "--as", "e2e", "-m", &format!("set {file}")]);
    }

    /// A role that reaches everything of `server`, and a client with it and no limit of rate; the client's key.
    pub fn client_for(&self, server: &str, client: &str) -> String {
        let role = format!("all-{server}");
        let grant = format!("[[grant]]\ntools = [\"{server}/*\"]\nclasses = [\"read\", \"write\", \"destructive\"]\n");
        let file = format!("roles/{role}.toml");
        if !self.data().join("config").join(&file).exists() {
            self.configure(&file, &grant);
        }
        let added = self.json(&["client", "add", client, "--role", &role, "--rate", "0"]);
        added["key"].as_str().expect("client add prints the key").to_owned()
    }

    /// A file beside the data directory, 0600, for a key.
    pub fn secret_file(&self, name: &str, secret: &str) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for Lifeboat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- last lines of lifeboat ---\n{}", log_tail(self.home.path()));
        }
    }
}

/// Bytes as text, for messages.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn spawn(home: &Path, admin: &str, proxy: &str) -> Child {
    let binary = binary();
    assert!(binary.exists(), "{} is missing: run cargo build first", binary.display());
    let log = std::fs::OpenOptions::new().create(true).append(true).open(home.join("lifeboat.log")).unwrap();
    Command::new(binary)
        .args(["up", "--demo", "--data", "lifeboat-data", "--admin", admin, "--proxy", proxy])
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn log_tail(home: &Path) -> String {
    let log = std::fs::read_to_string(home.join("lifeboat.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
