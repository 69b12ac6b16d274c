//! Checks an access token: our own signature, kind, issuer, audience, times. A signature is verified once and the verdict kept; whether the
//! token still counts is looked up anew at every use. Never trusts a head for more than a name.

use std::sync::Arc;

use serde::Deserialize;

use super::client::CANARY;
use super::external;
use super::token::TYPE;
use crate::base::clock::Timestamp;
use crate::crypto::jwt;
use crate::crypto::keys::sha256;
use crate::policy::principal::Issuer;
use crate::policy::{Principal, Scopes, Snapshot, Token};
use crate::proxy::Shared;
use crate::proxy::origin::Admitted;

/// What our tokens say. Each claim must be there, once, and of its type.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    client_id: String,
    aud: String,
    issued_ms: i64,
    exp: i64,
    jti: String,
    scope: String,
    credential: String,
}

/// A token of our own whose signature holds.
#[derive(Debug)]
pub(super) struct Opened {
    issuer: String,
    audience: String,
    /// Whose it is.
    pub client: Arc<str>,
    credential: Arc<str>,
    /// What it says.
    pub token: Arc<Token>,
}

/// The principal of a token that is for the resource of this very path, and counts.
///
/// # Errors
/// The slug that the refusal is counted under.
pub(in crate::proxy) fn read(
    shared: &Shared,
    snapshot: &Snapshot,
    admitted: &Admitted,
    token: &str,
) -> Result<Principal, &'static str> {
    if let Some(config) = external::named(snapshot, token) {
        return external::read(shared, snapshot, (admitted, config), token);
    }
    let opened = opened(shared, snapshot, token)?;
    if opened.credential.starts_with(CANARY) {
        let principal = shared.feed.take_canary(&opened.credential).ok_or("auth.unknown")?;
        return stand_in(snapshot, &opened, principal);
    }
    if opened.issuer != admitted.base {
        return Err("auth.issuer");
    }
    let path = admitted.server.as_deref().ok_or("auth.audience")?;
    let named = opened.audience.strip_prefix(admitted.base.as_str()).and_then(|rest| rest.strip_prefix("/mcp/"));
    if named != Some(path) {
        return Err("auth.audience");
    }
    let principal = Principal {
        client: opened.client.clone(),
        kid: opened.credential.clone(),
        token: Some(opened.token.clone()),
        canary: None,
    };
    shared.feed.counts_by(snapshot, &principal, shared.clock.now())?;
    Ok(principal)
}

/// The token of a proof of ours, which stands for the key that signed it: it is let in while that key counts. Its issuer, audience and times say nothing,
/// since it is shown at every listener, and to nobody else. Only this process can have made one; the call ends before anything is sent.
fn stand_in(snapshot: &Snapshot, opened: &Opened, principal: Principal) -> Result<Principal, &'static str> {
    let Issuer::Own { key } = &opened.token.issuer else { return Err("auth.unknown") };
    let stands_for = principal.canary.as_ref().and_then(|canary| canary.stands_for.as_ref());
    // The verdict on its signature may be older than the end of its key.
    if stands_for != Some(key) || !snapshot.tokens.verifiers.contains_key(key) {
        return Err("auth.revoked");
    }
    Ok(Principal { token: Some(opened.token.clone()), ..principal })
}

/// A token of this instance that its issuer would know again; none for anything else.
pub(super) fn own(shared: &Shared, snapshot: &Snapshot, base: &str, token: &str) -> Option<Arc<Opened>> {
    opened(shared, snapshot, token).ok().filter(|opened| opened.issuer == base)
}

fn opened(shared: &Shared, snapshot: &Snapshot, token: &str) -> Result<Arc<Opened>, &'static str> {
    let digest = sha256(token.as_bytes());
    if let Some(known) = shared.oauth.own.find(&digest) {
        return Ok(known);
    }
    let opened = Arc::new(verify(snapshot, token)?);
    shared.oauth.own.keep(digest, &opened, opened.token.expires_at, shared.clock.now());
    Ok(opened)
}

fn verify(snapshot: &Snapshot, token: &str) -> Result<Opened, &'static str> {
    let head = jwt::head(token).ok_or("auth.malformed")?;
    // Only our own kind: an identity token or an assertion is no access token (RFC 9068 section 4).
    let kind = head.typ.as_deref().unwrap_or_default();
    if !kind.eq_ignore_ascii_case(TYPE) && !kind.eq_ignore_ascii_case("application/at+jwt") {
        return Err("auth.kind");
    }
    let kid = head.kid.as_deref().ok_or("auth.unknown")?;
    let (key, published) = snapshot.tokens.verifiers.get_key_value(kid).ok_or("auth.unknown")?;
    let claims: Claims = jwt::open(token, head.alg, &published.key).ok_or("auth.signature")?;
    if claims.sub != claims.client_id {
        return Err("auth.malformed");
    }
    let moment = |seconds: i64| Timestamp(seconds.saturating_mul(1_000));
    let token = Token {
        jti: claims.jti.into(),
        issuer: Issuer::Own { key: key.clone() },
        issued_at: Timestamp(claims.issued_ms),
        expires_at: moment(claims.exp),
        scopes: Scopes::parse(&claims.scope).map_err(|_| "auth.malformed")?,
    };
    Ok(Opened {
        issuer: claims.iss,
        audience: claims.aud,
        client: claims.client_id.into(),
        credential: claims.credential.into(),
        token: Arc::new(token),
    })
}
