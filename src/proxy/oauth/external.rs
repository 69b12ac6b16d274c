//! Tokens of issuers elsewhere: signature by a key that the issuer publishes now, an algorithm that the settings allow, issuer, audience and times.
//! Who the client is and how far the token reaches, the claims say and the settings map; the client's grants bound it like any other.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::issuers::IssuerKey;
use crate::base::clock::Timestamp;
use crate::config::IssuerConfig;
use crate::crypto::jwt::{self, Alg, Head};
use crate::crypto::keys::sha256;
use crate::policy::principal::{Foreign, Issuer};
use crate::policy::{Principal, Scopes, Snapshot, Token};
use crate::proxy::Shared;
use crate::proxy::origin::Admitted;

/// Milliseconds that the issuer's clock may differ from ours (ATK-O10).
const SKEW_MS: i64 = 60_000;
/// Access tokens, and what issuers call them that do not say so (RFC 9068 section 2.1).
const TYPES: [&str; 3] = ["at+jwt", "application/at+jwt", "jwt"];
const LONGEST_ID: usize = 256;

/// The issuer that a token says it is of, when it is one of the settings.
pub(super) fn named<'a>(snapshot: &'a Snapshot, token: &str) -> Option<&'a IssuerConfig> {
    if snapshot.settings.issuers.is_empty() {
        return None;
    }
    let issuer = jwt::peek(token, "iss")?;
    snapshot.settings.issuers.iter().find(|config| config.issuer == issuer)
}

/// Sees to it that the keys for a token are known, where they can be. Waits for the issuer at most ten seconds, once a minute.
pub(in crate::proxy) async fn prepare(shared: &Shared, token: &str) {
    let snapshot = shared.feed.snapshot();
    let Some(config) = named(&snapshot, token) else { return };
    let Some(head) = jwt::head(token) else { return };
    if shared.oauth.issuers.see(config, head.kid.as_deref()).await {
        shared.feed.look_again();
    }
}

/// The principal of a token of this issuer.
///
/// # Errors
/// The slug that the refusal is counted under.
pub(super) fn read(
    shared: &Shared,
    snapshot: &Snapshot,
    (admitted, config): (&Admitted, &IssuerConfig),
    token: &str,
) -> Result<Principal, &'static str> {
    let server = admitted.server.as_deref().ok_or("auth.audience")?;
    let opened = opened(shared, config, token)?;
    let claims = &opened.claims;
    let resource = format!("{}/mcp/{server}", admitted.base);
    let audience = config.audience.as_deref().unwrap_or(&resource);
    if text(claims, "iss") != Some(&config.issuer) {
        return Err("auth.issuer");
    }
    if !names(claims, audience) {
        return Err("auth.audience");
    }
    let now = shared.clock.now();
    let expires_at = moment(claims, "exp").ok_or("auth.malformed")?.plus_ms(SKEW_MS);
    let early = |name: &str| moment(claims, name).is_some_and(|at| at.plus_ms(-SKEW_MS) > now);
    if early("nbf") || early("iat") {
        return Err("auth.not_yet");
    }
    let value = text(claims, &config.client_claim).ok_or("auth.unknown")?;
    let (client, _) = config.client(value).and_then(|client| snapshot.clients.get_key_value(client)).ok_or("auth.unknown")?;
    let facts = Token {
        jti: jti(claims, token),
        issuer: Issuer::External(Arc::new(foreign(config, value, &opened.thumbprint))),
        // By a clock that may run fast. Without a time of issue it is as old as can be: any cut ends it.
        issued_at: moment(claims, "iat").unwrap_or_default().plus_ms(-SKEW_MS),
        expires_at,
        scopes: scopes(claims, &config.scope_claim),
    };
    let kid = format!("ext:{}", config.name).into();
    let principal = Principal { client: client.clone(), kid, token: Some(Arc::new(facts)), canary: None };
    shared.feed.counts_by(snapshot, &principal, now)?;
    Ok(principal)
}

