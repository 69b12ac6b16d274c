//! When each credential was last used: a number a credential, kept across snapshots. Bounded by the credentials that there are; never does I/O.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;

use crate::base::clock::Timestamp;

type Moments = HashMap<Arc<str>, Arc<AtomicI64>>;

/// A moment per name that only moves forward. Read and marked without a lock.
#[derive(Debug, Default)]
pub struct Uses(ArcSwap<Moments>);

impl Uses {
    /// Notes a use. A name that nobody keeps is not noted.
    pub fn mark(&self, kid: &str, now: Timestamp) {
        if let Some(moment) = self.0.load().get(kid) {
            moment.fetch_max(now.0, Ordering::SeqCst);
        }
    }

    /// The last use that is known; none when it was never used.
    pub fn last(&self, kid: &str) -> Option<Timestamp> {
        let moment = self.0.load().get(kid)?.load(Ordering::SeqCst);
        (moment > 0).then_some(Timestamp(moment))
    }

    /// Every use that is known.
    pub fn all(&self) -> Vec<(Arc<str>, Timestamp)> {
        let moments = self.0.load();
        let known = moments.iter().map(|(kid, moment)| (kid.clone(), Timestamp(moment.load(Ordering::SeqCst))));
        known.filter(|(_, at)| at.0 > 0).collect()
    }

    /// Keeps these names from now on, each with what is known of it, and forgets all others.
    pub fn keep<'a>(&self, kids: impl Iterator<Item = &'a Arc<str>>) {
        let now = self.0.load();
        let kept: Moments = kids.map(|kid| (kid.clone(), now.get(kid).cloned().unwrap_or_default())).collect();
        // Most policies change nothing here.
        if kept.len() != now.len() || kept.keys().any(|kid| !now.contains_key(kid)) {
            self.0.store(Arc::new(kept));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_outlives_a_snapshot_and_a_gone_credential_is_forgotten() {
        let uses = Uses::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        uses.mark("a", Timestamp(5));
        assert_eq!(uses.last("a"), None, "nobody keeps it");
        uses.keep([&a].into_iter());
        uses.mark("a", Timestamp(7));
        uses.mark("a", Timestamp(6));
        uses.keep([&a, &b].into_iter());
        assert_eq!((uses.last("a"), uses.last("b")), (Some(Timestamp(7)), None));
        assert_eq!(uses.all(), [(a, Timestamp(7))]);
        uses.keep([&b].into_iter());
        assert_eq!((uses.last("a"), uses.all().len()), (None, 0));
    }
}
