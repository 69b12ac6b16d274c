//! Ending tokens before their time: by their client, by an operator, all at once. Effective for the next call, for calls under way, for streams.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Sea, basic};
use crate::proxy::{call, modern};
use crate::support::upstream::{event, json_answer, sse_answer};
use crate::support::{TestApp, wire};

async fn revoke(sea: &Sea, auth: &str, token: &str) -> u16 {
    sea.post("/oauth/revoke", &[("Authorization", auth)], &[("token", token), ("token_type_hint", "access_token")]).await.status
}

#[tokio::test]
async fn atk_o08_only_its_own_client_ends_a_token() {
    let sea = Sea::start().await;
    let order = json!({"name": "eve", "roles": ["writer"], "rate": 0, "oauth": true});
    let eve = sea.app.api("POST", "/api/v1/clients", order).await["secret"].as_str().expect("a secret").to_owned();
    let token = sea.token("tools:read").await;
    for nothing in [token.as_str(), "lbk_x", "no token", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA"] {
        assert_eq!(revoke(&sea, &basic("eve", &eve), nothing).await, 200, "the same answer, and nothing happens");
    }
    assert_eq!(sea.call(&token, "echo").await.code(), 0, "another's token goes on");
    assert_eq!(revoke(&sea, &basic("bot", "lbs_wrong"), &token).await, 401, "who does not prove itself ends nothing");
    assert_eq!(sea.call(&token, "echo").await.code(), 0);
    assert_eq!(revoke(&sea, &basic("bot", &sea.secret), &token).await, 200);
    sea.app.upstream.forget();
    assert_eq!(sea.call(&token, "echo").await.status, 401, "at once");
    assert_eq!(sea.app.upstream.hits().len(), 0);
    let other = sea.token("tools:read").await;
    assert_eq!(sea.call(&other, "echo").await.code(), 0, "only that one");
    let ended: Vec<Value> = sea.app.events("limit=50").await.into_iter().filter(|e| e["action"] == "token.revoke").collect();
    assert_eq!((ended.len(), &ended[0]["client"]), (1, &json!("bot")), "{ended:?}");
}

#[tokio::test]
async fn ending_a_token_again_and_again_is_one_line_and_is_held_back() {
    let sea = Sea::start().await;
    let (token, other) = (sea.token("tools:read").await, sea.token("tools:read").await);
    let auth = basic("bot", &sea.secret);
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    let begun = Instant::now();
    for _ in 0..1_000 {
        *statuses.entry(revoke(&sea, &auth, &token).await).or_default() += 1;
    }
    // The bucket of tokens: 200 at once, then 20 a second.
    let most = 200 + 20 * (begun.elapsed().as_secs() as u32 + 1);
    assert!(statuses[&200] <= most && statuses.keys().all(|status| matches!(status, 200 | 429)), "{statuses:?}, {most} at most");
    sea.app.settle().await;
    let lines = sea.app.ledger_text().lines().filter(|line| line.contains("\"token.revoke\"")).count();
    assert_eq!(lines, 1, "one token was ended");
    assert_eq!(sea.call(&token, "echo").await.status, 401);
    assert_eq!(sea.call(&other, "echo").await.code(), 0);
}

#[tokio::test]
async fn an_ended_token_stays_ended_after_a_restart() {
    // The port is another one after the restart; a token is for the name it was given by.
    let mut sea = Sea::of(TestApp::start_with("public_url = \"https://mcp.example.com\"\n").await).await;
    sea.base = "https://mcp.example.com".to_owned();
    let (ended, other) = (sea.token("tools:read").await, sea.token("tools:read").await);
    assert_eq!(revoke(&sea, &basic("bot", &sea.secret), &ended).await, 200);
    let list = sea.app.data.path().join("archives/deny-list.json");
    let told = Instant::now();
    loop {
        let text = std::fs::read_to_string(&list).unwrap_or_default();
        if text.contains("\"tokens\"") && text.contains("\"client\": \"bot\"") {
            break;
        }
        assert!(told.elapsed() < Duration::from_secs(10), "the deny-list is told: {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let app = sea.app.restart().await;
    let body = call(1, "echo", json!({})).to_string();
    for (token, status) in [(&ended, 401), (&other, 200)] {
        let reply = app.post_to("/mcp/up", token, &modern("tools/call", "echo"), body.as_bytes()).await;
        assert_eq!(reply.status, status, "{}", reply.json());
    }
}

/// A call that has begun to stream its answer, with its connection.
async fn begin(sea: &Sea, token: &str) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    sea.app.upstream.script(|hit| {
        let progress =
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "t", "progress": 1}});
        (hit.rpc() == "tools/call").then(|| sse_answer(vec![(0, event(&progress))], true))
    });
    let mut stream = wire::connect(sea.app.proxy, &sea.app.ca).await;
    let body = call(1, "write_note", json!({})).to_string();
    let port = sea.app.proxy.port();
    let mut head = format!(
        "POST /mcp/up HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in modern("tools/call", "write_note") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.expect("sent");
    let seen = until(&mut stream, "\"progress\":1").await;
    assert!(seen.contains("200 OK"), "{seen}");
    stream
}

