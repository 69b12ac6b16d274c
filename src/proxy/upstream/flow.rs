//! What comes back from an HTTP server, piece by piece. Bounded: one event or one body at a time, each with its cap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming as HttpBody;
use tokio::sync::OwnedSemaphorePermit;

use super::super::Shared;
use super::http_leg::HttpLeg;
use super::{Broken, CancelWhy, Piece};
use crate::mcp::message::parse_incoming;
use crate::mcp::sse::{Decoder, SseEvent};

/// A call at an HTTP server.
pub struct HttpFlight {
    /// The server.
    pub leg: Arc<HttpLeg>,
    /// Its place among those the server may have.
    pub place: OwnedSemaphorePermit,
    /// What tells the server that a legacy call is over; dropping the connection tells it nothing (basic/utilities/cancellation).
    pub notice: Option<Notice>,
    /// The stream of the response, once its head is here.
    pub stream: Option<EventStream>,
}

/// A `notifications/cancelled` that may have to be sent.
pub struct Notice {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl HttpFlight {
    /// The next event.
    ///
    /// # Errors
    /// When the stream broke or an event is over its cap.
    pub async fn next(&mut self) -> Result<Piece, Broken> {
        match &mut self.stream {
            Some(stream) => stream.next().await,
            None => Ok(Piece::End),
        }
    }

    /// Gives the call up: the connection is closed, and a kill or a revocation is told to a legacy server.
    pub fn end(self, shared: &Shared, why: CancelWhy) {
        let Self { leg, notice, stream, place: _ } = self;
        drop(stream);
        if let (CancelWhy::Kill | CancelWhy::Revoked, Some(notice)) = (why, notice) {
            shared.tasks.spawn(async move {
                // Best effort: the call is cut here whatever the server says.
                drop(leg.send(Method::POST, notice.headers, notice.body, Duration::from_secs(2)).await);
            });
        }
    }
}

// So much is cut into events at a time: an event of two bytes takes a hundred times as much once it is cut out.
const BITE: usize = 4 * 1024;

/// Server-sent events of a response.
pub struct EventStream {
    body: HttpBody,
    // What has come and is not cut into events yet.
    uncut: Bytes,
    decoder: Decoder,
    ready: VecDeque<SseEvent>,
}

impl EventStream {
    /// Reads the events of `body`, each of at most `limit` bytes.
    pub fn new(body: HttpBody, limit: usize) -> Self {
        Self { body, uncut: Bytes::new(), decoder: Decoder::new(limit), ready: VecDeque::new() }
    }

    /// The next event.
    ///
    /// # Errors
    /// When the stream broke or an event is over its cap.
    pub async fn next(&mut self) -> Result<Piece, Broken> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return piece(event);
            }
            if self.uncut.is_empty() {
                let Some(frame) = self.body.frame().await else { return Ok(Piece::End) };
                let frame = frame.map_err(|_| Broken::Lost("its stream broke"))?;
                self.uncut = frame.into_data().unwrap_or_default();
            }
            let bite = self.uncut.split_to(self.uncut.len().min(BITE));
            let events = self.decoder.push(&bite).map_err(|fault| Broken::TooLarge { limit: fault.limit as u64 })?;
            self.ready.extend(events);
        }
    }
}

fn piece(event: SseEvent) -> Result<Piece, Broken> {
    if !event.has_message() {
        return Ok(Piece::Silent { raw: event.raw, id: event.id });
    }
    let incoming = parse_incoming(event.data.clone()).map_err(|_| Broken::Lost("it sent what is no message"))?;
    Ok(Piece::Message { incoming: Box::new(incoming), event })
}

/// Reads a whole body of at most `limit` bytes within `wait`.
///
/// # Errors
/// Over the limit, too late, or broken off.
pub async fn whole(mut body: HttpBody, limit: u64, wait: Duration) -> Result<Bytes, Broken> {
    let reading = async {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Broken::Lost("its answer broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if (first.len() + rest.len() + data.len()) as u64 > limit {
                return Err(Broken::TooLarge { limit });
            }
            match (first.is_empty(), rest.is_empty()) {
                (true, true) => first = data,
                (false, _) => {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                    rest.extend_from_slice(&data);
                }
                (true, false) => rest.extend_from_slice(&data),
            }
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    };
    tokio::time::timeout(wait, reading).await.map_err(|_| Broken::Late)?
}
