//! SCRAM-SHA-256 verifiers (RFC 5803, RFC 7677) as PostgreSQL keeps them: what a server needs to check a password without knowing it. Never gives a
//! password back.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};

use crate::base::ids::Entropy;
use crate::base::secret::Secret;

/// The least that RFC 7677 (section 4) allows, and what PostgreSQL takes itself. Passwords made here are 256 random bits, which no number of iterations
/// makes harder to guess.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4_095);
const SALT: usize = 16;
const BYTES: usize = 32;

/// A new password: 32 random bytes in the alphabet of URLs, so that it stands in a connection string as it is.
pub fn password(entropy: &dyn Entropy) -> Secret<String> {
    let mut random = zeroize::Zeroizing::new([0u8; BYTES]);
    entropy.fill(&mut random[..]);
    Secret::new(URL_SAFE_NO_PAD.encode(&random[..]))
}

/// The verifier of a password under a new salt: `SCRAM-SHA-256$4096:SALT$STORED:SERVER`. `None` for a password with characters beyond ASCII, which
/// would have to be prepared first (RFC 4013).
pub fn verifier(password: &Secret<String>, entropy: &dyn Entropy) -> Option<String> {
    let mut salt = [0u8; SALT];
    entropy.fill(&mut salt);
    let text = password.reveal();
    let plain = !text.is_empty() && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    plain.then(|| under(text.as_bytes(), &salt))
}

/// RFC 5802, section 3: SaltedPassword, from it ClientKey and ServerKey, and of ClientKey only its hash.
fn under(password: &[u8], salt: &[u8]) -> String {
    let mut salted = zeroize::Zeroizing::new([0u8; BYTES]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, password, &mut salted[..]);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted[..]);
    let stored = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server = hmac::sign(&key, b"Server Key");
    format!("SCRAM-SHA-256${ITERATIONS}:{}${}:{}", BASE64.encode(salt), BASE64.encode(stored), BASE64.encode(server))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::SystemEntropy;

    /// RFC 7677, section 3: what client and server say to each other about the password `pencil`.
    #[test]
    fn a_verifier_checks_the_exchange_of_the_rfc() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let made = under(b"pencil", &salt);
        let (head, keys) = made.rsplit_once('$').unwrap();
        assert_eq!(head, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==");
        let (stored, server) = keys.split_once(':').unwrap();
        let said = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                    r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                    c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let sign = |key: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(key).unwrap()), said.as_bytes());
        assert_eq!(BASE64.encode(sign(server)), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let proof = BASE64.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let signed = sign(stored);
        let client: Vec<u8> = proof.iter().zip(signed.as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(BASE64.encode(digest::digest(&digest::SHA256, &client)), stored);
    }

    #[test]
    fn each_verifier_has_a_salt_of_its_own_and_holds_no_password() {
        let secret = password(&SystemEntropy);
        assert_eq!(secret.reveal().len(), 43);
        let (a, b) = (verifier(&secret, &SystemEntropy).unwrap(), verifier(&secret, &SystemEntropy).unwrap());
        assert_ne!(a, b);
        assert!(!a.contains(secret.reveal().as_str()));
        for odd in ["", "pass\u{f6}", "a\nb"] {
            assert_eq!(verifier(&Secret::new(odd.into()), &SystemEntropy), None, "{odd:?}");
        }
    }
}
