//! Headers that say one thing while the body says another, and headers a client must not be able to set.

use serde_json::json;

use super::{call, modern};
use crate::support::TestApp;

async fn mismatch(app: &TestApp, headers: &[(&str, &str)], body: &str) {
    app.upstream.forget();
    let reply = app.post(&app.writer, headers, body.as_bytes()).await;
    assert_eq!((reply.status, app.upstream.hits().len()), (400, 0), "{headers:?}");
    assert!(matches!(reply.code(), -32020 | -32022 | -32602), "{headers:?}: {}", reply.code());
}

fn without<'a>(headers: &[(&'a str, &'a str)], name: &str) -> Vec<(&'a str, &'a str)> {
    headers.iter().filter(|(have, _)| !have.eq_ignore_ascii_case(name)).copied().collect()
}

#[tokio::test]
async fn atk_p08_mcp_name_names_another_tool() {
    let app = TestApp::start().await;
    mismatch(&app, &modern("tools/call", "echo"), &call(1, "wipe", json!({})).to_string()).await;
    mismatch(&app, &modern("tools/call", "wipe"), &call(1, "echo", json!({})).to_string()).await;
}

#[tokio::test]
async fn atk_p09_pit_9_mirror_headers_missing_repeated_joined_or_encoded_otherwise() {
    let app = TestApp::start().await;
    let body = call(1, "echo", json!({})).to_string();
    let right = modern("tools/call", "echo");
    for name in ["Mcp-Method", "Mcp-Name"] {
        mismatch(&app, &without(&right, name), &body).await;
    }
    for extra in [("Mcp-Name", "wipe"), ("Mcp-Method", "tools/list")] {
        let mut headers = right.clone();
        headers.push(extra);
        mismatch(&app, &headers, &body).await;
    }
    for name in ["echo, wipe", "=?base64?d2lwZQ==?=", "=?BASE64?ZWNobw==?=", "ECHO"] {
        mismatch(&app, &modern("tools/call", name), &body).await;
    }
    let reply = app.post(&app.writer, &modern("tools/call", "=?base64?ZWNobw==?="), body.as_bytes()).await;
    assert_eq!(reply.status, 200, "the sentinel of the same name is right");
}

#[tokio::test]
async fn atk_p10_version_header_and_meta_disagree() {
    let app = TestApp::start().await;
    let body = call(1, "echo", json!({})).to_string();
    let right = modern("tools/call", "echo");
    mismatch(&app, &without(&right, "MCP-Protocol-Version"), &body).await;
    for version in ["2025-11-25", "2099-01-01", "x"] {
        let mut headers = without(&right, "MCP-Protocol-Version");
        headers.push(("MCP-Protocol-Version", version));
        mismatch(&app, &headers, &body).await;
    }
    let mut plain = call(1, "echo", json!({}));
    plain["params"].as_object_mut().expect("params").remove("_meta");
    mismatch(&app, &right, &plain.to_string()).await;
}

#[tokio::test]
async fn atk_p12_private_headers_have_no_effect_and_do_not_pass() {
    let app = TestApp::start().await;
    app.upstream.forget();
    let mut headers = modern("tools/call", "echo");
    let private = [
        ("X-Forwarded-User", "admin"),
        ("X-Client-Id", "writer"),
        ("mcp-init-host", "evil.example"),
        ("X-Real-IP", "10.9.9.9"),
        ("X-Forwarded-For", "10.9.9.9"),
        ("Forwarded", "for=10.9.9.9"),
        ("Cookie", "a=b"),
        ("Mcp-Session-Id", "foreign"),
    ];
    headers.extend(private);
    let reply = app.post(&app.reader, &headers, call(1, "echo", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.status, 200);
    let hits = app.upstream.hits();
    assert_eq!(hits.len(), 1);
    for (name, _) in private.iter().filter(|(name, _)| *name != "X-Client-Id" && *name != "mcp-init-host") {
        assert!(!hits[0].headers.contains_key(*name), "{name} reached the upstream");
    }
    let event = app.last_call().await;
    assert_eq!(event["client"], "reader");
    assert_eq!(event["remote"].as_str().map(|remote| remote.starts_with("127.0.0.1")), Some(true));
}

#[tokio::test]
async fn atk_p32_no_token_goes_up_and_no_cookie_comes_down() {
    let app = TestApp::start().await;
    app.upstream.forget();
    app.upstream.script(|hit| {
        (hit.rpc() == "tools/call").then(|| {
            let mut answer = crate::support::upstream::json_answer(
                &json!({"jsonrpc": "2.0", "id": hit.json()["id"], "result": {"content": []}}),
            );
            answer.headers_mut().insert("set-cookie", "a=b".parse().expect("a value"));
            answer.headers_mut().insert("www-authenticate", "Bearer realm=\"up\"".parse().expect("a value"));
            answer
        })
    });
    let reply = app.post(&app.reader, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.status, 200);
    assert_eq!((reply.header("set-cookie"), reply.header("www-authenticate")), (None, None));
    assert!(!app.upstream.hits()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn pit_12_the_upstream_sees_its_own_host_with_port() {
    let app = TestApp::start().await;
    app.upstream.forget();
    app.post(&app.reader, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes()).await;
    let host = app.upstream.hits()[0].headers["host"].to_str().expect("text").to_owned();
    assert_eq!(host, app.upstream.address.to_string());
}

#[tokio::test]
async fn origin_and_host_of_elsewhere_are_refused() {
    let app = TestApp::start().await;
    let body = call(1, "echo", json!({})).to_string();
    for header in
        [("Origin", "http://evil.example"), ("Origin", "null"), ("Host", "evil.example"), ("Host", "localhost.evil.example:8444")]
    {
        app.upstream.forget();
        let mut headers = modern("tools/call", "echo");
        headers.push(header);
        let reply = app.post(&app.writer, &headers, body.as_bytes()).await;
        assert_eq!((reply.status, app.upstream.hits().len()), (403, 0), "{header:?}");
    }
}
