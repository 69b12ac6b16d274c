//! Public keys as JSON Web Keys (RFC 7517): what a client registers, what an issuer publishes, what this instance publishes. Never holds a
//! private key, and never fetches one.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::jwt::Alg;
use super::keys::sha256;

/// Bytes of an RSA modulus: 2,048 to 8,192 bits.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1_024;

/// The public members of a key. What else an issuer publishes beside them is not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Jwk {
    /// `EC`, `OKP` or `RSA`.
    pub kty: String,
    /// Curve: `P-256` or `Ed25519`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// First coordinate, or the whole of an Ed25519 key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Second coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// Modulus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// Exponent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// The one algorithm it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// `sig`.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
}

/// A public key that signatures can be checked with, and the algorithms it may be used for.
#[derive(Clone)]
pub struct VerifyingKey {
    pub(super) key: DecodingKey,
    algs: Vec<Alg>,
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyingKey({:?})", self.algs)
    }
}

impl VerifyingKey {
    /// Whether it may be used for an algorithm.
    pub fn takes(&self, alg: Alg) -> bool {
        self.algs.contains(&alg)
    }
}

impl Jwk {
    /// The key as signatures are checked with it.
    ///
    /// # Errors
    /// A sentence that says what is wrong: a kind that is not taken, a member that is missing, a point that is none.
    pub fn verifying(&self) -> Result<VerifyingKey, String> {
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("\"use\" must be \"sig\"".into());
        }
        let (key, possible): (DecodingKey, &[Alg]) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes("x", &self.x)?, bytes("y", &self.y)?);
                let point = [&[4][..], &x, &y].concat();
                let sound = x.len() == 32 && y.len() == 32 && ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).is_ok();
                sound.then_some(()).ok_or("\"x\" and \"y\" are no point of P-256")?;
                (DecodingKey::from_ec_der(&point), &[Alg::Es256])
            }
            ("OKP", Some("Ed25519")) => {
                let x = bytes("x", &self.x)?;
                let sound = x.len() == 32 && ParsedPublicKey::new(&ED25519, &x).is_ok();
                sound.then_some(()).ok_or("\"x\" is no Ed25519 key")?;
                (DecodingKey::from_ed_der(&x), &[Alg::EdDsa])
            }
            ("RSA", _) => {
                let (n, e) = (bytes("n", &self.n)?, bytes("e", &self.e)?);
                let size = n.iter().skip_while(|byte| **byte == 0).count();
                let sound = MODULUS.contains(&size) && (1..=8).contains(&e.len());
                sound.then_some(()).ok_or("an RSA key must have 2048 to 8192 bits")?;
                (DecodingKey::from_rsa_raw_components(&n, &e), &[Alg::Ps256, Alg::Rs256])
            }
            _ => return Err("a key must be EC P-256, OKP Ed25519 or RSA".into()),
        };
        let named = |alg: &Alg| self.alg.as_deref().is_none_or(|name| name == alg.name());
        let algs: Vec<Alg> = possible.iter().copied().filter(named).collect();
        if algs.is_empty() {
            return Err(format!("\"alg\" does not fit the key: {}", Alg::names(possible)));
        }
        Ok(VerifyingKey { key, algs })
    }

    /// SHA-256 of the key itself (RFC 7638), base64url: the same however it is written down.
    pub fn thumbprint(&self) -> String {
        let text = match self.kty.as_str() {
            "RSA" => json!({"e": self.e, "kty": self.kty, "n": self.n}),
            "EC" => json!({"crv": self.crv, "kty": self.kty, "x": self.x, "y": self.y}),
            _ => json!({"crv": self.crv, "kty": self.kty, "x": self.x}),
        };
        // The members stand in the order of their names, as section 3.3 asks: that is how the map keeps them.
        URL_SAFE_NO_PAD.encode(sha256(text.to_string().as_bytes()))
    }
}

fn bytes(name: &str, member: &Option<String>) -> Result<Vec<u8>, String> {
    let text = member.as_deref().ok_or_else(|| format!("\"{name}\" is missing"))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("\"{name}\" is not base64url without padding"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_the_one_of_the_specification() {
        // RFC 7638 section 3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = Jwk { kty: "RSA".into(), n: Some(n.into()), e: Some("AQAB".into()), ..Jwk::default() };
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let taken = key.verifying().unwrap();
        assert!(taken.takes(Alg::Rs256) && taken.takes(Alg::Ps256) && !taken.takes(Alg::Es256));
    }

    #[test]
    fn a_key_that_is_none_is_refused_with_a_reason() {
        // RFC 8037 appendix A.2.
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let good = Jwk { kty: "OKP".into(), crv: Some("Ed25519".into()), x: Some(x.into()), ..Jwk::default() };
        assert!(good.verifying().unwrap().takes(Alg::EdDsa));
        let wrong = [
            (Jwk { kty: "oct".into(), ..Jwk::default() }, "EC P-256"),
            (Jwk { alg: Some("HS256".into()), ..good.clone() }, "does not fit"),
            (Jwk { usage: Some("enc".into()), ..good.clone() }, "must be \"sig\""),
            (Jwk { x: Some("AA".into()), ..good.clone() }, "Ed25519"),
            (Jwk { x: None, ..good.clone() }, "missing"),
            (Jwk { x: Some(format!("{x}=")), ..good.clone() }, "base64url"),
            (Jwk { kty: "EC".into(), crv: Some("P-256".into()), y: Some(x.into()), ..good.clone() }, "no point"),
            (Jwk { kty: "RSA".into(), n: Some(x.into()), e: Some("AQAB".into()), ..Jwk::default() }, "2048"),
        ];
        for (key, why) in wrong {
            let said = key.verifying().err().unwrap();
            assert!(said.contains(why), "{said}");
        }
    }
}
