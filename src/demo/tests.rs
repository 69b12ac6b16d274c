//! The demo server over its own wire: lines in, lines out.

use serde_json::{Value, json};

use super::answer::{LEGACY, MODERN};
use super::memory::Memory;

fn meta(version: &str) -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}})
}

/// Sends all lines at once and gives everything that came back before input ended.
async fn talk(folder: &tempfile::TempDir, lines: &[&str]) -> Vec<Value> {
    let (client, server) = tokio::io::duplex(1 << 20);
    let (input, output) = tokio::io::split(server);
    let path = folder.path().join("memory.jsonl");
    let served = super::serve(tokio::io::BufReader::new(input), output, path);
    let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let spoken = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut from, mut to) = tokio::io::split(client);
        to.write_all(text.as_bytes()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        to.shutdown().await.unwrap();
        let mut all = String::new();
        from.read_to_string(&mut all).await.unwrap();
        all.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (served, spoken) = tokio::join!(
        async {
            let served = served.await;
            served.is_ok()
        },
        spoken
    );
    assert!(served);
    spoken
}

fn by_id(answers: &[Value], id: i64) -> Value {
    answers.iter().find(|answer| answer["id"] == id).cloned().unwrap_or_else(|| panic!("no answer {id} in {answers:?}"))
}

fn call(id: i64, tool: &str, arguments: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}).to_string()
}

#[tokio::test]
async fn the_legacy_handshake_is_answered_in_each_known_version() {
    let folder = tempfile::tempdir().unwrap();
    let asked = LEGACY.into_iter().chain(["1999-01-01"]).enumerate().map(|(id, version)| {
        json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": {"protocolVersion": version, "capabilities": {}}})
            .to_string()
    });
    let lines: Vec<String> = asked.collect();
    let answers = talk(&folder, &lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for (id, version) in LEGACY.into_iter().chain([LEGACY[0]]).enumerate() {
        let answer = by_id(&answers, i64::try_from(id).unwrap());
        assert_eq!(answer["result"]["protocolVersion"], version);
        assert!(answer["result"].get("resultType").is_none());
    }
}

#[tokio::test]
async fn the_modern_era_carries_its_version_in_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |id: i64, method: &str, version: &str| {
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"_meta": meta(version)}}).to_string()
    };
    let lines = [
        ask(1, "server/discover", MODERN),
        ask(2, "tools/list", MODERN),
        ask(3, "tools/list", "2030-01-01"),
        ask(4, "ping", MODERN),
    ];
    let answers = talk(&folder, &lines.each_ref().map(String::as_str)).await;
    let discover = by_id(&answers, 1)["result"].clone();
    assert_eq!(discover["supportedVersions"][0], MODERN);
    for result in [&discover, &by_id(&answers, 2)["result"]] {
        assert_eq!(result["resultType"], "complete");
        assert!(result["ttlMs"].is_u64());
        assert_eq!(result["cacheScope"], "public");
    }
    let refused = by_id(&answers, 3)["error"].clone();
    assert_eq!(refused["code"], -32022);
    assert_eq!(refused["data"]["requested"], "2030-01-01");
    assert_eq!(by_id(&answers, 4)["error"]["code"], -32601);
}

#[tokio::test]
async fn every_tool_has_a_class_by_its_annotations_and_read_graph_needs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let tools = by_id(&talk(&folder, &[list]).await, 1)["result"]["tools"].clone();
    let class = |name: &str| {
        let tool = tools.as_array().unwrap().iter().find(|tool| tool["name"] == name).unwrap();
        let hints = &tool["annotations"];
        match (hints["readOnlyHint"] == true, hints["destructiveHint"] == false) {
            (true, _) => "read",
            (false, true) => "write",
            (false, false) => "destructive",
        }
    };
    for name in ["read_graph", "search_nodes", "open_nodes", "slow_count"] {
        assert_eq!(class(name), "read", "{name}");
    }
    for name in ["create_entities", "create_relations", "add_note"] {
        assert_eq!(class(name), "write", "{name}");
    }
    for name in ["delete_entities", "wipe"] {
        assert_eq!(class(name), "destructive", "{name}");
    }
    let read_graph = tools.as_array().unwrap().iter().find(|tool| tool["name"] == "read_graph").unwrap();
    assert_eq!(read_graph["inputSchema"]["required"], json!([]));
}

