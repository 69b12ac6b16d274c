//! Rotations where a real server stands between a client and what it logs in at.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::{Driver, Sdk};
use crate::database::Database;
use crate::harness::{Lifeboat, binary, root, wait};
use crate::rig::node_dir;

const FIRST: &str = "first-password-of-a";
const ADMIN: &str = "admin-of-the-roles";
const NAME: &str = "postgres/notes";

/// A block of docs/OPERATING.md, from its fence to the next.
fn block(fence: &str, after: &str) -> String {
    let docs = std::fs::read_to_string(root().join("docs/OPERATING.md")).unwrap();
    let (_, rest) = docs.split_once(after).unwrap();
    let (_, rest) = rest.split_once(&format!("```{fence}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// What the documentation tells a database's owner to do first, word for word; the passwords stand for its dots.
fn prepare(database: &Database) {
    let text = block("sql", "### A server's database role");
    let mut sql = text.replacen("'…'", &format!("'{FIRST}'"), 1).replacen("'…'", &format!("'{ADMIN}'"), 1);
    if database.version() < 16 {
        sql = sql.split_once("-- from PostgreSQL 16").unwrap().0.to_owned();
    }
    database.query("notes", &sql).unwrap();
    database.query("notes", "CREATE TABLE note (id int PRIMARY KEY, body text); ALTER TABLE note OWNER TO notes").unwrap();
    database.query("notes", "INSERT INTO note VALUES (1, 'hold fast')").unwrap();
}

/// npm `mcp-postgres-server` as the stdio server `notes`, and what the documentation tells to write, for this database.
fn add(lifeboat: &Lifeboat, database: &Database) {
    // A folder of its own: one that also holds Lifeboat's data would be refused.
    let folder = lifeboat.home().join("pki");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ca = folder.join("db-ca.pem");
    std::fs::copy(lifeboat.data().join("tls/ca.pem"), &ca).unwrap();
    let address = format!("127.0.0.1:{}", database.port);
    let url = format!("postgresql://notes_a:{FIRST}@{address}/notes?sslmode=verify-full&sslrootcert={}", ca.display());
    let env = lifeboat.secret_file("notes.env", &format!("DATABASE_URL={url}\nPG_SSL_CA={}\n", ca.display()));
    let script = node_dir().join("node_modules/mcp-postgres-server/build/index.js");
    let command = format!("node {}", script.display());
    let folder = folder.display().to_string();
    lifeboat.json(&["server", "add", "notes", "--stdio", &command, "--env-file", env.to_str().unwrap(), "--dir", &folder]);
    let said = block("toml", "### A server's database role")
        .replace("/etc/ssl/db-ca.pem", &ca.display().to_string())
        .replace("host = \"db.example.com\"", &format!("host = \"127.0.0.1\"\nport = {}", database.port))
        .replace("db.example.com", &address);
    lifeboat.configure("credentials.toml", &said);
    let kept = lifeboat.json_with(&["credential", "admin", NAME, "--password-stdin"], ADMIN);
    assert_eq!(kept["name"], NAME, "{kept}");
}

/// Whom the database takes the server for, by a tool call; `Err` with what came instead.
fn asked(driver: &mut Driver) -> Result<String, String> {
    let answer = driver.call("notes", "query", json!({"sql": "SELECT session_user AS who, body FROM note"}));
    let said = answer["text"].as_str().unwrap_or_default();
    let who = ["notes_a", "notes_b"].into_iter().find(|role| said.contains(role) && said.contains("hold fast"));
    who.filter(|_| answer["ok"] == true).map(str::to_owned).ok_or_else(|| answer.to_string())
}

fn state(lifeboat: &Lifeboat) -> Value {
    lifeboat.json(&["credential", "show", NAME])["rotations"][0].clone()
}

#[test]
fn a_database_role_is_replaced_under_a_real_server_and_no_call_fails() {
    let lifeboat = Lifeboat::start();
    let database = Database::start(&lifeboat.data().join("tls/server.pem"), &lifeboat.data().join("tls/server.key"));
    prepare(&database);
    add(&lifeboat, &database);
    let key = lifeboat.client_for("notes", "reader");
    let (stop, seen) = (AtomicBool::new(false), Mutex::new(Vec::<Result<String, String>>::new()));
    std::thread::scope(|threads| {
        let load = threads.spawn(|| {
            let mut driver = Driver::start(Sdk::PythonAuto, &lifeboat, &key);
            assert_eq!(driver.connect("notes")["ok"], true);
            while !stop.load(Ordering::SeqCst) {
                let one = asked(&mut driver);
                seen.lock().unwrap().push(one);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let newest = || seen.lock().unwrap().iter().rev().find_map(|one| one.clone().ok()).unwrap_or_default();
        wait("calls as the first role", 30, || (newest() == "notes_a").then_some(()));
        lifeboat.json(&["credential", "rotate", NAME]);
        wait("calls as the second role", 60, || (newest() == "notes_b").then_some(()));
        assert_eq!(state(&lifeboat)["state"], "draining");
        assert!(database.login("notes_a", FIRST, "notes", "SELECT 1").is_ok(), "both count until the overlap ends");
        lifeboat.json(&["credential", "order", NAME, "retire"]);
        wait("the end", 60, || (state(&lifeboat)["state"] == "done").then_some(()));
        let count = seen.lock().unwrap().len();
        wait("calls after it", 30, || (seen.lock().unwrap().len() > count + 10).then_some(()));
        stop.store(true, Ordering::SeqCst);
        load.join().unwrap();
    });
    let seen = seen.into_inner().unwrap();
    let failed: Vec<&String> = seen.iter().filter_map(|one| one.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {} calls failed: {:?}", failed.len(), seen.len(), failed.first());
    assert_eq!(seen.last(), Some(&Ok("notes_b".to_owned())));
    let refused = database.login("notes_a", FIRST, "notes", "SELECT 1").unwrap_err();
    assert!(refused.contains("notes_a"), "{refused}");
    let may = "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolname LIKE 'notes%' AND rolcanlogin";
    assert_eq!(database.query("notes", may).unwrap(), "notes_b");
    // Neither password is in the server's arguments, the configuration or the log.
    let events = lifeboat.json(&["audit", "query", "--limit", "1000"]).to_string();
    assert!(!events.contains(FIRST) && !events.contains(ADMIN));
}

/// Everything that Lifeboat replaces by itself, at 200 calls a second, by the command that operators have.
#[test]
fn flt_19_everything_is_replaced_at_200_calls_a_second_and_the_report_says_so_offline() {
    let lifeboat = Lifeboat::start();
    let signed = lifeboat.json(&["credential", "rotate", "--all", "--prove", "--rate", "200", "--seconds", "10"]);
    let traffic = &signed["traffic"];
    assert_eq!((&signed["passed"], &traffic["failed"], &traffic["unauthorised"]), (&json!(true), &json!(0), &json!(0)), "{signed}");
    assert_eq!((&traffic["rate"], &traffic["moved"]), (&json!(200), &json!(8)), "{signed}");
    println!("{}", signed["summary"].as_str().unwrap());
    let sides = |name: &str| signed[name].as_array().unwrap().iter().map(|side| side["status"].clone()).collect::<Vec<_>>();
    assert!(sides("new_accepted").iter().all(|status| *status == 200) && !sides("new_accepted").is_empty(), "{signed}");
    assert!(sides("old_rejected").iter().all(|status| *status == 401) && !sides("old_rejected").is_empty(), "{signed}");
    let stored = lifeboat.data().join(format!("proofs/{}.json", signed["id"].as_str().unwrap()));
    let trusted = lifeboat.home().join("trusted.pub");
    std::fs::copy(lifeboat.data().join("keys/instance.pub"), &trusted).unwrap();
    let verify = |file: &std::path::Path| {
        // A directory that is no deployment: nothing but the report and the key is there.
        let command = ["evidence", "verify", file.to_str().unwrap(), "--trust", trusted.to_str().unwrap(), "--data", "/nowhere"];
        Command::new(binary()).args(command).stdin(Stdio::null()).output().unwrap().status
    };
    assert!(verify(&stored).success());
    let changed = lifeboat.home().join("changed.json");
    let text = std::fs::read_to_string(&stored).unwrap();
    std::fs::write(&changed, text.replacen("\"failed\": 0", "\"failed\": 1", 1)).unwrap();
    assert!(!verify(&changed).success(), "a changed byte is found");
    // Whoever holds the demo's key has not moved yet: that is no failure of a second proof.
    let again = lifeboat.json(&["credential", "rotate", "--all", "--prove", "--rate", "50", "--seconds", "4"]);
    let rows = again["credentials"].as_array().unwrap();
    let held = rows.iter().find(|row| row["name"] == "client-key/demo-client").expect("it is named");
    assert_eq!((&again["passed"], &held["state"]), (&json!(true), &json!("skipped")), "{again}");
    assert!(held["said"].as_str().unwrap().contains("goes on by itself"), "{held}");
}
