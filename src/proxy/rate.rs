//! Stage: the client's own rate and its calls in flight. Tied to the client, never to its address, key or connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::authn::Caller;
use super::refuse::Refusal;
use crate::policy::Snapshot;
use crate::policy::snapshot::ClientEntry;

/// Open streams of one client.
const LISTENING: u32 = 256;

/// A caller that is within its limits.
pub struct Metered {
    /// Who calls.
    pub caller: Caller,
    /// Its place among its calls in flight, given back when dropped.
    pub slot: Slot,
}

/// One call in flight, until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Slot {
    _taken: Option<Arc<Taken>>,
}

#[derive(Debug)]
struct Taken(Arc<AtomicU32>);

impl Slot {
    fn of(count: Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self { _taken: Some(Arc::new(Taken(count))) }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The buckets of all clients.
#[derive(Default)]
pub struct Limiter(Mutex<HashMap<Arc<str>, Bucket>>);

struct Bucket {
    tokens: f64,
    filled: Instant,
    flying: Arc<AtomicU32>,
    listening: Arc<AtomicU32>,
}

impl Bucket {
    fn full(client: &ClientEntry, now: Instant) -> Self {
        Self { tokens: f64::from(client.burst), filled: now, flying: Arc::default(), listening: Arc::default() }
    }
}

impl Limiter {
    /// Takes one call from the client's bucket and a place in flight.
    ///
    /// # Errors
    /// `rate.client` with the time until the next call fits, or `rate.concurrency`.
    pub fn take(&self, client: &ClientEntry) -> Result<Slot, Refusal> {
        if client.rate == 0 && client.concurrency == 0 {
            return Ok(Slot { _taken: None });
        }
        let now = Instant::now();
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(&client.name) {
            buckets.insert(client.name.clone(), Bucket::full(client, now));
        }
        let Some(bucket) = buckets.get_mut(&client.name) else { return Ok(Slot { _taken: None }) };
        let flying = bucket.flying.clone();
        if client.concurrency != 0 && flying.load(Ordering::Acquire) >= client.concurrency {
            return Err(Refusal::Concurrency);
        }
        if client.rate != 0 {
            bucket.draw(client, now)?;
        }
        Ok(Slot::of(flying))
    }

    /// Takes a place among the client's open streams: they hold a connection on either side, so no client may hold them all.
    ///
    /// # Errors
    /// `rate.concurrency`.
    pub fn listen(&self, caller: &Caller) -> Result<Slot, Refusal> {
        let client = &caller.client;
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(client.name.clone()).or_insert_with(|| Bucket::full(client, Instant::now()));
        if bucket.listening.load(Ordering::Acquire) >= LISTENING {
            return Err(Refusal::Concurrency);
        }
        Ok(Slot::of(bucket.listening.clone()))
    }

    /// Forgets clients that are gone, so that memory follows the configuration.
    pub fn keep(&self, snapshot: &Snapshot) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.retain(|client, _| snapshot.clients.contains_key(client));
    }
}

impl Bucket {
    fn draw(&mut self, client: &ClientEntry, now: Instant) -> Result<(), Refusal> {
        let rate = f64::from(client.rate);
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * rate).min(f64::from(client.burst));
        self.filled = now;
        if self.tokens < 1.0 {
            let wait = ((1.0 - self.tokens) / rate * 1000.0).ceil();
            return Err(Refusal::Rate { after: std::time::Duration::from_millis(wait as u64) });
        }
        self.tokens -= 1.0;
        Ok(())
    }
}

/// Lets a caller through that is within its limits. A canary is never limited: a kill proof must come through a crowd.
///
/// # Errors
/// See [`Limiter::take`].
pub fn meter(limiter: &Limiter, caller: Caller) -> Result<Metered, Refusal> {
    let slot = match caller.principal.canary {
        Some(_) => Slot { _taken: None },
        None => limiter.take(&caller.client)?,
    };
    Ok(Metered { caller, slot })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn client(rate: u32, burst: u32, concurrency: u32) -> ClientEntry {
        ClientEntry { name: "c".into(), grants: Vec::new(), rate, burst, concurrency, self_rotation: false }
    }

    #[tokio::test]
    async fn atk_p40_a_burst_passes_then_the_rate_counts() {
        let limiter = Limiter::default();
        let client = client(1, 20, 0);
        let passed = (0..100).filter(|_| limiter.take(&client).is_ok()).count();
        assert_eq!(passed, 20);
        let Some(Refusal::Rate { after }) = limiter.take(&client).err() else { panic!("over the rate") };
        assert!((900..=1_000).contains(&after.as_millis()), "{after:?}");
        tokio::time::sleep(Duration::from_millis(1_010)).await;
        assert_eq!((0..100).filter(|_| limiter.take(&client).is_ok()).count(), 1);
    }

    #[tokio::test]
    async fn atk_p25_open_streams_of_one_client_are_bounded() {
        let limiter = Limiter::default();
        let principal = crate::policy::Principal { client: "c".into(), kid: "k".into(), token: None, canary: None };
        let caller = Caller { principal, client: Arc::new(client(0, 1, 0)) };
        let mut open: Vec<Slot> = (0..LISTENING).map(|_| limiter.listen(&caller).expect("a place")).collect();
        assert_eq!(limiter.listen(&caller).err(), Some(Refusal::Concurrency));
        open.pop();
        assert!(limiter.listen(&caller).is_ok());
    }

    #[tokio::test]
    async fn a_place_in_flight_is_given_back() {
        let limiter = Limiter::default();
        let client = client(0, 1, 2);
        let first = limiter.take(&client).expect("one");
        let _second = limiter.take(&client).expect("two");
        assert_eq!(limiter.take(&client).err(), Some(Refusal::Concurrency));
        drop(first);
        assert!(limiter.take(&client).is_ok());
    }
}
