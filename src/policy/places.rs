//! From where the keys of open rotations are shown: who moved to the new key, and who is still on the old one. Costs one atomic load while no key is
//! watched. Never holds a key, and never more places of one key than it can count.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::base::clock::Timestamp;

/// Places of one key that are told apart; all others count as one.
const MOST: usize = 64;
/// All places that are not told apart. Somebody there may use the new key while somebody else uses the old one.
pub const OTHERS: &str = "other places";

/// What was seen of a key at one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// First request.
    pub first: Timestamp,
    /// Last request that was accepted; what is refused is no use of a key.
    pub last: Timestamp,
    /// Requests that were accepted.
    pub calls: u64,
    /// Requests that were refused with 401.
    pub refused: u64,
}

type Book = BTreeMap<String, Seen>;

/// The places of the watched keys.
#[derive(Default)]
pub struct Places {
    watched: ArcSwap<HashMap<Arc<str>, Arc<Mutex<Book>>>>,
    changing: Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    /// Watches a key; what is known of it already stays, and `before` is taken in when nothing is.
    pub fn watch(&self, kid: &str, before: impl IntoIterator<Item = (String, Seen)>) {
        let _turn = locked(&self.changing);
        let now = self.watched.load_full();
        if now.contains_key(kid) {
            return;
        }
        let mut all = HashMap::clone(&now);
        all.insert(Arc::from(kid), Arc::new(Mutex::new(before.into_iter().collect())));
        self.watched.store(Arc::new(all));
    }

    /// Forgets what was seen of a watched key, and goes on watching: what came before was nobody's use.
    pub fn restart(&self, kid: &str) {
        if let Some(book) = self.watched.load().get(kid) {
            locked(book).clear();
        }
    }

    /// Watches a key no longer.
    pub fn forget(&self, kid: &str) {
        let _turn = locked(&self.changing);
        let mut all = HashMap::clone(&self.watched.load_full());
        if all.remove(kid).is_some() {
            self.watched.store(Arc::new(all));
        }
    }

    /// A key was shown at a place.
    pub fn note(&self, kid: &str, from: IpAddr, now: Timestamp, accepted: bool) {
        let watched = self.watched.load();
        if watched.is_empty() {
            return;
        }
        let Some(book) = watched.get(kid) else { return };
        let mut book = locked(book);
        let place = name(from);
        let known = book.contains_key(&place);
        // What is refused may be anybody's, and takes no room from those whose key it is.
        let room = accepted && book.len() - usize::from(book.contains_key(OTHERS)) < MOST;
        let place = if known || room { place } else { OTHERS.to_owned() };
        let seen = book.entry(place).or_insert(Seen { first: now, ..Seen::default() });
        if accepted {
            seen.last = seen.last.max(now);
            seen.calls += 1;
        } else {
            seen.refused += 1;
        }
    }

    /// What was seen of a key, by place.
    pub fn of(&self, kid: &str) -> BTreeMap<String, Seen> {
        self.watched.load().get(kid).map(|book| locked(book).clone()).unwrap_or_default()
    }

    /// The keys that are watched.
    pub fn kids(&self) -> Vec<Arc<str>> {
        self.watched.load().keys().cloned().collect()
    }
}

// One IPv6 customer has a whole /64.
fn name(from: IpAddr) -> String {
    match from.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let s = v6.segments();
            format!("{}/64", std::net::Ipv6Addr::from([s[0], s[1], s[2], s[3], 0, 0, 0, 0]))
        }
        one => one.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn only_watched_keys_are_counted() {
        let places = Places::default();
        places.note("k", from(1), Timestamp(1), true);
        assert!(places.of("k").is_empty());
        places.watch("k", []);
        places.note("k", from(1), Timestamp(5), true);
        places.note("k", from(1), Timestamp(9), false);
        places.note("other", from(1), Timestamp(4), true);
        let seen = Seen { first: Timestamp(5), last: Timestamp(5), calls: 1, refused: 1 };
        assert_eq!(places.of("k").into_iter().collect::<Vec<_>>(), [("10.0.0.1".to_owned(), seen)]);
        places.watch("k", []);
        assert_eq!(places.of("k").len(), 1, "watching again forgets nothing");
        places.restart("k");
        assert!(places.of("k").is_empty());
        places.note("k", from(2), Timestamp(10), true);
        assert_eq!(places.of("k").len(), 1, "it is watched still");
        places.forget("k");
        assert!(places.of("k").is_empty() && places.kids().is_empty());
    }

    #[test]
    fn what_strangers_show_takes_no_room_from_those_whose_key_it_is() {
        let places = Places::default();
        places.watch("k", []);
        for n in 0..=255u8 {
            places.note("k", IpAddr::from([203, 0, 113, n]), Timestamp(1), false);
        }
        assert_eq!(places.of("k").keys().collect::<Vec<_>>(), [OTHERS]);
        for n in 0..MOST as u8 {
            places.note("k", from(n), Timestamp(2), true);
            places.note("k", from(n), Timestamp(3), false);
        }
        let book = places.of("k");
        assert!(
            (0..MOST as u8).all(|n| book[&from(n).to_string()].calls == 1 && book[&from(n).to_string()].refused == 1),
            "{book:?}"
        );
        assert_eq!((book[OTHERS].calls, book[OTHERS].refused), (0, 256), "counted, but not told apart");
        let v6 = |text: &str| name(text.parse().expect("an address"));
        assert_eq!(v6("2606:4700:1:2:3::1"), v6("2606:4700:1:2:ffff::9"));
        assert_eq!((v6("2606:4700:1:2:3::1").as_str(), v6("::1").as_str()), ("2606:4700:1:2::/64", "::1"));
    }

    #[test]
    fn a_key_that_is_everywhere_takes_no_more_room() {
        let places = Places::default();
        places.watch("k", []);
        for a in 0..4u8 {
            for b in 0..=255u8 {
                places.note("k", IpAddr::from([10, 1, a, b]), Timestamp(1), true);
            }
        }
        let book = places.of("k");
        assert_eq!(book.len(), MOST + 1);
        assert_eq!(book.values().map(|seen| seen.calls).sum::<u64>(), 1_024);
    }
}
