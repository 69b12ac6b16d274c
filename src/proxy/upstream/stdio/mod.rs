//! One stdio server: a child process behind the trampoline that all clients share (docs/SECURITY.md). Ids and progress tokens of
//! clients are replaced by own ones on the way in and restored on the way out; nothing else of a message is changed. The child
//! is never trusted: what it says is bounded, and what it does not stop when told is killed.

mod child;
mod errors;
mod guest;
mod handshake;
mod launch;
mod lend;
mod life;
mod lines;
mod supervise;
mod table;
mod turn;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::base::ids::SharedEntropy;
use crate::mcp::message::{Kind, Message};
use crate::policy::feed::{Feed, ServerState};
use crate::policy::snapshot::ServerEntry;
use guest::Guest;
pub use lend::{CALM, Lent};
use table::{Flight, Table};

/// How long a message may wait until the child has read those before it.
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// How long a killed call may take to end before its child is killed (docs/ARCHITECTURE.md).
const OBEY: Duration = Duration::from_secs(2);
const EVENTS: usize = 32;
const OUTBOX: usize = 64;
const PROBE_WAIT: Duration = Duration::from_secs(30);

/// What a server is started with.
#[derive(Clone)]
pub struct StdioParts {
    /// The data directory.
    pub data: PathBuf,
    /// This program, for the trampoline.
    pub exe: PathBuf,
    /// Where states are told.
    pub feed: Arc<Feed>,
    /// Where the first id comes from.
    pub entropy: SharedEntropy,
    /// Ends the server.
    pub stop: CancellationToken,
}

/// Which call of which client in which session: never used on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey(pub String);

/// What the child said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// The `result` object of the legacy handshake exactly as sent; `None` for a server of the modern era only.
    pub initialize_result: Option<Bytes>,
    /// The protocol version in it.
    pub legacy_version: Option<String>,
    /// Whether it serves 2026-07-28.
    pub modern: bool,
}

/// What comes back for a call, with the client's own id and token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StdioEvent {
    /// A notification that belongs to the call; from a child of one session also its other notifications and its requests.
    Notification(Bytes),
    /// The end of the call.
    Response(Bytes),
    /// The child has ended before it answered.
    Gone,
}

/// Why a call is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelWhy {
    /// Its client no longer wants it: the child is told.
    Client,
    /// The client's credential was revoked: the child is told; it serves others too.
    Revoked,
    /// The kill switch: the child is told, and killed when it does not end the call in two seconds.
    Kill,
}

/// A call in flight. Dropping it forgets the call: what the child still says about it goes nowhere.
pub struct StdioCall {
    /// What comes back; ends after `Response` or `Gone`.
    pub events: mpsc::Receiver<StdioEvent>,
    shared: Arc<Shared>,
    id: u64,
}

impl StdioCall {
    /// Ends the call.
    pub fn cancel(self, why: CancelWhy) {
        let reason = match why {
            CancelWhy::Client => "the client cancelled the call",
            CancelWhy::Revoked => "the credential of the call was revoked",
            CancelWhy::Kill => "stopped by an operator",
        };
        let until = (why == CancelWhy::Kill).then(|| Instant::now() + OBEY);
        if self.shared.table().cancel(self.id, until) {
            self.shared.tell_cancelled(self.id, reason);
        }
        self.shared.deadline.notify_one();
    }
}

