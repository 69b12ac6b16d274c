//! What was found out about tokens, by their digest, each until it expires: a signature is verified once. Bounded; holds nothing that has not
//! been verified, so strangers cannot fill it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::clock::Timestamp;

const MOST: usize = 4_096;

type Digest = [u8; 32];

/// Verdicts of one kind.
pub(super) struct Verdicts<T>(Mutex<HashMap<Digest, (Arc<T>, Timestamp)>>);

impl<T> Default for Verdicts<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Verdicts<T> {
    /// The verdict on a token.
    pub(super) fn find(&self, digest: &Digest) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).map(|(verdict, _)| verdict.clone())
    }

    /// Keeps one until the token expires.
    pub(super) fn keep(&self, digest: Digest, verdict: &Arc<T>, until: Timestamp, now: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.retain(|_, (_, until)| *until > now);
        }
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(digest, (verdict.clone(), until));
    }

    /// Forgets those that have expired.
    pub(super) fn sweep(&self, now: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (_, until)| *until > now);
        if kept.capacity() > 64 && kept.len() < kept.capacity() / 4 {
            kept.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_kept_until_they_expire_and_are_bounded() {
        let verdicts = Verdicts::default();
        let digest = |n: usize| crate::crypto::keys::sha256(&n.to_be_bytes());
        for n in 0..MOST * 2 {
            verdicts.keep(digest(n), &Arc::new(n), Timestamp(100), Timestamp(0));
        }
        assert!(verdicts.0.lock().expect("lock").len() <= MOST);
        assert_eq!(verdicts.find(&digest(MOST * 2 - 1)).as_deref(), Some(&(MOST * 2 - 1)));
        verdicts.sweep(Timestamp(100));
        assert!(verdicts.0.lock().expect("lock").is_empty());
    }
}
