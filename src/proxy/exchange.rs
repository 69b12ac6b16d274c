//! One request and all we learn of it: what the ledger will say, and the way back to the client. Never decides anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::body::{Body, Piece};
use super::cors::Cors;
use super::rate::Slot;
use super::refuse::Executed;
use super::upstream::{Flight, Pass};
use crate::config::Class;
use crate::mcp::message::{Kind, Message};

/// Events of one stream that may wait for its client, and their bytes; one event larger than that waits alone.
const BACKLOG: usize = 16;
const BACKLOG_BYTES: u32 = 128 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// A request on its way through the stages.
pub struct Exchange {
    /// `req_…`, minted before the first stage.
    pub id: String,
    /// When its head had been read.
    pub started: Instant,
    /// Where it came from.
    pub remote: SocketAddr,
    /// Port it came in by.
    pub port: u16,
    /// Whether a balancer of ours passed it on.
    pub is_fronted: bool,
    /// What the ledger will say.
    pub facts: Facts,
    /// The message, once it is parsed.
    pub message: Option<Arc<Message>>,
    /// Set from the moment the first byte may have reached the server.
    pub sent: bool,
    /// The call at the server, so that it can be cancelled there.
    pub flight: Option<Flight>,
    /// Leave of the server's breaker, until its verdict.
    pub pass: Option<Pass>,
    /// Id of the legacy session that begins with this exchange.
    pub begun: Option<Arc<str>>,
    /// Cancelled when the client leaves.
    pub left: CancellationToken,
    /// Cancelled when the client gives the call up by a notification; none where it cannot.
    pub given_up: Option<Arc<CancellationToken>>,
    /// The way back.
    pub reply: Reply,
}

/// What a request is for, as the ledger sorts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sort {
    /// Something that executes.
    #[default]
    Call,
    /// Everything else: lists, handshakes, notifications, streams.
    List,
}

/// The fields of the audit event that are known so far.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Which kind of event it makes.
    pub sort: Sort,
    /// Client name; set once it is authenticated.
    pub client: Option<Arc<str>>,
    /// Id of the credential.
    pub kid: Option<Arc<str>>,
    /// Id of the token it showed.
    pub token: Option<Arc<str>>,
    /// What the ledger calls the canary of a proof; none for everybody else.
    pub canary: Option<&'static str>,
    /// Digest of the session id.
    pub session: Option<String>,
    /// Server name in the path.
    pub server: Option<Arc<str>>,
    /// JSON-RPC method, or the HTTP method where there is no message.
    pub method: Option<String>,
    /// Tool name.
    pub tool: Option<Arc<str>>,
    /// The class it counts as.
    pub class: Option<Class>,
    /// Shapes of the parameters.
    pub params: Option<Value>,
    /// Digest of the raw parameters.
    pub params_sha256: Option<String>,
    /// The grant that permitted it.
    pub grant: Option<Arc<str>>,
    /// The policy that decided.
    pub revision: Option<String>,
    /// Size of the request body.
    pub bytes_in: u64,
    /// Size of what was answered.
    pub bytes_out: u64,
}

impl Exchange {
    /// Whether the tool ran, when the call ends here without its answer.
    pub fn executed_if_cut(&self) -> Executed {
        if self.sent { Executed::Unknown } else { Executed::No }
    }

    /// Whether its client gave it up by a notification.
    pub fn is_given_up(&self) -> bool {
        self.given_up.as_ref().is_some_and(|given_up| given_up.is_cancelled())
    }

    /// The class it counts as; destructive while it is not known.
    pub fn class(&self) -> Class {
        self.facts.class.unwrap_or(Class::Destructive)
    }

    /// The id of the JSON-RPC request; none for a response, whose id belongs to the other side.
    pub fn id_raw(&self) -> Option<&[u8]> {
        self.message.as_ref().filter(|message| message.kind() == Kind::Request).and_then(|message| message.id_raw())
    }
}

/// A response that is sent at once.
#[derive(Clone, Debug)]
pub struct Whole {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON, or nothing.
    pub body: Bytes,
    /// `Mcp-Session-Id` of a session that begins here.
    pub session: Option<Arc<str>>,
    /// More headers: a challenge, the methods that are served, how long it may be kept.
    pub extra: Vec<(header::HeaderName, HeaderValue)>,
}

impl Whole {
    /// A JSON body.
    pub fn json(status: StatusCode, body: Bytes) -> Self {
        Self { status, body, session: None, extra: Vec::new() }
    }

    /// No body and no content type.
    pub fn empty(status: StatusCode) -> Self {
        Self::json(status, Bytes::new())
    }
}

