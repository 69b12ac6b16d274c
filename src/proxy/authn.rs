//! Stage: who calls. One bearer credential in one Authorization header: a client key, compared in constant time, or an access token. Never
//! reads a credential from anywhere else, and never says which part of one was wrong.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Shared;
use super::oauth;
use super::origin::Admitted;
use super::refuse::Refusal;
use crate::crypto::jwt;
use crate::policy::Principal;
use crate::policy::scopes::{FIRST, Scopes};
use crate::policy::snapshot::{ClientEntry, KeyEntry, Snapshot};

/// An authenticated request.
pub struct Caller {
    /// Who calls.
    pub principal: Principal,
    /// Its limits and grants; a canary of a client that does not exist has none.
    pub client: Arc<ClientEntry>,
}

/// Characters of the longest key, and of the longest token.
const LONGEST: usize = 512;
const LONGEST_TOKEN: usize = jwt::LONGEST;
/// Every token begins so: `{"` in base64url.
const TOKEN: &str = "eyJ";

/// Finds the principal of the one credential.
///
/// # Errors
/// 401 with a challenge, whatever is wrong.
pub fn authenticate(shared: &Shared, admitted: &Admitted) -> Result<Caller, Refusal> {
    find(shared, admitted).map_err(|why| {
        let shown = if why == "auth.missing" { Shown::Nothing } else { Shown::Something };
        Refusal::Unauthenticated { challenge: challenge(&admitted.base, admitted.server.as_deref(), shown), why }
    })
}

/// The token of a request that may be of an issuer elsewhere, whose keys have to be known first.
pub(super) fn foreign<'a>(shared: &Shared, admitted: &'a Admitted) -> Option<&'a str> {
    if shared.feed.snapshot().settings.issuers.is_empty() {
        return None;
    }
    bearer(&admitted.headers).ok().filter(|token| token.starts_with(TOKEN))
}

fn find(shared: &Shared, admitted: &Admitted) -> Result<Caller, &'static str> {
    if admitted
        .query
        .as_deref()
        .is_some_and(|query| query.contains("lbk_") || query.contains("lbs_") || query.contains("access_token="))
    {
        return Err("auth.key_in_query");
    }
    let token = bearer(&admitted.headers)?;
    let snapshot = shared.feed.snapshot();
    if token.starts_with(TOKEN) {
        let principal = oauth::read_token(shared, &snapshot, admitted, token)?;
        return known(shared, &snapshot, principal);
    }
    let Some(key) = lookup(&snapshot, token) else {
        return canary(shared, &snapshot, token).ok_or("auth.unknown");
    };
    if !counts(shared, key) {
        return Err("auth.expired");
    }
    let principal = Principal { client: key.client.clone(), kid: key.kid.clone(), token: None, canary: None };
    known(shared, &snapshot, principal)
}

fn known(shared: &Shared, snapshot: &Snapshot, principal: Principal) -> Result<Caller, &'static str> {
    if principal.canary.is_some() {
        return Ok(as_canary(snapshot, principal));
    }
    let client = snapshot.clients.get(&principal.client).ok_or("auth.unknown")?.clone();
    shared.feed.uses().mark(&principal.kid, shared.clock.now());
    Ok(Caller { principal, client })
}

/// Whether a key that is in the policy has not expired.
fn counts(shared: &Shared, key: &KeyEntry) -> bool {
    key.expires_at.is_none_or(|end| shared.clock.now() < end)
}

/// The token of the one Authorization header: scheme `Bearer`, one space, visible characters only.
fn bearer(headers: &HeaderMap) -> Result<&str, &'static str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or("auth.missing")?;
    if values.next().is_some() {
        return Err("auth.two_credentials");
    }
    let value = value.to_str().map_err(|_| "auth.malformed")?;
    let (scheme, token) = value.split_once(' ').ok_or("auth.malformed")?;
    let longest = if token.starts_with(TOKEN) { LONGEST_TOKEN } else { LONGEST };
    let fits = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= longest;
    if fits && token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') { Ok(token) } else { Err("auth.malformed") }
}

/// The key entry of `lbk_<kid>_<secret>_<checksum>` whose digest is that of the token.
fn lookup<'a>(snapshot: &'a Snapshot, token: &str) -> Option<&'a KeyEntry> {
    let (kid, _) = token.strip_prefix("lbk_")?.split_once('_')?;
    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let entry = snapshot.keys.get(kid)?;
    bool::from(entry.hash.ct_eq(&digest)).then_some(entry)
}

