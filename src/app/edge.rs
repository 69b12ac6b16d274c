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
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use crate::admin::{Admin, routes};

const CONNECTIONS: usize = 1_024;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(50);

/// Accepts until `stop`, then lets requests under way end.
pub(super) async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, router: Router, stop: CancellationToken) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        if let Some((tcp, remote, place)) = accepted {
            tasks.spawn(connection(tcp, remote, acceptor.clone(), router.clone(), (place, stop.clone())));
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

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((tcp, remote)) => Some((tcp, remote, place)),
        Err(_) => {
            // Out of descriptors: a short rest instead of a spin.
            tokio::time::sleep(REST).await;
            None
        }
    }
}

async fn connection(
    tcp: TcpStream,
    remote: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    (_place, stop): (OwnedSemaphorePermit, CancellationToken),
) {
    tcp.set_nodelay(true).ok();
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await else { return };
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(remote));
        request.map(Body::new)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(100).max_header_list_size(16 * 1024);
    let graceful = GracefulShutdown::new();
    let served = graceful.watch(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned());
    tokio::pin!(served);
    tokio::select! {
        _ = &mut served => {}
        () = stop.cancelled() => {
            tokio::select! {
                _ = &mut served => {}
                () = graceful.shutdown() => {}
            }
        }
    }
}
