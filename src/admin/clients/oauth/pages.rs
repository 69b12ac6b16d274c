//! The part of the page of clients about tokens: secrets, public keys, forms, and which keys should become tokens. Pure.

use askama::Template;

use super::model::{ClientPublicKey, ClientSecret, SecretAdded};
use super::texts::{self, Facts};
use crate::admin::Admin;
use crate::admin::clients::{Client, proxy_address};
use crate::admin::shell::{Shell, Wrong};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::web::Fields;
use crate::web::human;
use crate::web::view::Code;

/// A key that is older than this should become tokens.
const LONG_MS: i64 = 90 * 86_400_000;
/// Credentials of one client that are shown.
const SHOWN: usize = 6;

/// What the part shows.
#[derive(Clone, Debug, Default)]
pub struct TokensView {
    /// Clients with secrets or public keys.
    pub clients: Vec<TokenClient>,
    /// Clients to choose from.
    pub names: Vec<String>,
    /// Which long-lived keys should become tokens; empty when none.
    pub nudge: String,
    /// The forms, with what was typed.
    pub form: TokenForm,
}

/// A client that can get tokens.
#[derive(Clone, Debug)]
pub struct TokenClient {
    /// Its name, which is its client id.
    pub name: String,
    /// Its secrets, newest first.
    pub secrets: Vec<Shown>,
    /// Its public keys.
    pub jwks: Vec<Shown>,
}

/// One secret or public key.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What a verb calls it.
    pub kid: String,
    /// What people read.
    pub name: String,
    /// Age and last use.
    pub note: String,
    /// Whether it is over.
    pub dim: bool,
}

/// What was typed into the forms.
#[derive(Clone, Debug, Default)]
pub struct TokenForm {
    /// Chosen client.
    pub client: String,
    /// Field.
    pub expires: String,
    /// Field.
    pub jwk: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

impl TokenForm {
    /// What was typed.
    pub fn typed(fields: &Fields) -> Self {
        let get = |name: &str| fields.get(name).to_owned();
        Self { client: get("client"), expires: get("expires"), jwk: get("jwk"), wrong: Wrong::default() }
    }

    /// With what is wrong, at its field when the form has it.
    #[must_use]
    pub fn faulted(mut self, fault: &Fault) -> Self {
        self.wrong = Wrong::of(fault, &[("client", "client"), ("expires", "expires"), ("jwk", "jwk")]);
        self
    }
}

/// Days of a form; none when nothing was typed.
///
/// # Errors
/// `Invalid` for a number that is none.
pub fn days(fields: &Fields) -> Verb<Option<u32>> {
    match fields.get("expires") {
        "" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| Fault::invalid("expires", "a whole number of days, or nothing")),
    }
}

/// The part for these clients.
pub fn view(clients: &[Client], form: TokenForm, now: Timestamp) -> TokensView {
    let live = || clients.iter().filter(|client| client.state != "revoked");
    let with = live().filter(|client| !client.secrets.is_empty() || !client.jwks.is_empty());
    TokensView {
        clients: with.map(|client| one(client, now)).collect(),
        names: live().map(|client| client.name.clone()).collect(),
        nudge: nudge(clients, now),
        form,
    }
}

fn one(client: &Client, now: Timestamp) -> TokenClient {
    let secrets = client.secrets.iter().take(SHOWN).map(|secret| of_secret(secret, now)).collect();
    TokenClient { name: client.name.clone(), secrets, jwks: client.jwks.iter().map(|key| of_key(key, now)).collect() }
}

fn of_secret(secret: &ClientSecret, now: Timestamp) -> Shown {
    let state = match (secret.state.as_str(), secret.revoked_at, secret.expires_at) {
        ("revoked", Some(at), _) => format!("revoked {}", human::when(at, now)),
        ("expired", _, Some(at)) => format!("expired {}", human::when(at, now)),
        (_, _, Some(at)) => format!("expires {}", human::until(at, now)),
        _ => "never expires".to_owned(),
    };
    let note = format!("since {}, {}, {state}", human::day(secret.created_at, now), used(secret.last_used_at, now));
    Shown { kid: secret.kid.clone(), name: format!("lbs_{}", secret.kid), note, dim: secret.state != "active" }
}

fn of_key(key: &ClientPublicKey, now: Timestamp) -> Shown {
    let note = format!("{}, {}", key.algorithms.join(" or "), used(key.last_used_at, now));
    Shown { kid: key.kid.clone(), name: key.kid.clone(), note, dim: false }
}

/// When something was last used, in words.
pub fn used(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or("never used".to_owned(), |at| format!("used {}", human::ago(at, now)))
}

/// Keys that have been good for a long time: who finds one of them later can use it at once.
pub fn long_lived(clients: &[Client], now: Timestamp) -> Vec<String> {
    let keys = clients.iter().flat_map(|client| &client.keys).filter(|key| key.state == "active");
    let old = keys.filter(|key| now.since_ms(key.created_at) > LONG_MS);
    old.map(|key| {
        let days = now.since_ms(key.created_at) / 86_400_000;
        format!("lbk_{} of {} ({days} days old, {})", key.kid, key.client, used(key.last_used_at, now))
    })
    .collect()
}

fn nudge(clients: &[Client], now: Timestamp) -> String {
    let old = long_lived(clients, now);
    match old.as_slice() {
        [] => String::new(),
        all => format!(
            "{} older than 90 days: {}. A token lives ten minutes; give these clients a secret, then revoke the key.",
            if all.len() == 1 { "One key is".to_owned() } else { format!("{} keys are", all.len()) },
            all.iter().take(5).cloned().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// The answer to a new secret.
#[derive(Template)]
#[template(path = "clients/secret.html")]
pub struct SecretPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: SecretView,
}

/// What it shows, once.
#[derive(Clone, Debug)]
pub struct SecretView {
    /// The client, and its client id.
    pub name: String,
    /// The secret.
    pub secret: Code,
    /// When it expires.
    pub expires: String,
    /// Where the CA certificate is.
    pub ca: String,
    /// How to use it.
    pub snippets: Vec<Code>,
}

/// The page with the new secret.
pub fn secret(admin: &Admin, shell: Shell, made: &SecretAdded) -> SecretPage {
    let ca = admin.data.ca_pem();
    let ca = std::fs::canonicalize(&ca).unwrap_or(ca).display().to_string();
    let snapshot = admin.feed.snapshot();
    let server = snapshot.servers.keys().next();
    let issuer = proxy_address(admin, &shell.host);
    let url = server.map(|server| format!("{issuer}/mcp/{server}"));
    let snippets = url.map(|url| {
        let facts = Facts { url: &url, issuer: &issuer, ca: &ca, client: &made.client_id, secret: &made.secret };
        vec![
            Code::new("Shell, curl", texts::curl(&facts)),
            Code::new("Shell, Python with package mcp", texts::python(&facts)),
            Code::new("Shell, TypeScript with package @modelcontextprotocol/client", texts::typescript(&facts)),
        ]
    });
    let page = SecretView {
        name: made.client.clone(),
        secret: Code::new(format!("{}, shown once", made.client), made.secret.clone()),
        expires: made.expires_at.map_or("never expires".into(), |at| format!("expires {}", human::until(at, shell.now))),
        snippets: snippets.unwrap_or_default(),
        ca,
    };
    SecretPage { shell, page }
}
