//! Tokens that do not count, each by one trick: 401, nothing upstream, counted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use lifeboat::crypto::jwt::SigningKey;
use serde_json::{Value, json};

use super::{Sea, now};
use crate::proxy::{call, modern};

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().expect("claims").remove(name);
    claims
}

/// Tokens that our own key has signed, each with one thing wrong.
fn signed(sea: &Sea) -> Vec<(&'static str, String)> {
    let signer = sea.signer();
    let good = sea.claims();
    let sign = |claims: &Value| signer.key.sign(("at+jwt", &signer.kid), claims).expect("signed");
    let of = |what, name, value| (what, sign(&with(good.clone(), name, value)));
    let mut all = vec![
        of("expired", "exp", json!(now() - 1)),
        of("of another issuer", "iss", json!("https://evil.example")),
        of("of this issuer with a slash", "iss", json!(format!("{}/", sea.base))),
        of("for another server", "aud", json!(format!("{}/mcp/other", sea.base))),
        of("for the whole of us", "aud", json!(sea.base)),
        of("for a resource and more", "aud", json!([sea.resource(), "https://evil.example"])),
        of("for a resource that begins alike", "aud", json!(format!("{}x", sea.resource()))),
        of("of a client that is gone", "client_id", json!("ghost")),
        of("of one client as another", "sub", json!("writer")),
        of("by a credential that is gone", "credential", json!("zzzzzzzz")),
        of("by a client key as its credential", "credential", json!("reader")),
        of("with a scope there is none of", "scope", json!("*")),
        of("without scope", "scope", json!("")),
        of("with a time that is text", "exp", json!("4102444800")),
    ];
    for name in ["iss", "sub", "client_id", "aud", "issued_ms", "exp", "jti", "scope", "credential"] {
        all.push(("a claim is missing", sign(&without(good.clone(), name))));
    }
    all.push(("an assertion, not a token", signer.key.sign(("JWT", &signer.kid), &good).expect("signed")));
    all.push(("an identity token", signer.key.sign(("id+jwt", &signer.kid), &good).expect("signed")));
    all
}

/// Tokens that somebody else made.
fn forged(sea: &Sea, jwks: &Value) -> Vec<(&'static str, String)> {
    let signer = sea.signer();
    let good = sea.claims();
    let kid = signer.kid.as_ref();
    let token = signer.key.sign(("at+jwt", kid), &good).expect("signed");
    let (head, rest) = token.split_once('.').expect("parts");
    let (_, signature) = rest.split_once('.').expect("parts");
    let stranger = SigningKey::of(SigningKey::generate().expect("a key").private.reveal()).expect("a key");
    let head_of = |extra: Value| {
        let mut head = json!({"typ": "at+jwt", "alg": "ES256", "kid": kid});
        extra.as_object().expect("members").iter().for_each(|(name, value)| head[name] = value.clone());
        format!("{}.{rest}", part(&head))
    };
    let public = serde_json::to_vec(&jwks["keys"][0]).expect("a key");
    let mut hs256 = Header::new(Algorithm::HS256);
    (hs256.typ, hs256.kid) = (Some("at+jwt".into()), Some(kid.into()));
    let point = [jwks["keys"][0]["x"].as_str(), jwks["keys"][0]["y"].as_str()].map(Option::unwrap_or_default).concat();
    let with_secret = |secret: &[u8]| encode(&hs256, &good, &EncodingKey::from_secret(secret)).expect("signed");
    vec![
        ("alg none", format!("{}.{}.", part(&json!({"typ": "at+jwt", "alg": "none", "kid": kid})), part(&good))),
        ("alg nOnE", format!("{}.{}.", part(&json!({"typ": "at+jwt", "alg": "nOnE", "kid": kid})), part(&good))),
        ("HS256 with the public key as JSON", with_secret(&public)),
        ("HS256 with the public point", with_secret(point.as_bytes())),
        ("another algorithm", head_of(json!({"alg": "EdDSA"}))),
        ("kid path traversal", head_of(json!({"kid": "../../../../dev/null"}))),
        ("kid of nobody", head_of(json!({"kid": "zzzzzzzz"}))),
        ("kid that is SQL", head_of(json!({"kid": "' OR 1=1 --"}))),
        ("jku", head_of(json!({"jku": "https://evil.example/jwks"}))),
        ("x5u", head_of(json!({"x5u": "https://evil.example/cert"}))),
        ("jwk", head_of(json!({"jwk": jwks["keys"][0]}))),
        ("crit", head_of(json!({"crit": ["exp"]}))),
        ("signed by a stranger", stranger.sign(("at+jwt", kid), &good).expect("signed")),
        ("signed by a stranger of that name", stranger.sign(("at+jwt", "zzzzzzzz"), &good).expect("signed")),
        (
            "other claims under our signature",
            format!("{head}.{}.{signature}", part(&with(good.clone(), "scope", json!("tools:read")))),
        ),
        ("without signature", format!("{head}.{}.", part(&good))),
        ("two parts", format!("{head}.{}", part(&good))),
        ("four parts", format!("{token}.x")),
        ("cut", token[..token.len() - 1].to_owned()),
        ("as long as a header may be", format!("eyJ{}", "A".repeat(9_000))),
        ("another deployment's by its looks", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA".to_owned()),
    ]
}

#[tokio::test]
async fn atk_p02_no_token_talks_its_way_in() {
    let sea = Sea::start().await;
    let jwks = sea.app.bare("GET", "/oauth/jwks", &[], b"").await.json();
    let signer = sea.signer();
    let good = signer.key.sign(("at+jwt", &signer.kid), &sea.claims()).expect("signed");
    assert_eq!(sea.call(&good, "echo").await.code(), 0, "what they are variations of counts");
    sea.app.settle().await;
    sea.app.upstream.forget();
    let all = [signed(&sea), forged(&sea, &jwks)].concat();
    for (what, token) in &all {
        let reply = sea.call(token, "echo").await;
        assert_eq!(reply.status, 401, "{what}: {}", reply.json());
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""), "{what}: {challenge}");
        assert!(challenge.contains("resource_metadata=\"") && challenge.contains("scope=\"tools:read\""), "{what}: {challenge}");
        let told = String::from_utf8_lossy(&reply.body).into_owned() + challenge;
        assert!(
            !["audience", "signature", "issuer", "revoked"].iter().any(|word| told.contains(word)),
            "{what} says what is wrong: {told}"
        );
    }
    assert_eq!(sea.app.upstream.hits().len(), 0);
    sea.app.settle().await;
    let refused = sea.app.events("limit=200").await;
    let strangers = refused.iter().filter(|event| event["kind"] == "auth.refused");
    let counted: u64 = strangers.filter_map(|event| event["params"]["count"].as_u64()).sum();
    assert_eq!(counted, all.len() as u64, "each of them is counted: {refused:?}");
    assert!(!sea.app.ledger_text().contains(&good), "no token stands in the ledger");
}

