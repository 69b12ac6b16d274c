//! Who asks for a token: by its secret in the Authorization header (client_secret_basic) or in the form (client_secret_post), or by an
//! assertion it has signed (private_key_jwt). Exactly one of them counts; never says which part of one was wrong.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::assertion;
use super::fault::OauthFault;
use super::form::{Form, decode};
use crate::base::secret::Secret;
use crate::crypto::keys::{self, KeyPrefix};
use crate::policy::Snapshot;
use crate::policy::snapshot::ClientEntry;
use crate::proxy::Shared;
use crate::proxy::origin::Admitted;

/// A client that has proved itself.
pub(super) struct Proven {
    /// The client.
    pub client: Arc<ClientEntry>,
    /// The credential it proved itself with.
    pub kid: Arc<str>,
    /// Whether it is a proof of ours that stands for this credential: it is told that it would be given a token, and gets none.
    pub stands_in: bool,
}

/// What a proof of ours shows in place of a credential begins so.
pub(super) const CANARY: &str = "lbc_";

/// How a client proves itself.
enum Proof {
    Secret { id: String, secret: Secret<String>, by_header: bool },
    Assertion(String),
}

/// Finds the client that asks.
///
/// # Errors
/// `invalid_client`; `invalid_request` for none or two proofs; 429 for a wrong one among too many.
pub(super) fn prove(
    shared: &Shared,
    snapshot: &Snapshot,
    (admitted, form): (&Admitted, &Form),
    from: IpAddr,
) -> Result<Proven, OauthFault> {
    let proof = proof(&admitted.headers, form)?;
    if let Proof::Secret { id, secret, by_header } = &proof
        && let Some(proven) = stand_in(shared, snapshot, (id, secret))
    {
        return proven.ok_or(OauthFault::Client { by_header: *by_header, why: "oauth.unknown" });
    }
    let (named, found) = match &proof {
        Proof::Secret { id, secret, by_header } => (Some(id.clone()), by_secret(shared, snapshot, (id, secret, *by_header))),
        Proof::Assertion(assertion) => {
            let expected = form.one("client_id")?;
            (expected.map(str::to_owned), assertion::check(shared, snapshot, &admitted.base, (assertion, expected)))
        }
    };
    let proven = found.map_err(|fault| {
        // A right one that is too early is no guess.
        if matches!(fault, OauthFault::Early { .. }) {
            return fault;
        }
        if let Some(kid) = proof.claimed() {
            shared.feed.places().note(kid, from, shared.clock.now(), false);
        }
        shared.oauth.throttle.wrong(from, named.as_deref()).map_or_else(|seconds| OauthFault::TooMany { seconds }, |()| fault)
    })?;
    let now = shared.clock.now();
    shared.feed.uses().mark(&proven.kid, now);
    shared.feed.places().note(&proven.kid, from, now, true);
    Ok(proven)
}

impl Proof {
    /// The name that a secret claims to have, right or wrong; for counting alone.
    fn claimed(&self) -> Option<&str> {
        let Self::Secret { secret, .. } = self else { return None };
        keys::parse(secret.reveal()).filter(|shown| shown.prefix == KeyPrefix::Secret).map(|shown| shown.kid)
    }
}

/// A canary that stands for a secret: it proves itself while that secret would, and never holds anybody back who guesses. None when it is none; only
/// this process can have made one.
fn stand_in(shared: &Shared, snapshot: &Snapshot, (id, shown): (&str, &Secret<String>)) -> Option<Option<Proven>> {
    let token = Some(shown.reveal()).filter(|text| text.starts_with(CANARY))?;
    let stands_for = shared.feed.take_canary(token)?.canary?.stands_for;
    let entry = stands_for.and_then(|kid| snapshot.tokens.secrets.get(&kid));
    let counts = entry.filter(|entry| entry.client.as_ref() == id && entry.expires_at.is_none_or(|end| shared.clock.now() < end));
    let client = counts.and_then(|entry| Some((entry, snapshot.clients.get(&entry.client)?.clone())));
    Some(client.map(|(entry, client)| Proven { client, kid: entry.kid.clone(), stands_in: true }))
}

