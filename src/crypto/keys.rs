//! API keys (`lbk_…` of clients, `lbo_…` of operators), client secrets (`lbs_…`), one-time tokens and the setup code: minting, reading, comparing. Never keeps a secret:
//! what is stored is its SHA-256, which needs no salt because every secret here has 75 random bits or more.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::base32;
use crate::base::ids::{self, Entropy};
use crate::base::secret::Secret;

const KID: usize = 8;
const SECRET: usize = 52;
const CHECKSUM: usize = 6;
const PREFIX: usize = 3;
const LENGTH: usize = PREFIX + 1 + KID + 1 + SECRET + 1 + CHECKSUM;

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPrefix {
    /// `lbk`: a client at the proxy.
    Client,
    /// `lbo`: an operator at the API.
    Operator,
    /// `lbs`: a client at the token endpoint.
    Secret,
}

impl KeyPrefix {
    /// The three letters a key begins with.
    pub fn word(self) -> &'static str {
        match self {
            Self::Client => "lbk",
            Self::Operator => "lbo",
            Self::Secret => "lbs",
        }
    }
}

/// A new key. `text` is shown once; `kid` and `hash` are stored.
#[derive(Debug)]
pub struct Minted {
    /// Public name of the key: 8 characters.
    pub kid: String,
    /// The whole key: `PREFIX_KID_SECRET_CHECKSUM`.
    pub text: Secret<String>,
    /// SHA-256 of the whole key.
    pub hash: [u8; 32],
}

/// A key as somebody showed it: well formed, not yet known to be right.
#[derive(Debug, PartialEq, Eq)]
pub struct Presented<'a> {
    /// Whose key it claims to be.
    pub prefix: KeyPrefix,
    /// Which key it claims to be.
    pub kid: &'a str,
    /// SHA-256 of the whole key, to compare with `same`.
    pub hash: [u8; 32],
}

/// Mints a key with 256 random bits.
pub fn mint(prefix: KeyPrefix, entropy: &dyn Entropy) -> Minted {
    let kid = ids::short(KID, entropy);
    let secret = token(entropy);
    let body = format!("{}_{kid}_{}", prefix.word(), secret.reveal());
    let text = format!("{body}_{}", checksum(&body));
    Minted { kid, hash: hash_text(&text), text: Secret::new(text) }
}

/// Reads a key. `None` for anything that `mint` cannot have made: other length, case, alphabet or checksum, spaces around it. A typing
/// mistake is found here, without asking the store.
pub fn parse(text: &str) -> Option<Presented<'_>> {
    if text.len() != LENGTH || !text.is_ascii() {
        return None;
    }
    let (body, sum) = text.rsplit_once('_')?;
    let mut parts = body.split('_');
    let prefix = match parts.next()? {
        "lbk" => KeyPrefix::Client,
        "lbo" => KeyPrefix::Operator,
        "lbs" => KeyPrefix::Secret,
        _ => return None,
    };
    let (kid, secret) = (parts.next()?, parts.next()?);
    let shaped = kid.len() == KID && secret.len() == SECRET && parts.next().is_none() && base32::fits(kid) && base32::fits(secret);
    if !shaped || sum != checksum(body) {
        return None;
    }
    Some(Presented { prefix, kid, hash: hash_text(text) })
}

/// Compares two hashes in constant time.
pub fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

/// A random token of 256 bits as 52 characters: sessions, the control socket, the canary.
pub fn token(entropy: &dyn Entropy) -> Secret<String> {
    let mut random = [0u8; 32];
    entropy.fill(&mut random);
    Secret::new(base32::encode(&random))
}

/// SHA-256 of a text, as it is stored for keys and tokens.
pub fn hash_text(text: &str) -> [u8; 32] {
    sha256(text.as_bytes())
}

/// SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0u8; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// A setup code of 100 random bits in four groups of five: `7k2mq-x9d4t-…`.
pub fn setup_code(entropy: &dyn Entropy) -> Secret<String> {
    let groups: Vec<String> = (0..4).map(|_| ids::short(5, entropy)).collect();
    Secret::new(groups.join("-"))
}

