//! The proxy plane: what every MCP client goes through. Decides from memory, records everything, and never names the admin plane.

pub mod arguments;
pub mod authn;
pub mod authz;
pub mod body;
pub mod conclude;
pub mod connection;
pub mod cors;
pub mod descriptors;
pub mod exchange;
mod given_up;
pub mod intake;
pub mod io;
pub mod kill;
mod listen;
mod lists;
mod news;
pub mod oauth;
pub mod origin;
pub mod peer;
pub mod pipeline;
mod places;
pub mod preface;
mod probe;
pub mod pump;
mod quiet;
pub mod rate;
mod record;
pub mod refuse;
pub mod relay;
pub mod room;
pub mod rotation;
pub mod route;
pub mod sandbox;
pub mod sessions;
mod shape;
mod sight;
mod streams;
mod task_stop;
pub mod task_table;
pub mod upstream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use connection::{Door, Ends, Places};

use crate::audit::Recorder;
use crate::base::clock::SharedClock;
use crate::base::ids::SharedEntropy;
use crate::policy::feed::{Feed, ProbeRequest, ProxyListener};

/// Bytes of large request bodies in memory at once, and of requests that are refused and read for their id only.
const BODIES: usize = 64 << 20;
const REFUSED: usize = 8 << 20;

/// How well this process can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Ok,
    /// It serves, but something needs somebody.
    Degraded,
    /// Policy or ledger cannot be used: nothing is served.
    Unusable,
}

/// What the proxy is made of.
pub struct ProxyParts {
    /// Policy and kill state.
    pub feed: Arc<Feed>,
    /// Where events go.
    pub recorder: Recorder,
    /// Time of day.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// The data directory.
    pub data: PathBuf,
    /// This program, which starts children.
    pub exe: PathBuf,
    /// Tells the health of the process; asked by `/health` and `/ready`, so it must not wait.
    pub health: Arc<dyn Fn() -> Health + Send + Sync>,
    /// Ends open streams: their clients come back to whoever serves next.
    pub drain: CancellationToken,
    /// Ends children and the proxy's own tasks.
    pub stop: CancellationToken,
}

/// What all calls share.
pub struct Shared {
    feed: Arc<Feed>,
    recorder: Recorder,
    clock: SharedClock,
    entropy: SharedEntropy,
    health: Arc<dyn Fn() -> Health + Send + Sync>,
    limiter: rate::Limiter,
    oauth: oauth::Desk,
    schemas: arguments::Schemas,
    sessions: sessions::Sessions,
    table: task_table::TaskTable,
    cancellable: given_up::Cancellable,
    upstreams: upstream::Upstreams,
    places: Places,
    bodies: room::Room,
    refused: room::Room,
    tasks: TaskTracker,
    drain: CancellationToken,
    stop: CancellationToken,
}

/// The proxy plane of one process.
#[derive(Clone)]
pub struct Proxy(Arc<Shared>);

impl Proxy {
    /// Starts the proxy's own tasks (legs, sweeping, probes) on the current runtime. Nothing is served before [`Proxy::serve`].
    pub fn new(parts: ProxyParts, probes: mpsc::Receiver<ProbeRequest>) -> Self {
        let tasks = TaskTracker::new();
        let legs = upstream::LegParts {
            data: parts.data,
            exe: parts.exe,
            feed: parts.feed.clone(),
            entropy: parts.entropy.clone(),
            clock: parts.clock.clone(),
            recorder: parts.recorder.clone(),
            tasks: tasks.clone(),
            stop: parts.stop.clone(),
        };
        let places = Places::new(descriptors::for_clients(listen::CONNECTIONS), parts.feed.guests().clone());
        let shared = Arc::new(Shared {
            oauth: oauth::Desk::new(parts.clock.now()),
            feed: parts.feed,
            recorder: parts.recorder.for_many(),
            clock: parts.clock,
            entropy: parts.entropy,
            health: parts.health,
            limiter: rate::Limiter::default(),
            schemas: arguments::Schemas::default(),
            sessions: sessions::Sessions::default(),
            table: task_table::TaskTable::default(),
            cancellable: given_up::Cancellable::default(),
            upstreams: upstream::Upstreams::new(legs),
            places,
            bodies: room::Room::new(BODIES),
            refused: room::Room::new(REFUSED),
            tasks,
            drain: parts.drain,
            stop: parts.stop,
        });
        shared.tasks.spawn(keep_in_step(shared.clone()));
        shared.tasks.spawn(sweep(shared.clone()));
        shared.tasks.spawn(task_stop::serve(shared.clone()));
        shared.tasks.spawn(quiet::serve(shared.clone()));
        shared.tasks.spawn(probe::serve(shared.clone(), probes));
        Self(shared)
    }

    /// Serves MCP on a bound listener until it ends: calls under way have 30 s. Kill proofs go through it as `listener`.
    pub fn serve(&self, door: Door, listener: Option<ProxyListener>, ends: Ends) -> impl Future<Output = ()> + Send + 'static {
        listener.into_iter().for_each(|listener| self.0.feed.add_listener(listener));
        listen::serve(self.0.clone(), door, ends)
    }

    /// Waits until every call is recorded and every child has ended. Call it after `stop`.
    pub async fn drained(&self, wait: Duration) {
        self.0.tasks.close();
        drop(tokio::time::timeout(wait, self.0.tasks.wait()).await);
        drop(tokio::time::timeout(wait, self.0.upstreams.shutdown()).await);
    }
}

/// Task: follows the policy with legs and limits.
async fn keep_in_step(shared: Arc<Shared>) {
    let mut snapshots = shared.feed.watch_snapshot();
    loop {
        let snapshot = shared.feed.snapshot();
        shared.upstreams.reconcile(&snapshot);
        shared.limiter.keep(&snapshot);
        shared.schemas.keep(&snapshot);
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = snapshots.changed() => if changed.is_err() { return },
        }
    }
}

/// Task: drops sessions and tasks that are over.
async fn sweep(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut minutes = tokio::time::interval(Duration::from_secs(60));
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {
                shared.sessions.sweep();
                shared.upstreams.sweep(|session| shared.sessions.has(session));
            }
            _ = minutes.tick() => {
                shared.table.sweep();
                if shared.oauth.sweep(shared.clock.now()) {
                    shared.feed.look_again();
                }
            }
        }
    }
}