fn canary(shared: &Shared, snapshot: &Snapshot, token: &str) -> Option<Caller> {
    let principal = shared.feed.take_canary(token)?;
    let stands_for = principal.canary.as_ref()?.stands_for.as_deref();
    if stands_for.is_some_and(|kid| {
        !snapshot.keys.get(kid).is_some_and(|key| counts(shared, key) && snapshot.clients.contains_key(&key.client))
    }) {
        return None;
    }
    Some(as_canary(snapshot, principal))
}

/// A canary calls as a client that need not exist.
fn as_canary(snapshot: &Snapshot, principal: Principal) -> Caller {
    let client = snapshot.clients.get(&principal.client).cloned().unwrap_or_else(|| {
        let name = principal.client.clone();
        Arc::new(ClientEntry { name, grants: Vec::new(), rate: 0, burst: 1, concurrency: 0, self_rotation: false })
    });
    Caller { principal, client }
}

/// The kid that a key claims to have, right or wrong; for counting alone.
pub(super) fn claimed_kid(headers: &HeaderMap) -> Option<&str> {
    let (kid, _) = bearer(headers).ok()?.strip_prefix("lbk_")?.split_once('_')?;
    Some(kid)
}

/// What a stranger is told of why it was refused: not which part of a credential was wrong. The ledger counts it by its own slug.
pub(super) fn told(why: &'static str) -> &'static str {
    match why {
        "auth.audience" | "auth.issuer" | "auth.signature" | "auth.kind" | "auth.algorithm" | "auth.not_yet" | "auth.revoked" => {
            "auth.unknown"
        }
        other => other,
    }
}

/// What was shown by whoever is challenged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// No credential: then none was wrong (RFC 6750 section 3.1).
    Nothing,
    /// One that does not count.
    Something,
}

/// RFC 9728 section 5.1: where the metadata of this resource stands, and what to ask for first.
pub(super) fn challenge(base: &str, server: Option<&str>, shown: Shown) -> String {
    let error = if shown == Shown::Something { " error=\"invalid_token\"," } else { "" };
    format!("Bearer realm=\"lifeboat\",{error} {}, scope=\"{FIRST}\"", metadata(base, server))
}

/// RFC 6750 section 3.1: the scopes that a token needs for this, all at once.
pub(super) fn step_up(base: &str, server: &str, scopes: Scopes) -> String {
    format!("Bearer realm=\"lifeboat\", error=\"insufficient_scope\", scope=\"{scopes}\", {}", metadata(base, Some(server)))
}

fn metadata(base: &str, server: Option<&str>) -> String {
    let resource = server.map(|server| format!("/mcp/{server}")).unwrap_or_default();
    format!("resource_metadata=\"{base}/.well-known/oauth-protected-resource{resource}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, http::HeaderValue::from_bytes(value.as_bytes()).expect("value"));
        }
        headers
    }

    fn snapshot(key: &str) -> Snapshot {
        let entry =
            KeyEntry { kid: "abcdefgh".into(), client: "c".into(), hash: Sha256::digest(key.as_bytes()).into(), expires_at: None };
        let mut snapshot = Snapshot::default();
        snapshot.keys.insert(entry.kid.clone(), entry);
        snapshot
    }

    #[test]
    fn atk_p03_only_one_whole_bearer_counts() {
        assert_eq!(bearer(&headers(&["Bearer lbk_a_b_c"])), Ok("lbk_a_b_c"));
        assert_eq!(bearer(&headers(&["bearer lbk_a_b_c"])), Ok("lbk_a_b_c"));
        assert_eq!(bearer(&headers(&[])), Err("auth.missing"));
        assert_eq!(bearer(&headers(&["Bearer a", "Bearer a"])), Err("auth.two_credentials"));
        for bad in ["Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer a\t", "Bearer  a", "Bearer a, Bearer b", "a"] {
            assert_eq!(bearer(&headers(&[bad])), Err("auth.malformed"), "{bad}");
        }
        let long = |start: &str, length: usize| format!("Bearer {start}{}", "x".repeat(length));
        assert!(bearer(&headers(&[&long("eyJ", 2_000)])).is_ok() && bearer(&headers(&[&long("lbk", 2_000)])).is_err());
        assert!(bearer(&headers(&[&long("eyJ", 9_000)])).is_err());
    }

    #[test]
    fn atk_p03_a_key_counts_only_byte_for_byte() {
        let key = "lbk_abcdefgh_secretsecret_check1";
        let snapshot = snapshot(key);
        assert!(lookup(&snapshot, key).is_some());
        for bad in
            ["LBK_abcdefgh_secretsecret_check1", "lbk_abcdefgh_Secretsecret_check1", "lbk_abcdefgh_", "lbk_", "", "lbk_abcdefgh"]
        {
            assert!(lookup(&snapshot, bad).is_none(), "{bad}");
        }
    }
}
