//! How many wrong proofs and how many tokens are borne with: a bucket per address and per client. A right proof is never held back by wrong
//! ones, so nobody can lock a client out. Bounded: strangers cannot make it grow.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::crypto::keys::sha256;

const MOST: usize = 4_096;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy)]
struct Pace {
    per_second: f64,
    burst: f64,
}

const WRONG_FROM: Pace = Pace { per_second: 0.5, burst: 20.0 };
const WRONG_FOR: Pace = Pace { per_second: 1.0, burst: 60.0 };
const GIVEN: Pace = Pace { per_second: 20.0, burst: 200.0 };

struct Buckets<K>(HashMap<K, (f64, Instant)>);

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Buckets<K> {
    /// Takes one; else the seconds until there is one again.
    fn take(&mut self, key: K, pace: Pace) -> Result<(), u64> {
        let now = Instant::now();
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            self.make_room(pace, now);
        }
        let (left, filled) = self.0.entry(key).or_insert((pace.burst, now));
        let since = now.saturating_duration_since(*filled).as_secs_f64();
        (*left, *filled) = ((*left + since * pace.per_second).min(pace.burst), now);
        if *left < 1.0 {
            return Err(((1.0 - *left) / pace.per_second).ceil().max(1.0) as u64);
        }
        *left -= 1.0;
        Ok(())
    }

    fn make_room(&mut self, pace: Pace, now: Instant) {
        let full =
            |left: f64, filled: Instant| left + now.saturating_duration_since(filled).as_secs_f64() * pace.per_second >= pace.burst;
        self.0.retain(|_, (left, filled)| !full(*left, *filled));
        if self.0.len() >= MOST {
            // A flood from everywhere: those who have the most left are let go.
            self.0.retain(|_, (left, _)| *left < pace.burst / 2.0);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
    }
}

#[derive(Default)]
struct All {
    from: Buckets<IpAddr>,
    /// By the digest of the name that was claimed, so that a long one takes no more room.
    wrong: Buckets<[u8; 32]>,
    given: Buckets<Arc<str>>,
}

/// The buckets.
#[derive(Default)]
pub(super) struct Throttle(Mutex<All>);

impl Throttle {
    /// Counts a wrong proof; `client` is whom it names. Whether there is one makes no difference, or the answer would tell.
    ///
    /// # Errors
    /// Seconds to wait when there were too many.
    pub(super) fn wrong(&self, from: IpAddr, client: Option<&str>) -> Result<(), u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = client.map_or(Ok(()), |client| all.wrong.take(sha256(client.as_bytes()), WRONG_FOR));
        all.from.take(place(from), WRONG_FROM).and(of_client)
    }

    /// Counts a token that is about to be given.
    ///
    /// # Errors
    /// Seconds to wait when there were too many.
    pub(super) fn give(&self, client: &Arc<str>) -> Result<(), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).given.take(client.clone(), GIVEN)
    }
}

// One IPv6 customer has a whole /64.
fn place(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => {
            let s = v6.segments();
            IpAddr::from([s[0], s[1], s[2], s[3], 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wrong_proofs_are_counted_by_address_and_by_client_in_bounded_memory() {
        let throttle = Throttle::default();
        let from = |n: u32| IpAddr::from(n.to_be_bytes());
        let borne = (0..100).filter(|_| throttle.wrong(from(1), None).is_ok()).count();
        assert_eq!(borne, 20);
        assert!(throttle.wrong(from(1), None).is_err_and(|seconds| (1..=2).contains(&seconds)));
        assert!(throttle.wrong(from(2), None).is_ok(), "another address is another bucket");
        let client: Arc<str> = "ci".into();
        let borne = (10..200).filter(|n| throttle.wrong(from(*n), Some(&client)).is_ok()).count();
        assert_eq!(borne, 60, "from many addresses for one client");
        assert!(throttle.give(&client).is_ok(), "the right one is not held back");
        for n in 1_000..20_000 {
            let _counted = throttle.wrong(from(n), Some(&format!("invented-{n}")));
        }
        let all = throttle.0.lock().expect("lock");
        assert!(all.from.0.len() <= MOST && all.wrong.0.len() <= MOST);
        let v6 = |text: &str| text.parse::<IpAddr>().expect("address");
        assert_eq!(place(v6("2606:4700::1")), place(v6("2606:4700::ffff:1")));
    }
}
