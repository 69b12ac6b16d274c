//! The calls in flight of one child, by the id it knows them by. Pure: no two clients ever share an id or a progress token.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{RequestKey, StdioEvent};
use crate::mcp::message::Incoming;
use crate::proxy::room::{self, Room};

const MOST: usize = 4096;
/// A notification larger than this is left out: the proxy would refuse it anyway.
const LARGEST_NOTIFICATION: usize = 1 << 20;
/// Bytes of notifications that may wait for one client; what comes beyond is left out.
const BACKLOG: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Queued,
    Written,
}

/// One call.
pub(super) struct Flight {
    key: Option<RequestKey>,
    id: Box<[u8]>,
    token: Option<Box<[u8]>>,
    events: mpsc::Sender<StdioEvent>,
    room: Room,
    progress: Progress,
    listens: bool,
}

impl Flight {
    /// A call with the client's id and token as written.
    pub(super) fn new(key: Option<RequestKey>, id: Box<[u8]>, token: Option<Box<[u8]>>, events: mpsc::Sender<StdioEvent>) -> Self {
        Self { key, id, token, events, room: Room::new(BACKLOG), progress: Progress::Queued, listens: false }
    }

    /// One that only listens, as long as its client likes.
    pub(super) fn listening(self, listens: bool) -> Self {
        Self { listens, ..self }
    }
}

/// Every call in flight, and the killed ones that the child has not ended yet.
pub(super) struct Table {
    next: u64,
    flights: HashMap<u64, Flight>,
    by_key: HashMap<RequestKey, u64>,
    condemned: HashMap<u64, Instant>,
}

impl Table {
    pub(super) fn new(first: u64) -> Self {
        Self { next: first + 1, flights: HashMap::new(), by_key: HashMap::new(), condemned: HashMap::new() }
    }

    pub(super) fn insert(&mut self, flight: Flight) -> Result<u64, String> {
        if self.flights.len() >= MOST {
            return Err(format!("{MOST} calls to this server are in flight"));
        }
        let id = self.next;
        self.next += 1;
        if let Some(key) = &flight.key {
            self.by_key.insert(key.clone(), id);
        }
        self.flights.insert(id, flight);
        Ok(id)
    }

    pub(super) fn find(&self, key: &RequestKey) -> Option<u64> {
        self.by_key.get(key).copied()
    }

    /// Whether a call is still wanted just before its line is written; from here on the child may know it.
    pub(super) fn begin_write(&mut self, id: u64) -> bool {
        let flight = self.flights.get_mut(&id);
        flight.map(|flight| flight.progress = Progress::Written).is_some()
    }

    /// Ends a call; `until` condemns it: the child must have ended it by then. Says whether the child has to be told: one
    /// whose line was not written yet is never written.
    pub(super) fn cancel(&mut self, id: u64, until: Option<Instant>) -> bool {
        let written = self.flights.get(&id).is_some_and(|flight| flight.progress == Progress::Written);
        if !written {
            self.forget(id);
            return false;
        }
        if let Some(until) = until {
            self.condemned.insert(id, until);
        }
        true
    }

    pub(super) fn forget(&mut self, id: u64) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        if let Some(key) = &flight.key
            && self.by_key.get(key) == Some(&id)
        {
            self.by_key.remove(key);
        }
        Some(flight)
    }

    /// Where the calls in flight are answered, in the order they began.
    pub(super) fn streams(&self) -> Vec<&mpsc::Sender<StdioEvent>> {
        let mut ids: Vec<&u64> = self.flights.keys().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.flights.get(id)).map(|flight| &flight.events).collect()
    }

    /// Whether no call is in flight, and none that was killed has yet to end. Whoever only listens is no call.
    pub(super) fn is_calm(&self) -> bool {
        self.condemned.is_empty() && self.flights.values().all(|flight| flight.listens)
    }

    /// Whether a notification belongs to one call.
    pub(super) fn owns(&self, message: &Incoming) -> bool {
        self.owner(message).is_some()
    }

    /// The child has ended: every call is gone, and nothing is left to be killed.
    pub(super) fn clear(&mut self) {
        for flight in std::mem::take(&mut self.flights).into_values() {
            // A call that is not waited for any more needs no news.
            let _ = flight.events.try_send(StdioEvent::Gone);
        }
        self.by_key.clear();
        self.condemned.clear();
    }

    /// The first moment at which a killed call has outlived its time.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.condemned.values().min().copied()
    }

    /// Hands a response to its call; one with an unknown id goes nowhere.
    pub(super) fn respond(&mut self, message: &Incoming) {
        let Some(id) = message.id_raw().and_then(number) else { return };
        self.condemned.remove(&id);
        if let Some(flight) = self.forget(id) {
            let _ = flight.events.try_send(StdioEvent::Response(message.with_id(&flight.id)));
        }
    }

    /// Hands a notification to the call whose token or subscription it carries; any other goes nowhere.
    pub(super) fn notify(&self, message: &Incoming) {
        if let Some((flight, text)) = self.owner(message)
            && text.len() <= LARGEST_NOTIFICATION
            // The last place is kept for the end of the call.
            && flight.events.capacity() > 1
            && let Some(share) = flight.room.try_enter(text.len() as u64)
        {
            let _ = flight.events.try_send(StdioEvent::Notification(room::holding(text, Some(share))));
        }
    }

    fn owner(&self, message: &Incoming) -> Option<(&Flight, Bytes)> {
        if let Some(raw) = message.progress_token_raw() {
            let flight = self.flights.get(&number(raw)?)?;
            return Some((flight, message.with_progress_token(flight.token.as_deref()?)));
        }
        let flight = self.flights.get(&number(message.subscription_id_raw()?)?)?;
        Some((flight, message.with_subscription_id(&flight.id)))
    }
}

// Some servers give an id or token back as text.
fn number(raw: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(raw).ok()?;
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).parse().ok()
}
