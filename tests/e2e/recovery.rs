//! docs/RECOVERY.md, word for word: a deployment with real servers, and a database that is being written, is destroyed and rebuilt.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Lifeboat, binary, root, text, wait};
use crate::{buckets, real};

/// The commands under a marker of the page.
fn block(name: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/RECOVERY.md")).unwrap();
    let marker = format!("<!-- e2e: {name} -->\n```sh\n");
    let (_, rest) = page.split_once(&marker).unwrap_or_else(|| panic!("RECOVERY.md has no block {name}"));
    rest.split_once("```").unwrap().0.to_owned()
}

const ERA: &str = "2025-11-25";

/// Where the page's variables lead.
struct Place {
    folder: PathBuf,
    data: PathBuf,
    endpoint: String,
}

impl Place {
    fn new(lifeboat: &Lifeboat) -> Self {
        let folder = lifeboat.home().join("elsewhere");
        for sub in ["kit", "copy", "home", "bin"] {
            std::fs::create_dir_all(folder.join(sub)).unwrap();
        }
        std::os::unix::fs::symlink(binary(), folder.join("bin/lifeboat")).unwrap();
        Self { folder, data: lifeboat.data(), endpoint: String::new() }
    }

    fn follow(&self, name: &str) -> String {
        let path = format!("{}:{}", self.folder.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("bash");
        shell.args(["-e", "-o", "pipefail", "-c", &block(name)]).env("PATH", path).env("LIFEBOAT_DATA", &self.data);
        shell.env("BUCKET", buckets::URL).env("ENDPOINT", &self.endpoint).env("USER", "ana");
        shell.env("KIT", self.folder.join("kit")).env("COPY", self.folder.join("copy")).env("HOME", self.folder.join("home"));
        let done = shell.stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{name}: {}{}", text(&done.stdout), text(&done.stderr));
        text(&done.stdout)
    }
}

/// Commits rows for as long as it lives, and says each number once it is committed.
struct Writer {
    child: Child,
    said: PathBuf,
}

const WRITER: &str = r"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
db.execute('PRAGMA journal_mode=WAL')
db.execute('CREATE TABLE IF NOT EXISTS memory (id INTEGER PRIMARY KEY, text TEXT)')
said = open(sys.argv[2], 'a')
n = db.execute('SELECT coalesce(max(id), 0) FROM memory').fetchone()[0]
while True:
    n += 1
    db.execute('INSERT INTO memory VALUES (?, ?)', (n, 'm' * 200))
    said.write(f'{n}\n'); said.flush()
";

impl Writer {
    fn start(database: &Path, said: &Path) -> Self {
        let child = Command::new("python3").args(["-c", WRITER]).arg(database).arg(said).spawn().unwrap();
        let this = Self { child, said: said.to_owned() };
        wait("the first committed rows", 20, || (this.acknowledged() > 100).then_some(()));
        this
    }

