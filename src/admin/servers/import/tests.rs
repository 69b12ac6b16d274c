//! Cases of imports: the plan, what it takes in, what it keeps out, and that no secret leaves.

use super::*;
use crate::admin::OperatorRole;
use crate::admin::tests_house::{House, operator, root};
use crate::base::fault::FaultKind;
use crate::config::UpstreamConfig;

const CANARY: &str = "CANARY-9f2c";

fn order(text: &str) -> ImportOrder {
    ImportOrder { text: text.to_owned(), ..ImportOrder::default() }
}

async fn planned(house: &House, text: &str) -> Vec<Planned> {
    import(&house.admin, &root(), &order(text)).await.unwrap().servers
}

async fn one(house: &House, entry: serde_json::Value) -> Planned {
    planned(house, &serde_json::json!({ "mcpServers": { "x": entry } }).to_string()).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changes_nothing_and_an_order_takes_in_what_was_shown() {
    let house = House::open().await;
    let text = format!(
        r#"{{"mcpServers":{{
            "Git Hub":{{"command":"sh","args":["-c","true"],"env":{{"TOKEN":"{CANARY}","LOG_LEVEL":"debug"}}}},
            "web":{{"type":"http","url":"https://tools.example.com/mcp","headers":{{"Authorization":"Bearer {CANARY}","Accept":"x"}}}},
            "demo":{{"url":"https://demo.example.com/mcp"}},
            "down":{{"url":"https://down.example.com/mcp"}},
            "asleep":{{"url":"https://asleep.example.com/mcp","disabled":true}}}}}}"#
    );
    let before = house.admin.feed.snapshot().revision.clone();
    let plan = import(&house.admin, &root(), &order(&text)).await.unwrap();
    assert_eq!(house.admin.feed.snapshot().revision, before);
    let states: Vec<(&str, &str)> = plan.servers.iter().map(|server| (server.name.as_str(), server.state.as_str())).collect();
    assert_eq!(
        states,
        [("git-hub", "ready"), ("asleep", "off"), ("demo", "blocked"), ("down", "ready"), ("web", "ready")],
        "the order of the file's names"
    );
    assert!(!plan.applied && !plan.ok && plan.servers[2].problems[0].contains("exists already"));
    assert_eq!((plan.servers[0].sealed.clone(), plan.servers[0].plain.len()), (vec!["TOKEN".to_owned()], 1));
    assert_eq!(plan.servers[4].sealed, ["authorization"]);
    let done = import(&house.admin, &root(), &ImportOrder { apply: true, ..order(&text) }).await.unwrap();
    let states: Vec<&str> = done.servers.iter().map(|server| server.state.as_str()).collect();
    assert_eq!(states, ["added", "off", "blocked", "failed", "added"]);
    assert_eq!(done.servers[0].tools, ["read_graph", "wipe"]);
    let snapshot = house.admin.feed.snapshot();
    let entry = &snapshot.servers["git-hub"];
    assert!(entry.secrets.approved && entry.secrets.env[0].1.reveal() == CANARY);
    assert!(matches!(&entry.config.upstream, UpstreamConfig::Stdio(stdio) if stdio.env["LOG_LEVEL"] == "debug"));
    assert_eq!(snapshot.servers["web"].secrets.headers[0].1.reveal(), &format!("Bearer {CANARY}"));
    assert!(!snapshot.servers.contains_key("down"), "what failed leaves nothing behind");
    // Neither in an answer, nor in git, nor in the ledger, nor in the clear in the database.
    assert!(!format!("{plan:?}{done:?}").contains(CANARY));
    assert_eq!(files_with(house.path(), CANARY), Vec::<std::path::PathBuf>::new());
}

