//! Tokens from outside: documents that lead to one, getting one, using it, ending it. Every case asserts what the client sees and what reached
//! the upstream.

mod access;
mod assertion;
mod documents;
mod ended;
mod issuer;
mod token;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lifeboat::base::clock::{Clock, SystemClock};
use lifeboat::policy::tokens::Signer;
use serde_json::{Value, json};

use crate::proxy::{call, modern};
use crate::support::TestApp;
use crate::support::wire::Reply;

/// A running Lifeboat with a client `bot`, which may read and write `up/*` and has a secret instead of a key.
pub(super) struct Sea {
    pub app: TestApp,
    /// `https://localhost:PORT`.
    pub base: String,
    pub secret: String,
    pub kid: String,
}

impl Sea {
    pub(super) async fn start() -> Self {
        Self::of(TestApp::start().await).await
    }

    async fn of(app: TestApp) -> Self {
        let order = json!({"name": "bot", "roles": ["writer"], "rate": 0, "oauth": true});
        let added = app.api("POST", "/api/v1/clients", order).await;
        assert_eq!((&added["client_id"], &added["key"]), (&json!("bot"), &Value::Null), "{added}");
        let text = |name: &str| added[name].as_str().expect("it is shown").to_owned();
        let base = format!("https://localhost:{}", app.proxy.port());
        Self { base, secret: text("secret"), kid: text("kid"), app }
    }

    /// The resource that `up` is.
    pub(super) fn resource(&self) -> String {
        format!("{}/mcp/up", self.base)
    }

    /// Asks for a token as `bot`, by the Authorization header.
    pub(super) async fn ask(&self, fields: &[(&str, &str)]) -> Reply {
        let basic = basic("bot", &self.secret);
        self.post("/oauth/token", &[("Authorization", &basic)], fields).await
    }

    /// A token of `bot` for `up`.
    pub(super) async fn token(&self, scope: &str) -> String {
        let reply = self.ask(&[("grant_type", "client_credentials"), ("resource", &self.resource()), ("scope", scope)]).await;
        assert_eq!(reply.status, 200, "{}", reply.json());
        reply.json()["access_token"].as_str().expect("a token").to_owned()
    }

    /// Posts a form.
    pub(super) async fn post(&self, path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Reply {
        let mut all = vec![("Content-Type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.app.bare("POST", path, &all, form(fields).as_bytes()).await
    }

    /// Calls a tool of `up` with a token.
    pub(super) async fn call(&self, token: &str, tool: &str) -> Reply {
        self.app.post(token, &modern("tools/call", tool), call(1, tool, json!({})).to_string().as_bytes()).await
    }

    /// The key that signs tokens here.
    pub(super) fn signer(&self) -> Signer {
        self.app.app.admin().feed.snapshot().tokens.signer.clone().expect("a key signs from the first start on")
    }

    /// What a token of `bot` for `up` says, to be changed by a test.
    pub(super) fn claims(&self) -> Value {
        let now = now();
        json!({"iss": self.base, "sub": "bot", "client_id": "bot", "aud": self.resource(), "iat": now, "issued_ms": now * 1_000, "exp": now + 600,
            "jti": "tok_test", "scope": "tools:write", "credential": self.kid})
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    SystemClock.now().0 / 1_000
}

/// `client_secret_basic`.
pub(super) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", lifeboat::web::form::encode(value))).collect();
    pairs.join("&")
}
