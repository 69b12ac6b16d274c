//! The servers behind the proxy: one leg each, kept in step with the policy. Nothing is sent without a permit, and nothing is sent twice.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::Shared;
use super::arguments::Permit;
use super::authz::Attendance;
use super::exchange::{Exchange, Whole};
use super::pipeline::Outcome;
use super::refuse::{Executed, Failure, Refusal};
use super::sessions::SessionView;
use crate::audit::Recorder;
use crate::base::clock::SharedClock;
use crate::base::ids::SharedEntropy;
use crate::config::server::{InstancesPer, StdioUpstream};
use crate::config::settings::Upstream;
use crate::config::{Class, Settings, UpstreamConfig};
use crate::mcp::era::Era;
use crate::mcp::message::{Incoming, parse_incoming};
use crate::mcp::sse::{self, SseEvent};
use crate::policy::Snapshot;
use crate::policy::feed::{Feed, ServerState};
use crate::policy::quiet::RESTORING;
use crate::policy::snapshot::ServerEntry;

pub mod address;
mod breaker;
mod cancel_task;
mod child;
mod ends;
mod fault;
mod flow;
mod health;
pub mod http_leg;
pub mod instances;
mod own_child;
mod send;
pub mod stdio;
#[cfg(test)]
mod tests;
pub mod tls;
mod verdicts;
mod wire;

use breaker::Breaker;
pub use breaker::Pass;
pub use cancel_task::cancel_task;
pub use flow::{EventStream, HttpFlight, whole};
use http_leg::HttpLeg;
use instances::Instances;
pub use stdio::CancelWhy;
use stdio::{StdioCall, StdioEvent, StdioParts, StdioServer};
use verdicts::{admit, begun, judge, note};

/// One thing that comes from a server.
pub enum Piece {
    /// Bytes of a stream that carry no message, and the id they set for resuming.
    Silent { raw: Bytes, id: Option<String> },
    /// A message, and the event it came in.
    Message { incoming: Box<Incoming>, event: SseEvent },
    /// The server has nothing more to say.
    End,
}

/// Why a server's answer ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// One event is over its cap.
    TooLarge { limit: u64 },
    /// The connection or the child is gone, or what it sent is no message.
    Lost(&'static str),
    /// Nothing came in time.
    Late,
}

/// A call at its server.
pub enum Flight {
    /// Over HTTP.
    Http(Box<HttpFlight>),
    /// In a child, which must give its first sign of life by then.
    Stdio { call: StdioCall, due: Option<tokio::time::Instant> },
    /// No call: what a child says to its one client.
    Ear(mpsc::Receiver<StdioEvent>),
}

impl Flight {
    /// The next thing that comes. May be dropped and called again without loss.
    ///
    /// # Errors
    /// When nothing more can come.
    pub async fn next(&mut self) -> Result<Piece, Broken> {
        match self {
            Self::Http(flight) => flight.next().await,
            Self::Stdio { call, due } => {
                let event = match *due {
                    Some(at) => tokio::time::timeout_at(at, call.events.recv()).await.map_err(|_| Broken::Late)?,
                    None => call.events.recv().await,
                };
                *due = None;
                said(event)
            }
            Self::Ear(events) => said(events.recv().await),
        }
    }

    /// Gives the call up and tells the server where it must be told.
    pub fn end(self, shared: &Shared, why: CancelWhy) {
        match self {
            Self::Http(flight) => flight.end(shared, why),
            Self::Stdio { call, .. } => call.cancel(why),
            Self::Ear(events) => drop(events),
        }
    }
}

fn said(event: Option<StdioEvent>) -> Result<Piece, Broken> {
    match event {
        Some(StdioEvent::Notification(data) | StdioEvent::Response(data)) => message(data),
        Some(StdioEvent::Gone) => Err(Broken::Lost("its process ended")),
        None => Ok(Piece::End),
    }
}

fn message(data: Bytes) -> Result<Piece, Broken> {
    let incoming = parse_incoming(data.clone()).map_err(|_| Broken::Lost("it sent what is no message"))?;
    let event = SseEvent { raw: sse::encode(&data), data, id: None, event: Some("message".into()), retry: None };
    Ok(Piece::Message { incoming: Box::new(incoming), event })
}

