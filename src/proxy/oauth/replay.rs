//! Assertions that were shown, each until it expires: none counts twice (RFC 7523 section 3, point 7). Bounded per client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::clock::Timestamp;
use crate::crypto::keys::sha256;

/// Assertions of one client that count at once.
const MOST: usize = 8_192;

type Shown = HashMap<[u8; 32], Timestamp>;

/// All of them, by client.
#[derive(Default)]
pub(super) struct Replays(Mutex<HashMap<Arc<str>, Shown>>);

/// It was shown before, or there are too many to remember another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Shown,
    TooMany,
}

impl Replays {
    /// Remembers an assertion of a client until `until`.
    ///
    /// # Errors
    /// When it was shown before, or cannot be remembered.
    pub(super) fn show(&self, client: &Arc<str>, jti: &str, until: Timestamp, now: Timestamp) -> Result<(), Again> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = all.entry(client.clone()).or_default();
        if shown.len() >= MOST {
            shown.retain(|_, until| *until > now);
        }
        let jti = sha256(jti.as_bytes());
        if shown.contains_key(&jti) {
            return Err(Again::Shown);
        }
        if shown.len() >= MOST {
            return Err(Again::TooMany);
        }
        shown.insert(jti, until);
        Ok(())
    }

    /// Forgets those that have expired.
    pub(super) fn sweep(&self, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values_mut().for_each(|shown| shown.retain(|_, until| *until > now));
        all.retain(|_, shown| !shown.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_counts_once_and_memory_is_bounded() {
        let replays = Replays::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        assert_eq!(replays.show(&a, "1", Timestamp(10), Timestamp(0)), Ok(()));
        assert_eq!(replays.show(&a, "1", Timestamp(10), Timestamp(0)), Err(Again::Shown));
        assert_eq!(replays.show(&b, "1", Timestamp(10), Timestamp(0)), Ok(()), "another client's is another one");
        for n in 0..MOST * 2 {
            let _shown = replays.show(&b, &format!("n{n}"), Timestamp(10), Timestamp(0));
        }
        assert_eq!(replays.show(&b, "one more", Timestamp(10), Timestamp(0)), Err(Again::TooMany));
        assert_eq!(replays.show(&b, "one more", Timestamp(20), Timestamp(11)), Ok(()), "the old ones have expired");
        replays.sweep(Timestamp(15));
        assert_eq!(replays.0.lock().expect("lock").len(), 1);
    }
}
