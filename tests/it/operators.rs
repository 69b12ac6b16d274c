//! The operators' own credentials with the real program: what was shown once is nowhere afterwards, and the host is the way back in.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::recovery::{Kit, done, rebuild};
use crate::support::program::{Running, ask, start};
use crate::support::wire::{self, Reply};

const PASSWORD: &str = "harbour lantern copper 41";
const OTHER: &str = "brass anchor winter 1907";

/// Runs a command that reads a secret; its document and exit status.
fn telling(data: &Path, words: &[&str], secret: &str) -> (Value, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.arg("--data").arg(data).arg("--json").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child: Child = command.spawn().expect("the command starts");
    child.stdin.take().expect("stdin").write_all(secret.as_bytes()).expect("told");
    let output = child.wait_with_output().expect("it ends");
    (serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), output.status.code())
}

/// A browser without script.
struct Browser {
    admin: std::net::SocketAddr,
    ca: Vec<u8>,
    cookie: String,
    /// Every address that it was sent to or asked for.
    urls: Vec<String>,
}

impl Browser {
    fn open(data: &Path) -> Self {
        let told = fs::read(data.join("run/addresses.json")).expect("addresses");
        let told: Value = serde_json::from_slice(&told).expect("JSON");
        let admin = told["admin"].as_str().expect("admin").parse().expect("an address");
        Self { admin, ca: fs::read(data.join("tls/ca.pem")).expect("the CA"), cookie: String::new(), urls: Vec::new() }
    }

    async fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let body = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&");
        let mut headers = vec![("Sec-Fetch-Site", "same-origin"), ("User-Agent", "Firefox/128.0 (Linux)")];
        if method == "POST" {
            headers.push(("Content-Type", "application/x-www-form-urlencoded"));
        }
        let cookie = self.cookie.clone();
        if !cookie.is_empty() {
            headers.push(("Cookie", &cookie));
        }
        let reply = wire::request(self.admin, &self.ca, method, path, &headers, body.as_bytes()).await;
        self.urls.push(path.to_owned());
        self.urls.extend(reply.header("location").map(str::to_owned));
        assert_eq!(reply.header("referrer-policy"), Some("same-origin"), "no address goes to another site");
        if let Some(set) = reply.header("set-cookie") {
            set.split(';').next().unwrap_or_default().clone_into(&mut self.cookie);
        }
        reply
    }

    async fn page(&mut self, path: &str) -> String {
        String::from_utf8(self.send("GET", path, &[]).await.body).expect("text")
    }
}

fn shown(html: &str, id: &str) -> String {
    let section = html.split(&format!("id=\"{id}\"")).nth(1).expect("it is on the page");
    let block = section.split("<pre").nth(1).and_then(|rest| rest.split("</pre>").next()).expect("a block of text");
    block.split_once('>').expect("its text").1.to_owned()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn code(secret: &str, at: u64) -> String {
    let secret = totp_rs::Secret::try_from_base32(secret.replace(' ', "")).expect("base 32");
    totp_rs::Builder::new().with_secret(secret).build().expect("a secret").generate(at).to_string()
}

/// Every file below a folder with its bytes, objects of git as what they hold.
fn bytes(folder: &Path, all: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => bytes(&path, all),
            Ok(kind) if kind.is_file() => all.push((path.clone(), fs::read(&path).unwrap_or_default())),
            _ => {}
        }
    }
}

fn git_objects(config: &Path, all: &mut Vec<(PathBuf, Vec<u8>)>) {
    let repository = git2::Repository::open(config).expect("the configuration");
    let odb = repository.odb().expect("its objects");
    let mut seen = 0;
    odb.foreach(|id| {
        let object = odb.read(*id).map(|object| object.data().to_vec()).unwrap_or_default();
        all.push((config.join(id.to_string()), object));
        seen += 1;
        true
    })
    .expect("each");
    assert!(seen > 5, "{seen} objects");
}

/// A demo that says everything it does, in a file.
fn traced(data: &Path, log: &Path) -> Running {
    let file = fs::File::create(log).expect("a log");
    let mut up = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    up.args(["up", "--demo", "--admin", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--data"]).arg(data).env("LIFEBOAT_LOG", "trace");
    let child = up.stdin(Stdio::null()).stdout(file.try_clone().expect("twice")).stderr(file).spawn().expect("it starts");
    let running = Running(child);
    let began = Instant::now();
    while ask(data, &["status"]).0["servers"][0]["state"] != "up" || !data.join("run/addresses.json").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "the demo is not up");
        std::thread::sleep(Duration::from_millis(100));
    }
    running
}

