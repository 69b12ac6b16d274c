//! What any of our listeners does with connections: how many there may be, and for how long one may do nothing. Never looks into a
//! request.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::{Read, Write};
use hyper::service::Service;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::io::Wire;
use super::peer::Peer;
use crate::policy::guests::Guests;
use crate::telemetry::pace::Pace;

/// Kept for connections from this host: whoever repairs things comes in that way when strangers hold every other place.
const RESERVE: usize = 32;
/// Kept for this process itself, which proves its kills: behind a balancer on this host, strangers come from this host too.
const OWN: usize = 4;
const REST: Duration = Duration::from_millis(50);
/// A connection that may be about to carry a request is not closed under it: for so long each answer says that it is the last one.
const LINGER: Duration = Duration::from_millis(500);

/// How often a connection is looked at while it may do nothing.
const LOOKS: u32 = 4;

/// A bound socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl Socket {
    async fn accept(&self) -> std::io::Result<(Wire, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (tcp, remote) = listener.accept().await?;
                tcp.set_nodelay(true).ok();
                let own = tcp.local_addr().ok().map(|own| own.ip());
                Ok((Wire::Tcp(tcp), Peer::at(remote, own)))
            }
            Self::Unix(listener) => listener.accept().await.map(|(unix, _)| (Wire::Unix(unix), Peer::by_socket())),
        }
    }

    /// The port, where there is one.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or(0, |address| address.port()),
            Self::Unix(_) => 0,
        }
    }
}

/// What stands between a socket and HTTP.
#[derive(Clone)]
pub enum Guard {
    /// TLS 1.3.
    Tls(tokio_rustls::TlsAcceptor),
    /// Nothing: a balancer on this host ended TLS.
    Plain,
}

/// One listener.
pub struct Door {
    /// Where connections come in.
    pub socket: Socket,
    /// What they must speak.
    pub guard: Guard,
    /// The socket stays open elsewhere when this process ends (systemd, a predecessor): who waits in its backlog is served by the next one.
    pub outlives: bool,
}

impl Door {
    /// A listener of our own that speaks TLS.
    pub fn tls(listener: TcpListener, tls: Arc<rustls::ServerConfig>) -> Self {
        Self { socket: Socket::Tcp(listener), guard: Guard::Tls(tls.into()), outlives: false }
    }
}

/// How a listener ends, in two steps.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// No new connections; open streams end, calls under way go on.
    pub drain: CancellationToken,
    /// Whatever is still there is cut.
    pub cut: CancellationToken,
}

/// Places for connections.
#[derive(Clone)]
pub struct Places {
    all: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    own: Arc<Semaphore>,
    guests: Guests,
    told: Arc<Pace>,
}

impl Places {
    /// So many, of which a few are for this host only; and some more for `guests` alone.
    pub fn new(places: usize, guests: Guests) -> Self {
        let reserve = RESERVE.min(places / 4);
        let [all, reserve, own] = [places - reserve, reserve, OWN].map(|places| Arc::new(Semaphore::new(places)));
        Self { all, reserve, own, guests, told: Arc::default() }
    }

    /// A place for a connection; none when all are taken.
    pub fn take(&self, peer: &Peer) -> Option<OwnedSemaphorePermit> {
        let one_of = |places: &Arc<Semaphore>| places.clone().try_acquire_owned().ok();
        one_of(&self.all)
            .or_else(|| peer.is_here.then(|| one_of(&self.reserve)).flatten())
            .or_else(|| self.guests.holds(peer.address).then(|| one_of(&self.own)).flatten())
    }

    /// The next connection that has a place. Others are closed at once. Out of descriptors means a short rest, not the end of the listener.
    pub async fn accept(&self, socket: &Socket) -> Option<(Wire, Peer, OwnedSemaphorePermit)> {
        match socket.accept().await {
            Ok((wire, peer)) => self.take(&peer).map(|place| (wire, peer, place)),
            Err(fault) => {
                metrics::counter!("lifeboat_accept_faults_total").increment(1);
                if let Some(unsaid) = self.told.turn() {
                    tracing::warn!(error = %fault, unsaid, "a connection could not be accepted");
                }
                tokio::time::sleep(REST).await;
                None
            }
        }
    }
}

/// Accepts until `drain`, then whoever is in the backlog already, unless the socket outlives this process. Returns with the socket closed.
pub async fn accept_all(
    door: Door,
    places: &Places,
    drain: &CancellationToken,
    mut each: impl FnMut(Wire, Peer, OwnedSemaphorePermit),
) {
    loop {
        let accepted = tokio::select! {
            () = drain.cancelled() => break,
            accepted = places.accept(&door.socket) => accepted,
        };
        if let Some((wire, peer, place)) = accepted {
            each(wire, peer, place);
        }
    }
    if door.outlives {
        return;
    }
    // They connected before the end of accepting; closing the socket would reset them.
    while let Some(Ok((wire, peer))) = door.socket.accept().now_or_never() {
        if let Some(place) = places.take(&peer) {
            each(wire, peer, place);
        }
    }
}

/// Counts what a connection has under way: each request and each body holds a clone.
#[derive(Clone, Default)]
pub struct Busy(Arc<Doing>);

