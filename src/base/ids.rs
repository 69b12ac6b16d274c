//! Identifiers that sort by time: a prefix, then 48 bits of milliseconds and 80 random bits in Crockford base 32. Never guessable, never reused.

use crate::base::clock::Timestamp;

/// Gives random bytes. A parameter everywhere, so that tests own chance.
pub trait Entropy: Send + Sync {
    /// Fills the whole buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// The source of randomness as it is passed around.
pub type SharedEntropy = std::sync::Arc<dyn Entropy>;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Mints `prefix_` followed by 26 characters, for example `req_01KB0W2T9Q7V5M3N8R4S6X1YZA`.
pub fn mint(prefix: &str, now: Timestamp, entropy: &dyn Entropy) -> String {
    let mut random = [0u8; 10];
    entropy.fill(&mut random);
    let time = u128::from(u64::try_from(now.0).unwrap_or(0) & 0xffff_ffff_ffff);
    let tail = random.iter().fold(0u128, |n, byte| (n << 8) | u128::from(*byte));
    let value = (time << 80) | tail;
    let mut out = String::with_capacity(prefix.len() + 27);
    out.push_str(prefix);
    out.push('_');
    for place in (0..26).rev() {
        let digit = usize::try_from((value >> (place * 5)) & 31).unwrap_or(0);
        out.push(char::from(ALPHABET[digit]));
    }
    out
}

/// A short random word of lower-case base 32, for key ids (`kid`).
pub fn short(length: usize, entropy: &dyn Entropy) -> String {
    let mut random = vec![0u8; length];
    entropy.fill(&mut random);
    random.iter().map(|b| char::from(ALPHABET[usize::from(b & 31)]).to_ascii_lowercase()).collect()
}

/// A name of a server, client, role or operator: 1 to 64 of `a-z 0-9 . _ -`, beginning with a letter or digit.
///
/// # Errors
/// A sentence that says what a name may be made of.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let fits = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
        && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && !name.contains("..");
    if fits {
        Ok(())
    } else {
        Err("a name is 1 to 64 of a-z, 0-9, '.', '_' and '-', begins with a letter or digit, and has no '..'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);
    impl Entropy for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    #[test]
    fn ids_sort_by_time() {
        let early = mint("req", Timestamp(1_000), &Fixed(255));
        let late = mint("req", Timestamp(1_001), &Fixed(0));
        assert!(early < late);
        assert_eq!(early.len(), 30);
    }

    #[test]
    fn names_cannot_leave_their_folder() {
        for bad in ["", "..", "a..b", "../x", "A", "-a", ".a", "a/b", "a b", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("demo-client.2").is_ok());
    }
}
