//! Operators' passwords: argon2id with 19 MiB, 2 passes, 1 lane. Never more than two at once, so that logins cannot take all memory, and
//! never on a thread that serves requests.

use std::sync::LazyLock;

use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use super::random::SystemEntropy;
use crate::base::fault::{Fault, Verb};
use crate::base::ids::Entropy as _;
use crate::base::secret::Secret;

/// Longest password that is looked at, in bytes.
pub const MAX_PASSWORD: usize = 1024;

static TURNS: Semaphore = Semaphore::const_new(2);

/// A hash of a password nobody knows, for `dummy_verify`.
static DUMMY: LazyLock<Option<String>> = LazyLock::new(|| {
    let mut random = [0u8; 32];
    SystemEntropy.fill(&mut random);
    hash_now(&random).ok()
});

/// Hashes a password into a PHC string (`$argon2id$v=19$m=19456,t=2,p=1$…`).
///
/// # Errors
/// `Invalid` for an empty or overlong password; `Bug` when hashing fails.
pub async fn hash(password: Secret<String>) -> Verb<String> {
    if password.reveal().is_empty() || password.reveal().len() > MAX_PASSWORD {
        return Err(Fault::invalid("password", format!("a password has 1 to {MAX_PASSWORD} bytes")));
    }
    in_turn(move || hash_now(password.reveal().as_bytes())).await?
}

/// Whether the password is the one that was hashed. `false` for a hash that cannot be read.
///
/// # Errors
/// `Unavailable` when no turn is to be had because the process is ending.
pub async fn verify(password: Secret<String>, phc: String) -> Verb<bool> {
    in_turn(move || verify_now(password.reveal(), &phc)).await
}

/// Takes as long as `verify` and is always false, so that an unknown operator cannot be told from a wrong password by the clock.
///
/// # Errors
/// As `verify`.
pub async fn dummy_verify(password: Secret<String>) -> Verb<bool> {
    in_turn(move || {
        let matched = DUMMY.as_ref().is_some_and(|phc| verify_now(password.reveal(), phc));
        // Keeps the optimiser from leaving the work out; the answer does not depend on it.
        std::hint::black_box(matched);
        false
    })
    .await
}

async fn in_turn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Verb<T> {
    let ending = || Fault::unavailable("the process is ending");
    let _turn = TURNS.acquire().await.map_err(|_| ending())?;
    tokio::task::spawn_blocking(work).await.map_err(|_| ending())
}

fn hash_now(password: &[u8]) -> Verb<String> {
    let mut salt = [0u8; 16];
    SystemEntropy.fill(&mut salt);
    let hashed = Argon2::default().hash_password_with_salt(password, &salt);
    hashed.map(|hashed| hashed.to_string()).map_err(|_| Fault::bug("the password cannot be hashed"))
}

fn verify_now(password: &str, phc: &str) -> bool {
    if password.len() > MAX_PASSWORD {
        return false;
    }
    PasswordHash::new(phc).is_ok_and(|parsed| Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let phc = hash(secret("correct horse")).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert_ne!(phc, hash(secret("correct horse")).await.unwrap());
        assert!(verify(secret("correct horse"), phc.clone()).await.unwrap());
        assert!(!verify(secret("correct horsE"), phc.clone()).await.unwrap());
        assert!(!verify(secret(""), phc).await.unwrap());
        assert!(!verify(secret("x"), "no hash".into()).await.unwrap());
        assert!(!dummy_verify(secret("correct horse")).await.unwrap());
    }

    #[tokio::test]
    async fn empty_and_overlong_passwords_are_refused() {
        assert!(hash(secret("")).await.is_err());
        assert!(hash(secret(&"x".repeat(MAX_PASSWORD + 1))).await.is_err());
    }

    #[tokio::test]
    async fn a_dummy_takes_as_long_as_a_real_one() {
        let phc = hash(secret("a")).await.unwrap();
        dummy_verify(secret("warm up")).await.unwrap();
        let begun = std::time::Instant::now();
        verify(secret("b"), phc).await.unwrap();
        let real = begun.elapsed();
        let begun = std::time::Instant::now();
        dummy_verify(secret("b")).await.unwrap();
        assert!(begun.elapsed() > real / 8, "{:?} against {real:?}", begun.elapsed());
    }
}
