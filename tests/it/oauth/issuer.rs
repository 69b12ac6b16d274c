//! Tokens of an issuer elsewhere: what counts of them, what does not, and how often the issuer is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use lifeboat::crypto::jwk::Jwk;
use lifeboat::crypto::jwt::{NewKey, SigningKey};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::ended::{ends, idle};
use super::now;
use crate::proxy::{call, modern};
use crate::support::TestApp;
use crate::support::wire::Reply;

/// A scripted issuer on loopback: metadata and keys, and how often they were asked for.
struct Idp {
    url: String,
    published: Arc<Mutex<Vec<Jwk>>>,
    asked: Arc<AtomicUsize>,
}

impl Idp {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let idp = Self { url: url.clone(), published: Arc::default(), asked: Arc::default() };
        let (published, asked) = (idp.published.clone(), idp.asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (url, published, asked) = (url.clone(), published.clone(), asked.clone());
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let answer = match request.uri().path() {
                        "/.well-known/openid-configuration" => Some(json!({"issuer": url, "jwks_uri": format!("{url}/keys")})),
                        "/keys" => {
                            asked.fetch_add(1, Ordering::SeqCst);
                            Some(json!({"keys": *published.lock().expect("lock")}))
                        }
                        _ => None,
                    };
                    async move {
                        let status = if answer.is_some() { 200 } else { 404 };
                        let body = answer.map(|value| value.to_string()).unwrap_or_default();
                        hyper::Response::builder().status(status).body(Full::new(bytes::Bytes::from(body)))
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        idp
    }

    fn publish(&self, kid: &str, key: &NewKey) {
        let jwk = Jwk { kid: Some(kid.to_owned()), ..key.public.clone() };
        self.published.lock().expect("lock").push(jwk);
    }
}

fn sign(key: &NewKey, kid: &str, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::ES256);
    (header.typ, header.kid) = (Some("at+jwt".into()), Some(kid.into()));
    encode(&header, claims, &EncodingKey::from_ec_der(key.private.reveal())).expect("signed")
}

async fn open(settings: &str) -> (Idp, TestApp, NewKey) {
    let (idp, key) = (Idp::start().await, SigningKey::generate().expect("a key"));
    idp.publish("one", &key);
    let issuer = format!("[[issuer]]\nname = \"idp\"\nissuer = \"{}\"\nplain_loopback = true\n{settings}", idp.url);
    let app = TestApp::start_with(&issuer).await;
    (idp, app, key)
}

async fn try_with(app: &TestApp, token: &str, tool: &str) -> Reply {
    app.post(token, &modern("tools/call", tool), call(1, tool, json!({})).to_string().as_bytes()).await
}

fn claims(idp: &Idp, app: &TestApp) -> Value {
    json!({"iss": idp.url, "sub": "writer", "aud": format!("https://localhost:{}/mcp/up", app.proxy.port()), "iat": now(), "exp": now() + 300,
        "scope": "openid tools:read", "jti": "their-1"})
}

#[tokio::test]
async fn a_token_of_a_named_issuer_counts_within_its_scopes_and_the_clients_grants() {
    let (idp, app, key) = open("").await;
    let found = app.bare("GET", "/.well-known/oauth-protected-resource/mcp/up", &[], b"").await.json();
    assert_eq!(found["authorization_servers"][1], idp.url, "{found}");
    let token = sign(&key, "one", &claims(&idp, &app));
    let reply = try_with(&app, &token, "echo").await;
    assert_eq!((reply.status, reply.code()), (200, 0), "{}", reply.json());
    let event = app.last_call().await;
    assert_eq!(
        (&event["client"], &event["kid"], &event["params"]["_token"]),
        (&json!("writer"), &json!("ext:idp"), &json!("their-1"))
    );
    let narrow = try_with(&app, &token, "write_note").await;
    assert_eq!(narrow.status, 403);
    assert!(narrow.header("www-authenticate").is_some_and(|value| value.contains("scope=\"tools:read tools:write\"")));
    assert_eq!(try_with(&app, &token, "wipe").await.reason(), "policy.class");
    // What it names counts for nothing where it is not a scope of ours.
    let mut none = claims(&idp, &app);
    none["scope"] = json!("openid admin *");
    assert_eq!(try_with(&app, &sign(&key, "one", &none), "echo").await.status, 403);
    app.api("POST", "/api/v1/tokens/cut", json!({})).await;
    assert_eq!(try_with(&app, &token, "echo").await.status, 401, "a cut ends tokens of issuers elsewhere too");
}

