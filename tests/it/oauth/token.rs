//! Getting a token: how a client proves itself, what it may ask for, what is refused and how.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Sea, basic};

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

fn said(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

#[tokio::test]
async fn a_client_gets_a_token_and_calls_with_it() {
    let sea = Sea::start().await;
    let resource = sea.resource();
    let by_header = sea.ask(&[GRANT, ("resource", &resource), ("scope", "tools:read")]).await;
    let posted = [GRANT, ("resource", resource.as_str()), ("client_id", "bot"), ("client_secret", sea.secret.as_str())];
    let by_form = sea.post("/oauth/token", &[], &posted).await;
    for reply in [&by_header, &by_form] {
        let body = reply.json();
        assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")), "{body}");
        assert_eq!(
            (&body["token_type"], &body["expires_in"], &body["scope"]),
            (&json!("Bearer"), &json!(600), &json!("tools:read"))
        );
    }
    let token = by_header.json()["access_token"].as_str().expect("a token").to_owned();
    let claims = said(&token);
    let expected = json!({"iss": sea.base, "sub": "bot", "client_id": "bot", "aud": resource, "scope": "tools:read"});
    for (name, value) in expected.as_object().expect("claims") {
        assert_eq!(&claims[name], value, "{name}: {claims}");
    }
    assert_eq!((claims["exp"].as_i64(), &claims["credential"]), (claims["iat"].as_i64().map(|at| at + 600), &json!(sea.kid)));
    sea.app.upstream.forget();
    let reply = sea.call(&token, "echo").await;
    assert_eq!((reply.status, reply.code()), (200, 0), "{}", reply.json());
    for hit in sea.app.upstream.hits() {
        assert!(!hit.headers.contains_key("authorization"), "a token never goes upstream");
        assert!(!String::from_utf8_lossy(&hit.body).contains(&token));
    }
    let event = sea.app.last_call().await;
    assert_eq!((&event["client"], &event["kid"]), (&json!("bot"), &json!(sea.kid)));
    assert_eq!(event["params"]["_token"], claims["jti"], "the ledger says which token: {event}");
    let issued = sea.app.events("limit=20").await;
    let issued: Vec<_> = issued.iter().filter(|event| event["action"] == "token.issue").collect();
    assert_eq!(issued.len(), 2);
    assert_eq!((&issued[1]["object"], &issued[1]["kid"], &issued[1]["server"]), (&claims["jti"], &json!(sea.kid), &json!("up")));
    assert_eq!((&issued[1]["params"]["scope"], &issued[1]["params"]["resource"]), (&json!("tools:read"), &json!(resource)));
    let ledger = sea.app.ledger_text();
    assert!(!ledger.contains(&token) && !ledger.contains(&sea.secret), "neither token nor secret stands in the ledger");
}

#[tokio::test]
async fn a_wider_token_is_asked_for_only_where_the_client_can_have_it() {
    let sea = Sea::start().await;
    let narrow = sea.token("tools:read").await;
    sea.app.upstream.forget();
    let refused = sea.call(&narrow, "write_note").await;
    let challenge = refused.header("www-authenticate").unwrap_or_default().to_owned();
    assert_eq!(refused.status, 403, "{}", refused.json());
    for part in ["error=\"insufficient_scope\"", "scope=\"tools:read tools:write\"", "resource_metadata=\""] {
        assert!(challenge.contains(part), "{part}: {challenge}");
    }
    assert_eq!(refused.json()["error"]["data"]["executed"], "no");
    // No token would do: the refusal is in-band, or a client would ask for wider ones without end.
    let never = sea.call(&narrow, "wipe").await;
    assert_eq!((never.status, never.reason().as_str(), never.header("www-authenticate")), (200, "policy.class", None));
    assert_eq!(sea.app.upstream.hits().len(), 0);
    let wide = sea.token("tools:read tools:write").await;
    assert_eq!((sea.call(&wide, "write_note").await.code(), sea.call(&wide, "echo").await.code()), (0, 0));
    assert_eq!(sea.call(&sea.token("tools:write").await, "echo").await.code(), 0, "what is more harmless is within it");
    assert_eq!(sea.app.upstream.count("tools/call"), 3);
    let events = sea.app.events("status=refused").await;
    assert!(events.iter().any(|event| event["reason"] == "auth.insufficient_scope" && event["tool"] == "write_note"), "{events:?}");
}

#[tokio::test]
async fn atk_o06_a_scope_is_never_widened() {
    let sea = Sea::start().await;
    let resource = sea.resource();
    let ask = async |scope: &str| sea.ask(&[GRANT, ("resource", &resource), ("scope", scope)]).await;
    for odd in ["*", "tools:*", "admin", "tools:read admin", "tools:destructive", "tools:read tools:destructive", "TOOLS:READ"] {
        let reply = ask(odd).await;
        assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_scope")), "{odd}: {}", reply.json());
        assert!(reply.json().get("access_token").is_none());
    }
    let plain = sea.ask(&[GRANT, ("resource", &resource)]).await.json();
    assert_eq!(plain["scope"], "tools:read", "nothing asked for: only reading");
    assert_eq!(ask("tools:write tools:read tools:write").await.json()["scope"], "tools:read tools:write");
    // The client's roles shrink: what it holds reaches no further than they do.
    let wide = sea.token("tools:write").await;
    let role = "[[grant]]\ntools = [\"up/echo\"]\nclasses = [\"read\"]\n";
    sea.app.api("POST", "/api/v1/roles/writer", json!({"toml": role})).await;
    let reply = sea.call(&wide, "write_note").await;
    assert_eq!((reply.status, reply.reason().as_str()), (200, "policy.no_grant"));
    assert_eq!(ask("tools:write").await.json()["error"], "invalid_scope");
}

#[tokio::test]
async fn a_token_is_for_one_resource_named_exactly() {
    let sea = Sea::start().await;
    let here = sea.resource();
    let other = format!("https://127.0.0.1:{}/mcp/up", sea.app.proxy.port());
    let trailing = format!("{here}/");
    let unknown = format!("{}/mcp/ghost", sea.base);
    for odd in [trailing.as_str(), &other, &unknown, &sea.base, "up", "https://evil.example/mcp/up", "../mcp/up"] {
        let reply = sea.ask(&[GRANT, ("resource", odd)]).await;
        assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_target")), "{odd}: {}", reply.json());
    }
    for fields in [vec![GRANT], vec![GRANT, ("resource", here.as_str()), ("resource", here.as_str())]] {
        let reply = sea.ask(&fields).await;
        assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_target")), "{}", reply.json());
        assert!(reply.json()["error_description"].as_str().is_some_and(|text| text.contains("resource=")));
    }
    // Strangers are not told which servers there are: they are not told anything.
    for resource in [here.as_str(), &unknown] {
        let wrong = basic("bot", "lbs_wrong");
        let reply = sea.post("/oauth/token", &[("Authorization", &wrong)], &[GRANT, ("resource", resource)]).await;
        assert_eq!((reply.status, &reply.json()["error"]), (401, &json!("invalid_client")));
        assert!(reply.header("www-authenticate").is_some_and(|value| value.starts_with("Basic ")));
    }
}

#[tokio::test]
async fn what_is_no_token_request_is_refused_as_the_specification_says() {
    let sea = Sea::start().await;
    let (auth, resource) = (basic("bot", &sea.secret), sea.resource());
    for method in ["GET", "PUT", "DELETE", "HEAD"] {
        let reply = sea.app.bare(method, "/oauth/token", &[("Authorization", &auth)], b"").await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method}");
    }
    let right = super::form(&[GRANT, ("resource", &resource)]);
    let cases: [(&str, &str, &str, &str); 6] = [
        ("/oauth/token", "application/json", "{}", "invalid_request"),
        ("/oauth/token", "text/plain", &right, "invalid_request"),
        ("/oauth/token?grant_type=client_credentials", "application/x-www-form-urlencoded", &right, "invalid_request"),
        ("/oauth/token", "application/x-www-form-urlencoded", "a=%zz", "invalid_request"),
        (
            "/oauth/token",
            "application/x-www-form-urlencoded",
            "grant_type=password&username=a&password=b",
            "unsupported_grant_type",
        ),
        ("/oauth/token", "application/x-www-form-urlencoded", "resource=x", "invalid_request"),
    ];
    for (path, kind, body, error) in cases {
        let reply = sea.app.bare("POST", path, &[("Authorization", &auth), ("Content-Type", kind)], body.as_bytes()).await;
        assert_eq!((reply.status, &reply.json()["error"]), (400, &json!(error)), "{path} {kind} {body}: {}", reply.json());
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert!(reply.header("lifeboat-request-id").is_some());
    }
    let twice = format!("{right}&{}", super::form(&[GRANT]));
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let reply = sea.app.bare("POST", "/oauth/token", &[("Authorization", &auth), kind], twice.as_bytes()).await;
    assert_eq!(reply.json()["error"], "invalid_request");
    let large = format!("{right}&pad={}", "x".repeat(20_000));
    let reply = sea.app.bare("POST", "/oauth/token", &[("Authorization", &auth), kind], large.as_bytes()).await;
    assert_eq!((reply.status, &reply.json()["error"]), (413, &json!("invalid_request")));
    let both = [GRANT, ("resource", resource.as_str()), ("client_id", "bot"), ("client_secret", sea.secret.as_str())];
    let reply = sea.post("/oauth/token", &[("Authorization", &auth)], &both).await;
    assert_eq!(reply.json()["error"], "invalid_request", "one way to prove oneself, not two");
    sea.app.settle().await;
    let counted = sea.app.events("limit=50").await;
    assert!(
        counted.iter().any(|event| event["kind"] == "auth.refused" && event["reason"] == "oauth.invalid_request"),
        "{counted:?}"
    );
}