pub(super) async fn until(stream: &mut (impl tokio::io::AsyncRead + Unpin), word: &str) -> String {
    let (mut seen, mut buffer) = (Vec::new(), [0u8; 8192]);
    let read = async {
        while !String::from_utf8_lossy(&seen).contains(word) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => seen.extend_from_slice(&buffer[..n]),
            }
        }
    };
    let _in_time = tokio::time::timeout(Duration::from_secs(5), read).await;
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test]
async fn what_ends_a_credential_cuts_its_calls_under_way() {
    let sea = Sea::start().await;
    let added = sea.app.api("POST", "/api/v1/clients/bot/secrets", json!({})).await;
    let (kid, second) = (added["kid"].as_str().expect("kid").to_owned(), added["secret"].as_str().expect("secret").to_owned());
    for how in ["token", "secret", "cut", "client"] {
        let token = match how {
            "secret" => {
                let (auth, resource) = (basic("bot", &second), sea.resource());
                let fields = [("grant_type", "client_credentials"), ("resource", resource.as_str()), ("scope", "tools:write")];
                let reply = sea.post("/oauth/token", &[("Authorization", &auth)], &fields).await;
                reply.json()["access_token"].as_str().expect("a token").to_owned()
            }
            _ => sea.token("tools:write").await,
        };
        let mut stream = begin(&sea, &token).await;
        let ordered = Instant::now();
        match how {
            "token" => assert_eq!(revoke(&sea, &basic("bot", &sea.secret), &token).await, 200),
            "secret" => drop(sea.app.api("POST", &format!("/api/v1/client-secrets/{kid}/revoke"), json!({})).await),
            "cut" => drop(sea.app.api("POST", "/api/v1/tokens/cut", json!({"client": "bot"})).await),
            _ => drop(sea.app.api("POST", "/api/v1/clients/bot/revoke", json!({})).await),
        }
        let seen = until(&mut stream, "auth.revoked").await;
        let took = ordered.elapsed();
        assert!(seen.contains("-31002") && seen.contains("\"executed\":\"unknown\""), "{how}: {seen}");
        assert!(!seen.contains("try again"), "{how}: what may have run is not repeated: {seen}");
        assert!(took < Duration::from_secs(2), "{how}: {took:?}");
        assert_eq!(sea.call(&token, "echo").await.status, 401, "{how}");
    }
    sea.app.settle().await;
    let outcomes = sea.app.events("client=bot&limit=100").await;
    let cut = outcomes.iter().filter(|event| event["kind"] == "call.outcome" && event["reason"] == "auth.revoked").count();
    assert_eq!(cut, 4, "each of them is recorded: {outcomes:?}");
}

#[tokio::test]
async fn a_revoked_key_cuts_its_calls_under_way_as_well() {
    let sea = Sea::start().await;
    let mut stream = begin(&sea, &sea.app.writer).await;
    sea.app.api("POST", "/api/v1/clients/writer/revoke", json!({})).await;
    assert!(until(&mut stream, "auth.revoked").await.contains("-31002"));
}

