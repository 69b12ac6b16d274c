//! Tokens that were ended before their time, by their id, each until it would have expired anyway. Counts for the next look of every call;
//! never does I/O: who stores them says so here.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::base::clock::Timestamp;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedToken {
    /// Its id.
    pub jti: String,
    /// Whose it was.
    pub client: String,
    /// When it would have expired.
    pub expires_at: Timestamp,
}

#[derive(Debug)]
struct Kept {
    token: EndedToken,
    stored: bool,
}

/// All of them.
#[derive(Debug)]
pub struct Ended {
    tokens: RwLock<HashMap<Arc<str>, Kept>>,
    changed: watch::Sender<u64>,
}

impl Default for Ended {
    fn default() -> Self {
        Self { tokens: RwLock::default(), changed: watch::Sender::new(0) }
    }
}

impl Ended {
    /// Ends a token. Again changes nothing.
    pub(super) fn end(&self, token: EndedToken) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        tokens.entry(token.jti.as_str().into()).or_insert(Kept { token, stored: false });
        drop(tokens);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Takes in what is stored already.
    pub fn recall(&self, ended: Vec<EndedToken>) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        for token in ended {
            tokens.insert(token.jti.as_str().into(), Kept { token, stored: true });
        }
    }

    /// Whether a token was ended.
    pub fn holds(&self, jti: &str) -> bool {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).contains_key(jti)
    }

    /// Those that count still.
    pub fn all(&self) -> Vec<EndedToken> {
        self.those(|_| true)
    }

    /// Those that nobody has stored yet.
    pub fn unstored(&self) -> Vec<EndedToken> {
        self.those(|kept| !kept.stored)
    }

    fn those(&self, fits: impl Fn(&Kept) -> bool) -> Vec<EndedToken> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<EndedToken> = tokens.values().filter(|kept| fits(kept)).map(|kept| kept.token.clone()).collect();
        found.sort_unstable_by(|a, b| a.jti.cmp(&b.jti));
        found
    }

    /// Tells that tokens are stored.
    pub fn stored(&self, of: &[EndedToken]) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        for token in of {
            if let Some(kept) = tokens.get_mut(token.jti.as_str()) {
                kept.stored = true;
            }
        }
        drop(tokens);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Waits until a token is stored, or forgotten.
    pub async fn until_stored(&self, jti: &str) {
        let mut changes = self.changed.subscribe();
        let waits = || {
            let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
            tokens.get(jti).is_some_and(|kept| !kept.stored)
        };
        while waits() && changes.changed().await.is_ok() {}
    }

    /// Wakes on each change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Forgets those that have expired.
    pub fn sweep(&self, now: Timestamp) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, kept| kept.token.expires_at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(jti: &str, expires_at: i64) -> EndedToken {
        EndedToken { jti: jti.into(), client: "ci".into(), expires_at: Timestamp(expires_at) }
    }

    #[tokio::test]
    async fn an_ended_token_waits_to_be_stored_and_is_forgotten_when_it_expires() {
        let ended = Ended::default();
        ended.end(token("a", 10));
        ended.end(token("a", 99));
        ended.end(token("b", 20));
        assert!(ended.holds("a") && !ended.holds("c"));
        assert_eq!(ended.unstored(), [token("a", 10), token("b", 20)]);
        ended.stored(&[token("a", 10)]);
        ended.until_stored("a").await;
        assert_eq!(ended.unstored(), [token("b", 20)]);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), ended.until_stored("b")).await.is_err());
        ended.sweep(Timestamp(10));
        assert_eq!(ended.all(), [token("b", 20)]);
    }
}