#[tokio::test]
async fn atk_p04_a_token_without_a_scope_neither_listens_nor_answers_nor_ends_a_session() {
    let (idp, app, key) = open("").await;
    let begin = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params":
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
    let plain = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")];
    let begun = app.post(&app.writer, &plain, begin.to_string().as_bytes()).await;
    let session = begun.header("mcp-session-id").unwrap_or("none").to_owned();
    let mut none = claims(&idp, &app);
    none["scope"] = json!("openid");
    let token = format!("Bearer {}", sign(&key, "one", &none));
    app.upstream.forget();
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"action": "accept"}}).to_string();
    for (method, body) in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", answer.as_str()),
        ("POST", &json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}).to_string()),
    ] {
        let mut headers = vec![("Authorization", token.as_str()), ("Mcp-Session-Id", session.as_str())];
        headers.extend([("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]);
        let headers = if session == "none" { [&headers[..1], &headers[2..]].concat() } else { headers };
        let reply = app.bare(method, "/mcp/up", &headers, body.as_bytes()).await;
        assert_eq!(reply.status, 403, "{method} {body}");
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        assert!(challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"tools:read\""), "{challenge}");
    }
    assert_eq!(app.upstream.hits().len(), 0, "nothing of it reached the server");
}

/// Changes a word of `lifeboat.toml`, as somebody does who has a shell.
async fn edit(app: &TestApp, from: &str, to: &str) {
    let config = app.data.path().join("config");
    let before = std::fs::read_to_string(config.join("lifeboat.toml")).expect("the file");
    assert!(before.contains(from), "{before}");
    std::fs::write(config.join("lifeboat.toml"), before.replace(from, to)).expect("written");
    let author = ["-c", "user.name=ana", "-c", "user.email=ana@example.org", "-c", "safe.directory=*"];
    let git = std::process::Command::new("git").args(author).args(["commit", "-qam", "issuer"]).current_dir(config).output();
    assert!(git.expect("git runs").status.success());
    lifeboat::admin::publish::publish(app.app.admin()).await.expect("it is valid");
}

#[tokio::test]
async fn a_stream_ends_with_what_let_its_token_of_an_issuer_elsewhere_in() {
    for how in ["unmapped", "moved", "another claim", "removed"] {
        let (idp, app, key) = open("client_claim = \"azp\"\nclients = { \"0oa1\" = \"writer\", \"0oa2\" = \"reader\" }\n").await;
        let mut claims = claims(&idp, &app);
        claims["azp"] = json!("0oa1");
        let mut stream = idle(&app, &sign(&key, "one", &claims)).await;
        let mut byte = [0u8; 256];
        edit(&app, "0oa2 = \"reader\"", "0oa2 = \"writer\"").await;
        let rests = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut byte)).await;
        assert!(rests.is_err(), "{how}: what does not concern it does not end it");
        match how {
            "unmapped" => edit(&app, "0oa1 = \"writer\"", "0oa1 = \"reader\"").await,
            "moved" => edit(&app, &idp.url, "https://id.example.com").await,
            "another claim" => edit(&app, "\"azp\"", "\"sub\"").await,
            _ => edit(&app, "name = \"idp\"", "name = \"other\"").await,
        }
        let (ended, seen) = ends(&mut stream).await;
        assert!(ended, "{how}: the stream goes on: {seen:?}");
    }
}

#[tokio::test]
async fn a_cut_ends_a_token_of_an_issuer_whose_clock_runs_fast() {
    let (idp, app, key) = open("").await;
    let mut claims = claims(&idp, &app);
    claims["iat"] = json!(now() + 55);
    let token = sign(&key, "one", &claims);
    assert_eq!(try_with(&app, &token, "echo").await.code(), 0);
    app.api("POST", "/api/v1/tokens/cut", json!({})).await;
    assert_eq!(try_with(&app, &token, "echo").await.status, 401);
}