/// The server's own stream of a session that a token began, on which nothing has come yet.
pub(super) async fn idle(app: &TestApp, token: &str) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    app.upstream.script(|hit| match (hit.method.as_str(), hit.rpc().as_str()) {
        ("GET", _) => Some(sse_answer(Vec::new(), true)),
        (_, "initialize") => {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}});
            let mut answer = json_answer(&json!({"jsonrpc": "2.0", "id": hit.json()["id"], "result": result}));
            answer.headers_mut().insert("mcp-session-id", "silent".parse().expect("a value"));
            Some(answer)
        }
        _ => None,
    });
    let asked = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked}).to_string();
    let headers = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")];
    let begun = app.post(token, &headers, body.as_bytes()).await;
    let session = begun.header("mcp-session-id").expect("a session").to_owned();
    let mut stream = wire::connect(app.proxy, &app.ca).await;
    let head = format!(
        "GET /mcp/up HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\n\
         MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: {session}\r\n\r\n",
        app.proxy.port()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let seen = until(&mut stream, "\r\n\r\n").await;
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
    stream
}

/// Whether a stream ends within two seconds, by its last chunk or with its connection; and what came until then.
pub(super) async fn ends(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (bool, String) {
    let (mut seen, mut buffer) = (String::new(), [0u8; 256]);
    let read = async {
        while !seen.contains("0\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => seen.push_str(&String::from_utf8_lossy(&buffer[..count])),
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(2), read).await.is_ok();
    (ended, seen)
}

#[tokio::test]
async fn what_ends_a_token_ends_a_stream_on_which_nothing_comes() {
    let sea = Sea::start().await;
    for how in ["token", "cut", "client"] {
        let token = sea.token("tools:read").await;
        let mut stream = idle(&sea.app, &token).await;
        let mut byte = [0u8; 256];
        let rests = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut byte)).await;
        assert!(rests.is_err(), "{how}: it stays open while its token counts");
        match how {
            "token" => assert_eq!(revoke(&sea, &basic("bot", &sea.secret), &token).await, 200),
            "cut" => drop(sea.app.api("POST", "/api/v1/tokens/cut", json!({"client": "bot"})).await),
            _ => drop(sea.app.api("POST", "/api/v1/clients/bot/revoke", json!({})).await),
        }
        let (ended, seen) = ends(&mut stream).await;
        assert!(ended, "{how}: the stream goes on: {seen:?}");
    }
}

#[tokio::test]
async fn a_cut_ends_what_was_given_before_and_nothing_after() {
    let sea = Sea::start().await;
    let before = sea.token("tools:read").await;
    let cut = sea.app.api("POST", "/api/v1/tokens/cut", json!({"reason": "a host was taken over"})).await;
    assert_eq!(cut["client"], Value::Null);
    assert_eq!(sea.call(&before, "echo").await.status, 401);
    let after = sea.token("tools:read").await;
    assert_eq!(sea.call(&after, "echo").await.code(), 0, "a new one counts at once");
    assert_eq!(
        sea.app
            .post(&sea.app.reader, &modern("tools/call", "echo"), call(1, "echo", json!({})).to_string().as_bytes())
            .await
            .code(),
        0
    );
}

#[tokio::test]
async fn of_two_cuts_within_one_second_each_ends_what_was_given_before_it() {
    let sea = Sea::start().await;
    for order in [json!({}), json!({"client": "bot"}), json!({}), json!({"client": "bot"})] {
        let before = sea.token("tools:read").await;
        assert_eq!(sea.call(&before, "echo").await.code(), 0, "given after the last cut");
        sea.app.api("POST", "/api/v1/tokens/cut", order.clone()).await;
        assert_eq!(sea.call(&before, "echo").await.status, 401, "{order}");
    }
    let (status, told) = sea.app.api_status("POST", "/api/v1/tokens/cut", json!({"client": "bott"})).await;
    assert_eq!(status, 404, "a client there is none of: {told}");
}

#[tokio::test]
async fn a_removed_signing_key_takes_every_token_of_it_along() {
    let sea = Sea::start().await;
    let token = sea.token("tools:read").await;
    assert_eq!(sea.call(&token, "echo").await.code(), 0);
    let kid = sea.signer().kid.to_string();
    let removed = sea.app.api("POST", &format!("/api/v1/token-keys/{kid}/remove"), json!({})).await;
    assert_eq!(removed["state"], "retired");
    assert_eq!(sea.call(&token, "echo").await.status, 401, "though its signature was verified before");
    assert_ne!(sea.signer().kid.as_ref(), kid, "another key signs");
    assert_eq!(sea.call(&sea.token("tools:read").await, "echo").await.code(), 0);
}
