//! Signatures of what is sent to receivers of alerts, as the Standard Webhooks specification has them (version 1, symmetric). Never keeps a
//! secret.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::base::ids::Entropy;
use crate::base::secret::Secret;

const PREFIX: &str = "whsec_";
const BYTES: usize = 32;

/// A new secret: `whsec_` and 32 random bytes in base64.
pub fn mint(entropy: &dyn Entropy) -> Secret<String> {
    let mut random = [0u8; BYTES];
    entropy.fill(&mut random);
    Secret::new(format!("{PREFIX}{}", BASE64.encode(random)))
}

/// `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; the key is what the base64 of the secret stands for. `None` when it is no such
/// secret.
pub fn sign(secret: &Secret<String>, id: &str, seconds: i64, body: &[u8]) -> Option<String> {
    let key = BASE64.decode(secret.reveal().strip_prefix(PREFIX)?).ok()?;
    let mut signing = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
    signing.update(format!("{id}.{seconds}.").as_bytes());
    signing.update(body);
    Some(format!("v1,{}", BASE64.encode(signing.sign())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::SystemEntropy;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // Computed apart from this code, with Python's hmac.
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signed = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn secrets_differ_and_what_is_none_signs_nothing() {
        let (a, b) = (mint(&SystemEntropy), mint(&SystemEntropy));
        assert_ne!(a, b);
        assert_eq!(BASE64.decode(&a.reveal()[PREFIX.len()..]).unwrap().len(), BYTES);
        assert_ne!(sign(&a, "m", 1, b"x"), sign(&b, "m", 1, b"x"));
        for odd in ["", "whsec", "whsec_*", "x"] {
            assert_eq!(sign(&Secret::new(odd.to_owned()), "m", 1, b"x"), None, "{odd}");
        }
    }
}
