//! The admin listener: TLS 1.3, HTTP/1.1 and 2, bounded in connections and time. Never serves plain HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use crate::admin::{Admin, routes};
use crate::proxy::connection::{self, Busy, Held, Places};
use crate::proxy::io::PatientStream;

const CONNECTIONS: usize = 1_024;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(300);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Accepts until `stop`, then lets requests under way end.
pub(super) async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, router: Router, stop: CancellationToken) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Places::new(CONNECTIONS);
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = places.accept(&listener) => accepted,
        };
        if let Some((tcp, remote, place)) = accepted {
            tasks.spawn(one(tcp, remote, acceptor.clone(), router.clone(), (place, stop.clone())));
        }
    }
    tasks.close();
    drop(tokio::time::timeout(DRAIN, tasks.wait()).await);
}

/// Everything the admin listener serves.
pub(super) fn router(admin: &Arc<Admin>) -> Router {
    routes::router(admin.clone())
}

/// A router as a service of the bodies hyper hands out.
pub(super) fn incoming(
    router: Router,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static {
    router.map_request(|request: Request<Incoming>| request.map(Body::new))
}

async fn one(
    tcp: TcpStream,
    remote: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    (_place, stop): (OwnedSemaphorePermit, CancellationToken),
) {
    tcp.set_nodelay(true).ok();
    let shaking = acceptor.accept(PatientStream::new(tcp, WRITE));
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, shaking).await else { return };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let busy = Busy::default();
    let (asking, answering) = (busy.clone(), busy.clone());
    let service = router
        .map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(remote));
            request.extensions_mut().insert(asking.clone());
            request.map(Body::new)
        })
        .map_response(move |response: Response<Body>| response.map(|body| Held::new(body, answering.clone())));
    connection::drive(&builder(is_h2), TokioIo::new(stream), TowerToHyperService::new(service), (busy, IDLE), &stop).await;
}

fn builder(is_h2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(16 * 1024)
        .max_pending_accept_reset_streams(20)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    // The protocol was agreed on in the handshake; looking at the first bytes again would wait without end.
    if is_h2 { builder.http2_only() } else { builder.http1_only() }
}
