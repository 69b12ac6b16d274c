//! Clients that prove themselves by what they have signed (private_key_jwt): once, for us, for a few minutes, with a key that is theirs.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use lifeboat::crypto::jwt::{NewKey, SigningKey};
use serde_json::{Value, json};

use super::{Sea, now};
use crate::support::wire::Reply;

const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client `signer` with a public key in its file.
struct Signing {
    sea: Sea,
    key: NewKey,
    kid: String,
    id: String,
}

impl Signing {
    async fn start() -> Self {
        let sea = Sea::start().await;
        sea.app.add_client("signer", "writer", 0).await;
        let key = SigningKey::generate().expect("a key");
        let jwk = serde_json::to_string(&key.public).expect("a key");
        let added = sea.app.api("POST", "/api/v1/clients/signer/jwks", json!({"jwk": jwk})).await;
        let text = |name: &str| added[name].as_str().expect("text").to_owned();
        // Nothing that was made before the process began counts.
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        Self { kid: text("kid"), id: text("id"), sea, key }
    }

    /// Made by a clock that is a minute ahead: nothing else counts in the first minute.
    fn claims(&self, jti: &str) -> Value {
        json!({"iss": "signer", "sub": "signer", "aud": format!("{}/oauth/token", self.sea.base), "iat": now() + 60, "exp": now() + 120, "jti": jti})
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        encode(&header, claims, &EncodingKey::from_ec_der(self.key.private.reveal())).expect("signed")
    }

    async fn show(&self, assertion: &str) -> Reply {
        let resource = self.sea.resource();
        let fields = [
            ("grant_type", "client_credentials"),
            ("resource", resource.as_str()),
            ("client_assertion_type", KIND),
            ("client_assertion", assertion),
        ];
        self.sea.post("/oauth/token", &[], &fields).await
    }
}

#[tokio::test]
async fn an_assertion_counts_once() {
    let signing = Signing::start().await;
    let assertion = signing.sign(&signing.claims("one"));
    let first = signing.show(&assertion).await;
    assert_eq!(first.status, 200, "{}", first.json());
    let again = signing.show(&assertion).await;
    assert_eq!((again.status, &again.json()["error"]), (401, &json!("invalid_client")), "a replay: {}", again.json());
    let mut for_issuer = signing.claims("two");
    for_issuer["aud"] = json!([signing.sea.base, "https://other.example"]);
    assert_eq!(signing.show(&signing.sign(&for_issuer)).await.status, 200, "the issuer is as good a name as the endpoint");
    let token = first.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(signing.sea.call(&token, "echo").await.code(), 0);
    assert_eq!(signing.sea.app.last_call().await["kid"], signing.id, "the ledger names the key by what it is");
}

#[tokio::test]
async fn an_assertion_that_the_process_before_may_have_seen_is_told_to_wait() {
    let before = now();
    let signing = Signing::start().await;
    for (name, value) in [("iat", json!(now())), ("iat", json!(before + 50)), ("exp", json!(before + 355))] {
        let mut claims = signing.claims(&format!("{name} {value}"));
        claims[name] = value;
        if name == "exp" {
            claims.as_object_mut().expect("claims").remove("iat");
        }
        let reply = signing.show(&signing.sign(&claims)).await;
        assert_eq!((reply.status, &reply.json()["error"]), (503, &json!("temporarily_unavailable")), "{claims}: {}", reply.json());
        let wait = reply.header("retry-after").and_then(|wait| wait.parse::<u64>().ok());
        assert!(wait.is_some_and(|wait| (1..=61).contains(&wait)), "{wait:?}");
    }
}