/// How a server is reached.
#[derive(Clone)]
pub enum Leg {
    /// Streamable HTTP.
    Http(Arc<HttpLeg>),
    /// A child process that all clients share.
    Stdio(Arc<StdioServer>),
    /// A child process for each session.
    Instances(Arc<Instances>),
    /// Not at all, and why: for clients, and for operators.
    Unusable(&'static str, Arc<str>),
}

/// All legs.
pub struct Upstreams {
    running: Mutex<HashMap<Arc<str>, Running>>,
    others: Mutex<HashMap<Arc<str>, TaskTracker>>,
    parts: LegParts,
}

/// What legs are made with.
#[derive(Clone)]
pub struct LegParts {
    /// The data directory.
    pub data: PathBuf,
    /// This program.
    pub exe: PathBuf,
    /// Where the states of servers are told.
    pub feed: Arc<Feed>,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// Time of day.
    pub clock: SharedClock,
    /// Where breakers are recorded.
    pub recorder: Recorder,
    /// Where what must end before the process is counted.
    pub tasks: TaskTracker,
    /// Ends every child.
    pub stop: CancellationToken,
}

struct Running {
    entry: Arc<ServerEntry>,
    limits: LegLimits,
    leg: Leg,
    breaker: Arc<Breaker>,
    // Ends the looks at it when dropped.
    _looks: DropGuard,
}

/// The settings that a leg over HTTP is built with.
type LegLimits = (u64, u32);

impl Upstreams {
    /// No legs yet.
    pub fn new(parts: LegParts) -> Self {
        Self { running: Mutex::default(), others: Mutex::default(), parts }
    }

    /// The leg of a server as it is configured now, made or replaced where that is due, and its breaker.
    fn leg(&self, entry: &Arc<ServerEntry>, settings: &Settings) -> (Leg, Option<Arc<Breaker>>) {
        let limits = (settings.upstream.connect_ms, settings.upstream.calls);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = running.get(&entry.name)
            && (Arc::ptr_eq(&old.entry, entry) || same(&old.entry, entry))
            && (old.limits == limits || !matches!(old.leg, Leg::Http(_)))
        {
            return (old.leg.clone(), Some(old.breaker.clone()));
        }
        if self.parts.feed.quiet().covers(&entry.name) {
            return (Leg::Unusable(RESTORING, RESTORING.into()), None);
        }
        // A call that was permitted a moment before its server changed or went must not bring the old one back.
        let now = self.parts.feed.snapshot();
        if !now.servers.get(entry.name.as_ref()).is_some_and(|current| Arc::ptr_eq(current, entry) || same(current, entry)) {
            let why = "its configuration has just changed";
            return (Leg::Unusable(why, why.into()), None);
        }
        if let Some(old) = running.remove(&entry.name) {
            self.replace(&entry.name, old.leg);
        }
        let leg = self.build(entry, &settings.upstream);
        let breaker = Breaker::new(entry.name.clone(), self.parts.feed.clone());
        let looks = self.parts.stop.child_token();
        if let Leg::Http(leg) = &leg {
            let (leg, breaker, parts) = (leg.clone(), breaker.clone(), self.parts.clone());
            self.parts.tasks.spawn(health::keep(leg, breaker, parts, looks.clone()));
        }
        let (entry, made) = (entry.clone(), (leg.clone(), Some(breaker.clone())));
        running.insert(entry.name.clone(), Running { entry, limits, leg, breaker, _looks: looks.drop_guard() });
        made
    }

    /// Starts what is new, replaces what changed, stops what is gone.
    pub fn reconcile(&self, snapshot: &Snapshot) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<Arc<str>> = running.keys().filter(|name| !snapshot.servers.contains_key(name.as_ref())).cloned().collect();
        for name in gone {
            if let Some(old) = running.remove(&name) {
                self.shut(&name, old.leg);
            }
            self.parts.feed.forget_server(&name);
        }
        drop(running);
        for entry in snapshot.servers.values() {
            self.leg(entry, &snapshot.settings);
        }
    }

    /// A leg that is not kept, for looking at a server.
    pub fn build(&self, entry: &Arc<ServerEntry>, limits: &Upstream) -> Leg {
        let parts = &self.parts;
        let made = match &entry.config.upstream {
            UpstreamConfig::Stdio(_) if parts.feed.quiet().covers(&entry.name) => Err(("down", RESTORING, None)),
            UpstreamConfig::Stdio(_) if !entry.secrets.approved => {
                Err(("unapproved", "its command line is not approved on this host", None))
            }
            UpstreamConfig::Stdio(config) => match entry.secrets.missing(&entry.config) {
                Some(missing) => Err(("down", "it lacks a secret on this host", Some(missing))),
                // A child tells its own state.
                None => return self.start(entry, config),
            },
            UpstreamConfig::Http(config) => HttpLeg::build(entry, config, limits, parts)
                .map_err(|why| ("down", "its configuration cannot be used on this host", Some(why))),
        };
        let (leg, state, detail) = match made {
            Ok(leg) => (Leg::Http(Arc::new(leg)), "idle", String::new()),
            Err((state, short, long)) => {
                let long = long.unwrap_or_else(|| short.to_owned());
                (Leg::Unusable(short, long.as_str().into()), state, long)
            }
        };
        parts.feed.set_server(&entry.name, ServerState { state, detail, sandbox: String::new() });
        leg
    }

