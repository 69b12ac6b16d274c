//! Closes the stream of `test_reconnection` after its first event, as a server does that wants to be polled (SEP-1699): the call runs on, and its
//! answer waits for a client that comes back with `Last-Event-ID`. Never touches another answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use hyper::{HeaderMap, Method};

/// Requests of the suite are small; more than this is none of them.
const REQUEST_LIMIT: usize = 4 << 20;

/// The layer around the whole server.
pub async fn close_early(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, REQUEST_LIMIT).await else {
        let mut refused = Response::new(Body::empty());
        *refused.status_mut() = hyper::StatusCode::PAYLOAD_TOO_LARGE;
        return refused;
    };
    let cuts = asks_for_it(&head.headers, &bytes);
    let answer = next.run(Request::from_parts(head, Body::from(bytes))).await;
    if !cuts {
        return answer;
    }
    let (head, body) = answer.into_parts();
    Response::from_parts(head, Body::new(FirstEvent { body: Some(body) }))
}

/// Only a session of the legacy era can be resumed.
fn asks_for_it(headers: &HeaderMap, body: &[u8]) -> bool {
    let message: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    headers.contains_key("mcp-session-id") && message["params"]["name"] == "test_reconnection"
}

/// A body that ends after one frame.
struct FirstEvent {
    body: Option<Body>,
}

impl hyper::body::Body for FirstEvent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        self.body = None;
        Poll::Ready(frame)
    }
}
