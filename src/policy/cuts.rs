//! The keys that were ended in an emergency: what they have in flight is cut at once. Never permits anything: whether a key counts is the snapshot's
//! affair.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

/// Keys whose calls are cut. A kid is never used again, so none of them ever leaves.
pub struct Cuts {
    kids: RwLock<HashSet<Arc<str>>>,
    count: watch::Sender<u64>,
}

impl Default for Cuts {
    fn default() -> Self {
        Self { kids: RwLock::default(), count: watch::Sender::new(0) }
    }
}

impl Cuts {
    /// Cuts what these keys have in flight.
    pub fn cut(&self, kids: impl IntoIterator<Item = impl AsRef<str>>) {
        let mut all = self.kids.write().unwrap_or_else(PoisonError::into_inner);
        all.extend(kids.into_iter().map(|kid| Arc::from(kid.as_ref())));
        drop(all);
        self.count.send_modify(|count| *count += 1);
    }

    /// Whether what a key has in flight is cut.
    pub fn holds(&self, kid: &str) -> bool {
        self.kids.read().unwrap_or_else(PoisonError::into_inner).contains(kid)
    }

    /// Wakes on each cut.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_wakes_who_waits_and_names_its_keys_alone() {
        let cuts = Cuts::default();
        let waiting = cuts.watch();
        cuts.cut(["a"]);
        assert!(waiting.has_changed().unwrap());
        assert!(cuts.holds("a") && !cuts.holds("b"));
    }
}