#[tokio::test]
async fn wrong_secrets_are_slowed_and_lock_nobody_out() {
    let sea = Sea::start().await;
    let resource = sea.resource();
    let kid = format!("lbs_{}_", sea.kid);
    let (head, _) = sea.secret.split_at(sea.secret.len() - 1);
    let mut slowed = None;
    for n in 0..40 {
        let wrong = if n % 2 == 0 { format!("{head}!") } else { format!("{kid}{}", "a".repeat(59)) };
        let auth = basic("bot", &wrong);
        let reply = sea.post("/oauth/token", &[("Authorization", &auth)], &[GRANT, ("resource", &resource)]).await;
        assert!(reply.json().get("access_token").is_none());
        if reply.status == 429 {
            slowed = Some(reply);
            break;
        }
        assert_eq!(reply.status, 401);
    }
    let slowed = slowed.expect("too many wrong ones are slowed");
    assert!(slowed.header("retry-after").and_then(|wait| wait.parse::<u64>().ok()).is_some_and(|wait| wait >= 1));
    assert_eq!(sea.ask(&[GRANT, ("resource", &resource)]).await.status, 200, "the right one is not locked out");
    let another = basic("reader", &sea.secret);
    let reply = sea.post("/oauth/token", &[("Authorization", &another)], &[GRANT, ("resource", &resource)]).await;
    assert_ne!(reply.status, 200, "a secret is its client's alone");
}

