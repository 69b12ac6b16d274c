//! Bodies that one parser reads so and another otherwise: each is refused before any upstream byte.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{call, modern, refused_before_upstream};
use crate::support::TestApp;

async fn bad(app: &TestApp, body: &[u8]) {
    let reply = refused_before_upstream(app, body).await;
    assert_eq!(reply.status, 400, "{}", String::from_utf8_lossy(&body[..body.len().min(200)]));
    let code = reply.code();
    assert!(
        matches!(code, -32700 | -32600 | -32602 | -32020),
        "code {code} for {}",
        String::from_utf8_lossy(&body[..body.len().min(200)])
    );
}

const META: &str =
    r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

#[tokio::test]
async fn atk_p05_duplicate_name_in_params() {
    let app = TestApp::start().await;
    for (first, last) in [("echo", "wipe"), ("wipe", "echo")] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{first}","name":"{last}","arguments":{{}},{META}}}}}"#
        );
        bad(&app, body.as_bytes()).await;
    }
}

#[tokio::test]
async fn atk_p06_pit_7_duplicate_keys_also_escaped_and_nested() {
    let app = TestApp::start().await;
    for body in [
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{{"name":"echo",{META}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{{"name":"echo",{META}}}}}"#),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo",{META}}},"params":{{"name":"wipe",{META}}}}}"#
        ),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","na\u006de":"wipe",{META}}}}}"#),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{}},"arguments":{{"a":1}},{META}}}}}"#
        ),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"a":{{"b":1,"b":2}}}},{META}}}}}"#
        ),
    ] {
        bad(&app, body.as_bytes()).await;
    }
}

#[tokio::test]
async fn atk_p07_pit_7_case_and_fold_variants_of_keys() {
    let app = TestApp::start().await;
    for body in [
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","Method":"tools/list","params":{{"name":"echo",{META}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","PARAMS":{{"name":"wipe"}},"params":{{"name":"echo",{META}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","paramſ":{{"name":"wipe"}},"params":{{"name":"echo",{META}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","Name":"wipe",{META}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"Name":"wipe",{META}}}}}"#),
    ] {
        bad(&app, body.as_bytes()).await;
    }
}

#[tokio::test]
async fn atk_p16_pit_6_batches_in_every_era() {
    let app = TestApp::start().await;
    let one = call(1, "echo", json!({})).to_string();
    let denied = call(2, "wipe", json!({})).to_string();
    let thousand = format!("[{}]", vec![one.clone(); 1000].join(","));
    for body in
        [format!("[{one}]"), format!("[{one},{denied}]"), thousand, format!(" \n[{one}]"), format!("\u{feff}[{one}]"), "[]".into()]
    {
        bad(&app, body.as_bytes()).await;
        app.upstream.forget();
        for version in ["2025-11-25", "2025-06-18", "2025-03-26"] {
            let headers = [
                ("Content-Type", "application/json"),
                ("Accept", "application/json, text/event-stream"),
                ("MCP-Protocol-Version", version),
            ];
            let reply = app.post(&app.writer, &headers, body.as_bytes()).await;
            assert_eq!(reply.status, 400, "{version}");
        }
        assert_eq!(app.upstream.hits().len(), 0);
    }
}

