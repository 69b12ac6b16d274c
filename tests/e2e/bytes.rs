//! What comes through is what the server wrote, byte for byte; and a server's own checks and questions are met. PIT-10, PIT-12, PIT-20, PIT-23.

use serde_json::Value;

use crate::harness::{Lifeboat, wait};
use crate::raw::{Raw, message};
use crate::real;
use crate::rig::{Running, Scripted, everything_at, free_port};

const LIST: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{}}"#;

fn add_http(lifeboat: &Lifeboat, name: &str, port: u16) -> String {
    wait(name, 30, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let url = format!("http://127.0.0.1:{port}/mcp");
    lifeboat.json(&["server", "add", name, "--url", &url, "--plain-loopback"]);
    lifeboat.client_for(name, &format!("raw-{name}"))
}

fn call(tool: &str, arguments: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#)
}

/// Where the server says nothing of caching, the modern list is made private and short-lived; nothing else is added.
fn without_cache_hints(body: &str) -> String {
    body.replacen(r#""ttlMs":0,"cacheScope":"private","#, "", 1).replacen(r#""ttlMs":0,"#, "", 1)
}

#[test]
fn pit_10_lists_and_results_of_server_everything_come_byte_for_byte() {
    let lifeboat = Lifeboat::start();
    let port = free_port();
    let _server = everything_at(port);
    let key = add_http(&lifeboat, "everything", port);
    let (mut direct, mut through) = (Raw::direct(port), Raw::through(&lifeboat, "everything", &key));
    assert_eq!(message(&direct.initialize()), message(&through.initialize()));
    let asked = [
        LIST.to_owned(),
        LIST.replace("tools/", "prompts/"),
        LIST.replace("tools/", "resources/templates/"),
        call("echo", r#"{"message":"caf\u00e9 \ud83d\udea3 \/ \u2028"}"#),
        call("get-structured-content", r#"{"location":"Chicago"}"#),
        call("get-annotated-message", r#"{"messageType":"error","includeImage":true}"#),
        call("get-resource-links", r#"{"count":3}"#),
        call("get-tiny-image", "{}"),
        call("no-such-tool-but-listed-nowhere", "{}"),
    ];
    for body in &asked[..asked.len() - 1] {
        let (straight, proxied) = (direct.legacy(body), through.legacy(body));
        assert_eq!((straight.status, proxied.status), (200, 200), "{body}: {}{}", straight.body, proxied.body);
        let straight = message(&straight);
        assert!(straight.contains("\"result\""), "{body}: {straight}");
        assert_eq!(message(&proxied), straight, "{body}");
    }
    let unknown: Value = serde_json::from_str(&message(&through.legacy(&asked[asked.len() - 1]))).unwrap();
    assert_eq!(unknown["error"]["data"]["reason"], "policy.unknown_tool", "{unknown}");
}

#[test]
fn pit_10_sixty_digits_and_unknown_members_of_fastmcp_come_byte_for_byte() {
    let lifeboat = Lifeboat::start();
    let port = free_port();
    let _server = real::fast(port, &[]);
    let key = add_http(&lifeboat, "fast", port);
    let (mut direct, mut through) = (Raw::direct(port), Raw::through(&lifeboat, "fast", &key));
    let modern = |raw: &Raw| message(&raw.modern("tools/call", Some("kitchen_sink"), r#""name":"kitchen_sink","arguments":{},"#));
    let sink = modern(&direct);
    let digits = format!("1{}7", "0".repeat(58));
    assert!(sink.contains(&digits) && sink.contains("1e-07") && sink.contains("e2e/unknown"), "{sink}");
    assert_eq!(modern(&through), sink);
    let list = |raw: &Raw| message(&raw.modern("tools/list", None, ""));
    assert_eq!(without_cache_hints(&list(&through)), without_cache_hints(&list(&direct)));
    direct.initialize();
    through.initialize();
    for body in [LIST.to_owned(), call("kitchen_sink", "{}"), call("add", r#"{"a":1,"b":2}"#), call("recall", "{}")] {
        assert_eq!(message(&through.legacy(&body)), message(&direct.legacy(&body)), "{body}");
    }
}

/// The request has its bytes, too: the receive log of the scripted server holds the digest of what came.
#[test]
fn pit_10_a_request_reaches_the_server_byte_for_byte() {
    use sha2::{Digest, Sha256};
    let lifeboat = Lifeboat::start();
    let scripted = Scripted::behind(&lifeboat, "scripted", &[]);
    let key = lifeboat.client_for("scripted", "raw");
    let mut through = Raw::through(&lifeboat, "scripted", &key);
    through.initialize();
    let digits = "123456789012345678901234567890123456789012345678901234567890";
    let odd = format!(
        "{{ \"params\":{{\"arguments\":{{\"text\":\"\\u0061\\/\",\"n\":{digits},\"f\":1.50e+2,\"z\":-0.0,\"a\":null}},\"name\":\"echo\",\"later\":[ 1 ]}},\n\"method\":\"tools/call\",\"id\":\"7\" ,\"jsonrpc\":\"2.0\",\"futureMember\":{{}}}}"
    );
    let answer = through.legacy(&odd);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let digest: String = Sha256::digest(odd.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let received = scripted.received();
    assert!(received.iter().any(|line| line["body_sha256"] == digest.as_str()), "{received:?}");
    let sink = message(&through.legacy(&call("kitchen_sink", "{}")));
    assert!(sink.contains(lifeboat_peers::scripted::tools::KITCHEN_SINK), "{sink}");
}

/// A server that checks its Host is called by its own authority with its port, whatever the client called Lifeboat.
#[test]
fn pit_12_a_server_that_checks_its_host_is_called_by_its_own() {
    let lifeboat = Lifeboat::start();
    let port = free_port();
    let _server = real::strict(port);
    let key = add_http(&lifeboat, "strict", port);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let direct = Raw::direct(port);
    let strange = direct
        .post(&[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list"), ("origin", "https://localhost:1")], list);
    assert_eq!(strange.status, 403, "the server checks who calls: {}", strange.body);
    let proxy_port = lifeboat.proxy.rsplit_once(':').unwrap().1.to_owned();
    let through = Raw::through(&lifeboat, "strict", &key);
    let origin = format!("https://localhost:{proxy_port}");
    for headers in [vec![], vec![("origin", origin.as_str())]] {
        let headers = [&[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")][..], &headers].concat();
        let answer = through.post(&headers, list);
        assert!(answer.status == 200 && answer.body.contains("hail"), "{headers:?}: {} {}", answer.status, answer.body);
    }
}

fn states(lifeboat: &Lifeboat) -> (Vec<(String, String)>, Value) {
    let probed = lifeboat.json(&["server", "probe", "fast"]);
    let tools = probed["tools"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let odd = tools.filter(|tool| tool["state"] != "same").map(|tool| (text(&tool["name"]), text(&tool["state"])));
    (odd.collect(), probed["removed"].clone())
}

/// fastmcp writes the keys of one schema in another order in each era; that is no other tool. A word in a description is.
#[test]
fn pit_20_another_order_is_no_drift_another_word_is_and_another_name_is_a_new_tool() {
    let lifeboat = Lifeboat::start();
    let port = free_port();
    let mut server = real::fast(port, &[]);
    let key = add_http(&lifeboat, "fast", port);
    let mut legacy = Raw::through(&lifeboat, "fast", &key);
    legacy.initialize();
    let by_era = [message(&legacy.legacy(LIST)), message(&legacy.modern("tools/list", None, ""))];
    let schema = |list: &str| list.split_once("\"inputSchema\":").map(|(_, rest)| rest[..20].to_owned());
    assert_ne!(schema(&by_era[0]), schema(&by_era[1]), "this server no longer shows what this test is about");
    assert_eq!(states(&lifeboat), (vec![], Value::Array(vec![])), "the same tools");
    let mut again = |changes: &[&str]| {
        server = Running(std::process::Command::new("true").spawn().unwrap());
        server = real::fast(port, changes);
        wait("fast", 30, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        states(&lifeboat)
    };
    assert_eq!(again(&[]), (vec![], Value::Array(vec![])), "the same tools after a restart");
    assert_eq!(again(&["reworded"]).0, [("recall".to_owned(), "changed".to_owned())]);
    let (new, removed) = again(&["renamed"]);
    assert_eq!(new, [("recollect".to_owned(), "new".to_owned())]);
    assert_eq!(removed, serde_json::json!(["recall"]));
}

#[test]
fn pit_23_a_call_without_arguments_reaches_tools_that_need_none() {
    let lifeboat = Lifeboat::start();
    real::add_memory(&lifeboat);
    let port = free_port();
    let _server = real::fast(port, &[]);
    let fast_key = add_http(&lifeboat, "fast", port);
    let memory_key = lifeboat.client_for("memory", "raw-memory");
    let demo_key = lifeboat.first_run().value("demo-client key").to_owned();
    for (server, key, tool) in
        [("demo", demo_key, "read_graph"), ("memory", memory_key, "read_graph"), ("fast", fast_key, "recall")]
    {
        let mut raw = Raw::through(&lifeboat, server, &key);
        raw.initialize();
        let bare = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{tool}"}}}}"#);
        let answer: Value = serde_json::from_str(&message(&raw.legacy(&bare))).unwrap();
        assert!(answer["result"]["content"].is_array() && answer["result"]["isError"] != true, "{server}: {answer}");
        if server != "memory" {
            let answer: Value =
                serde_json::from_str(&message(&raw.modern("tools/call", Some(tool), &format!(r#""name":"{tool}","#)))).unwrap();
            assert!(answer["result"]["content"].is_array(), "{server}, modern: {answer}");
        }
    }
}
