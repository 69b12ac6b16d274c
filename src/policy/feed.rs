//! The door between the planes: the admin plane puts snapshots and kill state in, the proxy plane reads them without a lock
//! and tells which listeners, servers and calls it has. Never blocks a reader; never does I/O itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::asks::Asks;
use super::ended::{Ended, EndedToken};
use super::guests::Guests;
use super::kill::{KillEntry, KillOverlay};
pub use super::listener::{ProxyListener, Way};
use super::places::Places;
use super::principal::Principal;
use super::quiet::Quiet;
use super::snapshot::{ServerEntry, Snapshot};
use super::uses::Uses;
use crate::base::clock::Timestamp;
use crate::config::Class;

/// What the proxy knows of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerState {
    /// `starting`, `up`, `down`, `unapproved` or `idle` (an HTTP server nobody has called yet).
    pub state: &'static str,
    /// Why, in a sentence, when it is not up.
    pub detail: String,
    /// How well a stdio child is confined, in a sentence; empty for HTTP.
    pub sandbox: String,
}

/// Whether calls to a server are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// They are.
    Closed,
    /// It failed too often in a row: they are refused at once for a while.
    Open,
    /// It has rested: one call tries it.
    HalfOpen,
}

impl Breaker {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A call between its kill check and its end.
#[derive(Clone, Debug)]
pub struct FlyingCall {
    /// Server it goes to.
    pub server: Arc<str>,
    /// Tool without the server, when it is a tool call.
    pub tool: Option<Arc<str>>,
    /// Client it comes from.
    pub client: Arc<str>,
    /// The class it counts as.
    pub class: Class,
}

/// How well this host can confine stdio servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostSandbox {
    /// What holds and what does not, for people.
    pub sentence: String,
    /// Whether everything that design asks for is there.
    pub whole: bool,
}

/// A request to look at a server with the proxy's own means and list its tools.
#[derive(Debug)]
pub struct ProbeRequest {
    /// The server, which need not be in the snapshot yet.
    pub server: Arc<ServerEntry>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Probed, String>>,
}

/// What a probe saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Probed {
    /// `serverInfo.name` and version.
    pub server_info: String,
    /// Protocol versions it answered in.
    pub protocol: String,
    /// Its tools.
    pub tools: Vec<ToolSeen>,
    /// How long the probe took.
    pub ms: u64,
}

/// One tool of a probe.
#[derive(Clone, Debug, Serialize)]
pub struct ToolSeen {
    /// Its name.
    pub name: String,
    /// The class its annotations ask for: `readOnlyHint` read, `destructiveHint: false` write, everything else destructive.
    pub class: Class,
    /// The definition as it was sent; after a look of the admin plane without what the server is sent as a secret, in its prose.
    pub definition: String,
}

/// The state both planes share.
pub struct Feed {
    snapshot: ArcSwap<Snapshot>,
    snapshot_count: watch::Sender<u64>,
    kill: ArcSwap<KillOverlay>,
    kill_epoch: watch::Sender<u64>,
    calls: Mutex<HashMap<u64, FlyingCall>>,
    next_call: AtomicU64,
    canaries: Mutex<HashMap<String, Principal>>,
    uses: Uses,
    issued: Uses,
    ended: Ended,
    guests: Guests,
    quiet: Quiet,
    places: Places,
    asks: Asks,
    listeners: Mutex<Vec<ProxyListener>>,
    servers: Mutex<HashMap<String, ServerState>>,
    breakers: Mutex<HashMap<String, Breaker>>,
    sandbox: Mutex<HostSandbox>,
    draining: AtomicBool,
    probes: mpsc::Sender<ProbeRequest>,
}

