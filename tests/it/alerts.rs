//! Alerts told to somebody else, with the real program: from the command that adds a receiver to the signature that arrives, and past a kill -9.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Connection;

#[expect(dead_code, reason = "the cases beside the product use the rest")]
#[path = "../../src/admin/alerts/tests_receiver.rs"]
pub(crate) mod receiver;

use crate::support::program::{ask, start};
use receiver::{Manner, Receiver};

fn add(data: &Path, name: &str, receiver: &Receiver, more: &[&str]) -> Value {
    let (url, ca) = (receiver.url(), receiver.ca());
    let words = ["alert", "receiver", "add", name, "--url", &url, "--plain-loopback", "--ca", &ca];
    let (added, exit) = ask(data, &[&words[..], more].concat());
    assert_eq!(exit, Some(0), "{added}");
    added
}

fn check(data: &Path) -> Value {
    let (doctor, _) = ask(data, &["doctor"]);
    doctor["checks"].as_array().expect("checks").iter().find(|check| check["name"] == "alerts").expect("alerts").clone()
}

fn text_of(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_file() {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).expect("a file")));
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_w05_from_the_command_to_a_signature_that_verifies() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let running = start(&data, &["up", "--demo"]);
    let (none, exit) = ask(&data, &["alert", "test"]);
    assert!(exit == Some(2) && none["ok"] == false && none["why"].to_string().contains("no receiver"), "{none}");
    assert_eq!((&none["receivers"], &check(&data)["state"]), (&json!([]), &json!("warn")));
    let pager = Receiver::start().await;
    let added = add(&data, "pager", &pager, &["--rule", "backup.*", "--rule", "drill.*"]);
    let secret = added["secret"].as_str().expect("shown once").to_owned();
    assert!(secret.starts_with("whsec_"), "{added}");
    let (tested, exit) = ask(&data, &["alert", "test"]);
    assert_eq!((exit, &tested["ok"], &tested["receivers"][0]["name"]), (Some(0), &json!(true), &json!("pager")), "{tested}");
    assert!(tested["receivers"][0]["ms"].is_u64() && tested["receivers"][0]["status"] == 204, "{tested}");
    let hit = pager.hits().remove(0);
    assert!(hit.is_signed_by(&secret) && hit.json()["type"] == "alert.test", "{hit:?}");
    assert_eq!(check(&data)["state"], "ok");
    let (list, _) = ask(&data, &["alert", "receiver", "list"]);
    assert_eq!(
        (&list["receivers"][0]["state"], &list["receivers"][0]["rules"]),
        (&json!("ready"), &json!(["backup.*", "drill.*"]))
    );
    // Another secret: both sign.
    let (another, _) = ask(&data, &["alert", "receiver", "secret", "pager"]);
    let another = another["secret"].as_str().expect("shown once").to_owned();
    ask(&data, &["alert", "test", "pager"]);
    let hit = pager.hits().remove(1);
    assert!(hit.is_signed_by(&secret) && hit.is_signed_by(&another) && secret != another, "{hit:?}");
    pager.always(Manner::status(500));
    let (tested, exit) = ask(&data, &["alert", "test"]);
    assert_eq!((exit, &tested["receivers"][0]["why"]), (Some(2), &json!("it answered 500")), "{tested}");
    assert_eq!(ask(&data, &["alert", "test", "nobody"]).1, Some(1));
    for url in
        ["http://127.0.0.1:9000/", "https://user:pass@hooks.example.com/", "https://hooks.example.com:22/", "https://10.1.2.3/"]
    {
        let (fault, exit) = ask(&data, &["alert", "receiver", "add", "bad", "--url", url]);
        assert_eq!((exit, &fault["error"]["where"]), (Some(64), &json!("url")), "{url}: {fault}");
    }
    let config = std::fs::read_to_string(data.join("config/alerts.toml")).expect("committed");
    let places = [config, text_of(&data.join("audit")), text_of(&data), serde_json::to_string(&list).expect("text")];
    assert!(!places.iter().any(|place| place.contains(&secret) || place.contains(&another)), "it stands nowhere");
    let (removed, exit) = ask(&data, &["alert", "receiver", "remove", "pager"]);
    assert_eq!((exit, &removed["receiver"]), (Some(0), &json!("pager")), "{removed}");
    assert_eq!(ask(&data, &["alert", "receiver", "list"]).0["receivers"], json!([]));
    drop(running);
    // The same on the files of a Lifeboat that does not run.
    pager.always(Manner::status(204));
    let secret = add(&data, "later", &pager, &[])["secret"].as_str().expect("shown").to_owned();
    assert_eq!(ask(&data, &["alert", "test"]).1, Some(0));
    assert!(pager.hits().last().expect("a test").is_signed_by(&secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_w04_a_kill_between_opening_and_delivery_loses_nothing() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let mut running = start(&data, &["up", "--demo"]);
    let pager = Receiver::start().await;
    pager.always(Manner::Hang);
    let secret = add(&data, "pager", &pager, &[])["secret"].as_str().expect("shown").to_owned();
    // As a look would open it; that comes once a minute.
    let mut state = sqlx::SqliteConnection::connect(&data.join("state.db").display().to_string()).await.expect("state.db");
    let opened = "INSERT INTO alerts (id, rule, object, text, mend, opened_at) VALUES ('al_1', 'backup.late', 'x', 'late', 'y', 1)";
    sqlx::query(opened).execute(&mut state).await.expect("an alert");
    state.close().await.expect("closed");
    let (seen, exit) = ask(&data, &["alert", "ack", "al_1"]);
    assert_eq!(exit, Some(0), "{seen}");
    let first = pager.wait_for(1).await.remove(0);
    running.0.kill().expect("kill -9");
    running.0.wait().expect("it is gone");
    pager.always(Manner::status(200));
    assert_eq!(pager.hits().len(), 1);
    let again = start(&data, &["up"]);
    let second = pager.wait_for(2).await.remove(1);
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!((second.body == first.body, second.is_signed_by(&secret)), (true, true), "{second:?}");
    assert_eq!((&second.json()["type"], &second.json()["data"]["id"]), (&json!("alert.ack"), &json!("al_1")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (list, _) = ask(&data, &["alert", "receiver", "list"]);
    assert_eq!(list["receivers"][0]["last"], "delivered", "{list}");
    assert_eq!(pager.hits().len(), 2, "once it was taken it is not sent again");
    drop(again);
}
