//! The dashboard's listeners: TLS 1.3, HTTP/1.1 and 2, bounded in connections and time. Never serves plain HTTP but where the settings name a
//! place for a balancer on this host.

use std::convert::Infallible;
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use crate::admin::{Admin, routes};
use crate::policy::feed::Feed;
use crate::proxy::connection::{self, Busy, Door, Ends, Guard, Held, Places};
use crate::proxy::descriptors;
use crate::proxy::io::{PatientStream, Wire};
use crate::proxy::peer::Peer;
use crate::proxy::preface;

const CONNECTIONS: usize = 1_024;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(300);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Places for connections at all listeners of the dashboard together.
pub(super) fn places(feed: &Feed) -> Places {
    Places::new(descriptors::for_operators(CONNECTIONS), feed.guests().clone())
}

/// Accepts until the drain begins, then lets requests under way end.
pub(super) async fn serve(feed: Arc<Feed>, door: Door, router: Router, places: Places, ends: Ends) {
    let guard = door.guard.clone();
    let tasks = TaskTracker::new();
    connection::accept_all(door, &places, &ends.drain, |wire, peer, place| {
        let visitor = Visitor { feed: feed.clone(), peer, router: router.clone(), ends: ends.clone() };
        tasks.spawn(visitor.enter(wire, guard.clone(), place));
    })
    .await;
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        // Pages that follow what happens stay open for ever; they come back by themselves.
        ends.cut.cancel();
        tasks.wait().await;
    }
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

struct Visitor {
    feed: Arc<Feed>,
    peer: Peer,
    router: Router,
    ends: Ends,
}

impl Visitor {
    async fn enter(mut self, mut wire: Wire, guard: Guard, _place: OwnedSemaphorePermit) {
        let Guard::Tls(acceptor) = guard else { return self.speak(PatientStream::new(wire, WRITE), false).await };
        if let Wire::Tcp(tcp) = &mut wire {
            let settings = &self.feed.snapshot().settings;
            let told = preface::client(settings, settings.listen.proxy_protocol.admin, tcp, self.peer.address).await;
            let Some(client) = told else { return };
            self.peer.address = client;
        }
        let shaking = acceptor.accept(PatientStream::new(wire, WRITE));
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, shaking).await else { return };
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.speak(stream, is_h2).await;
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, is_h2: bool) {
        let Self { feed, peer, router, ends } = self;
        let busy = Busy::default();
        let (asking, answering, ending) = (busy.clone(), busy.clone(), ends.clone());
        let service = router
            .map_request(move |mut request: Request<Incoming>| {
                let client = peer.client(&feed.snapshot().settings, request.headers());
                request.extensions_mut().insert(ConnectInfo(client));
                request.extensions_mut().insert(asking.clone());
                request.map(Body::new)
            })
            .map_response(move |mut response: Response<Body>| {
                connection::last_word(&ending, is_h2, &mut response);
                response.map(|body| Held::new(body, answering.clone()))
            });
        let service = TowerToHyperService::new(service);
        connection::drive(&builder(is_h2), TokioIo::new(stream), service, (busy, IDLE, is_h2), &ends).await;
    }
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