    fn start(&self, entry: &Arc<ServerEntry>, config: &StdioUpstream) -> Leg {
        let LegParts { data, exe, feed, entropy, stop, tasks, .. } = self.parts.clone();
        let parts = StdioParts { data, exe, feed, entropy, stop: stop.child_token() };
        match config.instances {
            InstancesPer::Shared => Leg::Stdio(StdioServer::start(entry.clone(), parts)),
            InstancesPer::PerSession => Leg::Instances(Instances::start(entry.clone(), config, parts, tasks)),
        }
    }

    /// The kept leg of exactly this configuration.
    pub fn kept(&self, entry: &Arc<ServerEntry>) -> Option<Leg> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(&entry.name).filter(|kept| same(&kept.entry, entry)).map(|kept| kept.leg.clone())
    }
}

impl Leg {
    /// The child that is nobody's own.
    pub fn child(&self) -> Option<&Arc<StdioServer>> {
        match self {
            Self::Stdio(server) => Some(server),
            Self::Instances(all) => Some(all.base()),
            Self::Http(_) | Self::Unusable(..) => None,
        }
    }

    /// Waits a while until no call is in flight in its children.
    pub async fn calm(&self, wait: Duration) {
        match self {
            Self::Stdio(server) => drop(server.calm(wait).await),
            Self::Instances(all) => all.calm(wait).await,
            Self::Http(_) | Self::Unusable(..) => {}
        }
    }

    /// Stops its children and waits until nothing of them is left.
    pub async fn shutdown(self) {
        match self {
            Self::Stdio(server) => server.shutdown().await,
            Self::Instances(all) => all.shutdown().await,
            Self::Http(_) | Self::Unusable(..) => {}
        }
    }
}

/// Whether two entries make the same leg.
fn same(one: &ServerEntry, other: &ServerEntry) -> bool {
    one.config.upstream == other.config.upstream
        && one.secrets.approved == other.secrets.approved
        && one.secrets.headers == other.secrets.headers
        && one.secrets.env == other.secrets.env
        && one.secrets.client == other.secrets.client
}

/// Sends the call and gives its answer. The only way to a server for what executes; it takes the permit by value.
///
/// # Errors
/// The kill, compared once more before the first byte; `upstream.…`; `size.response`.
pub async fn send(shared: &Shared, x: &mut Exchange, permit: Permit) -> Result<Outcome, Refusal> {
    let (leg, breaker) = shared.upstreams.leg(permit.server(), permit.settings());
    if let Leg::Unusable(why, _) = leg {
        return Err(Refusal::upstream(Failure::Unavailable, Executed::No, x.class(), why));
    }
    x.pass = admit(breaker, permit.settings())?;
    let (outcome, unsent) = match leg {
        Leg::Http(leg) => (send::call(shared, x, &permit, leg).await, Executed::Unknown),
        Leg::Stdio(server) => (child::call(shared, x, &permit, server).await, Executed::No),
        Leg::Instances(all) => (own_child::call(shared, x, &permit, all).await, Executed::No),
        Leg::Unusable(..) => return Err(Refusal::Broken { executed: Executed::No }),
    };
    // What starts a child anew knows best when it is back, so a child that takes no call is no failure to count.
    if matches!(&outcome, Err(Refusal::Upstream { executed, .. }) if *executed == unsent && unsent == Executed::No) {
        x.pass = None;
    }
    judge(shared, x, (&permit.server().name, permit.settings()), &outcome);
    outcome
}

/// Opens the server's own stream. A response instead means that there is none.
///
/// # Errors
/// 404 for a session that the server has ended, 405 where it has no stream.
pub async fn listen(
    shared: &Shared,
    x: &mut Exchange,
    attendance: Attendance,
    (headers, era, session): (&HeaderMap, Era, Option<&SessionView>),
) -> Result<Option<Whole>, Refusal> {
    let (leg, breaker) = shared.upstreams.leg(attendance.server(), attendance.settings());
    match leg {
        Leg::Http(leg) => {
            // A stream says nothing about how well calls are answered, but is not opened at a server that rests.
            drop(admit(breaker, attendance.settings())?);
            send::listen(shared, x, leg, (headers, era, session), attendance.settings()).await
        }
        Leg::Stdio(_) => Err(Refusal::NoMethod),
        Leg::Instances(all) => {
            x.facts.class = Some(Class::Read);
            let events = own_child::of_session(shared, session, &all)?.hear().ok_or(Refusal::NoMethod)?;
            x.flight = Some(Flight::Ear(events));
            Ok(None)
        }
        Leg::Unusable(why, _) => Err(Refusal::upstream(Failure::Unavailable, Executed::No, x.class(), why)),
    }
}

/// Ends a session at the server; it is over here whatever the server says.
pub async fn part(shared: &Shared, attendance: Attendance, era: Era, session: &SessionView) {
    match shared.upstreams.leg(attendance.server(), attendance.settings()).0 {
        Leg::Http(leg) => send::part(&leg, era, session).await,
        Leg::Instances(all) => all.end(&session.id),
        Leg::Stdio(_) | Leg::Unusable(..) => {}
    }
}