fn foreign(config: &IssuerConfig, value: &str, key: &Arc<str>) -> Foreign {
    let (name, issuer, claim) = (config.name.clone(), config.issuer.clone(), config.client_claim.clone());
    Foreign { name, issuer, claim, value: value.to_owned(), key: key.clone() }
}

/// Whether the key that signed a principal's token is still one of its issuer's; a principal of our own needs none.
///
/// # Errors
/// The slug that says why not.
pub(super) fn key_counts(shared: &Shared, snapshot: &Snapshot, principal: &Principal) -> Result<(), &'static str> {
    let Some(Issuer::External(foreign)) = principal.token.as_ref().map(|token| &token.issuer) else { return Ok(()) };
    let config = snapshot.settings.issuers.iter().find(|config| config.name == foreign.name);
    let counts = config.is_some_and(|config| shared.oauth.issuers.has(config, &foreign.key));
    counts.then_some(()).ok_or("auth.revoked")
}

/// A token of an issuer whose signature holds.
#[derive(Debug)]
pub(super) struct Opened {
    thumbprint: Arc<str>,
    claims: Map<String, Value>,
}

/// The claims under a signature that was verified, by a key that the issuer publishes now.
fn opened(shared: &Shared, config: &IssuerConfig, token: &str) -> Result<Arc<Opened>, &'static str> {
    let digest = sha256(token.as_bytes());
    if let Some(known) = shared.oauth.foreign.find(&digest).filter(|known| shared.oauth.issuers.has(config, &known.thumbprint)) {
        return Ok(known);
    }
    let opened = Arc::new(verify(shared, config, token)?);
    let until = moment(&opened.claims, "exp").unwrap_or_default().plus_ms(SKEW_MS);
    shared.oauth.foreign.keep(digest, &opened, until, shared.clock.now());
    Ok(opened)
}

fn verify(shared: &Shared, config: &IssuerConfig, token: &str) -> Result<Opened, &'static str> {
    let head = jwt::head(token).ok_or("auth.malformed")?;
    let typ = head.typ.as_deref().unwrap_or("jwt");
    if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ)) {
        return Err("auth.kind");
    }
    if !config.algorithms.iter().any(|name| Alg::of(name) == Some(head.alg)) {
        return Err("auth.algorithm");
    }
    let keys = shared.oauth.issuers.keys(config);
    let fits = |key: &&IssuerKey, head: &Head| head.kid.is_none() || head.kid == key.kid;
    let mut fitting = keys.iter().filter(|key| fits(key, &head)).peekable();
    fitting.peek().ok_or("auth.unknown")?;
    let opened = fitting.find_map(|key| {
        let claims = jwt::open(token, head.alg, &key.key)?;
        Some(Opened { thumbprint: key.thumbprint.clone(), claims })
    });
    opened.ok_or("auth.signature")
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

fn names(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(many)) => many.iter().any(|one| one == audience),
        _ => false,
    }
}

fn moment(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let seconds = claims.get(name)?.as_f64().filter(|seconds| (0.0..1e11).contains(seconds))?;
    Some(Timestamp((seconds * 1_000.0) as i64))
}

/// The token's own id; without one, what is unmistakably it.
fn jti(claims: &Map<String, Value>, token: &str) -> Arc<str> {
    let own = text(claims, "jti").filter(|jti| !jti.is_empty() && jti.len() <= LONGEST_ID);
    own.map_or_else(
        || {
            let digest = sha256(token.as_bytes());
            digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>().into()
        },
        Arc::from,
    )
}

fn scopes(claims: &Map<String, Value>, name: &str) -> Scopes {
    match claims.get(name) {
        Some(Value::String(text)) => Scopes::of_ours(text),
        Some(Value::Array(many)) => {
            many.iter().filter_map(Value::as_str).fold(Scopes::default(), |all, one| all.and(Scopes::of_ours(one)))
        }
        _ => Scopes::default(),
    }
}
