//! Signed tokens (JWS in its compact form, RFC 7515): making ours and checking anybody's. A key decides which algorithms it is used for, never
//! the token; a token that brings its key along, or says where to fetch one, is none. Never judges a claim.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, Validation, decode, encode};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::jwk::{Jwk, VerifyingKey};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;

/// Bytes of the longest token that is looked at.
pub const LONGEST: usize = 8 * 1_024;

/// Algorithms that are taken. All of them have a public key: none with a shared secret, so that no public key can be taken for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alg {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// RSA PKCS#1 1.5 with SHA-256.
    Rs256,
}

impl Alg {
    /// Every one, the best first.
    pub const ALL: [Self; 4] = [Self::Es256, Self::EdDsa, Self::Ps256, Self::Rs256];

    /// Its name in a header (RFC 7518 section 3.1, RFC 8037 section 3.1).
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// The one of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// Names, for people.
    pub fn names(algs: &[Self]) -> String {
        algs.iter().map(|alg| alg.name()).collect::<Vec<_>>().join(", ")
    }

    fn code(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
            Self::Ps256 => Algorithm::PS256,
            Self::Rs256 => Algorithm::RS256,
        }
    }
}

/// What a token says about its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// How it is signed.
    pub alg: Alg,
    /// With which key.
    pub kid: Option<String>,
    /// What kind of token it is.
    pub typ: Option<String>,
}

// A member that is named twice is a fault of its own in serde.
#[derive(Deserialize)]
struct RawHead {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    jku: Option<IgnoredAny>,
    jwk: Option<IgnoredAny>,
    x5u: Option<IgnoredAny>,
    x5c: Option<IgnoredAny>,
    crit: Option<IgnoredAny>,
    b64: Option<IgnoredAny>,
}

/// Reads the head of a token; nothing for what is no token of ours to look at: another algorithm, a key that comes along (`jwk`, `x5c`), a
/// place to fetch one from (`jku`, `x5u`), or a demand that is not understood (`crit`, RFC 7515 section 4.1.11).
pub fn head(token: &str) -> Option<Head> {
    if token.len() > LONGEST {
        return None;
    }
    let mut parts = token.split('.');
    let (first, _, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let raw: RawHead = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(first).ok()?).ok()?;
    let brings = [&raw.jku, &raw.jwk, &raw.x5u, &raw.x5c, &raw.crit, &raw.b64].into_iter().any(Option::is_some);
    let alg = Alg::of(&raw.alg).filter(|_| !brings)?;
    Some(Head { alg, kid: raw.kid, typ: raw.typ })
}

/// The claims of a token whose signature holds. Nothing else about it is checked.
pub fn open<T: DeserializeOwned>(token: &str, alg: Alg, key: &VerifyingKey) -> Option<T> {
    if !key.takes(alg) {
        return None;
    }
    let mut only = Validation::new(alg.code());
    only.required_spec_claims.clear();
    only.validate_exp = false;
    only.validate_nbf = false;
    only.validate_aud = false;
    // A claim that is named twice would be read by its last value: whoever reads the first one would see another token.
    let plain: T = claims(token)?;
    decode::<IgnoredAny>(token, &key.key, &only).ok().map(|_| plain)
}

/// One claim of a token that nobody has checked: to find the key that it must be checked with, and for nothing else.
pub fn peek(token: &str, claim: &str) -> Option<String> {
    let claims: serde_json::Map<String, serde_json::Value> = claims(token)?;
    claims.get(claim)?.as_str().map(str::to_owned)
}

fn claims<T: DeserializeOwned>(token: &str) -> Option<T> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// A private key that signs tokens, ES256.
#[derive(Clone)]
pub struct SigningKey(Arc<EncodingKey>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(•••)")
    }
}

/// A new key pair. The private half is to be sealed.
pub struct NewKey {
    /// PKCS#8.
    pub private: Secret<Vec<u8>>,
    /// The public half, without a name.
    pub public: Jwk,
}