/// The way back to the client: one whole response, or a stream of events.
pub struct Reply {
    request_id: String,
    head: Option<oneshot::Sender<Response<Body>>>,
    stream: Option<(mpsc::Sender<Piece>, Arc<Semaphore>)>,
    place: Option<Slot>,
    session: Option<Arc<str>>,
    sent: u64,
    pages: Option<Cors>,
}

/// The client is gone, or has not read for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLeft;

impl Reply {
    /// A way back by `head`.
    pub fn new(request_id: &str, head: oneshot::Sender<Response<Body>>) -> Self {
        Self { request_id: request_id.to_owned(), head: Some(head), stream: None, place: None, session: None, sent: 0, pages: None }
    }

    /// Lets the page of another origin read the answer.
    pub fn pages(&mut self, pages: Option<Cors>) {
        self.pages = pages;
    }

    /// Has the response hold the call's place until the client has been given all of it.
    pub fn hold(&mut self, place: Slot) {
        self.place = Some(place);
    }

    /// Whether a stream has begun.
    pub fn streams(&self) -> bool {
        self.stream.is_some()
    }

    /// Bytes of events sent so far.
    pub fn bytes_sent(&self) -> u64 {
        self.sent
    }

    /// A stream that begins later will tell this session.
    pub fn in_session(&mut self, id: Arc<str>) {
        self.session = Some(id);
    }

    /// Begins the stream unless it has begun: the head goes out at once, before any event.
    pub fn begin(&mut self, session: Option<&str>) {
        let Some(head) = self.head.take() else { return };
        let (sender, pieces) = mpsc::channel(BACKLOG);
        let mut response = Response::new(Body::stream(pieces).holding(self.place.take()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        self.finish_head(&mut response, session);
        self.stream = Some((sender, Arc::new(Semaphore::new(BACKLOG_BYTES as usize))));
        // A client that left before the head is noticed by the first event.
        drop(head.send(response));
    }

    /// Sends one event as it is, after beginning the stream where that is due.
    ///
    /// # Errors
    /// When the client has left, or did not read for 30 s.
    pub async fn event(&mut self, bytes: Bytes) -> Result<(), ClientLeft> {
        self.begin(None);
        let Some((stream, room)) = &self.stream else { return Err(ClientLeft) };
        self.sent += bytes.len() as u64;
        let share = u32::try_from(bytes.len()).unwrap_or(BACKLOG_BYTES).min(BACKLOG_BYTES);
        let room = room.clone();
        let sending = async {
            // A client that left takes nothing any more, so its pieces would never make room.
            let share = tokio::select! {
                share = room.acquire_many_owned(share) => share.map_err(|_| ClientLeft)?,
                () = stream.closed() => return Err(ClientLeft),
            };
            stream.send((bytes, share)).await.map_err(|_| ClientLeft)
        };
        timeout(PATIENCE, sending).await.unwrap_or(Err(ClientLeft))
    }

    /// Sends the whole response.
    pub fn whole(&mut self, whole: Whole) {
        let Some(head) = self.head.take() else { return };
        let has_body = !whole.body.is_empty();
        let mut response = Response::new(Body::whole(whole.body).holding(self.place.take()));
        *response.status_mut() = whole.status;
        if has_body {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in whole.extra {
            response.headers_mut().insert(name, value);
        }
        self.finish_head(&mut response, whole.session.as_deref());
        drop(head.send(response));
    }

    fn finish_head(&self, response: &mut Response<Body>, session: Option<&str>) {
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            response.headers_mut().insert("lifeboat-request-id", id);
        }
        if let Some(session) = session.or(self.session.as_deref()).and_then(|session| HeaderValue::from_str(session).ok()) {
            response.headers_mut().insert("mcp-session-id", session);
        }
        if let Some(pages) = &self.pages {
            pages.put(response.headers_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn atk_p25_what_waits_for_a_client_is_bounded_in_bytes() {
        let (head, waiting) = oneshot::channel();
        let mut reply = Reply::new("req_1", head);
        let brief = Duration::from_millis(50);
        let large = Bytes::from(vec![b'x'; 1 << 20]);
        assert!(timeout(brief, reply.event(large.clone())).await.expect("one event of any size waits").is_ok());
        assert!(timeout(brief, reply.event(Bytes::from_static(b"small"))).await.is_err(), "no second one beside it");
        let mut body = waiting.await.expect("a head").into_body();
        assert_eq!(body.frame().await.expect("a frame").expect("it is good").into_data().ok(), Some(large.clone()));
        for _ in 0..BACKLOG {
            assert!(timeout(brief, reply.event(Bytes::from_static(b"small"))).await.expect("small ones wait together").is_ok());
        }
        assert!(timeout(brief, reply.event(Bytes::from_static(b"small"))).await.is_err());
        drop(body);
        assert_eq!(timeout(brief, reply.event(large)).await.expect("noticed at once"), Err(ClientLeft));
    }
}
