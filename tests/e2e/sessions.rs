//! Abandoned legacy sessions give their memory back.

use std::thread::sleep;
use std::time::Duration;

use crate::harness::{Lifeboat, sized};
use crate::rig::{Load, Scripted, load_summary};

#[test]
fn abandoned_sessions_give_their_memory_back() {
    let mut lifeboat = Lifeboat::start();
    let scripted = Scripted::behind(&lifeboat, "scripted", &["--initialize-only-fast"]);
    let settings = lifeboat.data().join("config/lifeboat.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let wanted = text.replace("ttl_seconds = 3600", "ttl_seconds = 5").replace("per_client = 10000", "per_client = 100000");
    assert_ne!(text, wanted, "lifeboat.toml names the limits of sessions:\n{text}");
    lifeboat.configure("lifeboat.toml", &wanted);
    let keys: Vec<String> = (1..=4).map(|number| lifeboat.client_for("scripted", &format!("opener-{number}"))).collect();
    lifeboat.kill_9();
    lifeboat.restart();
    let key_file = lifeboat.secret_file("one.key", &keys[0]);
    let warm = Load::start(&lifeboat, "scripted", &key_file, "warm", &["--rate", "200", "--connections", "16", "--tool", "echo"]);
    sleep(Duration::from_secs(5));
    assert!(warm.finish().len() >= 900);
    let after_calls = lifeboat.rss_kib();
    let clients = lifeboat.secret_file("clients.keys", &keys.join("\n"));
    let wanted = sized(10_000, 100_000);
    let opened =
        load_summary(&lifeboat, "scripted", &["--initialize", &wanted.to_string(), "--clients", clients.to_str().unwrap()]);
    assert_eq!(opened["answers"]["200 session"], wanted, "{opened}");
    let peak = lifeboat.rss_kib();
    sleep(Duration::from_secs(15));
    let settled = lifeboat.rss_kib();
    println!("KiB after 1,000 calls {after_calls}, after {wanted} sessions {peak}, 10 s after their end {settled}");
    assert!(settled * 100 <= after_calls * 125, "{settled} KiB is more than 1.25 x {after_calls} KiB");
    drop(scripted);
}
