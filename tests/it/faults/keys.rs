//! Credentials that do not count, at both listeners: 401, nothing upstream, each one counted.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::proxy::{call, modern};
use crate::support::{TestApp, wire};

/// A token as an attacker makes it: any head, any claims, any signature.
fn token(head: Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"sub": "writer", "aud": "https://localhost/mcp/up", "iss": "https://localhost", "exp": 4_102_444_800_u64});
    format!("{}.{}.{signature}", part(&head), part(&claims))
}

fn last_changed(key: &str) -> String {
    let (rest, last) = key.split_at(key.len() - 1);
    format!("{rest}{}", if last == "a" { "b" } else { "a" })
}

#[tokio::test]
async fn atk_p02_what_is_no_key_of_this_deployment_is_401_and_counted() {
    let (app, other) = (TestApp::start().await, TestApp::start().await);
    let revoked = app.add_client("gone", "writer", 0).await;
    app.api("POST", "/api/v1/clients/gone/revoke", json!({})).await;
    let operator = operator_key(&app).await;
    let (kid, secret) = app.writer.strip_prefix("lbk_").and_then(|rest| rest.split_once('_')).expect("a key has parts");
    let bad = [
        ("revoked", revoked),
        ("of another deployment", other.writer.clone()),
        ("an operator's", operator.clone()),
        ("a client's key spelled as an operator's", app.writer.replacen("lbk_", "lbo_", 1)),
        ("wrong checksum", last_changed(&app.writer)),
        ("the secret of another client", format!("lbk_{kid}_{}", app.reader.rsplit_once('_').expect("parts").0)),
        ("kid that is a path", format!("lbk_../../keys/instance_{secret}")),
        ("kid of nobody", format!("lbk_zzzzzzzz_{secret}")),
        ("cut", format!("lbk_{kid}")),
        ("none", token(json!({"alg": "none", "typ": "JWT"}), "")),
        ("None", token(json!({"alg": "nOnE"}), "")),
        ("HS256 with what is public", token(json!({"alg": "HS256", "kid": kid}), "c2ln")),
        ("kid path traversal", token(json!({"alg": "EdDSA", "kid": "../../../../dev/null"}), "AAAA")),
        ("jku", token(json!({"alg": "RS256", "jku": "https://127.0.0.1:9/jwks", "x5u": "file:///etc/passwd"}), "AAAA")),
        ("as large as a header may be", "x".repeat(8_000)),
        ("a canary's that nobody admitted", "lbc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned()),
    ];
    app.settle().await;
    app.upstream.forget();
    let body = call(1, "echo", json!({})).to_string();
    for (what, key) in &bad {
        let reply = app.post(key, &modern("tools/call", "echo"), body.as_bytes()).await;
        assert_eq!(reply.status, 401, "{what}");
        assert!(reply.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer ")), "{what}");
        let told = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(
            !["expired", "revoked", "checksum"].iter().any(|word| told.contains(word)),
            "{what}: says which part is wrong: {told}"
        );
    }
    app.settle().await;
    assert_eq!(app.upstream.hits().len(), 0);
    assert_eq!(other.upstream.hits().len(), 0);
    let counted = counted(&app).await;
    assert_eq!(counted.values().sum::<u64>(), bad.len() as u64, "{counted:?}");
    assert!(counted.keys().all(|reason| reason.starts_with("auth.")), "{counted:?}");
    let ledger = app.ledger_text();
    for (what, key) in bad.iter().filter(|(_, key)| key.len() < 1_000) {
        assert!(!ledger.contains(key.as_str()), "{what}: stands in the ledger");
    }
}

#[tokio::test]
async fn atk_p02_a_clients_key_opens_nothing_at_the_admin_listener() {
    let app = TestApp::start().await;
    let operator = operator_key(&app).await;
    let admin = app.app.admin_address();
    let keys =
        [app.writer.clone(), operator.replacen("lbo_", "lbk_", 1), last_changed(&operator), token(json!({"alg": "none"}), "")];
    for key in &keys {
        let bearer = format!("Bearer {key}");
        for (method, path) in
            [("GET", "/api/v1/status"), ("POST", "/api/v1/kill/engage"), ("GET", "/metrics"), ("GET", "/api/v1/nope")]
        {
            let reply = wire::request(admin, &app.ca, method, path, &[("Authorization", &bearer)], b"").await;
            assert_eq!(reply.status, 401, "{method} {path}");
        }
    }
    let bearer = format!("Bearer {operator}");
    let reply = wire::request(admin, &app.ca, "GET", "/api/v1/status", &[("Authorization", &bearer)], b"").await;
    assert_eq!(reply.status, 200, "the operator's own key does open it");
    assert_eq!(reply.json()["kill"]["engaged"], false);
    app.settle().await;
    assert_eq!(counted(&app).await.get("operator.key"), Some(&16));
}

async fn operator_key(app: &TestApp) -> String {
    let operator = json!({"name": "ana", "role": "admin", "password": "correct horse battery staple 9"});
    app.api("POST", "/api/v1/operators", operator).await;
    let added = app.api("POST", "/api/v1/operators/ana/keys", json!({})).await;
    added["key"].as_str().expect("the key is shown once").to_owned()
}

/// Refused strangers by reason.
async fn counted(app: &TestApp) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for event in app.events("limit=200").await.iter().filter(|event| event["kind"] == "auth.refused") {
        let reason = event["reason"].as_str().unwrap_or_default().to_owned();
        *counted.entry(reason).or_default() += event["params"]["count"].as_u64().unwrap_or(0);
    }
    counted
}
