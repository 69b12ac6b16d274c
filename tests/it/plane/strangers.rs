//! What is answered without a credential, and what not.

use serde_json::json;

use super::rig::{KEY, Rig, json_answer, tool};

#[tokio::test]
async fn atk_p01_no_path_and_no_method_is_served_without_a_credential() {
    let rig = Rig::start(|request| json_answer(json!({}), request)).await;
    let mut count = 0;
    for path in ["/", "//mcp", "/mcp/", "/mcp/s", "/mcp/ghost", "/MCP/s", "/mcp%2fs", "/mcp;x", "/oauth/authorize"] {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"] {
            let answer = rig.send(rig.request(method, path, &[], "")).await;
            assert_eq!(answer.status, 401, "{method} {path}");
            let challenge = answer.headers["www-authenticate"].to_str().expect("challenge");
            assert!(challenge.starts_with("Bearer realm=\"lifeboat\", resource_metadata=\"https://localhost:"), "{challenge}");
            count += 1;
        }
    }
    assert_eq!(rig.hits(), 0);
    assert!(rig.events().is_empty());
    assert_eq!(rig.strangers.flush().iter().map(|row| row.count).sum::<u64>(), count);
}

#[tokio::test]
async fn atk_p02_atk_p03_a_credential_that_does_not_count_is_401() {
    let rig = Rig::start(|request| json_answer(json!({}), request)).await;
    let expired = KEY.replace("abcdefgh", "expiredk");
    for bad in [expired.as_str(), &KEY.to_uppercase(), &KEY[..KEY.len() - 1], "lbk_abcdefgh_x_y", "x"] {
        let mut request = rig.post(&tool("look").to_string(), &[]);
        request.headers_mut().insert("authorization", format!("Bearer {bad}").parse().expect("header"));
        assert_eq!(rig.send(request).await.status, 401, "{bad}");
    }
    let mut twice = rig.post(&tool("look").to_string(), &[]);
    twice.headers_mut().append("authorization", format!("Bearer {KEY}").parse().expect("header"));
    assert_eq!(rig.send(twice).await.status, 401);
    let query = rig.request("POST", &format!("/mcp/s?key={KEY}"), &[], "");
    assert_eq!(rig.send(query).await.status, 401);
    assert_eq!(rig.hits(), 0);
}

#[tokio::test]
async fn atk_p30_a_foreign_host_or_origin_is_403() {
    let rig = Rig::start(|request| json_answer(json!({}), request)).await;
    for (name, value) in [("host", "evil.example"), ("origin", "https://evil.example"), ("origin", "null")] {
        assert_eq!(rig.send(rig.post(&tool("look").to_string(), &[(name, value)])).await.status, 403, "{name}: {value}");
    }
    let own = format!("https://localhost:{}", rig.address.port());
    assert_eq!(rig.send(rig.post(&tool("look").to_string(), &[("origin", &own)])).await.status, 200);
}

#[tokio::test]
async fn signs_of_life_and_discovery_are_bare() {
    let rig = Rig::start(|request| json_answer(json!({}), request)).await;
    assert_eq!(rig.send(rig.request("GET", "/health", &[], "")).await.json(), json!({"status": "ok"}));
    let ready = rig.send(rig.request("GET", "/ready", &[], "")).await;
    assert_eq!((ready.status, ready.body.len()), (200, 0));
    let document = rig.send(rig.request("GET", "/.well-known/oauth-protected-resource/mcp/s", &[], "")).await.json();
    assert_eq!(document["resource"], format!("https://localhost:{}/mcp/s", rig.address.port()));
    let server = rig.send(rig.request("GET", "/.well-known/oauth-authorization-server", &[], "")).await.json();
    assert_eq!(document["authorization_servers"], json!([server["issuer"]]));
    assert_eq!(rig.send(rig.request("GET", "/oauth/jwks", &[], "")).await.json(), json!({"keys": []}), "no key was made here");
}

#[tokio::test]
async fn with_a_credential_a_path_that_is_not_served_is_404() {
    let rig = Rig::start(|request| json_answer(json!({}), request)).await;
    let bearer = format!("Bearer {KEY}");
    for path in ["/", "/MCP/s", "/mcp%2fs", "/mcp/s/", "/mcp;x"] {
        assert_eq!(rig.send(rig.request("POST", path, &[("authorization", &bearer)], "")).await.status, 404, "{path}");
    }
    assert_eq!(rig.send(rig.request("PUT", "/mcp/s", &[("authorization", &bearer)], "")).await.status, 405);
    assert_eq!(rig.events().len(), 6);
}

#[tokio::test]
async fn plain_http_is_not_answered() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rig = Rig::start(|request| json_answer(json!({}), request)).await;
    let mut tcp = tokio::net::TcpStream::connect(rig.address).await.expect("connect");
    tcp.write_all(b"POST /mcp/s HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("write");
    let mut got = Vec::new();
    let _ = tcp.read_to_end(&mut got).await;
    assert!(!got.starts_with(b"HTTP/"), "{got:?}");
}