/// A recovery code of 75 random bits in three groups of five: too many for whoever has only its hash.
pub fn recovery_code(entropy: &dyn Entropy) -> Secret<String> {
    let groups: Vec<String> = (0..3).map(|_| ids::short(5, entropy)).collect();
    Secret::new(groups.join("-"))
}

/// A setup code as a person typed it, in the form `setup_code` gave it: case, spaces, hyphens and the look-alikes `o`, `i`, `l` do not
/// matter. `None` when it is no code. Hash the result and compare with `same`.
pub fn read_setup_code(typed: &str) -> Option<Secret<String>> {
    read_groups(typed, 4)
}

/// The same for a recovery code.
pub fn read_recovery_code(typed: &str) -> Option<Secret<String>> {
    read_groups(typed, 3)
}

fn read_groups(typed: &str, groups: usize) -> Option<Secret<String>> {
    if typed.len() > 64 {
        return None;
    }
    let plain: String = typed
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| match c.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            other => other,
        })
        .collect();
    if plain.len() != groups * 5 || !base32::fits(&plain) {
        return None;
    }
    let groups: Vec<&str> = (0..groups).filter_map(|group| plain.get(group * 5..group * 5 + 5)).collect();
    Some(Secret::new(groups.join("-")))
}

/// The first 30 bits of SHA-256 as six characters: enough to find typing mistakes and to let scanners tell a key from a look-alike.
fn checksum(body: &str) -> String {
    let mut sum = base32::encode(&hash_text(body)[..4]);
    sum.truncate(CHECKSUM);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::SystemEntropy;

    #[test]
    fn a_minted_key_reads_back() {
        for prefix in [KeyPrefix::Client, KeyPrefix::Operator, KeyPrefix::Secret] {
            let minted = mint(prefix, &SystemEntropy);
            let text = minted.text.reveal();
            assert_eq!(text.len(), LENGTH);
            let presented = parse(text).unwrap();
            assert_eq!((presented.prefix, presented.kid), (prefix, minted.kid.as_str()));
            assert!(same(&presented.hash, &minted.hash));
            assert!(!format!("{minted:?}").contains(text.as_str()));
        }
    }

    #[test]
    fn a_key_with_one_wrong_character_is_none() {
        let minted = mint(KeyPrefix::Client, &SystemEntropy);
        let text = minted.text.reveal();
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'7' { b'8' } else { b'7' };
            assert_eq!(parse(&String::from_utf8(other).unwrap()), None, "character {at}");
        }
        for bad in
            [format!(" {text}"), format!("{text} "), format!("{text}\n"), text.to_uppercase(), String::new(), "_".repeat(LENGTH)]
        {
            assert_eq!(parse(&bad), None);
        }
        assert_eq!(parse(&"é".repeat(LENGTH / 2)), None);
    }

    #[test]
    fn a_setup_code_forgives_how_it_is_typed() {
        let code = setup_code(&SystemEntropy);
        let text = code.reveal();
        assert_eq!(text.len(), 23);
        assert_eq!(read_setup_code(&format!(" {} ", text.to_uppercase().replace('-', " "))).unwrap(), code);
        assert_eq!(read_setup_code(&text.replace('0', "O").replace('1', "l")).unwrap(), code);
        let recovery = recovery_code(&SystemEntropy);
        assert_eq!(read_recovery_code(&recovery.reveal().to_uppercase().replace('-', "")).unwrap(), recovery);
        assert_eq!(
            (read_setup_code(recovery.reveal()), read_recovery_code(text), read_recovery_code("123456")),
            (None, None, None)
        );
        assert_eq!(read_setup_code("7k2mq-x9d4t"), None);
        assert_eq!(read_setup_code(&"a".repeat(10_000)), None);
    }

    #[test]
    fn tokens_differ_and_hash_alike() {
        let (a, b) = (token(&SystemEntropy), token(&SystemEntropy));
        assert_ne!(a, b);
        assert!(same(&hash_text(a.reveal()), &hash_text(a.reveal())));
        assert!(!same(&hash_text(a.reveal()), &hash_text(b.reveal())));
    }
}