fn files_with(dir: &std::path::Path, word: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, word));
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(word.len()).any(|part| part == word.as_bytes())) {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_in_says_why() {
    let house = House::open().await;
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    for (entry, why) in [
        (r#"{"type":"sse","url":"https://a.example/sse"}"#, "sse"),
        (r#"{"url":"http://a.example/mcp"}"#, "https"),
        (r#"{"url":"https://a.example/mcp","headers":{"Authorization":"Bearer ${input:token}"}}"#, "${input:token}"),
        (r#"{"command":"sh","env":{"T":"${env:HOME_TOKEN}"}}"#, "${env:HOME_TOKEN}"),
        (r#"{"command":"no-such-program"}"#, "no program no-such-program in /usr/local/bin"),
        (r#"{"command":"./run.sh"}"#, "whole path"),
        (r#"{"command":"sh","args":["--api-key","CANARY-9f2c"]}"#, "argument 2 looks like a secret"),
        (r#"{"url":"https://a.example/mcp?token=CANARY-9f2c"}"#, "its URL carries a secret in token"),
        (r#"{"command":"sh","url":"https://a.example"}"#, "only one of them"),
        (r#"{"command":"sh","args":"-c"}"#, "args is not an array"),
        (r#"{"command":"sh","envFile":".env"}"#, "envFile"),
        (r#""sh""#, "not an object"),
        ("{}", "neither a command nor a URL"),
    ] {
        let shown = one(&house, json(entry)).await;
        assert!(shown.state == "blocked" && shown.problems.join("; ").contains(why), "{entry}: {shown:?}");
        assert!(!format!("{shown:?}").contains(CANARY), "{shown:?}");
    }
    let data = house.admin.data.keys().display().to_string();
    let shown = one(&house, serde_json::json!({"command": "sh", "args": [data]})).await;
    assert!(shown.problems.join("; ").contains("Lifeboat's own data"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_values_and_choices_are_heeded() {
    let house = House::open().await;
    let text = r#"{"servers":{"@org/Tool":{"url":"https://a.example/mcp","headers":{"X-Key":"${input:key}"}},"org.tool":{"command":"sh"},
        "Größe!":{"command":"sh"},"localhost":{"url":"http://127.0.0.1:9/mcp"},"lan":{"url":"https://10.1.2.3/mcp"}}}"#;
    let asked = ImportOrder { values: Some("key=v".into()), only: vec!["@org/Tool".into(), "lan".into()], ..order(text) };
    let plan = import(&house.admin, &root(), &asked).await.unwrap();
    let states: Vec<(&str, &str)> = plan.servers.iter().map(|server| (server.name.as_str(), server.state.as_str())).collect();
    assert_eq!(states, [("org-tool", "ready"), ("gr-e", "left"), ("lan", "ready"), ("localhost", "left"), ("org.tool", "left")]);
    assert!(plan.ok && plan.servers[2].notes[0].contains("10.1.2.3/32"));
    let odd = ImportOrder { only: vec!["ghost".into()], ..order(text) };
    assert_eq!(import(&house.admin, &root(), &odd).await.unwrap_err().place.as_deref(), Some("only"));
    let text = r#"{"servers":{"x":{"url":"https://a.example/${input:api_key}/mcp"},"y":{"command":"sh","args":["-c","${input:api_key}"]}}}"#;
    let plan =
        import(&house.admin, &root(), &ImportOrder { values: Some(format!("api_key={CANARY}")), ..order(text) }).await.unwrap();
    assert!(plan.servers.iter().all(|server| server.state == "blocked"), "{plan:?}");
    assert!(!format!("{plan:?}").contains(CANARY), "{plan:?}");
    let mut given = BTreeSet::new();
    assert_eq!(["a b", "A-B", "…"].map(|from| free_name(from, &mut given)), ["a-b", "a-b-2", "server"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a12_importing_needs_role_admin_and_starts_nothing_before_it_is_told_to() {
    let house = House::open().await;
    let text = r#"{"mcpServers":{"x":{"command":"sh","args":["-c","true"]}}}"#;
    for role in [OperatorRole::Viewer, OperatorRole::Auditor, OperatorRole::Operator] {
        assert_eq!(import(&house.admin, &operator(role), &order(text)).await.unwrap_err().kind, FaultKind::Denied);
    }
    assert_eq!(planned(&house, text).await[0].state, "ready");
    assert!(!house.admin.feed.snapshot().servers.contains_key("x"));
}