#[tokio::test]
async fn atk_p17_ids_and_responses_that_are_none() {
    let app = TestApp::start().await;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#.to_owned(),
        format!(r#"{{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{{"name":"echo",{META}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{{"name":"echo",{META}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1e2,"method":"tools/call","params":{{"name":"echo",{META}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":{{"a":1}},"method":"tools/call","params":{{"name":"echo",{META}}}}}"#),
        format!(r#"{{"id":1,"method":"tools/call","params":{{"name":"echo",{META}}}}}"#),
        format!(r#"{{"jsonrpc":"1.0","id":1,"method":"tools/call","params":{{"name":"echo",{META}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo",{META}}}}}  x"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":7,"params":{{"name":"echo",{META}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","n":NaN,{META}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","n":"\ud800",{META}}}}}"#),
    ] {
        bad(&app, body.as_bytes()).await;
    }
    for id in [json!("a-string"), json!(0), json!(-7), json!(9_007_199_254_740_993_i64)] {
        let mut body = call(1, "echo", json!({}));
        body["id"] = id.clone();
        let reply = app.post(&app.writer, &modern("tools/call", "echo"), body.to_string().as_bytes()).await;
        assert_eq!((reply.status, reply.json()["id"].clone()), (200, id));
    }
}

#[tokio::test]
async fn atk_p18_depth() {
    let app = TestApp::start().await;
    let nested = |depth: usize| {
        // Two levels are the message and its params; the arguments object is the third.
        let inner = depth - 3;
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"a":{}1{}}},{META}}}}}"#,
            "[".repeat(inner),
            "]".repeat(inner)
        )
    };
    for depth in [10, 64] {
        let reply = app.post(&app.writer, &modern("tools/call", "echo"), nested(depth).as_bytes()).await;
        assert_eq!(reply.status, 200, "depth {depth}");
    }
    for body in [nested(65), nested(10_000), "[".repeat(1_000_000)] {
        let started = Instant::now();
        bad(&app, body.as_bytes()).await;
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn atk_p19_a_request_of_the_cap_and_one_byte_more() {
    let app = TestApp::start().await;
    let base = call(1, "echo", json!({"text": ""})).to_string().len();
    let sized = |size: usize| call(1, "echo", json!({"text": "x".repeat(size - base)})).to_string();
    let cap = 1 << 20;
    let reply = app.post(&app.writer, &modern("tools/call", "echo"), sized(cap).as_bytes()).await;
    assert_eq!(reply.status, 200);
    let reply = refused_before_upstream(&app, sized(cap + 1).as_bytes()).await;
    assert_eq!((reply.status, reply.code(), reply.reason().as_str()), (413, -31006, "size.request"));
    let chunked = format!("{:x}\r\n{}\r\n0\r\n\r\n", cap + 1, sized(cap + 1));
    let mut headers = modern("tools/call", "echo");
    headers.push(("Transfer-Encoding", "chunked"));
    app.upstream.forget();
    let reply = app.post(&app.writer, &headers, chunked.as_bytes()).await;
    assert_eq!((reply.status, app.upstream.hits().len()), (413, 0));
}

#[tokio::test]
async fn atk_p20_compressed_requests() {
    let app = TestApp::start().await;
    let body = call(1, "echo", json!({})).to_string();
    for encoding in ["gzip", "br", "zstd", "deflate", "gzip, gzip", "identity, gzip"] {
        app.upstream.forget();
        let mut headers = modern("tools/call", "echo");
        headers.push(("Content-Encoding", encoding));
        let reply = app.post(&app.writer, &headers, body.as_bytes()).await;
        assert_eq!((reply.status, app.upstream.hits().len()), (415, 0), "{encoding}");
    }
}

#[tokio::test]
async fn pit_8_media_types() {
    let app = TestApp::start().await;
    let body = call(1, "echo", json!({})).to_string();
    let with = |kind: Option<&'static str>| {
        let mut headers: Vec<_> = modern("tools/call", "echo").into_iter().filter(|(name, _)| *name != "Content-Type").collect();
        headers.extend(kind.map(|kind| ("Content-Type", kind)));
        headers
    };
    for kind in ["Application/JSON", "application/json;charset=utf-8", "application/json; charset=UTF-8"] {
        assert_eq!(app.post(&app.writer, &with(Some(kind)), body.as_bytes()).await.status, 200, "{kind}");
    }
    for kind in [Some("application/vnd.x+json"), Some("text/plain"), Some("application/jsonx"), None] {
        app.upstream.forget();
        let reply = app.post(&app.writer, &with(kind), body.as_bytes()).await;
        assert_eq!((reply.status, app.upstream.hits().len()), (415, 0), "{kind:?}");
    }
}
