//! Drills in a network of their own, with the real program: servers reach nobody and hold no real credential, remote ones have a stand-in; and
//! where the system allows no such network, it is told and nothing else changes.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::program::{Running, start_through};
use crate::trust::site::{Authority, Site, tls13};

const REAL: &str = "REAL-credential-91c7";
const SCRIPT: &str = include_str!("isolation.py");

// Becomes the account of its first argument; with "without" as its second, unshare is answered with EPERM from then on; with "service", it has the
// rights of the unit in docs/OPERATING.md.
const AS: &str = r"
import ctypes, os, platform, struct, sys
uid = int(sys.argv[1])
if uid != os.getuid():
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
if sys.argv[2] == 'without':
    unshare = {'x86_64': 272, 'aarch64': 97}[platform.machine()]
    op = lambda code, jt, jf, k: struct.pack('HBBI', code, jt, jf, k)
    code = [op(0x20, 0, 0, 0), op(0x15, 0, 1, unshare), op(0x06, 0, 0, 0x00050000 | 1), op(0x06, 0, 0, 0x7fff0000)]
    program = ctypes.create_string_buffer(b''.join(code))
    class Prog(ctypes.Structure):
        _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, ctypes.byref(Prog(len(code), ctypes.addressof(program))), 0, 0) == 0
if sys.argv[2] == 'service':
    kept = {'CHOWN': 0, 'DAC_OVERRIDE': 1, 'FOWNER': 3, 'KILL': 5, 'SETGID': 6, 'SETUID': 7, 'SYS_ADMIN': 21, 'SYS_RESOURCE': 24}
    libc = ctypes.CDLL(None, use_errno=True)
    for right in range(64):
        if right not in kept.values():
            libc.prctl(24, right, 0, 0, 0)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
os.execv(sys.argv[3], sys.argv[3:])
";
const NOBODY: u32 = 65_534;

/// Somebody on this host who counts whoever comes, at every address it has.
struct Host {
    addresses: Vec<SocketAddr>,
    came: Arc<Mutex<Vec<SocketAddr>>>,
    marks: AtomicUsize,
}

