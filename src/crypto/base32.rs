//! Lower-case Crockford base 32 without padding: no `i`, `l`, `o`, `u`. Never decodes; what was encoded is compared or hashed as text.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Encodes all bits, most significant first; the last character is filled up with zero bits. 32 bytes give 52 characters.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut pending, mut bits) = (0u32, 0u32);
    for byte in bytes {
        pending = (pending << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(digit(pending >> bits));
        }
        pending &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(digit(pending << (5 - bits)));
    }
    out
}

/// Whether every character is of the alphabet.
pub fn fits(text: &str) -> bool {
    text.bytes().all(|b| ALPHABET.contains(&b))
}

fn digit(value: u32) -> char {
    char::from(ALPHABET[usize::try_from(value & 31).unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_known_values() {
        assert_eq!(encode(&[]), "");
        assert_eq!(encode(&[0xff]), "zw");
        assert_eq!(encode(b"hello"), "d1jprv3f");
        assert_eq!(encode(&[0; 32]).len(), 52);
        assert_eq!(encode(&[0xff; 20]), "z".repeat(32));
    }

    #[test]
    fn knows_its_alphabet() {
        assert!(fits("0123456789abcdefghjkmnpqrstvwxyz"));
        for bad in ["i", "l", "o", "u", "A", " ", "é", "_"] {
            assert!(!fits(bad), "{bad}");
        }
    }
}
