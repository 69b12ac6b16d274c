//! When each credential was last shown and accepted: one number for each, kept over every change of the policy. Never holds a credential, and never
//! waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::base::clock::Timestamp;

/// Last uses by kid. Only credentials that counted are marked, so there are no more than were ever issued.
#[derive(Default)]
pub struct Uses(RwLock<HashMap<Arc<str>, AtomicI64>>);

impl Uses {
    /// A credential was shown and accepted.
    pub fn mark(&self, kid: &Arc<str>, now: Timestamp) {
        if let Some(last) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(kid) {
            last.fetch_max(now.0, Ordering::Relaxed);
            return;
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(kid.clone()).or_default().fetch_max(now.0, Ordering::Relaxed);
    }

    /// When a credential was last accepted, as far as this process knows.
    pub fn last(&self, kid: &str) -> Option<Timestamp> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(kid).map(|last| Timestamp(last.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_use_never_goes_back() {
        let (uses, kid) = (Uses::default(), Arc::from("k"));
        assert_eq!(uses.last("k"), None);
        for at in [5, 9, 7] {
            uses.mark(&kid, Timestamp(at));
        }
        assert_eq!(uses.last("k"), Some(Timestamp(9)));
    }
}