#[tokio::test]
async fn secrets_overlap_and_each_ends_alone() {
    let sea = Sea::start().await;
    let added = sea.app.api("POST", "/api/v1/clients/bot/secrets", json!({"expires_days": 1})).await;
    let second = added["secret"].as_str().expect("shown once").to_owned();
    let resource = sea.resource();
    let ask = async |secret: &str| {
        let auth = basic("bot", secret);
        sea.post("/oauth/token", &[("Authorization", &auth)], &[GRANT, ("resource", &resource)]).await
    };
    let (old, new) = (ask(&sea.secret).await, ask(&second).await);
    assert_eq!((old.status, new.status), (200, 200), "both count");
    sea.app.api("POST", &format!("/api/v1/client-secrets/{}/revoke", sea.kid), json!({})).await;
    assert_eq!((ask(&sea.secret).await.status, ask(&second).await.status), (401, 200));
    let of = |reply: &crate::support::wire::Reply| reply.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(sea.call(&of(&old), "echo").await.status, 401, "its tokens ended with it");
    assert_eq!(sea.call(&of(&new), "echo").await.code(), 0, "the other's did not");
    let shown = sea.app.api("GET", "/api/v1/clients/bot", Value::Null).await;
    let used = shown["secrets"].as_array().expect("secrets").iter().filter(|secret| secret["last_used_at"].is_string()).count();
    assert!(used >= 1, "the last use is known: {shown}");
}