#[tokio::test]
async fn an_assertion_that_is_not_for_us_now_by_its_client_is_none() {
    let signing = Signing::start().await;
    let with = |name: &str, value: Value| {
        let mut claims = signing.claims(&format!("{name} {value}"));
        claims[name] = value;
        signing.sign(&claims)
    };
    let without = |name: &str| {
        let mut claims = signing.claims("without");
        claims.as_object_mut().expect("claims").remove(name);
        signing.sign(&claims)
    };
    let wrong = [
        with("aud", json!("https://evil.example/oauth/token")),
        with("aud", json!(signing.sea.resource())),
        with("iss", json!("writer")),
        with("sub", json!("writer")),
        with("sub", json!("ghost")),
        with("exp", json!(now() - 1)),
        with("exp", json!(now() + 3_600)),
        with("nbf", json!(now() + 600)),
        with("iat", json!(now() + 600)),
        with("iat", json!(now() - 3_600)),
        with("jti", json!("")),
        with("jti", json!("x".repeat(300))),
        without("aud"),
        without("exp"),
        without("jti"),
        without("iss"),
    ];
    for (n, assertion) in wrong.iter().enumerate() {
        let reply = signing.show(assertion).await;
        assert!(matches!(reply.status, 401 | 429), "{n}: {} {}", reply.status, reply.json());
        assert!(reply.json().get("access_token").is_none());
    }
}

#[tokio::test]
async fn atk_p02_an_assertion_by_another_key_is_none() {
    let signing = Signing::start().await;
    let claims = signing.claims("forged");
    let stranger = SigningKey::generate().expect("a key");
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(signing.kid.clone());
    let by_stranger = encode(&header, &claims, &EncodingKey::from_ec_der(stranger.private.reveal())).expect("signed");
    let mut brings = header.clone();
    brings.jku = Some("https://evil.example/jwks".into());
    let brought = encode(&brings, &claims, &EncodingKey::from_ec_der(signing.key.private.reveal())).expect("signed");
    let mut hs256 = Header::new(Algorithm::HS256);
    hs256.kid = Some(signing.kid.clone());
    let public = serde_json::to_vec(&signing.key.public).expect("a key");
    let confused = encode(&hs256, &claims, &EncodingKey::from_secret(&public)).expect("signed");
    let mut of_token = header.clone();
    of_token.typ = Some("at+jwt".into());
    let token = encode(&of_token, &claims, &EncodingKey::from_ec_der(signing.key.private.reveal())).expect("signed");
    for (what, assertion) in [("stranger", by_stranger), ("jku", brought), ("HS256", confused), ("another kind", token)] {
        let reply = signing.show(&assertion).await;
        assert_eq!((reply.status, &reply.json()["error"]), (401, &json!("invalid_client")), "{what}");
    }
    // The key of one client is no key of another.
    let mut other = signing.claims("other");
    (other["iss"], other["sub"]) = (json!("bot"), json!("bot"));
    assert_eq!(signing.show(&signing.sign(&other)).await.status, 401);
}

#[tokio::test]
async fn a_removed_public_key_is_gone_for_good_with_its_tokens() {
    let signing = Signing::start().await;
    let token =
        signing.show(&signing.sign(&signing.claims("a"))).await.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(signing.sea.call(&token, "echo").await.code(), 0);
    let app = &signing.sea.app;
    let before = app.api("GET", "/api/v1/config/history?limit=1", Value::Null).await["commits"][0]["commit"].clone();
    app.api("POST", "/api/v1/clients/signer/jwks/remove", json!({"kid": signing.kid})).await;
    assert_eq!(signing.sea.call(&token, "echo").await.status, 401);
    assert_eq!(signing.show(&signing.sign(&signing.claims("b"))).await.status, 401);
    // An earlier configuration names it again; it counts no more.
    app.api("POST", "/api/v1/config/rollback", json!({"to": before, "reason": "test"})).await;
    let file = std::fs::read_to_string(app.data.path().join("config/clients/signer.toml")).expect("the file");
    assert!(file.contains(&signing.kid), "{file}");
    assert_eq!(signing.show(&signing.sign(&signing.claims("c"))).await.status, 401);
    let jwk = serde_json::to_string(&signing.key.public).expect("a key");
    let (status, _) = app.api_status("POST", "/api/v1/clients/signer/jwks", json!({"jwk": jwk})).await;
    assert_eq!(status, 409, "nor can it be registered again");
}
