//! Response bodies of the scripted upstream: whole ones, and ones fed piece by piece. Never buffers what it was told to send.

use std::io::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

/// Any body we answer with.
pub type AnyBody = UnsyncBoxBody<Bytes, Error>;
/// Any answer.
pub type Reply = Response<AnyBody>;
/// The feeding end of a streamed body. Its `closed()` tells that the peer went away.
pub type Feed = mpsc::Sender<Result<Bytes, Error>>;

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> AnyBody {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is fed from elsewhere; dropping the feed ends it.
pub fn fed() -> (Feed, AnyBody) {
    let (feed, pieces) = mpsc::channel(8);
    (feed, Fed { pieces }.boxed_unsync())
}

struct Fed {
    pieces: mpsc::Receiver<Result<Bytes, Error>>,
}

impl Body for Fed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.pieces.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// An answer with a status, a content type (empty: none) and a body.
pub fn reply(status: StatusCode, kind: &str, body: AnyBody) -> Reply {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    if let Ok(kind) = hyper::header::HeaderValue::from_str(kind)
        && !kind.is_empty()
    {
        answer.headers_mut().insert("content-type", kind);
    }
    answer
}

/// JSON with a status.
pub fn json(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    reply(status, "application/json", full(text))
}

/// An event stream whose events come from the feed.
pub fn events() -> (Feed, Reply) {
    let (feed, body) = fed();
    (feed, reply(StatusCode::OK, "text/event-stream", body))
}

/// One `message` event.
pub fn event(data: &str) -> Bytes {
    Bytes::from(format!("event: message\ndata: {data}\n\n"))
}
