//! Where secrets must not be seen: arguments, environments, core files, debug prints, logs at the highest level. Looks at the real binary.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::proxy::{call, modern};
use crate::support::wire;

const CANARY: &str = "CANARY-5e1f-do-not-show";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.arg("--data").arg(data).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn wait<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "{what}: not in 90 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Serves with a log at `level`, which goes to a file.
fn serve(data: &Path, log: &Path, level: &str) -> (Running, Value) {
    let log = std::fs::File::create(log).expect("a log");
    let words = ["up", "--demo", "--admin", "127.0.0.1:0", "--proxy", "127.0.0.1:0"];
    let mut up = command(data, &words);
    let child = up.env("LIFEBOAT_LOG", level).stdout(log.try_clone().expect("twice")).stderr(log).spawn().expect("it starts");
    let running = Running(child);
    let addresses = wait("addresses.json", || serde_json::from_slice(&std::fs::read(data.join("run/addresses.json")).ok()?).ok());
    (running, addresses)
}

fn processes() -> Vec<(u32, Vec<u8>, Vec<u8>)> {
    let numbers = std::fs::read_dir("/proc").expect("proc").flatten();
    numbers
        .filter_map(|entry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let arguments = std::fs::read(entry.path().join("cmdline")).ok()?;
            Some((id, arguments, std::fs::read(entry.path().join("environ")).unwrap_or_default()))
        })
        .collect()
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|part| part == word.as_bytes())
}

fn seen_in_arguments() -> Vec<u32> {
    processes().into_iter().filter(|(_, arguments, _)| holds(arguments, CANARY)).map(|(id, ..)| id).collect()
}

#[test]
fn atk_c01_no_secret_stands_in_arguments_or_in_our_environment() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let (running, _) = serve(&data, &folder.path().join("log"), "info");
    // A password on the command line is not even understood.
    let output = command(&data, &["operator", "add", "ana", "--role", "admin", "--password", "x"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(64));
    // While a command waits for the password and while it works with it.
    let words = ["operator", "add", "ana", "--role", "admin", "--password-stdin"];
    let mut child = command(&data, &words).stdin(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("stdin").write_all(format!("{CANARY} {CANARY}\n").as_bytes()).expect("written");
    let mut looks = 0;
    let status = loop {
        assert_eq!(seen_in_arguments(), Vec::<u32>::new());
        let ours = processes().into_iter().find(|(id, ..)| *id == child.id());
        assert!(ours.is_none_or(|(_, _, environment)| !holds(&environment, CANARY)));
        looks += 1;
        if let Some(status) = child.try_wait().expect("waited") {
            break status;
        }
    };
    assert!(status.success() && looks > 0, "{status}");
    // A variable of a server: in the server's own environment at most, and in no argument of any process on the way.
    let env = folder.path().join("env");
    std::fs::write(&env, format!("TOKEN={CANARY}\n")).expect("written");
    let env = env.to_str().expect("text").to_owned();
    let output = command(&data, &["server", "add", "quiet", "--stdio", "@demo", "--env-file", &env]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!holds(&output.stdout, CANARY) && !holds(&output.stderr, CANARY));
    assert_eq!(seen_in_arguments(), Vec::<u32>::new());
    let ours = processes().into_iter().find(|(id, ..)| *id == running.0.id()).expect("it still runs");
    assert!(!holds(&ours.2, CANARY));
    // What a crash would leave behind, of us and of every server.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.0.id())).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "ATK-C02: {core}");
}

#[test]
fn atk_c02_what_is_secret_prints_dots() {
    use lifeboat::base::secret::Secret;
    use lifeboat::policy::snapshot::ServerSecrets;
    let secret = || Secret::new(CANARY.to_owned());
    let secrets = ServerSecrets {
        approved: true,
        headers: vec![("x".into(), secret())],
        env: vec![("X".into(), secret())],
        client: Some(secret()),
    };
    let operator = lifeboat::admin::operators::AddOperator {
        name: "a".into(),
        role: lifeboat::admin::OperatorRole::Admin,
        password: secret(),
    };
    for text in [format!("{secrets:?}"), format!("{:#?}", secrets.clone()), format!("{operator:?}"), format!("{}", secret())] {
        assert!(!text.contains(CANARY) && text.contains("•••"), "{text}");
    }
    let caught = std::panic::catch_unwind(|| panic!("with {:?} in hand", secret())).expect_err("it panics");
    assert!(!caught.downcast_ref::<String>().expect("text").contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_c05_the_most_talkative_log_holds_no_secret() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let (_running, addresses) = serve(&data, &log, "trace");
    let env = folder.path().join("env");
    std::fs::write(&env, format!("TOKEN={CANARY}\n")).expect("written");
    let env = env.to_str().expect("text").to_owned();
    let output = command(&data, &["server", "add", "quiet", "--stdio", "@demo", "--env-file", &env]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = std::fs::read_to_string(data.join("keys/first-run.txt")).expect("secrets of the first run");
    let value = |name: &str| {
        let found = told.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        found.unwrap_or_else(|| panic!("{name} is told")).to_owned()
    };
    let (key, code) = (value("demo-client key"), value("setup-code"));
    let ca = std::fs::read(data.join("tls/ca.pem")).expect("the CA");
    let proxy = addresses["proxy"].as_str().expect("proxy").parse().expect("an address");
    let admin = addresses["admin"].as_str().expect("admin").parse().expect("an address");
    let bearer = format!("Bearer {key}");
    let mut headers = modern("tools/call", "create_entities").to_vec();
    headers.extend([("Authorization", bearer.as_str()), ("X-Api-Key", CANARY), ("Cookie", CANARY)]);
    let entities = json!({"entities": [{"name": CANARY, "entityType": "t", "observations": [CANARY]}]});
    let body = call(1, "create_entities", entities).to_string();
    let answer = wire::request(proxy, &ca, "POST", "/mcp/demo", &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let forged = format!("Bearer lbk_forged_{CANARY}_x");
    let stranger = [("Authorization", forged.as_str())];
    assert_eq!(wire::request(proxy, &ca, "POST", "/mcp/demo", &stranger, b"{}").await.status, 401);
    let form = format!("code={code}&name=ana&password={CANARY}");
    let kind = [("Content-Type", "application/x-www-form-urlencoded"), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(wire::request(admin, &ca, "POST", "/setup", &kind, form.as_bytes()).await.status, 303);
    let form = format!("operator=ana&password=wrong-{CANARY}");
    wire::request(admin, &ca, "POST", "/login", &kind, form.as_bytes()).await;
    // Whatever was logged is on disk once a later line is.
    let text = wait("a talkative log", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("\"TRACE\"").then_some(text)
    });
    std::thread::sleep(Duration::from_millis(500));
    let text = std::fs::read_to_string(&log).unwrap_or(text);
    let secret_part = key.split('_').nth(2).expect("the key's secret part").to_owned();
    for secret in [CANARY, key.as_str(), secret_part.as_str(), code.as_str()] {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "the log holds a secret: {line:?}");
    }
}
