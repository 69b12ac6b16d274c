//! One-time codes as authenticator apps make them (RFC 6238: SHA-1, 30 s, 6 digits). Never reads a clock, and never remembers which code
//! was used: that is the caller's.

use totp_rs::{Algorithm, Builder, Totp};

use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::Entropy;
use crate::base::secret::Secret;

// RFC 4226 section 4, R6: 160 bits are recommended.
const SECRET: usize = 20;
const DIGITS: u8 = 6;
const STEP_SECONDS: u64 = 30;
// RFC 6238 section 5.2: one step for the delay of a network and of a person; the same for a clock that is a little off.
const SKEW: u16 = 1;

/// A new secret.
pub fn secret(entropy: &dyn Entropy) -> Secret<Vec<u8>> {
    let mut random = vec![0u8; SECRET];
    entropy.fill(&mut random);
    Secret::new(random)
}

/// The secret as people type it: base 32 of RFC 4648 in groups of four.
pub fn text(secret: &Secret<Vec<u8>>) -> Secret<String> {
    let whole = made(secret).secret().to_base32();
    let groups: Vec<String> = whole.chars().collect::<Vec<_>>().chunks(4).map(|group| group.iter().collect()).collect();
    Secret::new(groups.join(" "))
}

/// The secret as authenticators read it from a QR code: `otpauth://totp/…`.
///
/// # Errors
/// `Bug` for an account or issuer that holds a colon.
pub fn uri(secret: &Secret<Vec<u8>>, issuer: &str, account: &str) -> Verb<Secret<String>> {
    let totp = builder(secret).with_issuer(Some(issuer)).with_account_name(account).build_noncompliant();
    totp.to_url().map(Secret::new).map_err(|e| Fault::bug("the secret has no address").because(e))
}

/// The step whose code this is, one step before or after now included; `None` when it is none of them. A step must count only once.
pub fn step_of(secret: &Secret<Vec<u8>>, typed: &str, now: Timestamp) -> Option<i64> {
    let code = read(typed)?;
    let seconds = u64::try_from(now.0.div_euclid(1_000)).ok()?;
    made(secret).check(&code, seconds).and_then(|step| i64::try_from(step).ok())
}

/// A code as a person typed it: six digits, spaces between them do not matter. `None` when it is no code.
pub fn read(typed: &str) -> Option<String> {
    if typed.len() > 32 {
        return None;
    }
    let code: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    (code.len() == usize::from(DIGITS) && code.bytes().all(|b| b.is_ascii_digit())).then_some(code)
}

/// The code of a moment: for tests, which have no telephone.
#[cfg(test)]
pub fn code(secret: &Secret<Vec<u8>>, at: Timestamp) -> String {
    made(secret).generate(u64::try_from(at.0 / 1_000).unwrap()).to_string()
}

fn made(secret: &Secret<Vec<u8>>) -> Totp {
    builder(secret).build_noncompliant()
}

fn builder(secret: &Secret<Vec<u8>>) -> Builder {
    let fixed = Builder::new().with_algorithm(Algorithm::SHA1).with_digits(DIGITS).with_step_duration(STEP_SECONDS).with_skew(SKEW);
    fixed.with_secret(secret.reveal().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::SystemEntropy;

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, SHA-1; its eight digits end in our six.
        let secret = Secret::new(b"12345678901234567890".to_vec());
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")] {
            let now = Timestamp(seconds * 1_000);
            assert_eq!(step_of(&secret, code, now), Some(seconds / 30), "{seconds}");
            assert_eq!(super::code(&secret, now), code);
        }
    }

    #[test]
    fn one_step_of_clock_either_way_counts_and_two_do_not() {
        let secret = secret(&SystemEntropy);
        let now = Timestamp(1_800_000_015_000);
        let code = code(&secret, now);
        for (off, counts) in [(-60, false), (-30, true), (0, true), (30, true), (60, false)] {
            assert_eq!(step_of(&secret, &code, now.plus_ms(off * 1_000)).is_some(), counts, "{off} s");
        }
        assert_eq!(step_of(&secret, &code, now.plus_ms(30_000)), step_of(&secret, &code, now), "the same step");
    }

    #[test]
    fn what_is_no_code_is_none() {
        let secret = secret(&SystemEntropy);
        assert_eq!(read(" 123 456 ").as_deref(), Some("123456"));
        for bad in ["", "12345", "1234567", "12345a", "\u{661}23456", "-12345", &"1".repeat(1_000)] {
            assert_eq!(read(bad), None, "{bad}");
            assert_eq!(step_of(&secret, bad, Timestamp(0)), None);
        }
        assert_eq!(step_of(&secret, "123456", Timestamp(i64::MIN)), None);
    }

    #[test]
    fn a_secret_is_text_and_an_address() {
        let secret = Secret::new(b"12345678901234567890".to_vec());
        assert_eq!(text(&secret).reveal(), "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ");
        let uri = uri(&secret, "Lifeboat", "ana@lifeboat.example").unwrap();
        let uri = uri.reveal();
        assert!(uri.starts_with("otpauth://totp/Lifeboat:ana%40lifeboat.example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), "{uri}");
        assert!(uri.contains("issuer=Lifeboat"), "{uri}");
        assert!(super::uri(&secret, "Lifeboat", "a:b").is_err());
    }
}