impl SigningKey {
    /// Makes a key pair, by the provider's own randomness.
    ///
    /// # Errors
    /// `Bug` when the provider cannot.
    pub fn generate() -> Verb<NewKey> {
        let failed = |_| Fault::bug("a token-signing key cannot be made");
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).map_err(failed)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())
            .map_err(|_| Fault::bug("a token-signing key cannot be read back"))?;
        let point = pair.public_key().as_ref();
        let coordinate = |range: std::ops::Range<usize>| point.get(range).map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let public = Jwk {
            kty: "EC".into(),
            crv: Some("P-256".into()),
            x: coordinate(1..33),
            y: coordinate(33..65),
            alg: Some(Alg::Es256.name().into()),
            usage: Some("sig".into()),
            ..Jwk::default()
        };
        Ok(NewKey { private: Secret::new(document.as_ref().to_vec()), public })
    }

    /// From PKCS#8.
    ///
    /// # Errors
    /// `Unavailable` when it is no P-256 key.
    pub fn of(private: &[u8]) -> Verb<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private)
            .map_err(|_| Fault::unavailable("a token-signing key is no P-256 key"))?;
        Ok(Self(Arc::new(EncodingKey::from_ec_der(private))))
    }

    /// A signed token.
    ///
    /// # Errors
    /// `Bug` when the provider cannot sign.
    pub fn sign(&self, (typ, kid): (&str, &str), claims: &impl Serialize) -> Verb<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(kid.to_owned());
        encode(&header, claims, &self.0).map_err(|e| Fault::bug("a token cannot be signed").because(e))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pair() -> (SigningKey, VerifyingKey, Jwk) {
        let made = SigningKey::generate().unwrap();
        (SigningKey::of(made.private.reveal()).unwrap(), made.public.verifying().unwrap(), made.public)
    }

    fn encoded(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    #[test]
    fn a_token_opens_with_its_own_key_only() {
        let (signer, key, _) = pair();
        let token = signer.sign(("at+jwt", "k1"), &json!({"sub": "ci"})).unwrap();
        let read = head(&token).unwrap();
        assert_eq!((read.alg, read.kid.as_deref(), read.typ.as_deref()), (Alg::Es256, Some("k1"), Some("at+jwt")));
        assert_eq!(open::<Value>(&token, Alg::Es256, &key).unwrap()["sub"], "ci");
        assert!(open::<Value>(&token, Alg::Es256, &pair().1).is_none());
        assert!(open::<Value>(&token, Alg::EdDsa, &key).is_none());
        let (body, signature) = token.rsplit_once('.').unwrap();
        let (first, _) = body.split_once('.').unwrap();
        for bad in [
            format!("{first}.{}.{signature}", encoded(&json!({"sub": "root"}))),
            format!("{body}."),
            format!("{body}.{signature}A"),
            format!("{token}.x"),
            body.to_owned(),
        ] {
            assert!(head(&bad).and_then(|_| open::<Value>(&bad, Alg::Es256, &key)).is_none(), "{bad}");
        }
    }

    #[test]
    fn atk_p02_no_head_talks_its_way_in() {
        let (signer, key, public) = pair();
        let token = signer.sign(("at+jwt", "k1"), &json!({"sub": "ci"})).unwrap();
        let rest = token.split_once('.').unwrap().1;
        for odd in [
            json!({"alg": "none", "kid": "k1"}),
            json!({"alg": "None", "kid": "k1"}),
            json!({"alg": "HS256", "kid": "k1"}),
            json!({"alg": "es256", "kid": "k1"}),
            json!({"alg": "ES256", "kid": "k1", "jwk": public}),
            json!({"alg": "ES256", "kid": "k1", "jku": "https://evil.example/keys"}),
            json!({"alg": "ES256", "kid": "k1", "x5u": "https://evil.example/cert"}),
            json!({"alg": "ES256", "kid": "k1", "x5c": ["MII"]}),
            json!({"alg": "ES256", "kid": "k1", "crit": ["exp"]}),
            json!({"kid": "k1"}),
        ] {
            assert_eq!(head(&format!("{}.{rest}", encoded(&odd))), None, "{odd}");
        }
        let twice = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","alg":"none"}"#);
        assert_eq!(head(&format!("{twice}.{rest}")), None);
        let long = format!("{token}{}", "A".repeat(LONGEST));
        assert_eq!(head(&long), None);
        // HS256 with the public key as its secret: the family of the key decides.
        let secret = EncodingKey::from_secret(serde_json::to_string(&public).unwrap().as_bytes());
        let forged = encode(&Header::new(Algorithm::HS256), &json!({"sub": "ci"}), &secret).unwrap();
        assert_eq!(head(&forged), None);
        for alg in Alg::ALL {
            assert!(open::<Value>(&forged, alg, &key).is_none());
        }
    }
}