#[tokio::test]
async fn atk_p02_a_token_of_an_issuer_with_one_thing_wrong_is_none() {
    let (idp, app, key) = open("algorithms = [\"ES256\"]\n").await;
    let good = claims(&idp, &app);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        sign(&key, "one", &claims)
    };
    assert_eq!(try_with(&app, &sign(&key, "one", &good), "echo").await.code(), 0);
    let stranger = SigningKey::generate().expect("a key");
    let mut hs256 = Header::new(Algorithm::HS256);
    hs256.kid = Some("one".into());
    let public = serde_json::to_vec(&key.public).expect("a key");
    let wrong = [
        ("another issuer", with("iss", json!("https://evil.example"))),
        ("our own name as its issuer", with("iss", json!(format!("https://localhost:{}", app.proxy.port())))),
        ("another audience", with("aud", json!("https://other.example"))),
        ("no audience", with("aud", Value::Null)),
        ("expired by more than a minute", with("exp", json!(now() - 61))),
        ("no expiry", with("exp", Value::Null)),
        ("not yet", with("nbf", json!(now() + 600))),
        ("issued in the future", with("iat", json!(now() + 600))),
        ("a client that is not here", with("sub", json!("ghost"))),
        ("a client that is a number", with("sub", json!(7))),
        ("signed by a stranger", sign(&stranger, "one", &good)),
        ("HS256 with its public key", encode(&hs256, &good, &EncodingKey::from_secret(&public)).expect("signed")),
    ];
    app.upstream.forget();
    for (what, token) in &wrong {
        let reply = try_with(&app, token, "echo").await;
        assert_eq!(reply.status, 401, "{what}: {}", reply.json());
    }
    assert_eq!(app.upstream.hits().len(), 0);
}

#[tokio::test]
async fn atk_o10_a_minute_of_difference_between_clocks_is_borne_with() {
    let (idp, app, key) = open("").await;
    for (name, offset, status) in [("exp", -50, 200), ("exp", -600, 401), ("nbf", 50, 200), ("nbf", 600, 401), ("iat", 50, 200)] {
        let mut claims = claims(&idp, &app);
        claims[name] = json!(now() + offset);
        let reply = try_with(&app, &sign(&key, "one", &claims), "echo").await;
        assert_eq!(reply.status, status, "{name} {offset}: {}", reply.json());
    }
}

#[tokio::test]
async fn atk_o09_unknown_keys_make_no_flood_of_requests() {
    let (idp, app, key) = open("").await;
    let good = claims(&idp, &app);
    assert_eq!(try_with(&app, &sign(&key, "one", &good), "echo").await.code(), 0);
    assert_eq!(idp.asked.load(Ordering::SeqCst), 1);
    let stranger = SigningKey::generate().expect("a key");
    for n in 0..50 {
        assert_eq!(try_with(&app, &sign(&stranger, &format!("unknown-{n}"), &good), "echo").await.status, 401);
    }
    assert_eq!(idp.asked.load(Ordering::SeqCst), 1, "not within the minute after the last look");
    assert_eq!(try_with(&app, &sign(&key, "one", &good), "echo").await.code(), 0, "and the known key goes on");
}

#[tokio::test]
async fn claims_are_mapped_to_clients_and_nobody_else_gets_in() {
    let more = "client_claim = \"azp\"\nscope_claim = \"scp\"\naudience = \"lifeboat\"\nclients = { \"0oa1\" = \"writer\" }\n";
    let (idp, app, key) = open(more).await;
    let mut mapped = claims(&idp, &app);
    (mapped["azp"], mapped["scp"], mapped["aud"]) = (json!("0oa1"), json!(["tools:write"]), json!(["other", "lifeboat"]));
    assert_eq!(try_with(&app, &sign(&key, "one", &mapped), "write_note").await.code(), 0);
    mapped["azp"] = json!("writer");
    assert_eq!(try_with(&app, &sign(&key, "one", &mapped), "write_note").await.status, 401, "a name that is not in the map");
}
