//! A TLS listener: accepts, shakes hands, speaks HTTP/1.1 or HTTP/2, gives each request its id. Bounded in connections, time and
//! header size. Never serves plain HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::body::Body;
use super::connection::{self, Busy, Held, Places};
use super::exchange::{Exchange, Facts, Reply};
use super::io::PatientStream;
use super::pipeline;
use crate::base::ids::mint;

const CONNECTIONS: usize = 4_096;
const IDLE: Duration = Duration::from_secs(120);
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(10);

/// Accepts until `stop`, then lets what is under way end.
pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener, tls: Arc<rustls::ServerConfig>, stop: CancellationToken) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    let acceptor = TlsAcceptor::from(tls);
    let places = Places::new(CONNECTIONS);
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = places.accept(&listener) => accepted,
        };
        let Some((tcp, remote, place)) = accepted else { continue };
        let connection = Connection { shared: shared.clone(), remote, port, stop: stop.clone() };
        open.spawn(connection.serve(tcp, acceptor.clone(), place));
    }
    drop(listener);
    open.close();
    drop(tokio::time::timeout(DRAIN, open.wait()).await);
}

struct Connection {
    shared: Arc<Shared>,
    remote: SocketAddr,
    port: u16,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(self, tcp: TcpStream, acceptor: TlsAcceptor, place: OwnedSemaphorePermit) {
        drop(tcp.set_nodelay(true));
        let shaking = acceptor.accept(PatientStream::new(tcp, WRITE)).into_fallible();
        let tls = match tokio::time::timeout(HANDSHAKE, shaking).await {
            Ok(Ok(tls)) => tls,
            Ok(Err((_, mut stream))) => {
                // Whoever speaks something else than TLS is told nothing.
                drop(stream.shutdown().await);
                return;
            }
            Err(_) => return,
        };
        let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let Self { shared, remote, port, stop } = self;
        let busy = Busy::default();
        let held = busy.clone();
        let service = service_fn(move |request| {
            let (shared, held) = (shared.clone(), held.clone());
            async move { answer(shared, remote, port, request).await.map(|response| response.map(|body| Held::new(body, held))) }
        });
        connection::drive(&builder(is_h2), TokioIo::new(tls), service, (busy, IDLE), &stop).await;
        drop(place);
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

/// Gives a request its id and its own task: the call outlives its connection, so that its end is always recorded.
async fn answer(
    shared: Arc<Shared>,
    remote: SocketAddr,
    port: u16,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let id = mint("req", shared.clock.now(), shared.entropy.as_ref());
    let (head, waiting) = oneshot::channel();
    let left = CancellationToken::new();
    let presence = left.clone().drop_guard();
    let x = Exchange {
        reply: Reply::new(&id, head),
        started: Instant::now(),
        remote,
        port,
        facts: Facts::default(),
        message: None,
        sent: false,
        flight: None,
        begun: None,
        left,
        id: id.clone(),
    };
    shared.tasks.spawn(pipeline::run(shared.clone(), x, request));
    Ok(match waiting.await {
        Ok(response) => response.map(|body| body.tied_to(presence)),
        Err(_) => broken(&id),
    })
}

fn broken(id: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert("lifeboat-request-id", id);
    }
    response
}