impl Host {
    fn listen() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let mut addresses = vec![SocketAddr::from(([127, 0, 0, 1], port))];
        // Asks which address would be used; sends nothing.
        let outward = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.connect("192.0.2.1:9")?;
            socket.local_addr()
        });
        addresses.extend(outward.ok().map(|address| SocketAddr::new(address.ip(), port)).filter(|one| !one.ip().is_loopback()));
        let came: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let counter = came.clone();
        std::thread::spawn(move || {
            while let Ok((_connection, from)) = listener.accept() {
                counter.lock().expect("not poisoned").push(from);
            }
        });
        Self { addresses, came, marks: AtomicUsize::new(0) }
    }

    /// How many came, but for this one: connections are taken in the order they came, so all before it are counted once it is.
    fn count(&self) -> usize {
        let mine = std::net::TcpStream::connect(self.addresses[0]).expect("somebody listens");
        let me = mine.local_addr().expect("connected");
        let started = Instant::now();
        loop {
            let came = self.came.lock().expect("not poisoned").clone();
            if came.contains(&me) {
                let marks = self.marks.fetch_add(1, Ordering::SeqCst) + 1;
                return came.len() - marks;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "the test's own connection is not counted");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A deployment with the demo, servers that hold a credential, and a remote one.
struct House {
    folder: TempDir,
    binary: PathBuf,
    data: PathBuf,
    host: Host,
    far: Site,
    _running: Running,
}

impl House {
    async fn start(uid: u32, namespaces: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let (running, binary, data) = start_through(&[AS, &uid.to_string(), namespaces], folder.path());
        let authority = Authority::new();
        let far = Site::start(tls13(&authority.issue("localhost"))).await;
        let house = Self { binary, data, host: Host::listen(), far, folder, _running: running };
        house.until_up("demo");
        house.add_remote(&authority.pem);
        for manner in ["grumpy", "probe", "strict"] {
            house.add_probe(manner);
        }
        house.done(&["backup", "run"]);
        house.far.upstream.forget();
        house
    }

    fn ask(&self, words: &[&str]) -> (Value, Option<i32>) {
        let output = Command::new(&self.binary).arg("--data").arg(&self.data).arg("--json").args(words).output();
        let output = output.expect("the command runs");
        (serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), output.status.code())
    }

    fn done(&self, words: &[&str]) -> Value {
        let (answer, exit) = self.ask(words);
        assert_eq!(exit, Some(0), "{words:?}: {answer}");
        answer
    }

    fn until_up(&self, server: &str) {
        let started = Instant::now();
        loop {
            let status = self.ask(&["status"]).0;
            let servers = status["servers"].as_array().cloned().unwrap_or_default();
            if servers.iter().any(|one| one["name"] == server && one["state"] == "up") {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{server} is not up: {status}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("readable");
        path.display().to_string()
    }

    /// The data directory in hex.
    fn production(&self) -> String {
        self.data.as_os_str().as_encoded_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn add_remote(&self, ca: &str) {
        let (ca, header) = (self.file("ca.pem", ca), self.file("header", &format!("X-Token: {REAL}\n")));
        let url = self.far.url();
        self.done(&[
            "server",
            "add",
            "far",
            "--url",
            &url,
            "--ca",
            &ca,
            "--allow-address",
            "127.0.0.0/8",
            "--allow-address",
            "::1/128",
            "--header-file",
            &header,
        ]);
    }

    fn add_probe(&self, manner: &str) {
        let script = self.file("probe.py", SCRIPT);
        let place = self.data.join("vaults").join(manner);
        let env = self.file(&format!("{manner}.env"), &format!("TOKEN={REAL}\nPLACE={}\n", place.display()));
        let addresses: Vec<String> = self.host.addresses.iter().map(ToString::to_string).collect();
        let command = format!("python3 {script} {manner} {} {}", self.production(), addresses.join(" "));
        self.done(&["server", "add", manner, "--stdio", &command, "--env-file", &env]);
    }

    /// What the script does when it holds the real credential, or reaches somebody: without this, its silence would show nothing.
    fn control(&self, token: &str, place: &Path) -> Option<i32> {
        let addresses: Vec<String> = self.host.addresses.iter().map(ToString::to_string).collect();
        let child = Command::new("python3")
            .args(["-c", SCRIPT, "probe"])
            .arg(self.production())
            .args(addresses)
            .env("TOKEN", token)
            .env("PLACE", place)
            .current_dir(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let mut child = child.expect("python3 runs");
        let call = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"look\"}}\n";
        child.stdin.take().expect("stdin").write_all(call).expect("written");
        child.wait().expect("it ends").code()
    }

    /// A drill; production must be as it was, whatever came of it.
    fn drill(&self) -> Value {
        let place = self.folder.path().canonicalize().expect("a folder");
        assert_eq!(self.control(REAL, &place), Some(3), "the script knows the real credential");
        assert_eq!(self.control("drill-1", &place), Some(5), "the script reaches this host from outside of a drill");
        let before = self.host.count();
        assert_eq!(before, self.host.addresses.len(), "and is counted");
        let drill = self.done(&["drill", "run"]);
        assert_eq!(self.host.count(), before, "nobody came from the drill: {drill}");
        assert_eq!(self.far.upstream.hits().len(), 0, "nor to the remote server");
        assert_eq!(step(&drill, "production-untouched")["passed"], true, "{drill}");
        assert!(!drill.to_string().contains(REAL), "{drill}");
        let segments = fs::read_dir(self.data.join("audit")).expect("a ledger").flatten();
        for segment in segments.filter(|entry| entry.path().extension().is_some_and(|end| end == "jsonl")) {
            assert!(!fs::read_to_string(segment.path()).expect("text").contains(REAL));
        }
        drill
    }
}

fn step(drill: &Value, name: &str) -> Value {
    let found = drill["steps"].as_array().expect("steps").iter().find(|step| step["name"] == name);
    assert!(found.is_some(), "no step {name}: {drill}");
    found.cloned().unwrap_or_default()
}

/// State and detail of a server.
fn fate(drill: &Value, name: &str) -> (String, String) {
    let found = drill["servers"].as_array().expect("servers").iter().find(|server| server["name"] == name);
    let text = |key: &str| found.and_then(|server| server[key].as_str()).unwrap_or_default().to_owned();
    (text("state"), text("detail"))
}

fn is_substituted(drill: &Value) {
    let reason = "a remote server: a stand-in answered with its approved definitions";
    assert_eq!(fate(drill, "far"), ("substituted".to_owned(), reason.to_owned()), "{drill}");
    assert_eq!(step(drill, "definitions far")["passed"], true);
    assert_eq!(step(drill, "call far")["detail"], "echo was permitted and answered");
    let refused = step(drill, "reader-refused")["detail"].as_str().unwrap_or_default().to_owned();
    assert!(refused.contains("far/plain is refused with policy.class"), "{refused}");
}

fn is_isolated(drill: &Value) {
    let first = &drill["steps"][0];
    assert_eq!((&first["name"], &first["passed"]), (&"isolate-network".into(), &true.into()), "{drill}");
    assert_eq!((&drill["passed"], &drill["verdict"]), (&true.into(), &"met".into()), "{drill}");
    assert!(!drill["warnings"].to_string().contains("network"), "{drill}");
    assert_eq!(fate(drill, "demo").0, "rebuilt");
    let (state, detail) = fate(drill, "probe");
    assert!(state == "rebuilt" && detail.contains("look was permitted and answered") && detail.contains("TOKEN"), "{drill}");
    assert!(!detail.contains("PLACE"), "a path is moved, not exchanged: {detail}");
    let (state, detail) = fate(drill, "grumpy");
    assert!(state == "rebuilt" && detail.contains("answered with an error"), "{drill}");
    let (state, detail) = fate(drill, "strict");
    assert!(state == "skipped" && detail.contains("TOKEN"), "it does not come up without its credential: {drill}");
    is_substituted(drill);
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_23_servers_of_a_drill_reach_nobody_and_hold_no_real_credential() {
    let house = House::start(nix::unistd::geteuid().as_raw(), "with").await;
    is_isolated(&house.drill());
    // A credential that counts as critical does not fail a drill any more; a stand-in still does.
    let critical = |name: &str| {
        let path = house.data.join(format!("config/servers/{name}.toml"));
        let text = fs::read_to_string(&path).expect("a server");
        fs::write(&path, format!("critical = true\n{text}")).expect("written");
        house.done(&["config", "commit", "--as", "e2e", "-m", name]);
        house.done(&["backup", "run"]);
        house.ask(&["drill", "run"])
    };
    let (drill, exit) = critical("probe");
    assert_eq!((exit, &drill["passed"]), (Some(0), &true.into()), "{drill}");
    let (drill, exit) = critical("far");
    assert!(exit == Some(2) && drill["summary"].as_str().is_some_and(|text| text.contains("critical server far")), "{drill}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_23_without_root_too() {
    if !nix::unistd::geteuid().is_root() {
        // The test above is this one then.
        return;
    }
    is_isolated(&House::start(NOBODY, "with").await.drill());
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_23_with_the_few_rights_of_a_service_too() {
    if !nix::unistd::geteuid().is_root() {
        // Rights can be given up only by who has them.
        return;
    }
    is_isolated(&House::start(0, "service").await.drill());
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_23_a_host_without_network_namespaces_is_told_and_fails_no_drill() {
    let house = House::start(nix::unistd::geteuid().as_raw(), "without").await;
    let drill = house.drill();
    let told = "no network namespace here (EPERM): servers have this host's network";
    let first = &drill["steps"][0];
    assert_eq!((&first["name"], &first["passed"], &first["detail"]), (&"isolate-network".into(), &false.into(), &told.into()));
    assert_eq!(drill["warnings"].as_array().expect("warnings").iter().filter(|one| **one == told).count(), 1, "{drill}");
    assert_eq!((&drill["passed"], &drill["verdict"]), (&true.into(), &"met".into()), "{drill}");
    assert_eq!(fate(&drill, "demo").0, "rebuilt");
    for name in ["grumpy", "probe", "strict"] {
        let (state, detail) = fate(&drill, name);
        assert!(state == "skipped" && detail.contains("TOKEN, which may be a credential"), "{drill}");
    }
    is_substituted(&drill);
}