fn proof(headers: &HeaderMap, form: &Form) -> Result<Proof, OauthFault> {
    let mut shown = Vec::new();
    let mut values = headers.get_all(AUTHORIZATION).iter();
    if let Some(value) = values.next() {
        let refused = || OauthFault::Client { by_header: true, why: "oauth.malformed" };
        let text = value.to_str().ok().filter(|_| values.next().is_none()).ok_or_else(refused)?;
        let (id, secret) = basic(text).ok_or_else(refused)?;
        // A client that names itself in the form too must name the same one.
        if form.one("client_id")?.is_some_and(|other| other != id) {
            return Err(OauthFault::Malformed("client_id is not the one of the header"));
        }
        shown.push(Proof::Secret { id, secret, by_header: true });
    }
    if let Some(secret) = form.one("client_secret")? {
        let id = form.one("client_id")?.ok_or(OauthFault::Malformed("client_id is missing"))?.to_owned();
        shown.push(Proof::Secret { id, secret: Secret::new(secret.to_owned()), by_header: false });
    }
    if let Some(assertion) = form.one("client_assertion")? {
        if form.one("client_assertion_type")? != Some(assertion::KIND) {
            return Err(OauthFault::Malformed(
                "client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ));
        }
        shown.push(Proof::Assertion(assertion.to_owned()));
    }
    let one = shown.pop().ok_or(OauthFault::Client { by_header: false, why: "oauth.missing" })?;
    if shown.is_empty() { Ok(one) } else { Err(OauthFault::Malformed("the client proves itself in more than one way")) }
}

/// `Basic`, with both parts encoded as in a form first (RFC 6749 section 2.3.1).
fn basic(text: &str) -> Option<(String, Secret<String>)> {
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = plain.split_once(':')?;
    Some((decode(id)?, Secret::new(decode(secret)?)))
}

fn by_secret(
    shared: &Shared,
    snapshot: &Snapshot,
    (id, secret, by_header): (&str, &Secret<String>, bool),
) -> Result<Proven, OauthFault> {
    let refused = |why| OauthFault::Client { by_header, why };
    let shown = keys::parse(secret.reveal()).filter(|shown| shown.prefix == KeyPrefix::Secret).ok_or(refused("oauth.unknown"))?;
    let entry = snapshot.tokens.secrets.get(shown.kid).ok_or(refused("oauth.unknown"))?;
    if !keys::same(&entry.hash, &shown.hash) || entry.client.as_ref() != id {
        return Err(refused("oauth.unknown"));
    }
    if entry.expires_at.is_some_and(|end| end <= shared.clock.now()) {
        return Err(refused("oauth.expired"));
    }
    let client = snapshot.clients.get(&entry.client).ok_or(refused("oauth.unknown"))?.clone();
    Ok(Proven { client, kid: entry.kid.clone(), stands_in: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: Option<&str>, form: &str) -> Result<&'static str, OauthFault> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, http::HeaderValue::from_str(header).expect("header"));
        }
        let form = Form::parse(form.as_bytes())?;
        proof(&headers, &form).map(|proof| match proof {
            Proof::Secret { by_header: true, .. } => "basic",
            Proof::Secret { .. } => "post",
            Proof::Assertion(_) => "assertion",
        })
    }

    #[test]
    fn exactly_one_proof_counts() {
        let basic = "Basic Y2k6bGJzX3g=";
        let jwt = format!("client_assertion=a.b.c&client_assertion_type={}", assertion::KIND);
        assert_eq!(read(Some(basic), ""), Ok("basic"));
        assert_eq!(read(Some(basic), "client_id=ci"), Ok("basic"));
        assert_eq!(read(None, "client_id=ci&client_secret=lbs_x"), Ok("post"));
        assert_eq!(read(None, &jwt), Ok("assertion"));
        assert_eq!(read(None, "").map_err(|fault| fault.error()), Err("invalid_client"));
        for (header, form) in [
            (Some(basic), "client_id=other"),
            (Some(basic), "client_id=ci&client_secret=lbs_x"),
            (Some(basic), jwt.as_str()),
            (None, "client_secret=lbs_x"),
            (None, "client_assertion=a.b.c"),
            (None, "client_id=ci&client_secret=x&client_secret=x"),
        ] {
            assert_eq!(read(header, form).map_err(|fault| fault.error()), Err("invalid_request"), "{header:?} {form}");
        }
        for odd in ["Bearer x", "Basic", "Basic ???", "Basic Y2k=", "Basic Y2kgOiV6eg=="] {
            let refused = read(Some(odd), "").map_err(|fault| (fault.error(), fault.challenges()));
            assert_eq!(refused, Err(("invalid_client", true)), "{odd}");
        }
        let (id, secret) = super::basic("bAsIc Y2klMkQxOmElM0Fi").expect("both parts are decoded");
        assert_eq!((id.as_str(), secret.reveal().as_str()), ("ci-1", "a:b"));
    }
}