#[derive(Default)]
struct Doing {
    /// How often the connection was looked at.
    looks: AtomicU32,
    /// How often it had its turn, and the last turn in which it began a request.
    turns: AtomicU32,
    begun: AtomicU32,
    /// For each body, the look before which it was last asked for a piece.
    bodies: Mutex<Vec<Weak<AtomicU32>>>,
}

impl Busy {
    /// A new body.
    fn begin(&self) -> Arc<AtomicU32> {
        let asked = Arc::new(AtomicU32::new(self.0.looks.load(Ordering::Relaxed)));
        let mut bodies = self.0.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        if bodies.len() == bodies.capacity() {
            bodies.retain(|body| body.strong_count() > 0);
        }
        bodies.push(Arc::downgrade(&asked));
        asked
    }

    /// Waits when this turn of the connection has begun a request already. A client that sends as fast as it is answered finds its next request
    /// read at once, and all others wait for as many answers as one turn gives.
    pub async fn turn(&self) {
        let turn = self.0.turns.load(Ordering::Relaxed);
        if self.0.begun.swap(turn, Ordering::Relaxed) == turn {
            yield_now().await;
            self.0.begun.store(self.0.turns.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Counts one more look; whether a body was not asked for a piece during the last `LOOKS`: over HTTP/2 a client may open no window for
    /// it, and would keep it, and its connection, for ever.
    fn is_stuck(&self) -> bool {
        let now = self.0.looks.fetch_add(1, Ordering::Relaxed) + 1;
        let bodies = self.0.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.iter().filter_map(Weak::upgrade).any(|asked| now.wrapping_sub(asked.load(Ordering::Relaxed)) > LOOKS)
    }
}

/// A body that keeps its connection busy for as long as it lasts.
pub struct Held<B> {
    inner: B,
    busy: Busy,
    asked: Arc<AtomicU32>,
}

impl<B> Held<B> {
    /// Ties the two together.
    pub fn new(inner: B, busy: Busy) -> Self {
        Self { inner, asked: busy.begin(), busy }
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.asked.store(self.busy.0.looks.load(Ordering::Relaxed), Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Serves one connection until it ends, until it, or one of its bodies, has done nothing for `idle`, or until the listener ends: over HTTP/2 the client is told at
/// once, over HTTP/1.1 by the answers (`last_word`), and a connection without any is closed a moment later.
pub async fn drive<I, S, B>(
    builder: &Builder<TokioExecutor>,
    io: I,
    service: S,
    (busy, idle, is_h2): (Busy, Duration, bool),
    ends: &Ends,
) where
    I: Read + Write + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let own = Arc::strong_count(&busy.0);
    let mut connection = pin!(builder.serve_connection(io, service).into_owned());
    let (mut last, mut told) = (Instant::now(), false);
    let mut looks = interval(idle / LOOKS);
    let mut draining = pin!(async {
        ends.drain.cancelled().await;
        if !is_h2 {
            sleep(LINGER).await;
        }
    });
    loop {
        tokio::select! {
            // A broken connection is the client's affair; its calls have their own end.
            _ = poll_fn(|context| {
                busy.0.turns.fetch_add(1, Ordering::Relaxed);
                connection.as_mut().poll(context)
            }) => return,
            () = ends.cut.cancelled() => return,
            () = draining.as_mut(), if !told => {
                connection.as_mut().graceful_shutdown();
                told = true;
            }
            _ = looks.tick() => {
                if busy.is_stuck() {
                    return;
                }
                if Arc::strong_count(&busy.0) > own {
                    last = Instant::now();
                } else if last.elapsed() >= idle * 2 {
                    // Asked to go and still here.
                    return;
                } else if last.elapsed() >= idle && !told {
                    connection.as_mut().graceful_shutdown();
                    told = true;
                }
            }
        }
    }
}

/// While the listener ends, an answer over HTTP/1.1 says that the next request needs a new connection.
pub fn last_word<B>(ends: &Ends, is_h2: bool, response: &mut Response<B>) {
    if !is_h2 && ends.drain.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn flt_12_a_crowd_from_this_host_leaves_the_places_of_this_process() {
        let guests = Guests::default();
        let places = Places::new(8, guests.clone());
        let at = |ip: [u8; 4], port: u16| Peer::at(SocketAddr::from((ip, port)), None);
        let (stranger, neighbour, own) = (at([10, 0, 0, 1], 4_000), at([127, 0, 0, 1], 4_000), at([127, 0, 0, 1], 5_000));
        let mut taken: Vec<_> = std::iter::from_fn(|| places.take(&stranger)).collect();
        assert_eq!(taken.len(), 6, "a few are for this host");
        taken.extend(std::iter::from_fn(|| places.take(&neighbour)));
        assert_eq!(taken.len(), 8);
        assert!(places.take(&own).is_none(), "nobody is expected from there");
        let guest = guests.expect_from(own.address);
        assert!(places.take(&neighbour).is_none() && places.take(&own).is_some());
        drop(guest);
        assert!(places.take(&own).is_none());
    }

    #[test]
    fn one_turn_of_a_connection_begins_one_request() {
        let busy = Busy::default();
        for _ in 0..2 {
            busy.0.turns.fetch_add(1, Ordering::Relaxed);
            assert!(busy.turn().now_or_never().is_some(), "the first of a turn");
            assert!(busy.turn().now_or_never().is_none(), "the second waits for the next turn");
        }
    }
}