#[tokio::test]
async fn what_is_remembered_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let entity = |name: &str| json!({"name": name, "entityType": "boat", "observations": ["floats"]});
    let create = call(1, "create_entities", &json!({"entities": [entity("Ada"), entity("Bea"), entity("Ada")]}));
    let relate = call(2, "create_relations", &json!({"relations": [{"from": "Ada", "to": "Bea", "relationType": "tows"}]}));
    let note = call(3, "add_note", &json!({"text": "rope is in locker two"}));
    let answers = talk(&folder, &[&create, &relate, &note]).await;
    assert_eq!(by_id(&answers, 1)["result"]["structuredContent"]["created"], 2);
    let graph = call(4, "read_graph", &json!({}));
    let search = call(5, "search_nodes", &json!({"query": "LOCKER"}));
    let delete = call(6, "delete_entities", &json!({"names": ["Bea"]}));
    let answers = talk(&folder, &[&graph, &search, &delete, &call(7, "read_graph", &json!({}))]).await;
    assert_eq!(by_id(&answers, 4)["result"]["structuredContent"]["relations"][0]["relationType"], "tows");
    assert_eq!(by_id(&answers, 5)["result"]["structuredContent"]["notes"], json!(["rope is in locker two"]));
    let after = by_id(&answers, 7)["result"]["structuredContent"].clone();
    assert_eq!((after["entities"].as_array().unwrap().len(), after["relations"].as_array().unwrap().len()), (1, 0));
    let text = by_id(&answers, 7)["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), after);
}

#[tokio::test]
async fn a_slow_call_blocks_nobody_tells_progress_and_ends_when_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let slow = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"slow_count","arguments":{"seconds":0.2,"steps":2},"_meta":{"progressToken":"t"}}}"#;
    let long = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"slow_count","arguments":{"seconds":60}}}"#;
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#;
    let answers = talk(&folder, &[slow, long, cancel, &call(3, "read_graph", &json!({}))]).await;
    let place = |wanted: &dyn Fn(&Value) -> bool| answers.iter().position(wanted).unwrap_or_else(|| panic!("{answers:?}"));
    let counted = place(&|answer| answer["id"] == "a");
    assert!(place(&|answer| answer["id"] == 3) < counted);
    assert_eq!(answers[counted]["result"]["structuredContent"]["counted"], 2);
    assert_eq!(answers.iter().filter(|answer| answer["params"]["progressToken"] == "t").count(), 2);
    assert!(by_id(&answers, 2)["error"]["code"].is_i64());
}

#[tokio::test]
async fn wrong_lines_and_arguments_are_told_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [
        "this is no JSON",
        "[1,2]",
        r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":9,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"no/such"}"#,
        &call(2, "no_such_tool", &json!({})),
        &call(3, "search_nodes", &json!({"query": 7})),
        &call(4, "slow_count", &json!({"seconds": -1})),
        &call(5, "read_graph", &json!({"extra": true})),
    ];
    let answers = talk(&folder, &lines).await;
    assert_eq!(answers[0]["error"]["code"], -32700);
    assert_eq!(answers.iter().filter(|answer| answer["error"]["code"] == -32600).count(), 2);
    assert!(!answers.iter().any(|answer| answer["id"] == 9));
    assert_eq!(by_id(&answers, 1)["error"]["code"], -32601);
    assert_eq!(by_id(&answers, 2)["error"]["code"], -32602);
    for id in 3..=5 {
        assert_eq!(by_id(&answers, id)["result"]["isError"], true, "{id}");
    }
}

#[test]
fn what_cannot_be_written_is_not_remembered() {
    let mut memory = Memory::open("/proc/no/such/folder/memory.jsonl".into()).unwrap();
    memory.change(|graph| graph.notes.push("x".into())).expect_err("there is no such folder");
    assert!(memory.graph().notes.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.jsonl");
    std::fs::write(&path, "{\"type\":\"note\",\"text\":\"a\"}\nbroken\n").unwrap();
    assert!(Memory::open(path).unwrap_err().to_string().starts_with("line 2"));
}

#[tokio::test]
async fn a_stand_in_offers_what_it_is_given_and_does_nothing() {
    use super::serve::{Offer, serve_offer};
    use super::stand_in::StandIn;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(super::STAND_IN_FILE);
    assert!(StandIn::read(&path).is_err(), "it offers nothing of its own");
    let wipe = json!({"name": "wipe", "inputSchema": {"type": "object"}, "x": [1, 2.5], "annotations": {"destructiveHint": true}});
    std::fs::write(&path, json!([wipe]).to_string()).unwrap();
    let stand_in = StandIn::read(&path).unwrap();
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let lines = [list, call(2, "wipe", &json!({"all": true})), call(3, "read_graph", &json!({}))].join("\n") + "\n";
    let mut output = Vec::new();
    let serving = serve_offer(lines.as_bytes(), &mut output, Offer::StandIn(stand_in));
    let _ = tokio::time::timeout(std::time::Duration::from_millis(400), serving).await;
    let answers: Vec<Value> = String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(by_id(&answers, 1)["result"]["tools"], json!([wipe]));
    assert_eq!(by_id(&answers, 2)["result"], json!({"content": [{"type": "text", "text": "stand-in"}]}));
    assert_eq!(by_id(&answers, 3)["error"]["code"], -32602, "the demo's tools are not its own");
}
