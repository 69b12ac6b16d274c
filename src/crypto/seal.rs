//! Seals secrets at rest with the key of this instance: AES-256-GCM, bound to a context, so that a sealed value cannot be moved to another
//! row. Never says more about a value that does not open than that.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::files::{self, Readers};
use crate::base::fault::{Fault, Verb};
use crate::base::ids::Entropy;
use crate::base::secret::Secret;

const KEY: usize = 32;
/// First byte of a sealed value; another number will mean another cipher.
const FORM: u8 = 1;

/// The key of this instance.
pub struct InstanceKey {
    sealing: LessSafeKey,
    // Another key, made of the same 32 bytes: one key must not serve two purposes.
    naming: hmac::Key,
}

impl std::fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstanceKey(•••)")
    }
}

impl InstanceKey {
    /// Reads the key file, or makes it (mode 0600).
    ///
    /// # Errors
    /// `Invalid` when the file holds no key; `Unavailable` when it cannot be read or made.
    pub fn ensure(path: &Path, entropy: &dyn Entropy) -> Verb<Self> {
        let bytes = match files::read(path)? {
            Some(bytes) => Zeroizing::new(bytes),
            None => {
                let mut fresh = Zeroizing::new(vec![0u8; KEY]);
                entropy.fill(&mut fresh);
                files::write(path, &fresh, Readers::Owner)?;
                fresh
            }
        };
        Self::of(&bytes).ok_or_else(|| Fault::invalid(path.display().to_string(), "is no instance key: it must hold 32 bytes"))
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?);
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), b"lifeboat-fingerprint-v1");
        Some(Self { sealing, naming: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()) })
    }

    /// What a secret is called where it must not be shown: 8 hex digits that say nothing of it to whoever lacks this key.
    pub fn fingerprint(&self, secret: &[u8]) -> String {
        hmac::sign(&self.naming, secret).as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Seals a secret for one context, such as `server/demo/header/x-api-key`.
    ///
    /// # Errors
    /// `Bug` when the cipher refuses.
    pub fn seal(&self, context: &str, plain: &[u8], entropy: &dyn Entropy) -> Verb<Vec<u8>> {
        let mut nonce = [0u8; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut out = vec![FORM];
        out.extend_from_slice(&nonce);
        let mut sealed = plain.to_vec();
        self.sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut sealed)
            .map_err(|_| Fault::bug("the secret cannot be sealed"))?;
        out.append(&mut sealed);
        Ok(out)
    }

    /// Opens what `seal` made for the same context.
    ///
    /// # Errors
    /// `Unavailable` when it was changed, sealed for another context, or with another instance's key.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Verb<Secret<Vec<u8>>> {
        let wrong = || Fault::unavailable(format!("the secret for {context} does not open with this instance's key"));
        let (form, rest) = sealed.split_first().ok_or_else(wrong)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(wrong)?;
        if *form != FORM {
            return Err(wrong());
        }
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.sealing.open_in_place(nonce, Aad::from(context.as_bytes()), &mut body).map_err(|_| wrong())?;
        Ok(Secret::new(plain.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::SystemEntropy;

    #[test]
    fn a_sealed_secret_opens_only_with_its_key_and_context() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance.key");
        let key = InstanceKey::ensure(&path, &SystemEntropy).unwrap();
        let sealed = key.seal("a", b"hunter2", &SystemEntropy).unwrap();
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
        assert_ne!(sealed, key.seal("a", b"hunter2", &SystemEntropy).unwrap());
        let again = InstanceKey::ensure(&path, &SystemEntropy).unwrap();
        assert_eq!(again.open("a", &sealed).unwrap().reveal(), b"hunter2");
        assert!(key.open("b", &sealed).is_err());
        let other = InstanceKey::ensure(&dir.path().join("other.key"), &SystemEntropy).unwrap();
        assert!(other.open("a", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open("a", &changed).is_err(), "byte {at}");
            assert!(key.open("a", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_fingerprint_names_a_secret_only_for_its_instance() {
        let dir = tempfile::tempdir().unwrap();
        let key = |name: &str| InstanceKey::ensure(&dir.path().join(name), &SystemEntropy).unwrap();
        let (a, b) = (key("a"), key("b"));
        assert_eq!(a.fingerprint(b"hunter2"), key("a").fingerprint(b"hunter2"));
        assert_eq!(a.fingerprint(b"hunter2").len(), 8);
        assert_ne!(a.fingerprint(b"hunter2"), a.fingerprint(b"hunter3"));
        assert_ne!(a.fingerprint(b"hunter2"), b.fingerprint(b"hunter2"));
    }

    #[test]
    fn a_short_key_file_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance.key");
        std::fs::write(&path, b"short").unwrap();
        assert!(InstanceKey::ensure(&path, &SystemEntropy).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
    }
}