#[tokio::test]
async fn a_token_counts_at_its_own_path_and_in_its_own_header_only() {
    let sea = Sea::start().await;
    let token = sea.token("tools:write").await;
    sea.app.api("POST", "/api/v1/servers", json!({"name": "other", "url": sea.app.upstream.url(), "plain_loopback": true})).await;
    sea.app.upstream.forget();
    let body = call(1, "echo", json!({})).to_string();
    let elsewhere = sea.app.post_to("/mcp/other", &token, &modern("tools/call", "echo"), body.as_bytes()).await;
    assert_eq!(elsewhere.status, 401, "a token for one server is none for another");
    let by_address = format!("127.0.0.1:{}", sea.app.proxy.port());
    let mut headers = modern("tools/call", "echo");
    headers.push(("Host", &by_address));
    assert_eq!(sea.app.post_to("/mcp/up", &token, &headers, body.as_bytes()).await.status, 401, "nor by another name of ours");
    let path = format!("/mcp/up?access_token={token}");
    assert_eq!(sea.app.bare("POST", &path, &modern("tools/call", "echo"), body.as_bytes()).await.status, 401);
    let (bearer, key) = (format!("Bearer {token}"), format!("Bearer {}", sea.app.writer));
    let mut headers = modern("tools/call", "echo");
    headers.extend([("Authorization", bearer.as_str()), ("Authorization", key.as_str())]);
    assert!(matches!(sea.app.bare("POST", "/mcp/up", &headers, body.as_bytes()).await.status, 400 | 401));
    for method in ["GET", "DELETE"] {
        let reply = sea.app.bare(method, "/mcp/other", &[("Authorization", &bearer), ("Accept", "text/event-stream")], b"").await;
        assert_eq!(reply.status, 401, "{method} asks for a token that counts, too");
    }
    assert_eq!(sea.app.upstream.hits().len(), 0);
    assert_eq!(sea.call(&token, "echo").await.code(), 0);
}

#[tokio::test]
async fn atk_o10_our_own_clock_decides_about_our_own_tokens() {
    let sea = Sea::start().await;
    let signer = sea.signer();
    let at = |iat: i64, exp: i64| {
        let claims = with(with(with(sea.claims(), "iat", json!(iat)), "exp", json!(exp)), "jti", json!(format!("tok_{exp}")));
        signer.key.sign(("at+jwt", &signer.kid), &claims).expect("signed")
    };
    assert_eq!(sea.call(&at(now() - 600, now() - 1), "echo").await.status, 401, "not a second longer");
    assert_eq!(sea.call(&at(now() - 590, now() + 5), "echo").await.code(), 0);
    let brief = at(now() - 598, now() + 2);
    assert_eq!(sea.call(&brief, "echo").await.code(), 0);
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    assert_eq!(sea.call(&brief, "echo").await.status, 401, "a verdict that was kept is looked at again");
}
