//! Legacy sessions: an id of our own for each (client, server, session of the server). Never shows a server's own id to a client, and
//! never serves a session to another client.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::base::ids::Entropy;
use crate::config::{Class, settings};
use crate::mcp::message::Id;
use crate::mcp::method::MethodKind;

type Key = [u8; 32];

// What one session may leave open; the oldest goes first. Small, because sessions are many and most have none.
const OPEN: usize = 64;
// A client resumes from an event it has received, so it cannot be further behind than what waits on its connection.
const EVENTS: usize = 1_024;
const SWEEP: usize = 4_096;

/// All sessions.
#[derive(Default)]
pub struct Sessions {
    store: Mutex<Store>,
    // Keyed at random, so that no server can make two ids of events look the same.
    events: RandomState,
}

#[derive(Default)]
struct Store {
    by_key: HashMap<Key, Session>,
    // Per client, oldest deadline first; an entry of a session that was used since is put back at the end.
    queues: HashMap<Arc<str>, VecDeque<(Key, Instant)>>,
}

struct Session {
    client: Arc<str>,
    server: Arc<str>,
    upstream: Option<Arc<str>>,
    version: Option<&'static str>,
    deadline: Instant,
    open: Option<Box<Open>>,
}

/// What is open between the two sides of a session.
#[derive(Default)]
struct Open {
    // Requests of the server that wait for the client's response.
    asked: VecDeque<(Id, Question)>,
    // Requests of the client whose stream ended before their response.
    orphans: VecDeque<(Id, Orphan)>,
    // Digests of the ids of events that were passed on.
    events: VecDeque<u64>,
}

/// What a server asks its client within a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The tool of the call on whose stream it came, when it came on one.
    pub tool: Option<Arc<str>>,
    /// What the answer sets going again: the class of that call; none for a sign of life, which no kill stops.
    pub class: Option<Class>,
}

/// A request whose response may still come on the server's stream.
#[derive(Clone, Debug)]
pub struct Orphan {
    /// The `req_…` it was recorded under.
    pub request: Arc<str>,
    /// What it asked for.
    pub kind: MethodKind,
    /// The tool, when it called one.
    pub tool: Option<Arc<str>>,
    /// The class it counts as.
    pub class: Class,
}

/// A session as a request sees it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its id at the proxy, as the client shows it.
    pub id: Arc<str>,
    /// Its id at the server.
    pub upstream: Option<Arc<str>>,
    /// The version agreed on, when known.
    pub version: Option<&'static str>,
}