// A poisoned lock only means that another thread panicked between two map operations; the map itself is whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    /// A feed with its first state, and the receiver the proxy plane answers probes from.
    pub fn new(snapshot: Snapshot, kill: KillOverlay) -> (Arc<Self>, mpsc::Receiver<ProbeRequest>) {
        let (probes, receiver) = mpsc::channel(16);
        let feed = Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            snapshot_count: watch::Sender::new(0),
            kill_epoch: watch::Sender::new(kill.epoch),
            kill: ArcSwap::from_pointee(kill),
            calls: Mutex::default(),
            next_call: AtomicU64::new(0),
            canaries: Mutex::default(),
            uses: Uses::default(),
            issued: Uses::default(),
            ended: Ended::default(),
            guests: Guests::default(),
            quiet: Quiet::default(),
            places: Places::default(),
            asks: Asks::default(),
            listeners: Mutex::default(),
            servers: Mutex::default(),
            breakers: Mutex::default(),
            sandbox: Mutex::default(),
            draining: AtomicBool::new(false),
            probes,
        };
        feed.keep_credentials(&feed.snapshot.load());
        (Arc::new(feed), receiver)
    }

    /// The policy now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Replaces the policy; it counts for the next stage of every call.
    pub fn publish(&self, snapshot: Snapshot) {
        self.keep_credentials(&snapshot);
        self.snapshot.store(Arc::new(snapshot));
        self.snapshot_count.send_modify(|count| *count += 1);
    }

    // Before anybody can show a new credential, its use can be noted.
    fn keep_credentials(&self, snapshot: &Snapshot) {
        self.uses.keep(snapshot.kids());
        self.issued.keep(snapshot.tokens.verifiers.keys());
    }

    /// When each credential of a client was last used, by kid.
    pub fn uses(&self) -> &Uses {
        &self.uses
    }

    /// The last expiry of the tokens that each token-signing key has signed, by its kid.
    pub fn issued(&self) -> &Uses {
        &self.issued
    }

    /// Tokens that were ended before their time.
    pub fn ended(&self) -> &Ended {
        &self.ended
    }

    /// Ends a token at once: whoever watches the policy is woken, as by a new one.
    pub fn end_token(&self, token: EndedToken) {
        self.ended.end(token);
        self.snapshot_count.send_modify(|count| *count += 1);
    }

    /// Whether a principal counts by the policy of this very moment.
    ///
    /// # Errors
    /// The slug that says why not.
    pub fn counts(&self, principal: &Principal, now: Timestamp) -> Result<(), &'static str> {
        self.counts_by(&self.snapshot.load(), principal, now)
    }

    /// The same by a policy that the caller holds.
    ///
    /// # Errors
    /// The slug that says why not.
    pub fn counts_by(&self, snapshot: &Snapshot, principal: &Principal, now: Timestamp) -> Result<(), &'static str> {
        if principal.token.as_ref().is_some_and(|token| self.ended.holds(&token.jti)) {
            return Err("auth.revoked");
        }
        snapshot.counts(principal, now)
    }

    /// Wakes whoever watches the policy: something else that credentials hang on has changed.
    pub fn look_again(&self) {
        self.snapshot_count.send_modify(|count| *count += 1);
    }

    /// Wakes on each new policy, when a token is ended, and when the keys of an issuer elsewhere have changed.
    pub fn watch_snapshot(&self) -> watch::Receiver<u64> {
        self.snapshot_count.subscribe()
    }

    /// What is stopped now.
    pub fn kill(&self) -> Arc<KillOverlay> {
        self.kill.load_full()
    }

    /// Replaces what is stopped and wakes every call that races it. Only the kill verbs call this.
    pub fn set_kill(&self, overlay: KillOverlay) {
        let epoch = overlay.epoch;
        self.kill.store(Arc::new(overlay));
        self.kill_epoch.send_replace(epoch);
    }

    /// Wakes on each engage and release; holds the epoch.
    pub fn watch_kill(&self) -> watch::Receiver<u64> {
        self.kill_epoch.subscribe()
    }

    /// Counts a call in until the guard is dropped.
    pub fn fly(self: &Arc<Self>, call: FlyingCall) -> FlightGuard {
        let id = self.next_call.fetch_add(1, Ordering::Relaxed);
        locked(&self.calls).insert(id, call);
        FlightGuard { feed: self.clone(), id }
    }

    /// How many calls in flight an entry would cut (or all of them, without one).
    pub fn in_flight(&self, entry: Option<&KillEntry>) -> usize {
        let calls = locked(&self.calls);
        let Some(entry) = entry else { return calls.len() };
        let only = KillOverlay { epoch: 0, entries: vec![entry.clone()] };
        calls.values().filter(|c| only.stops(&c.server, c.tool.as_deref(), &c.client, c.class).is_some()).count()
    }

    /// Admits one canary: whoever shows `token` first is `principal`, once.
    pub fn admit_canary(&self, token: String, principal: Principal) {
        locked(&self.canaries).insert(token, principal);
    }

    /// Takes a canary; the second time there is none.
    pub fn take_canary(&self, token: &str) -> Option<Principal> {
        locked(&self.canaries).remove(token)
    }

    /// The addresses this process visits its own listeners from.
    pub fn guests(&self) -> &Guests {
        &self.guests
    }

    /// The servers that must have no process now.
    pub fn quiet(&self) -> &Quiet {
        &self.quiet
    }

    /// From where the keys of open rotations are shown.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// What clients ask for of their own keys.
    pub fn asks(&self) -> &Asks {
        &self.asks
    }

    /// Tells that a proxy listener is bound.
    pub fn add_listener(&self, listener: ProxyListener) {
        locked(&self.listeners).push(listener);
    }

    /// Every proxy listener.
    pub fn listeners(&self) -> Vec<ProxyListener> {
        locked(&self.listeners).clone()
    }

    /// Tells the state of a server.
    pub fn set_server(&self, name: &str, state: ServerState) {
        locked(&self.servers).insert(name.to_owned(), state);
    }

    /// Forgets a server that was removed.
    pub fn forget_server(&self, name: &str) {
        locked(&self.servers).remove(name);
        locked(&self.breakers).remove(name);
    }

    /// Tells whether calls to a server are sent.
    pub fn set_breaker(&self, name: &str, breaker: Breaker) {
        locked(&self.breakers).insert(name.to_owned(), breaker);
    }

    /// Whether calls to a server are sent, when the proxy has told.
    pub fn breaker(&self, name: &str) -> Option<Breaker> {
        locked(&self.breakers).get(name).copied()
    }

    /// The state of a server, when the proxy has told one.
    pub fn server(&self, name: &str) -> Option<ServerState> {
        locked(&self.servers).get(name).cloned()
    }

    /// Tells how well this host can confine stdio servers.
    pub fn set_sandbox(&self, sandbox: HostSandbox) {
        *locked(&self.sandbox) = sandbox;
    }

    /// How well this host can confine stdio servers; an empty sentence while nobody has told.
    pub fn sandbox(&self) -> HostSandbox {
        locked(&self.sandbox).clone()
    }

    /// Tells that this process is about to end: whoever asks whether it is ready hears no.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether this process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Looks at a server through the proxy plane.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn probe(&self, server: Arc<ServerEntry>) -> Result<Probed, String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "the proxy is not running, so no server can be looked at".to_owned();
        self.probes.send(ProbeRequest { server, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Counts a call out when dropped.
pub struct FlightGuard {
    feed: Arc<Feed>,
    id: u64,
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        locked(&self.feed.calls).remove(&self.id);
    }
}