    fn acknowledged(&self) -> i64 {
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        said.lines().filter_map(|line| line.parse().ok()).max().unwrap_or(0)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rows(database: &Path) -> (i64, String) {
    let ask = "import sqlite3,sys\ndb=sqlite3.connect(sys.argv[1])\nprint(db.execute('select count(*) from memory').fetchone()[0], db.execute('pragma integrity_check').fetchone()[0])";
    let done = Command::new("python3").args(["-c", ask]).arg(database).output().unwrap();
    let said = text(&done.stdout);
    let (count, sound) = said.trim().split_once(' ').unwrap_or_else(|| panic!("{said}{}", text(&done.stderr)));
    (count.parse().unwrap(), sound.to_owned())
}

/// One call in a session of its own; where the session is refused, that answer.
fn call(lifeboat: &Lifeboat, key: &str, server: &str, tool: &str, arguments: &Value) -> Value {
    let send = |session: Option<&str>, body: Value| {
        let request = hyper::Request::post(format!("/mcp/{server}"))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", ERA);
        let request = session.into_iter().fold(request, |request, id| request.header("mcp-session-id", id));
        crate::https::send(&lifeboat.proxy, &lifeboat.ca(), request, body.to_string()).unwrap()
    };
    let message = |body: &str| {
        let line = body.lines().filter_map(|line| line.strip_prefix("data:")).next_back().unwrap_or(body);
        serde_json::from_str(line.trim()).unwrap_or_else(|error| panic!("{error}: {body}"))
    };
    let who = json!({"protocolVersion": ERA, "capabilities": {}, "clientInfo": {"name": "e2e", "version": "1"}});
    let begun = send(None, json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": who}));
    let Some(session) = begun.header("mcp-session-id") else { return message(&begun.body) };
    send(Some(session), json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let params = json!({"name": tool, "arguments": arguments});
    message(&send(Some(session), json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})).body)
}

/// Where the archives outlive the machine.
enum Way {
    Directory,
    Bucket(buckets::Bucket),
}

#[test]
fn the_page_of_recovery_rebuilds_what_was_destroyed() {
    let lifeboat = Lifeboat::start();
    let place = Place::new(&lifeboat);
    destroyed_and_rebuilt(lifeboat, &place, &Way::Directory);
}

#[test]
fn the_page_of_recovery_rebuilds_it_from_a_bucket() {
    let lifeboat = Lifeboat::start();
    let mut place = Place::new(&lifeboat);
    let bucket = buckets::Bucket::start(&place.folder.join("bucket"));
    std::fs::copy(bucket.credentials(), place.folder.join("kit/bucket.credentials")).unwrap();
    std::fs::copy(bucket.ca(), place.folder.join("kit/bucket-ca.pem")).unwrap();
    place.endpoint.clone_from(&bucket.endpoint);
    destroyed_and_rebuilt(lifeboat, &place, &Way::Bucket(bucket));
}

fn destroyed_and_rebuilt(mut lifeboat: Lifeboat, place: &Place, way: &Way) {
    real::add_memory(&lifeboat);
    real::add_filesystem(&lifeboat);
    let notes = lifeboat.home().join("notes");
    std::fs::create_dir(&notes).unwrap();
    let database = notes.join("memory.db");
    let writer = Writer::start(&database, &lifeboat.home().join("said"));
    lifeboat.json(&["vault", "add", "notes", "--path", notes.to_str().unwrap()]);
    let key = lifeboat.client_for("memory", "agent");
    let late = lifeboat.client_for("memory", "late");
    let entity = json!({"entities": [{"name": "harbour", "entityType": "place", "observations": ["deep"]}]});
    let created = call(&lifeboat, &key, "memory", "create_entities", &entity);
    assert!(created["result"].is_object(), "{created}");
    std::fs::write(real::vault(&lifeboat, "filesystem").join("letter.txt"), "dear reader").unwrap();

    place.follow("kit");
    let acknowledged = writer.acknowledged();
    match way {
        Way::Directory => {
            place.follow("backup");
            beside(place);
            assert!(place.follow("in place").contains("released: true"));
            let graph = call(&lifeboat, &key, "memory", "read_graph", &json!({}));
            assert!(graph.to_string().contains("harbour"), "{graph}");
        }
        Way::Bucket(_) => {
            let said = place.follow("bucket");
            assert!(said.contains("compliance until"), "{said}");
        }
    }

    lifeboat.json(&["client", "revoke", "late"]);
    match way {
        Way::Directory => {
            let list = place.data.join("archives/deny-list.json");
            wait("the deny-list names the key", 10, || std::fs::read_to_string(&list).ok()?.contains(kid(&late)).then_some(()));
            std::fs::copy(&list, place.folder.join("copy/deny-list.json")).unwrap();
        }
        // Nobody has to carry it there.
        Way::Bucket(bucket) => {
            let there = || bucket.object("boat/deny-list.json").contains(kid(&late)).then_some(());
            wait("the deny-list in the bucket names the key", 60, there);
        }
    }
    lifeboat.kill_9();
    drop(writer);
    std::fs::remove_dir_all(&place.data).unwrap();
    std::fs::remove_dir_all(&notes).unwrap();

    place.follow(if matches!(way, Way::Directory) { "rebuild" } else { "rebuild-bucket" });
    lifeboat.restart();
    let (count, sound) = rows(&database);
    assert!(sound == "ok" && count >= acknowledged, "{count} rows, {acknowledged} were acknowledged before the backup; {sound}");
    let graph = |key: &str| call(&lifeboat, key, "memory", "read_graph", &json!({}));
    assert_eq!(graph(&key)["error"]["data"]["reason"], "kill.engaged", "it starts stopped");
    place.follow("release");
    let answer = wait("the memory answers", 30, || Some(graph(&key)).filter(|answer| answer["result"].is_object()));
    assert!(answer.to_string().contains("harbour"), "{answer}");
    assert_eq!(graph(&late)["error"]["data"]["reason"], "auth.unknown", "what was revoked after the backup stays so");
    let letter = std::fs::read_to_string(real::vault(&lifeboat, "filesystem").join("letter.txt")).unwrap();
    assert_eq!(letter, "dear reader");
}

/// What else the page says to do with archives.
fn beside(place: &Place) {
    let report = place.follow("drill");
    assert!(report.contains("passed: true"), "{report}");
    for server in ["memory", "filesystem", "demo"] {
        let row = report.lines().find(|line| line.trim_start().starts_with(server)).unwrap_or_default();
        assert!(row.contains("rebuilt"), "{server}: {report}");
    }
    place.follow("restore");
    assert!(std::fs::read_to_string(place.folder.join("home/memory-as-it-was/memory.jsonl")).unwrap().contains("harbour"));
    assert!(place.follow("stock").contains("payload/memory.jsonl"));
}

/// The public name in `lbk_KID_…`.
fn kid(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}
