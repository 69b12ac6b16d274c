//! Strangers, keys shown wrongly, grants, rates: who gets through and what it leaves in the ledger.

use serde_json::json;

use super::{call, modern};
use crate::support::TestApp;
use crate::support::wire;

#[tokio::test]
async fn atk_p01_no_route_serves_a_stranger() {
    let app = TestApp::start().await;
    app.upstream.forget();
    let body = call(1, "echo", json!({})).to_string();
    let paths = [
        "/",
        "/mcp/up",
        "//mcp/up",
        "/mcp/",
        "/mcp",
        "/MCP/up",
        "/mcp%2fup",
        "/./mcp/up",
        "/mcp;x/up",
        "/oauth/authorize",
        "/metrics",
        "/api/v1/status",
    ];
    for path in paths {
        for method in ["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"] {
            let body = if method == "POST" { body.as_bytes() } else { b"" };
            let reply = app.bare(method, path, &modern("tools/call", "echo"), body).await;
            assert!(matches!(reply.status, 401 | 404 | 405), "{method} {path}: {}", reply.status);
            if reply.status == 401 {
                assert!(reply.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{method} {path}");
            }
            assert!(reply.header("lifeboat-request-id").is_some(), "{method} {path}");
        }
    }
    for path in [
        "/health",
        "/ready",
        "/oauth/jwks",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp/up",
    ] {
        assert_eq!(app.bare("GET", path, &[], b"").await.status, 200, "{path}");
        assert_eq!(app.bare("HEAD", path, &[], b"").await.status, 200, "{path}");
        for method in ["POST", "DELETE", "PUT"] {
            let reply = app.bare(method, path, &[], b"").await;
            assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
    // These two check the client themselves, and say no in their own words.
    for path in ["/oauth/token", "/oauth/revoke"] {
        for method in ["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"] {
            let body = if method == "POST" { body.as_bytes() } else { b"" };
            let reply = app.bare(method, path, &modern("tools/call", "echo"), body).await;
            assert_eq!(reply.status, if method == "POST" { 400 } else { 405 }, "{method} {path}");
        }
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        assert_eq!(app.bare("POST", path, &form, b"grant_type=client_credentials&token=x").await.status, 401, "{path}");
    }
    assert_eq!(app.upstream.hits().len(), 0);
}

#[tokio::test]
async fn a_key_reaches_only_the_paths_that_exist() {
    let app = TestApp::start().await;
    app.upstream.forget();
    for path in ["/", "//mcp/up", "/mcp/", "/MCP/up", "/mcp%2fup", "/./mcp/up", "/mcp;x/up", "/mcp/up/", "/mcp/up/x"] {
        let reply = app.bare("POST", path, &[("Authorization", &format!("Bearer {}", app.writer))], b"{}").await;
        assert_eq!(reply.status, 404, "{path}");
    }
    let reply = app
        .post_to("/mcp/ghost", &app.writer, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes())
        .await;
    assert_eq!((reply.status, reply.code(), reply.reason().as_str()), (200, -31002, "policy.unknown_server"));
    assert_eq!(app.upstream.hits().len(), 0);
}

#[tokio::test]
async fn atk_p03_keys_shown_wrongly() {
    let app = TestApp::start().await;
    app.upstream.forget();
    let body = call(1, "echo", json!({})).to_string();
    let key = app.writer.clone();
    // One of many keys ends with an x of its own.
    let other = if key.ends_with('x') { 'y' } else { 'x' };
    let path = format!("/mcp/up?key={key}");
    assert_eq!(app.bare("POST", &path, &modern("tools/call", "echo"), body.as_bytes()).await.status, 401);
    let spelled = [
        format!("Bearer {}", key.to_uppercase()),
        format!("Bearer {key} "),
        format!("Bearer {key}\t"),
        format!("Bearer  {key}"),
        format!("Basic {key}"),
        key.clone(),
        format!("Bearer {}", &key[..key.len() - 1]),
        format!("Bearer {}{other}", &key[..key.len() - 1]),
        "Bearer".to_owned(),
    ];
    for value in &spelled {
        let mut headers = modern("tools/call", "echo");
        headers.push(("Authorization", value));
        let reply = app.bare("POST", "/mcp/up", &headers, body.as_bytes()).await;
        // Trailing white space is no part of a header value (RFC 9110 section 5.5), so that spelling is the key itself.
        let same = value.trim_end() == format!("Bearer {key}");
        assert_eq!(matches!(reply.status, 400 | 401), !same, "{value:?}: {}", reply.status);
    }
    let one = format!("Bearer {key}");
    let mut headers = modern("tools/call", "echo");
    headers.extend([("Authorization", one.as_str()), ("Authorization", one.as_str())]);
    assert!(matches!(app.bare("POST", "/mcp/up", &headers, body.as_bytes()).await.status, 400 | 401));
    // The two spellings that are the key itself. A look at the server by Lifeboat may end in between.
    let reached = app.upstream.count("tools/call");
    assert_eq!(reached, 2, "calls that reached the upstream");
    assert!(!app.ledger_text().contains(&key), "a key stands in the ledger");
}

#[tokio::test]
async fn atk_p04_a_read_only_client_cannot_write() {
    let app = TestApp::start().await;
    app.upstream.forget();
    for (tool, reason) in [("write_note", "policy.no_grant"), ("wipe", "policy.no_grant"), ("nope", "policy.no_grant")] {
        let reply = app.post(&app.reader, &modern("tools/call", tool), call(1, tool, json!({})).to_string().as_bytes()).await;
        assert_eq!((reply.status, reply.code(), reply.reason().as_str()), (200, -31002, reason), "{tool}");
        assert_eq!(reply.json()["error"]["data"]["executed"], "no");
        let event = app.last_call().await;
        assert_eq!(
            (&event["client"], &event["tool"], &event["decision"], &event["reason"]),
            (&json!("reader"), &json!(tool), &json!("refuse"), &json!(reason))
        );
        assert_eq!(event["request_id"].as_str(), reply.header("lifeboat-request-id"));
    }
    let reply = app.post(&app.writer, &modern("tools/call", "wipe"), call(1, "wipe", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.reason(), "policy.class", "the writer's grant names wipe but does not reach destructive");
    let reply = app.post(&app.writer, &modern("tools/call", "nope"), call(1, "nope", json!({})).to_string().as_bytes()).await;
    assert_eq!(reply.reason(), "policy.unknown_tool");
    assert_eq!(app.upstream.hits().len(), 0);
}

#[tokio::test]
async fn lists_are_filtered_by_the_function_that_decides_calls() {
    let app = TestApp::start().await;
    for (key, expected) in [(&app.reader, vec!["echo"]), (&app.writer, vec!["echo", "write_note"])] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {
            "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
        let reply = app.post(key, &modern("tools/list", ""), body.to_string().as_bytes()).await;
        let result = reply.json()["result"].clone();
        let names: Vec<_> = result["tools"].as_array().expect("tools").iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names, expected);
        assert_eq!(result["cacheScope"], "private");
        assert!(result["ttlMs"].as_i64().expect("ttl") <= 10_000);
    }
}

#[tokio::test]
async fn atk_p47_a_name_cannot_forge_a_ledger_line() {
    let app = TestApp::start().await;
    let before = app.ledger_text().lines().count();
    let names = ["a\n{\"fake\":1}", "b\r\u{1b}[31m", "c\u{2028}\u{2029}", "d\"}", &"e".repeat(900_000)];
    for name in names {
        let encoded = format!("=?base64?{}?=", base64(name.as_bytes()));
        let header = if name.len() > 1000 { "e" } else { encoded.as_str() };
        app.post(&app.writer, &modern("tools/call", header), call(1, name, json!({})).to_string().as_bytes()).await;
    }
    app.settle().await;
    let text = app.ledger_text();
    for line in text.lines().skip(before) {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value["seq"].is_u64()), "{line}");
        assert!(line.len() < 20_000, "{} bytes", line.len());
    }
    assert!(!text.contains('\u{1b}') && !text.contains('\u{2028}'));
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn a_client_over_its_rate_is_refused_in_band_with_a_hint() {
    let app = TestApp::start().await;
    let mut stream = wire::connect(app.proxy, &app.ca).await;
    let mut refused = None;
    for id in 0..20 {
        let reply =
            app.on(&mut stream, &app.slow, &modern("tools/call", "echo"), call(id, "echo", json!({})).to_string().as_bytes()).await;
        assert_eq!(reply.status, 200);
        if reply.code() != 0 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("a client with two calls a second and a burst of four is refused within twenty");
    assert_eq!((refused.code(), refused.reason().as_str()), (-31003, "rate.client"));
    assert_eq!(refused.json()["error"]["data"]["retry"], "after");
    assert!(refused.json()["error"]["data"]["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0 && ms <= 1000));
}
