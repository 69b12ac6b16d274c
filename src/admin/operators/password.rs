//! What a password of an operator must be. Never keeps or shows one; hashing and checking are `crypto::password`.

use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::crypto::password::{self, Queue};

const SHORTEST: usize = 12;

/// Hashes a new password.
///
/// # Errors
/// `Invalid` when it is too short or too long.
pub(super) async fn make(secret: &Secret<String>) -> Verb<String> {
    let length = secret.reveal().chars().count();
    if length < SHORTEST {
        return Err(Fault::invalid("password", format!("A password has {SHORTEST} characters or more; this one has {length}")));
    }
    if secret.reveal().len() > password::MAX_PASSWORD {
        return Err(Fault::invalid("password", format!("A password has at most {} bytes", password::MAX_PASSWORD)));
    }
    password::hash(secret.clone()).await
}

/// Checks a password; without a stored hash it takes the same time and is wrong. `None` when too many wait: it was not looked at.
///
/// # Errors
/// When it cannot be checked at all.
pub(super) async fn check(stored: Option<String>, secret: &Secret<String>, queue: Queue) -> Verb<Option<bool>> {
    match stored {
        Some(phc) => password::verify(secret.clone(), phc, queue).await,
        None => password::dummy_verify(secret.clone(), queue).await,
    }
}
