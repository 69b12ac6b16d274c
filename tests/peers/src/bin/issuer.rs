//! A scripted authorization server over plain HTTP on loopback: metadata, published keys, and signed access tokens (RFC 9068, ES256) for whoever asks as
//! a client. A test stages, activates and removes its keys. Any secret is right: who may ask is not what it is for.
//!
//! `POST /keys/stage`, `/keys/activate` (the newest signs from then on) and `/keys/remove` (all but those after the oldest) answer with the ids that are
//! published. Prints `listening ADDRESS`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

struct Issuer {
    url: String,
    keys: Vec<Key>,
    signs: usize,
    made: usize,
    issued: u64,
}

type Shared = Arc<Mutex<Issuer>>;

impl Issuer {
    fn stage(&mut self) -> anyhow::Result<()> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())?;
        self.made += 1;
        self.keys.push(Key { id: format!("key-{}", self.made), pair });
        Ok(())
    }

    fn published(&self) -> Value {
        let one = |key: &Key| {
            // SEC 1 section 2.3.3: 4, then both coordinates.
            let point = key.pair.public_key().as_ref();
            let coordinate = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
            json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": key.id, "x": coordinate(1), "y": coordinate(33)})
        };
        json!({"keys": self.keys.iter().map(one).collect::<Vec<_>>()})
    }

    fn token(&mut self, client: &str, resource: &str, scope: &str) -> anyhow::Result<Value> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        self.issued += 1;
        let key = &self.keys[self.signs];
        let claims = json!({"iss": self.url, "sub": client, "client_id": client, "aud": resource, "scope": scope, "iat": now, "exp": now + 3_600,
            "jti": format!("theirs-{}", self.issued)});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"typ": "at+jwt", "alg": "ES256", "kid": key.id})), part(&claims));
        let signature = key.pair.sign(&SystemRandom::new(), signed.as_bytes())?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
        Ok(json!({"access_token": token, "token_type": "Bearer", "expires_in": 3_600, "scope": scope}))
    }
}

/// The client of `Authorization: Basic`.
fn client(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("authorization")?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    pair.split_once(':').map(|(client, _)| client.to_owned())
}

async fn token(State(issuer): State<Shared>, headers: HeaderMap, body: String) -> Result<Json<Value>, StatusCode> {
    let fields: Vec<(String, String)> = reqwest::Url::parse(&format!("http://form/?{body}"))
        .map_err(|_| StatusCode::BAD_REQUEST)?
        .query_pairs()
        .into_owned()
        .collect();
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let client = client(&headers).or_else(|| field("client_id")).ok_or(StatusCode::UNAUTHORIZED)?;
    let resource = field("resource").ok_or(StatusCode::BAD_REQUEST)?;
    let mut issuer = issuer.lock().unwrap_or_else(PoisonError::into_inner);
    let made = issuer.token(&client, &resource, &field("scope").unwrap_or_default());
    made.map(Json).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn order(State(issuer): State<Shared>, Path(order): Path<String>) -> Result<Json<Value>, StatusCode> {
    let mut issuer = issuer.lock().unwrap_or_else(PoisonError::into_inner);
    match order.as_str() {
        "stage" => issuer.stage().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?,
        "activate" => issuer.signs = issuer.keys.len() - 1,
        "remove" if issuer.signs > 0 => {
            issuer.keys.remove(0);
            issuer.signs -= 1;
        }
        _ => return Err(StatusCode::NOT_FOUND),
    }
    Ok(Json(json!({"published": issuer.keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>()})))
}

async fn metadata(State(issuer): State<Shared>) -> Json<Value> {
    let url = issuer.lock().unwrap_or_else(PoisonError::into_inner).url.clone();
    Json(
        json!({"issuer": url, "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys"), "response_types_supported": ["token"],
        "subject_types_supported": ["public"], "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"]}),
    )
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut issuer = Issuer { url: format!("http://{address}"), keys: Vec::new(), signs: 0, made: 0, issued: 0 };
    issuer.stage()?;
    let router =
        Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route(
                "/keys",
                get(|State(issuer): State<Shared>| async move {
                    Json(issuer.lock().unwrap_or_else(PoisonError::into_inner).published())
                }),
            )
            .route("/keys/{order}", post(order))
            .route("/token", post(token))
            .with_state(Arc::new(Mutex::new(issuer)));
    println!("listening {address}");
    axum::serve(listener, router).await?;
    Ok(())
}
