//! Passwords of operators, checked off the runtime's threads and a few at a time. Never keeps or shows one.

use crate::admin::Admin;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::crypto::password;

const SHORTEST: usize = 12;
const LONGEST: usize = 1_024;

/// Hashes a new password.
///
/// # Errors
/// `Invalid` when it is too short or long.
pub async fn make(admin: &Admin, secret: &Secret<String>) -> Verb<String> {
    check_length(secret)?;
    let _turn = admin.operators.checks.acquire().await.map_err(|e| Fault::bug("password checks have ended").because(e))?;
    hash(secret).await
}

/// As `make`, without a running Lifeboat.
///
/// # Errors
/// As `make`.
pub async fn make_offline(secret: &Secret<String>) -> Verb<String> {
    check_length(secret)?;
    hash(secret).await
}

fn check_length(secret: &Secret<String>) -> Verb<()> {
    let length = secret.reveal().chars().count();
    if length < SHORTEST {
        return Err(Fault::invalid("password", format!("A password has {SHORTEST} characters or more; this one has {length}")));
    }
    if secret.reveal().len() > LONGEST {
        return Err(Fault::invalid("password", format!("A password has at most {LONGEST} bytes")));
    }
    Ok(())
}

async fn hash(secret: &Secret<String>) -> Verb<String> {
    let secret = secret.clone();
    let hashed = tokio::task::spawn_blocking(move || password::hash(&secret)).await;
    hashed.map_err(|e| Fault::bug("a password could not be hashed").because(e))?
}

/// Checks a password; without a stored hash it takes the same time and is wrong.
///
/// # Errors
/// When it cannot be checked at all.
pub async fn check(admin: &Admin, stored: Option<&str>, secret: &Secret<String>) -> Verb<bool> {
    if secret.reveal().len() > LONGEST {
        return Ok(false);
    }
    let _turn = admin.operators.checks.acquire().await.map_err(|e| Fault::bug("password checks have ended").because(e))?;
    let (stored, secret) = (stored.map(str::to_owned), secret.clone());
    let checked = tokio::task::spawn_blocking(move || match stored {
        Some(phc) => password::verify(&phc, &secret),
        None => password::verify_nobody(&secret),
    });
    checked.await.map_err(|e| Fault::bug("a password could not be checked").because(e))
}
