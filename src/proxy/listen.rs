//! A listener: accepts, shakes hands, speaks HTTP/1.1 or HTTP/2, gives each request its id. Bounded in connections, time and header size.
//! Never serves plain HTTP but where the settings name a place for a balancer on this host.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::body::Body;
use super::connection::{self, Busy, Door, Ends, Guard, Held};
use super::exchange::{Exchange, Facts, Reply};
use super::io::{PatientStream, Wire};
use super::peer::Peer;
use super::{pipeline, preface};
use crate::base::ids::mint;

/// Connections of clients at all listeners together.
pub(super) const CONNECTIONS: usize = 4_096;
const IDLE: Duration = Duration::from_secs(120);
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(30);

/// Accepts until the drain begins, then lets what is under way end; what has not after 30 s is cut.
pub(super) async fn serve(shared: Arc<Shared>, door: Door, ends: Ends) {
    let (port, guard) = (door.socket.port(), door.guard.clone());
    let places = shared.places.clone();
    let open = TaskTracker::new();
    connection::accept_all(door, &places, &ends.drain, |wire, peer, place| {
        // Listeners without TLS are for a balancer on this host alone.
        let is_plain = !matches!(guard, Guard::Tls(_));
        let is_fronted = is_plain || peer.by_socket || shared.feed.snapshot().settings.trusts(peer.address.ip());
        let connection = Connection { shared: shared.clone(), peer, port, is_fronted, ends: ends.clone() };
        open.spawn(connection.serve(wire, guard.clone(), place));
    })
    .await;
    open.close();
    if tokio::time::timeout(DRAIN, open.wait()).await.is_err() {
        tracing::warn!(connections = open.len(), "calls that were still under way are cut");
        ends.cut.cancel();
        open.wait().await;
    }
}

struct Connection {
    shared: Arc<Shared>,
    peer: Peer,
    port: u16,
    /// Whether a balancer of ours is at the other end.
    is_fronted: bool,
    ends: Ends,
}

impl Connection {
    async fn serve(mut self, mut wire: Wire, guard: Guard, place: OwnedSemaphorePermit) {
        let Guard::Tls(acceptor) = guard else {
            self.speak(PatientStream::new(wire, WRITE), false).await;
            return drop(place);
        };
        if let Wire::Tcp(tcp) = &mut wire {
            let settings = &self.shared.feed.snapshot().settings;
            let told = preface::client(settings, settings.listen.proxy_protocol.proxy, tcp, self.peer.address).await;
            let Some(client) = told else { return };
            self.peer.address = client;
        }
        let shaking = acceptor.accept(PatientStream::new(wire, WRITE)).into_fallible();
        match tokio::time::timeout(HANDSHAKE, shaking).await {
            Ok(Ok(tls)) => {
                let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                self.speak(tls, is_h2).await;
            }
            // Whoever speaks something else than TLS is told nothing.
            Ok(Err((_, mut stream))) => drop(stream.shutdown().await),
            Err(_) => {}
        }
        drop(place);
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, is_h2: bool) {
        let Self { shared, peer, port, is_fronted, ends } = self;
        let busy = Busy::default();
        let (held, ending) = (busy.clone(), ends.clone());
        let service = service_fn(move |request| {
            let (shared, held, ending) = (shared.clone(), held.clone(), ending.clone());
            async move {
                // Over HTTP/2 each request is a task of its own, with its own turns.
                if !is_h2 {
                    held.turn().await;
                }
                let mut response = answer(shared, peer, (port, is_fronted), request).await?;
                connection::last_word(&ending, is_h2, &mut response);
                Ok::<_, Infallible>(response.map(|body| Held::new(body, held)))
            }
        });
        connection::drive(&builder(is_h2), TokioIo::new(stream), service, (busy, IDLE, is_h2), &ends).await;
    }
}

fn builder(is_h2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(64 * 1024).max_headers(100);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(32 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        .max_send_buf_size(256 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    // The protocol was agreed on in the handshake; looking at the first bytes again would wait without end.
    if is_h2 { builder.http2_only() } else { builder.http1_only() }
}

/// Gives a request its id and drives its call. The call outlives its connection, so that its end is always recorded.
async fn answer(
    shared: Arc<Shared>,
    peer: Peer,
    (port, is_fronted): (u16, bool),
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let remote = peer.client(&shared.feed.snapshot().settings, request.headers());
    let id = mint("req", shared.clock.now(), shared.entropy.as_ref());
    let (head, waiting) = oneshot::channel();
    let left = CancellationToken::new();
    let presence = left.clone().drop_guard();
    let x = Exchange {
        reply: Reply::new(&id, head),
        started: Instant::now(),
        remote,
        port,
        is_fronted,
        facts: Facts::default(),
        message: None,
        sent: false,
        flight: None,
        pass: None,
        begun: None,
        left,
        given_up: None,
        id: id.clone(),
    };
    let is_h2 = request.version() == Version::HTTP_2;
    let call = Driven::new(&shared, pipeline::run(shared.clone(), x, request));
    Ok(match call.until(waiting).await {
        Some(response) if is_h2 => response.map(|body| body.in_pieces().tied_to(presence)),
        Some(response) => response.map(|body| body.tied_to(presence)),
        None => broken(&id),
    })
}

/// A call that its connection drives, which saves a task and the way to it and back. What is left of it when its head has been sent, or when
/// the connection is gone, becomes a task of its own.
struct Driven<'a> {
    tasks: &'a TaskTracker,
    call: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<'a> Driven<'a> {
    fn new(shared: &'a Shared, call: impl Future<Output = ()> + Send + 'static) -> Self {
        // A panic ends the call, never the other calls of its connection.
        let call = AssertUnwindSafe(call).catch_unwind().map(drop);
        Self { tasks: &shared.tasks, call: Some(Box::pin(call)) }
    }

    /// Drives the call until its head is there; nothing when it ended without one.
    async fn until<T>(mut self, mut head: oneshot::Receiver<T>) -> Option<T> {
        poll_fn(|context| {
            if let Some(call) = &mut self.call
                && call.as_mut().poll(context).is_ready()
            {
                self.call = None;
            }
            Pin::new(&mut head).poll(context).map(Result::ok)
        })
        .await
    }
}

impl Drop for Driven<'_> {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and nothing can run any more.
        if let (Some(call), Ok(runtime)) = (self.call.take(), Handle::try_current()) {
            self.tasks.spawn_on(call, &runtime);
        }
    }
}

fn broken(id: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert("lifeboat-request-id", id);
    }
    response
}