/// First 12 characters of the digest of a session id, for the ledger.
pub fn digest(id: &str) -> String {
    let digest = Sha256::digest(id.as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn key_of(id: &str) -> Option<Key> {
    URL_SAFE_NO_PAD.decode(id).ok()?.try_into().ok()
}

impl Sessions {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a session and gives its id. The client's oldest one ends when it holds too many.
    pub fn mint(
        &self,
        entropy: &dyn Entropy,
        limits: &settings::Sessions,
        (client, server): (Arc<str>, Arc<str>),
        upstream: Option<Arc<str>>,
    ) -> Arc<str> {
        let mut key = Key::default();
        entropy.fill(&mut key);
        let deadline = Instant::now() + Duration::from_secs(limits.ttl_seconds);
        let mut store = self.store();
        store.sweep(8);
        while store.queues.get(&client).is_some_and(|queue| queue.len() >= limits.per_client.max(1)) {
            store.evict(&client);
        }
        store.queues.entry(client.clone()).or_default().push_back((key, deadline));
        store.by_key.insert(key, Session { client, server, upstream, version: None, deadline, open: None });
        URL_SAFE_NO_PAD.encode(key).into()
    }

    /// The session of an id, for the client and server it was made for, while it lasts. Using it makes it last longer.
    pub fn find(&self, limits: &settings::Sessions, id: &str, client: &str, server: &str) -> Option<SessionView> {
        let key = key_of(id)?;
        let now = Instant::now();
        let mut store = self.store();
        let session = store.by_key.get_mut(&key)?;
        if session.client.as_ref() != client || session.server.as_ref() != server || session.deadline <= now {
            return None;
        }
        session.deadline = now + Duration::from_secs(limits.ttl_seconds);
        Some(SessionView { id: id.into(), upstream: session.upstream.clone(), version: session.version })
    }

    /// Whether a session lasts.
    pub fn has(&self, id: &str) -> bool {
        self.with(id, |session| session.deadline > Instant::now()).unwrap_or(false)
    }

    /// Keeps the version that initialize agreed on.
    pub fn agree(&self, id: &str, version: &'static str) {
        self.with(id, |session| session.version = Some(version));
    }

    /// Ends a session.
    pub fn end(&self, id: &str) {
        if let Some(key) = key_of(id) {
            self.store().by_key.remove(&key);
        }
    }

    /// Notes that the server asked the client something. Asked again under the same id, only the later question stands.
    pub fn asked(&self, id: &str, request: Id, question: Question) {
        self.with(id, |session| {
            let asked = &mut session.open.get_or_insert_default().asked;
            asked.retain(|(known, _)| *known != request);
            push(asked, (request, question));
        });
    }

    /// What a response would answer; the question stays open.
    pub fn question(&self, id: &str, response: &Id) -> Option<Question> {
        let look = |session: &mut Session| {
            let asked = &session.open.as_ref()?.asked;
            asked.iter().find(|(asked, _)| asked == response).map(|(_, question)| question.clone())
        };
        self.with(id, look).flatten()
    }

    /// Takes the question that a response answers; each is answered once.
    pub fn answers(&self, id: &str, response: &Id) -> Option<Question> {
        let take = |session: &mut Session| {
            let asked = &mut session.open.as_mut()?.asked;
            let at = asked.iter().position(|(asked, _)| asked == response)?;
            asked.remove(at)
        };
        self.with(id, take).flatten().map(|(_, question)| question)
    }

    /// Notes the id of an event that goes to the client, which may resume from it.
    pub fn passed(&self, id: &str, event: &str) {
        let digest = self.events.hash_one(event);
        self.with(id, |session| {
            let events = &mut session.open.get_or_insert_default().events;
            if events.len() >= EVENTS {
                events.pop_front();
            }
            events.push_back(digest);
        });
    }

    /// Whether an event of that id was passed on in this very session.
    pub fn has_passed(&self, id: &str, event: &str) -> bool {
        let digest = self.events.hash_one(event);
        let look = |session: &mut Session| session.open.as_ref().is_some_and(|open| open.events.contains(&digest));
        self.with(id, look).unwrap_or(false)
    }

    /// Notes that a request's stream ended before its response.
    pub fn orphaned(&self, id: &str, request: Id, orphan: Orphan) {
        self.with(id, |session| push(&mut session.open.get_or_insert_default().orphans, (request, orphan)));
    }

    /// The request that a late response belongs to; each is answered once. Where two have the same id nobody can tell, so neither is.
    pub fn adopt(&self, id: &str, response: &Id) -> Option<Orphan> {
        let take = |session: &mut Session| {
            let orphans = &mut session.open.as_mut()?.orphans;
            let mut meant = orphans.iter().enumerate().filter(|(_, (request, _))| request == response).map(|(at, _)| at);
            let at = meant.next().filter(|_| meant.next().is_none())?;
            orphans.remove(at)
        };
        self.with(id, take).flatten().map(|(_, orphan)| orphan)
    }

    /// Drops what is over. Called once a second, so that abandoned sessions cost nothing for long.
    pub fn sweep(&self) {
        self.store().sweep(SWEEP);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.store().by_key.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with<T>(&self, id: &str, change: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.store().by_key.get_mut(&key_of(id)?).map(change)
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() >= OPEN {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl Store {
    /// Looks at up to `steps` of the oldest entries of each client.
    fn sweep(&mut self, steps: usize) {
        let now = Instant::now();
        let by_key = &mut self.by_key;
        for queue in self.queues.values_mut() {
            for _ in 0..steps {
                let Some((key, due)) = queue.front().copied() else { break };
                if due > now && by_key.contains_key(&key) {
                    break;
                }
                queue.pop_front();
                match by_key.get(&key) {
                    Some(session) if session.deadline > now => queue.push_back((key, session.deadline)),
                    _ => drop(by_key.remove(&key)),
                }
            }
            if queue.capacity() > 64 && queue.len() < queue.capacity() / 4 {
                queue.shrink_to(queue.len() * 2);
            }
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        if by_key.capacity() > 64 && by_key.len() < by_key.capacity() / 4 {
            by_key.shrink_to(by_key.len() * 2);
        }
    }

    /// Ends the oldest session of a client, but gives a few that were used lately a second chance.
    fn evict(&mut self, client: &str) {
        let Some(queue) = self.queues.get_mut(client) else { return };
        for chance in 0..8 {
            let Some((key, due)) = queue.pop_front() else { return };
            match self.by_key.get(&key) {
                Some(session) if session.deadline > due && chance < 7 => queue.push_back((key, session.deadline)),
                _ => {
                    self.by_key.remove(&key);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicU64);
    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            let n = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            buffer.iter_mut().zip(n.iter().cycle()).for_each(|(to, from)| *to = *from);
        }
    }

    fn limits(ttl_seconds: u64, per_client: usize) -> settings::Sessions {
        settings::Sessions { ttl_seconds, per_client }
    }

    fn pair() -> (Arc<str>, Arc<str>) {
        ("ci".into(), "demo".into())
    }

    #[tokio::test]
    async fn pit_25_a_session_serves_its_own_client_and_server_only() {
        let (sessions, limits) = (Sessions::default(), limits(60, 10));
        let id = sessions.mint(&Counting::default(), &limits, pair(), Some("up".into()));
        assert_eq!(id.len(), 43);
        assert!(sessions.find(&limits, &id, "ci", "demo").is_some());
        assert!(sessions.find(&limits, &id, "other", "demo").is_none());
        assert!(sessions.find(&limits, &id, "ci", "other").is_none());
        assert!(sessions.find(&limits, "nonsense", "ci", "demo").is_none());
        sessions.end(&id);
        assert!(sessions.find(&limits, &id, "ci", "demo").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn abandoned_sessions_are_swept_and_used_ones_last() {
        let (sessions, limits, entropy) = (Sessions::default(), limits(1, 200_000), Counting::default());
        let kept = sessions.mint(&entropy, &limits, pair(), None);
        for _ in 0..10_000 {
            sessions.mint(&entropy, &limits, pair(), None);
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(sessions.find(&limits, &kept, "ci", "demo").is_some());
        tokio::time::sleep(Duration::from_millis(600)).await;
        for _ in 0..4 {
            sessions.sweep();
        }
        assert_eq!(sessions.len(), 1);
        assert!(sessions.store().by_key.capacity() < 64);
    }

    #[tokio::test]
    async fn the_oldest_idle_session_makes_room() {
        let (sessions, limits, entropy) = (Sessions::default(), limits(60, 3), Counting::default());
        let ids: Vec<_> = (0..3).map(|_| sessions.mint(&entropy, &limits, pair(), None)).collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(sessions.find(&limits, &ids[0], "ci", "demo").is_some());
        sessions.mint(&entropy, &limits, pair(), None);
        assert_eq!(sessions.len(), 3);
        assert!(sessions.find(&limits, &ids[0], "ci", "demo").is_some());
        assert!(sessions.find(&limits, &ids[1], "ci", "demo").is_none());
    }

    #[tokio::test]
    async fn pit_18_a_response_answers_one_question_once() {
        let (sessions, limits) = (Sessions::default(), limits(60, 10));
        let id = sessions.mint(&Counting::default(), &limits, pair(), None);
        assert!(sessions.answers(&id, &Id::Number(77)).is_none());
        let question = Question { tool: Some("put".into()), class: Some(Class::Write) };
        sessions.asked(&id, Id::Number(77), question.clone());
        assert!(sessions.answers(&id, &Id::Text("77".into())).is_none());
        assert_eq!(sessions.question(&id, &Id::Number(77)), Some(question.clone()));
        assert_eq!(sessions.answers(&id, &Id::Number(77)), Some(question));
        assert!(sessions.answers(&id, &Id::Number(77)).is_none());
    }

    #[tokio::test]
    async fn pit_17_a_late_response_that_two_requests_may_mean_is_nobodys() {
        let (sessions, limits) = (Sessions::default(), limits(60, 10));
        let id = sessions.mint(&Counting::default(), &limits, pair(), None);
        let orphan = |kind| Orphan { request: "req_1".into(), kind, tool: None, class: Class::Read };
        sessions.orphaned(&id, Id::Number(1), orphan(MethodKind::ToolCall));
        assert!(sessions.adopt(&id, &Id::Number(1)).is_some() && sessions.adopt(&id, &Id::Number(1)).is_none(), "once");
        for kind in [MethodKind::ToolsList, MethodKind::ToolCall] {
            sessions.orphaned(&id, Id::Number(2), orphan(kind));
        }
        assert!(sessions.adopt(&id, &Id::Number(2)).is_none());
    }

    #[tokio::test]
    async fn pit_25_an_event_is_known_in_its_own_session_only() {
        let (sessions, limits, entropy) = (Sessions::default(), limits(60, 10), Counting::default());
        let (own, other) = (sessions.mint(&entropy, &limits, pair(), None), sessions.mint(&entropy, &limits, pair(), None));
        sessions.passed(&own, "e-0");
        assert!(sessions.has_passed(&own, "e-0") && !sessions.has_passed(&other, "e-0") && !sessions.has_passed(&own, "e-00"));
        (0..EVENTS).for_each(|n| sessions.passed(&own, &format!("f-{n}")));
        assert!(!sessions.has_passed(&own, "e-0") && sessions.has_passed(&own, "f-0"));
    }
}
