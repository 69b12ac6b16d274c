//! What any of our listeners does with connections: how many there may be, and for how long one may do nothing. Never looks into a
//! request.

use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::{Read, Write};
use hyper::service::Service;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

/// Kept for connections from this host: kill proofs and whoever repairs things come in that way when strangers hold every other place.
const RESERVE: usize = 32;
const REST: Duration = Duration::from_millis(50);

/// Places for connections.
#[derive(Clone)]
pub struct Places {
    all: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

impl Places {
    /// So many, and a few more for this host.
    pub fn new(places: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(places)), reserve: Arc::new(Semaphore::new(RESERVE)) }
    }

    /// A place for a connection from `remote`; none when all are taken.
    pub fn take(&self, remote: IpAddr) -> Option<OwnedSemaphorePermit> {
        let place = self.all.clone().try_acquire_owned();
        place.ok().or_else(|| {
            let is_ours = remote.to_canonical().is_loopback();
            is_ours.then(|| self.reserve.clone().try_acquire_owned().ok()).flatten()
        })
    }

    /// The next connection that has a place. Others are closed at once. Out of descriptors means a short rest, not the end of the listener.
    pub async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        match listener.accept().await {
            Ok((tcp, remote)) => self.take(remote.ip()).map(|place| (tcp, remote, place)),
            Err(fault) => {
                tracing::warn!(error = %fault, "a connection could not be accepted");
                tokio::time::sleep(REST).await;
                None
            }
        }
    }
}

/// Counts what a connection has under way: each request and each body holds a clone.
#[derive(Clone, Default)]
pub struct Busy(Arc<()>);

/// A body that keeps its connection busy for as long as it lasts.
pub struct Held<B> {
    inner: B,
    _busy: Busy,
}

impl<B> Held<B> {
    /// Ties the two together.
    pub fn new(inner: B, busy: Busy) -> Self {
        Self { inner, _busy: busy }
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Serves one connection until it ends, until `stop` (then what is under way may end), or until it has done nothing for `idle`.
pub async fn drive<I, S, B>(
    builder: &Builder<TokioExecutor>,
    io: I,
    service: S,
    (busy, idle): (Busy, Duration),
    stop: &CancellationToken,
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
    let (mut last, mut ends) = (Instant::now(), false);
    let mut looks = interval(idle / 4);
    loop {
        tokio::select! {
            // A broken connection is the client's affair; its calls have their own end.
            _ = connection.as_mut() => return,
            () = stop.cancelled(), if !ends => {
                connection.as_mut().graceful_shutdown();
                ends = true;
            }
            _ = looks.tick() => {
                if Arc::strong_count(&busy.0) > own {
                    last = Instant::now();
                } else if last.elapsed() >= idle * 2 {
                    // Asked to go and still here.
                    return;
                } else if last.elapsed() >= idle && !ends {
                    connection.as_mut().graceful_shutdown();
                    ends = true;
                }
            }
        }
    }
}
