//! A client that proves itself with a signed assertion (RFC 7523, OpenID Connect's private_key_jwt): by one of the public keys in its file,
//! for this token endpoint, for five minutes at most, once. Never fetches a key.

use std::sync::Arc;

use serde::Deserialize;

use super::client::Proven;
use super::documents::token_endpoint;
use super::fault::OauthFault;
use super::replay::Again;
use crate::base::clock::Timestamp;
use crate::crypto::jwt;
use crate::policy::Snapshot;
use crate::policy::tokens::AssertionKey;
use crate::proxy::Shared;

/// `client_assertion_type`.
pub(super) const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Seconds an assertion may live, and seconds that clocks may differ.
const LIFE: i64 = 300;
const SKEW: i64 = 60;
const LONGEST_ID: usize = 256;
/// Kinds that say what they are for; no token of another kind is taken for an assertion.
const TYPES: [&str; 2] = ["jwt", "client-authentication+jwt"];

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    iat: Option<f64>,
    nbf: Option<f64>,
    jti: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn names(&self, wanted: &[&str]) -> bool {
        match self {
            Self::One(one) => wanted.contains(&one.as_str()),
            Self::Many(many) => many.iter().any(|one| wanted.contains(&one.as_str())),
        }
    }
}

/// Checks an assertion; `expected` is the client that the form names.
///
/// # Errors
/// `invalid_client`. What is wrong with it is told only to who holds the key.
pub(super) fn check(
    shared: &Shared,
    snapshot: &Snapshot,
    base: &str,
    (assertion, expected): (&str, Option<&str>),
) -> Result<Proven, OauthFault> {
    let refused = || OauthFault::Client { by_header: false, why: "oauth.unknown" };
    let head = jwt::head(assertion).ok_or_else(refused)?;
    if head.typ.as_deref().is_some_and(|typ| !TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ))) {
        return Err(refused());
    }
    // The name is only taken from an assertion whose signature holds; here it says which keys to try.
    let claimed: String = jwt::peek(assertion, "sub").ok_or_else(refused)?;
    let (name, client) = snapshot.clients.get_key_value(claimed.as_str()).ok_or_else(refused)?;
    let keys = snapshot.assertions.get(name).map_or(&[][..], Vec::as_slice);
    let named = keys.iter().filter(|key| head.kid.as_ref().is_none_or(|kid| *kid == key.kid));
    let opened = named.into_iter().find_map(|key| Some((key, jwt::open::<Claims>(assertion, head.alg, &key.key)?)));
    let (key, claims) = opened.ok_or_else(refused)?;
    if claims.iss != claimed || claims.sub != claimed || expected.is_some_and(|expected| expected != claimed) {
        return Err(OauthFault::Assertion("iss, sub and client_id must all be the client's name"));
    }
    judge(shared, base, &claims)?;
    once(shared, name, key, &claims)?;
    Ok(Proven { client: client.clone(), kid: key.id.clone(), stands_in: false })
}

fn judge(shared: &Shared, base: &str, claims: &Claims) -> Result<(), OauthFault> {
    let wrong = |what| Err(OauthFault::Assertion(what));
    let now = shared.clock.now().0 as f64 / 1_000.0;
    let (life, skew) = (LIFE as f64, SKEW as f64);
    if !claims.aud.names(&[&token_endpoint(base), base]) {
        return wrong("aud must be the token endpoint or the issuer");
    }
    if !claims.exp.is_finite() || claims.exp <= now {
        return wrong("it has expired");
    }
    if claims.exp > now + life + skew {
        return wrong("exp must be 5 minutes ahead at most");
    }
    if claims.nbf.is_some_and(|nbf| nbf > now + skew) || claims.iat.is_some_and(|iat| iat > now + skew) {
        return wrong("it is not valid yet");
    }
    unseen(claims, shared.oauth.began, now)
}

/// What was shown to the process before this one is not remembered, so nothing that it may have taken counts: it took what seemed to be made up to a
/// minute after its end, by clocks that run fast.
fn unseen(claims: &Claims, began: Timestamp, now: f64) -> Result<(), OauthFault> {
    let (began, skew) = (began.0 as f64 / 1_000.0, SKEW as f64);
    let made = claims.iat.unwrap_or(claims.exp - LIFE as f64);
    if made > began + skew {
        return Ok(());
    }
    // Whoever made it just now only has to wait; a client that is told it did not prove itself may give up for good.
    let over = began + skew + 1.0;
    if made >= began && now <= over {
        return Err(OauthFault::Early { seconds: (over - now).ceil().max(1.0) as u64 });
    }
    Err(OauthFault::Assertion("it was made before this server started, or within a minute of that; make a new one"))
}

fn once(shared: &Shared, client: &Arc<str>, key: &AssertionKey, claims: &Claims) -> Result<(), OauthFault> {
    let jti = claims.jti.as_deref().filter(|jti| !jti.is_empty() && jti.len() <= LONGEST_ID);
    let jti = jti.ok_or(OauthFault::Assertion("jti is missing or too long"))?;
    let now = shared.clock.now();
    let until = Timestamp((claims.exp * 1_000.0).ceil() as i64);
    let shown = format!("{}\n{jti}", key.id);
    shared.oauth.replays.show(client, &shown, until, now).map_err(|again| match again {
        Again::Shown => OauthFault::Assertion("it was used before; make a new one for each request"),
        Again::TooMany => OauthFault::TooMany { seconds: 60 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(iat: Option<f64>, exp: f64) -> Claims {
        let one = || "ci".to_owned();
        Claims { iss: one(), sub: one(), aud: Audience::One(one()), exp, iat, nbf: None, jti: None }
    }

    #[test]
    fn what_the_process_before_may_have_seen_does_not_count() {
        let began = Timestamp(1_000_000_000);
        let at = |iat, exp, now| unseen(&claims(iat, exp), began, now);
        let early = |seconds| Err(OauthFault::Early { seconds });
        assert_eq!(at(Some(1_000_055.0), 1_000_200.0, 1_000_001.0), early(60), "from a clock that runs fast, perhaps shown before");
        assert_eq!(at(None, 1_000_355.0, 1_000_001.0), early(60), "without a time it may be as old as its end allows");
        assert!(
            matches!(at(Some(1_000_055.0), 1_000_200.0, 1_000_090.0), Err(OauthFault::Assertion(_))),
            "waiting does not help it"
        );
        assert!(matches!(at(Some(999_990.0), 1_000_200.0, 1_000_001.0), Err(OauthFault::Assertion(_))), "made before");
        for (iat, exp, now) in [(Some(1_000_061.0), 1_000_200.0, 1_000_061.5), (None, 1_000_361.0, 1_000_062.0)] {
            assert_eq!(at(iat, exp, now), Ok(()), "{iat:?}");
        }
    }
}