impl Drop for StdioCall {
    fn drop(&mut self) {
        self.shared.table().forget(self.id);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Up(Handshake),
    /// Failed more than once; the sentence says why.
    Down(String),
    /// Will not be started.
    Never(String),
}

/// What a line to the child belongs to: a call that was given up meanwhile is not written any more.
struct Outgoing {
    call: Option<u64>,
    line: Bytes,
}

struct Shared {
    name: Arc<str>,
    table: Mutex<Table>,
    outbox: Mutex<Option<mpsc::Sender<Outgoing>>>,
    phase: watch::Sender<Phase>,
    sandbox: Mutex<String>,
    deadline: Notify,
    feed: Arc<Feed>,
    // The one client of a child that is not shared.
    guest: Option<Guest>,
}

// A poisoned lock only means that another thread panicked between two map operations; the map itself is whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        locked(&self.table)
    }

    fn outbox(&self) -> Option<mpsc::Sender<Outgoing>> {
        locked(&self.outbox).clone()
    }

    /// Queues a line without waiting; a child that reads nothing misses it.
    fn post(&self, line: Bytes) {
        if let Some(outbox) = self.outbox()
            && outbox.try_send(Outgoing { call: None, line }).is_err()
        {
            tracing::debug!(server = %self.name, "the server reads too slowly; a notification was left out");
        }
    }

    fn tell_cancelled(&self, id: u64, reason: &str) {
        let params = serde_json::json!({"requestId": id, "reason": reason});
        let line = serde_json::json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
        self.post(line.to_string().into());
    }

    /// Hands what the child says on its own account to its one client.
    fn tell_guest(&self, guest: &Guest, text: Bytes) {
        let table = self.table();
        guest.say(text, &table.streams());
    }

    fn open(self: &Arc<Self>, flight: impl FnOnce(mpsc::Sender<StdioEvent>) -> Flight) -> Result<(StdioCall, u64), String> {
        let (sender, events) = mpsc::channel(EVENTS);
        if let Some(guest) = &self.guest {
            guest.catch_up(&sender);
        }
        let id = self.table().insert(flight(sender))?;
        Ok((StdioCall { events, shared: self.clone(), id }, id))
    }

    async fn send(&self, call: StdioCall, line: Bytes) -> Result<StdioCall, String> {
        let outbox = self.outbox().ok_or("the server is not running")?;
        let outgoing = Outgoing { call: Some(call.id), line };
        match tokio::time::timeout(WRITE_WAIT, outbox.send(outgoing)).await {
            Ok(Ok(())) => Ok(call),
            Ok(Err(_)) => Err("the server has just ended".to_owned()),
            Err(_) => Err("the server does not read".to_owned()),
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
        self.tell_state();
    }

    fn tell_state(&self) {
        // The state of a server is that of its shared child.
        if self.guest.is_some() {
            return;
        }
        let (state, detail) = match &*self.phase.borrow() {
            Phase::Starting => ("starting", String::new()),
            Phase::Up(_) => ("up", String::new()),
            Phase::Down(why) => ("down", why.clone()),
            Phase::Never(why) => ("unapproved", why.clone()),
        };
        let sandbox = locked(&self.sandbox).clone();
        self.feed.set_server(&self.name, ServerState { state, detail, sandbox });
    }
}

/// A supervised stdio server.
pub struct StdioServer {
    shared: Arc<Shared>,
    stop: CancellationToken,
    loans: mpsc::Sender<lend::Loan>,
    ended: watch::Receiver<bool>,
}

impl StdioServer {
    /// Starts the server and its supervisor. Returns at once. Needs a tokio runtime.
    pub fn start(entry: Arc<ServerEntry>, parts: StdioParts) -> Arc<Self> {
        Self::start_with(entry, parts, None)
    }

    /// Starts a child for one client alone: that client says the first words, hears what the child says on its own account, and is asked
    /// what the child asks. It is not started again when it ends.
    pub fn start_for_one(entry: Arc<ServerEntry>, parts: StdioParts) -> Arc<Self> {
        Self::start_with(entry, parts, Some(Guest::default()))
    }

    fn start_with(entry: Arc<ServerEntry>, parts: StdioParts, guest: Option<Guest>) -> Arc<Self> {
        let mut seed = [0u8; 4];
        parts.entropy.fill(&mut seed);
        let shared = Arc::new(Shared {
            name: entry.name.clone(),
            table: Mutex::new(Table::new(u64::from(u32::from_le_bytes(seed)))),
            outbox: Mutex::default(),
            phase: watch::Sender::new(Phase::Starting),
            sandbox: Mutex::default(),
            deadline: Notify::new(),
            feed: parts.feed.clone(),
            guest,
        });
        let stop = parts.stop.child_token();
        let (over, ended) = watch::channel(false);
        let (loans, asked) = mpsc::channel(1);
        let supervisor =
            supervise::Supervisor { shared: shared.clone(), entry, stop: stop.clone(), data: parts.data, exe: parts.exe };
        tokio::spawn(async move {
            supervisor.run(asked).await;
            over.send_replace(true);
        });
        Arc::new(Self { shared, stop, loans, ended })
    }