/// Pages afterwards, every address on the way, and what the commands list.
async fn shown_nowhere(browser: &mut Browser, data: &Path, secrets: &[Vec<u8>]) {
    for path in
        ["/", "/account", "/operators", "/clients", "/activity", "/servers", "/kill", "/vaults", "/drills", "/revisions", "/alerts"]
    {
        let html = browser.page(path).await;
        for secret in secrets {
            assert!(!contains(html.as_bytes(), secret), "{path} shows {}", String::from_utf8_lossy(secret));
        }
    }
    for url in &browser.urls {
        assert!(!secrets.iter().any(|secret| contains(url.as_bytes(), secret)), "{url}");
    }
    let lists = ["operator list", "operator key list", "operator sessions list", "client list", "audit query"];
    for words in lists {
        let answer = done(data, &words.split(' ').collect::<Vec<_>>()).to_string();
        assert!(!secrets.iter().any(|secret| contains(answer.as_bytes(), secret)), "{words}: {answer}");
    }
}

/// Neither in the files of both deployments, nor in git's objects, nor in the log.
fn kept_nowhere((data, rebuilt, log): (&Path, &Path, &Path), secrets: &[Vec<u8>]) {
    let mut all = Vec::new();
    bytes(data, &mut all);
    bytes(rebuilt, &mut all);
    git_objects(&data.join("config"), &mut all);
    all.push((log.to_owned(), fs::read(log).expect("the log")));
    // What the first run told stays where the operator finds it, until it is removed: the setup code and the demo's key, not these.
    let found: Vec<String> = all
        .iter()
        .flat_map(|(path, held)| {
            let shown = secrets.iter().filter(|secret| contains(held, secret));
            shown.map(|secret| format!("{}: {}", path.display(), String::from_utf8_lossy(secret)))
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
    for folder in [data, rebuilt] {
        // With what is still in its log beside it.
        let is_state = |path: &Path| path.parent() == Some(folder) && path.display().to_string().contains("state.db");
        let looked_at: usize = all.iter().filter(|(path, _)| is_state(path)).map(|(_, held)| held.len()).sum();
        assert!(looked_at > 10_000, "{looked_at} bytes of {}", folder.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a15_what_was_shown_once_is_nowhere_afterwards() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let (data, log) = (folder.path().join("data"), folder.path().join("log"));
    let running = traced(&data, &log);
    let told = fs::read_to_string(data.join("keys/first-run.txt")).expect("secrets of the first run");
    let setup = told.lines().find_map(|line| line.strip_prefix("setup-code: ")).expect("a code").to_owned();
    let mut browser = Browser::open(&data);
    let set_up = browser.send("POST", "/setup", &[("code", &setup), ("name", "ana"), ("password", PASSWORD)]).await;
    assert_eq!(set_up.status, 303);
    let first_session = browser.cookie.clone();
    let page = String::from_utf8(browser.send("POST", "/account/totp/begin", &[]).await.body).expect("text");
    let secret = shown(&page, "new-secret");
    let used = code(&secret, now());
    let page = String::from_utf8(browser.send("POST", "/account/totp/confirm", &[("code", &used)]).await.body).expect("text");
    let recovery: Vec<String> = shown(&page, "new-codes").split_whitespace().map(str::to_owned).collect();
    assert_eq!(recovery.len(), 10);
    let page = String::from_utf8(browser.send("POST", "/account/keys/add", &[("expires", "30")]).await.body).expect("text");
    let key = shown(&page, "new-key");
    assert!(key.starts_with("lbo_"), "{key}");
    let changed = browser.send("POST", "/account/password", &[("password", OTHER)]).await;
    assert_eq!(changed.status, 303);
    // Both steps, by a recovery code.
    browser.cookie.clear();
    let first = browser.send("POST", "/login", &[("operator", "ana"), ("password", OTHER)]).await;
    assert_eq!((first.status, first.header("location")), (303, Some("/login/code")));
    let step = browser.cookie.clone();
    assert_eq!(browser.send("POST", "/login/code", &[("code", &recovery[0])]).await.status, 303);
    let session = browser.cookie.clone();
    let client = done(&data, &["client", "add", "late", "--role", "demo"])["key"].as_str().expect("a key").to_owned();
    let secret_part = |key: &str| key.split('_').nth(2).expect("its secret part").to_owned();
    let raw = totp_rs::Secret::try_from_base32(secret.replace(' ', "")).expect("base 32").as_bytes().to_vec();
    let cookie = |text: &str| text.split_once('=').expect("a cookie").1.to_owned();
    let mut secrets: Vec<Vec<u8>> = vec![raw];
    let texts = [
        secret.clone(),
        secret.replace(' ', ""),
        key.clone(),
        secret_part(&key),
        client.clone(),
        secret_part(&client),
        PASSWORD.to_owned(),
        OTHER.to_owned(),
        cookie(&first_session),
        cookie(&step),
        cookie(&session),
    ];
    secrets.extend(texts.into_iter().chain(recovery.iter().cloned()).map(String::into_bytes));
    shown_nowhere(&mut browser, &data, &secrets).await;
    // Archives, as whoever can open them sees them.
    done(&data, &["backup", "run"]);
    let kit =
        Kit { archives: data.join("archives"), identity: data.join("keys/recovery.key"), trust: data.join("keys/instance.pub") };
    let rebuilt = folder.path().join("rebuilt");
    assert_eq!(rebuild(&kit, &rebuilt).1, Some(0));
    drop(running);
    kept_nowhere((&data, &rebuilt, &log), &secrets);
}

fn contains(held: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else { return false };
    let mut rest = held;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(word) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_everything_gets_back_in_from_the_host_with_lifeboat_up_or_down() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = start(&data, &["up", "--demo"]);
    assert_eq!(telling(&data, &["operator", "add", "ana", "--role", "admin", "--password-stdin"], PASSWORD).1, Some(0));
    let mut browser = Browser::open(&data);
    let enter = [("operator", "ana"), ("password", PASSWORD)];
    assert_eq!(browser.send("POST", "/login", &enter).await.status, 303);
    let page = String::from_utf8(browser.send("POST", "/account/totp/begin", &[]).await.body).expect("text");
    let secret = shown(&page, "new-secret");
    assert_eq!(browser.send("POST", "/account/totp/confirm", &[("code", &code(&secret, now()))]).await.status, 200);
    let key = done(&data, &["operator", "key", "add", "ana", "--role", "viewer"]);
    let fields: std::collections::BTreeSet<&str> = key.as_object().expect("a document").keys().map(String::as_str).collect();
    assert_eq!(fields, ["expires_at", "key", "kid", "operator"].into());
    assert!(key["expires_at"].is_string(), "90 days when nobody says how many: {key}");
    let listed = done(&data, &["operator", "sessions", "list", "ana"]);
    let one = &listed["sessions"][0];
    assert!(one["agent"] == "Firefox/128.0 (Linux)" && one["remote"] == "127.0.0.1" && one["created_at"].is_string(), "{listed}");
    let seen = done(&data, &["operator", "list"]);
    assert!(seen["operators"][0]["totp_since"].is_string() && seen["operators"][0]["recovery_codes"] == 10, "{seen}");
    // Up: over the socket.
    assert_eq!(done(&data, &["operator", "sessions", "end", "ana"])["ended"], 1);
    assert_eq!(browser.send("GET", "/account", &[]).await.status, 303);
    assert_eq!(done(&data, &["operator", "totp", "remove", "ana"])["totp_since"], Value::Null);
    browser.cookie.clear();
    let again = browser.send("POST", "/login", &enter).await;
    assert_eq!(again.header("location"), Some("/"), "the password alone");
    let page = String::from_utf8(browser.send("POST", "/account/totp/begin", &[]).await.body).expect("text");
    let secret = shown(&page, "new-secret");
    assert_eq!(browser.send("POST", "/account/totp/confirm", &[("code", &code(&secret, now()))]).await.status, 200);
    // Down: on the files.
    drop(running);
    let (reset, exit) = telling(&data, &["operator", "reset", "ana", "--password-stdin"], OTHER);
    assert!(exit == Some(0) && reset["totp_since"].is_null() && reset["recovery_codes"] == 0, "{reset}");
    let (short, exit) = telling(&data, &["operator", "reset", "ana", "--password-stdin"], "short");
    assert!(exit == Some(64) && short["error"]["where"] == "password", "{short}");
    assert_eq!(done(&data, &["operator", "sessions", "list"])["sessions"], json!([]));
    let keys = done(&data, &["operator", "key", "list"]);
    assert!(keys["keys"][0]["revoked_at"].is_string(), "{keys}");
    let _running = start(&data, &["up"]);
    let mut after = Browser::open(&data);
    after.cookie.clone_from(&browser.cookie);
    assert_eq!(after.send("GET", "/", &[]).await.status, 303, "the session has ended");
    after.cookie.clear();
    assert_eq!(after.send("POST", "/login", &enter).await.status, 401, "the old password too");
    let entered = after.send("POST", "/login", &[("operator", "ana"), ("password", OTHER)]).await;
    assert_eq!(entered.header("location"), Some("/"), "and no code is asked for");
    let events = done(&data, &["audit", "query", "--limit", "200"]);
    let actions: Vec<&str> =
        events["events"].as_array().expect("events").iter().filter_map(|event| event["action"].as_str()).collect();
    for action in
        ["operator.totp.add", "operator.totp.remove", "operator.reset", "operator.session.end", "operator.key.add", "login.ok"]
    {
        assert!(actions.contains(&action), "{action} stands in the ledger: {actions:?}");
    }
    let reset = events["events"].as_array().expect("events").iter().find(|event| event["action"] == "operator.reset").expect("it");
    assert!(reset["operator"].as_str().is_some_and(|by| by.starts_with("local:")) && reset["object"] == "ana", "{reset}");
    let refused = ask(&data, &["operator", "key", "add", "ana", "--expires", "9999"]);
    assert_eq!((refused.1, &refused.0["error"]["where"]), (Some(64), &json!("expires")));
}
