//! One connection to a server, as the pool sees it: made within a time, counted, and remembered to have served before. Never reads or changes what
//! passes.

use std::error::Error;
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::sync::OwnedSemaphorePermit;
use tower::Service;

use super::super::descriptors;

/// Bounds a connector by a time, TLS handshake included.
#[derive(Clone)]
pub(super) struct Patient<C> {
    /// What connects.
    pub inner: C,
    /// For how long.
    pub patience: Duration,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<C> Service<Uri> for Patient<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Response: Send + 'static,
    C::Error: Into<BoxError>,
{
    type Response = Wire<C::Response>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let patience = self.patience;
        Box::pin(async move {
            let connected = async {
                let place = descriptors::for_servers().acquire_owned().await?;
                Ok(Wire { inner: connecting.await.map_err(Into::into)?, served: Served::default(), _place: place })
            };
            match tokio::time::timeout(patience, connected).await {
                Ok(connected) => connected,
                Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

/// Whether a connection has ever brought an answer.
#[derive(Clone, Default)]
pub(super) struct Served(Arc<AtomicBool>);

impl Served {
    /// Whether it has.
    pub(super) fn before(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// It has now.
    pub(super) fn again(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection that remembers whether it has served, and gives back its place among those that the process may have when it is dropped.
pub(super) struct Wire<S> {
    inner: S,
    served: Served,
    _place: OwnedSemaphorePermit,
}

impl<S: Connection> Connection for Wire<S> {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.served.clone())
    }
}

impl<S: Read + Unpin> Read for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }
}