    /// Waits until the server can take calls.
    ///
    /// # Errors
    /// A sentence: it may not be started, it keeps failing, or it did not come up in time.
    pub async fn ready(&self, wait: Duration) -> Result<Handshake, String> {
        let mut phase = self.shared.phase.subscribe();
        let settled = tokio::time::timeout(wait, phase.wait_for(|phase| *phase != Phase::Starting)).await;
        match settled {
            Ok(Ok(phase)) => match &*phase {
                Phase::Up(handshake) => Ok(handshake.clone()),
                Phase::Down(why) | Phase::Never(why) => Err(why.clone()),
                Phase::Starting => Err("the server is starting".to_owned()),
            },
            Ok(Err(_)) => Err("the server was stopped".to_owned()),
            Err(_) => Err(format!("the server did not start within {} s", wait.as_secs())),
        }
    }

    /// Sends a client's request. Returns once it is queued; dropping the future before that sends nothing.
    ///
    /// # Errors
    /// A sentence, when nothing was sent: the server is not up, or does not read.
    pub async fn request(&self, key: RequestKey, message: &Message) -> Result<StdioCall, String> {
        let id = message.id_raw().filter(|_| message.kind() == Kind::Request).ok_or("only a request can be sent")?;
        let token = message.progress_token_raw().map(Box::from);
        let listens = message.method() == Some("subscriptions/listen");
        let flight = |events| Flight::new(Some(key), id.into(), token, events).listening(listens);
        let (call, spliced) = self.shared.open(flight)?;
        let spliced = spliced.to_string();
        let line = message.with_id_and_token(spliced.as_bytes(), Some(spliced.as_bytes()));
        self.shared.send(call, line).await
    }

    /// Hands a notification or an answer of the one client to the child.
    ///
    /// # Errors
    /// A sentence: the child has ended, or does not read.
    pub async fn say(&self, line: Bytes) -> Result<(), String> {
        let outbox = self.shared.outbox().ok_or("the server is not running")?;
        match tokio::time::timeout(WRITE_WAIT, outbox.send(Outgoing { call: None, line })).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("the server has just ended".to_owned()),
            Err(_) => Err("the server does not read".to_owned()),
        }
    }

    /// Opens the stream of the one client; none for a shared child.
    pub fn hear(&self) -> Option<mpsc::Receiver<StdioEvent>> {
        self.shared.guest.as_ref().map(Guest::hear)
    }

    /// Whether a call is in flight.
    pub fn is_called(&self) -> bool {
        !self.shared.table().streams().is_empty()
    }

    /// Whether a call is in flight or somebody listens.
    pub fn is_busy(&self) -> bool {
        self.is_called() || self.shared.guest.as_ref().is_some_and(Guest::hears)
    }

    /// Whether the child has ended for good.
    pub fn is_over(&self) -> bool {
        *self.ended.borrow() || (self.shared.guest.is_some() && matches!(*self.shared.phase.borrow(), Phase::Down(_)))
    }

    /// Cancels the call of a client's own request id, with the client's reason. Nothing happens when there is none in flight.
    pub async fn cancel_by_key(&self, key: &RequestKey, reason: &str) {
        let found = self.shared.table().find(key);
        if let Some(id) = found
            && self.shared.table().cancel(id, None)
        {
            self.shared.tell_cancelled(id, reason);
        }
    }

    /// Asks the server something for Lifeboat itself, such as `tools/list` for a probe.
    ///
    /// # Errors
    /// A sentence: no answer, or an error.
    pub async fn rpc(&self, method: &str, params: Value) -> Result<Value, String> {
        let handshake = self.ready(PROBE_WAIT).await?;
        let modern = handshake.modern && handshake.legacy_version.is_none();
        let answer = handshake::ask(&self.shared, method, handshake::with_meta(params, modern), PROBE_WAIT).await?;
        let result = answer.result_raw().ok_or_else(|| format!("{method} was answered with an error"))?;
        serde_json::from_slice(result).map_err(|fault| format!("the answer to {method} cannot be read: {fault}"))
    }

    /// Stops the child and waits until nothing of it is left.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        // An error means that the supervisor is gone, which is what is waited for.
        let _ = self.ended.clone().wait_for(|over| *over).await;
    }
}

impl Drop for StdioServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
