//! Getting people in, with the real binary: servers out of a client's file, the doctor's look for ways around, the policy's own tests, and
//! the API's description in the eyes of somebody else's validator.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Lifeboat, text};
use crate::https;
use crate::ledger;
use crate::rig::{Scripted, python};

#[test]
fn the_description_of_the_api_is_valid_openapi() {
    let lifeboat = Lifeboat::start();
    crate::dashboard::sign_in(&lifeboat);
    let key = lifeboat.json(&["operator", "key", "add", crate::pages::ADMIN])["key"].as_str().expect("a key").to_owned();
    let stranger = https::get(&lifeboat.admin, &lifeboat.ca(), "/api/openapi.json").unwrap();
    assert_eq!(stranger.status, 401);
    let request = hyper::Request::get("/api/openapi.json").header("authorization", format!("Bearer {key}"));
    let answer = https::send(&lifeboat.admin, &lifeboat.ca(), request, String::new()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let document = lifeboat.home().join("openapi.json");
    std::fs::write(&document, &answer.body).unwrap();
    let checked = Command::new(python()).args(["-m", "openapi_spec_validator", "--schema", "3.1"]).arg(&document).output().unwrap();
    assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
    let paths: Value = serde_json::from_str(&answer.body).unwrap();
    assert!(paths["paths"]["/api/v1/kill/engage"]["post"]["requestBody"].is_object());
}

#[test]
fn a_client_s_file_becomes_servers_that_answer() {
    let lifeboat = Lifeboat::start();
    let upstream = Scripted::start(lifeboat.home(), &[]);
    let file = lifeboat.home().join("mcp.json");
    let url = &upstream.url;
    std::fs::write(
        &file,
        format!(
            "{{\n  // as VS Code keeps it\n  \"inputs\": [{{\"id\": \"token\", \"type\": \"promptString\", \"password\": true}}],\n  \"servers\": {{\n    \"My Notes\": {{\"type\": \"http\", \"url\": \"{url}\", \"headers\": {{\"X-Token\": \"${{input:token}}\"}}}},\n    \"old\": {{\"type\": \"sse\", \"url\": \"https://old.example/sse\"}},\n  }},\n}}\n"
        ),
    )
    .unwrap();
    let path = file.to_str().unwrap();
    let planned = lifeboat.cli(&["server", "import", path]);
    let shown = text(&planned.stdout);
    assert_eq!(planned.status.code(), Some(2), "what is blocked is no success: {shown}");
    assert!(shown.contains("${input:token}") && shown.contains("sse"), "{shown}");
    let values = lifeboat.secret_file("values", "token=CANARY-77aa\n");
    let words = ["server", "import", path, "--only", "My Notes", "--values", values.to_str().unwrap()];
    let plan = lifeboat.json(&words);
    assert_eq!((&plan["applied"], &plan["servers"][0]["state"]), (&json!(false), &json!("ready")), "{plan}");
    let done = lifeboat.json(&[&words[..], &["--yes"]].concat());
    assert_eq!(
        (&done["ok"], &done["servers"][0]["state"], &done["servers"][0]["name"]),
        (&json!(true), &json!("added"), &json!("my-notes"))
    );
    assert!(upstream.received().iter().any(|line| line.to_string().contains("CANARY-77aa") || line["event"] == "request"));
    assert_eq!(lifeboat.json(&["server", "show", "my-notes"])["headers"], json!(["x-token"]));
    assert!(!ledger::query(&lifeboat, &[]).iter().any(|event| event.to_string().contains("CANARY-77aa")));
    let output = Command::new("grep").args(["-rl", "CANARY-77aa"]).arg(lifeboat.data()).output().unwrap();
    assert_eq!(text(&output.stdout), "", "no file of ours holds the secret in the clear");
    // The scripted server asks nobody for a credential.
    let doctor = lifeboat.json(&["doctor"]);
    let bypass =
        doctor["checks"].as_array().unwrap().iter().find(|check| check["name"] == "bypass").expect("a look for ways around");
    assert!(bypass["state"] == "warn" && bypass["detail"].as_str().unwrap().contains("my-notes"), "{bypass}");
    // Faults say where.
    std::fs::write(&file, "{\n  \"mcpServers\": {\n    \"a\": {]\n}").unwrap();
    let failed = lifeboat.cli(&["server", "import", path]);
    assert!(failed.status.code() == Some(64) && text(&failed.stderr).contains("mcp.json:3:11"), "{}", text(&failed.stderr));
}

#[test]
fn atk_a14_a_file_of_a_gigabyte_is_not_read() {
    let lifeboat = Lifeboat::start();
    let file = lifeboat.home().join("huge.json");
    // A hole on the disk, so that the test is quick; the command cannot know.
    std::fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
    let before = lifeboat.rss_kib();
    let refused = lifeboat.cli(&["server", "import", file.to_str().unwrap(), "--yes"]);
    assert!(refused.status.code() == Some(64) && text(&refused.stderr).contains("larger than"), "{}", text(&refused.stderr));
    crate::dashboard::sign_in(&lifeboat);
    let key = lifeboat.json(&["operator", "key", "add", crate::pages::ADMIN])["key"].as_str().expect("a key").to_owned();
    let body = json!({"text": " ".repeat(20 << 20)});
    // The server may close before it has read all of it; either way it keeps nothing.
    if let Ok(answer) = https::post_api(&lifeboat.admin, &lifeboat.ca(), "/api/v1/server-import", &key, &body) {
        assert!(matches!(answer.status, 400 | 413), "{}", answer.status);
    }
    assert!(lifeboat.rss_kib() < before + 64 * 1024, "{before} KiB before, {} KiB after", lifeboat.rss_kib());
}

#[test]
fn the_policy_s_own_tests_decide_the_exit_status() {
    let lifeboat = Lifeboat::start();
    let case = |expect: &str| format!("[[case]]\nclient = \"demo-client\"\ntool = \"demo/read_graph\"\nexpect = \"{expect}\"\n");
    lifeboat.configure("policy-tests/demo.toml", &case("permit"));
    assert_eq!(lifeboat.json(&["policy", "test"])["cases"], 1);
    let other = lifeboat.home().join("other.toml");
    std::fs::write(&other, case("refuse")).unwrap();
    let failed = lifeboat.cli(&["policy", "test", other.to_str().unwrap()]);
    assert!(
        failed.status.code() == Some(2) && text(&failed.stdout).contains("other.toml:2: demo-client"),
        "{}",
        text(&failed.stdout)
    );
    let arguments = lifeboat.home().join("arguments.json");
    std::fs::write(&arguments, "{}").unwrap();
    let words =
        ["policy", "explain", "--client", "demo-client", "--tool", "demo/read_graph", "--arguments", arguments.to_str().unwrap()];
    let explained = lifeboat.json(&words);
    assert_eq!(explained.as_object().unwrap().keys().collect::<Vec<_>>(), ["decision", "reason", "grant", "class", "revision"]);
    assert_eq!(explained["decision"], "permit");
}
