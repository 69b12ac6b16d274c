//! The body of a response: whole, or a stream of pieces that are passed on one by one. Never buffers a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::DropGuard;

use super::rate::Slot;

/// What a response carries.
pub struct Body {
    content: Content,
    /// Dropped with the body, which tells the call that its client has left.
    presence: Option<DropGuard>,
    /// The call's place among those of its client, taken until the client has been given everything: what waits for a client that
    /// does not read counts as its own.
    place: Option<Slot>,
}

// Over HTTP/2 so much of a whole answer is handed over at a time: what is handed over is kept, though the client opens no window for it.
const PIECE: usize = 16 * 1024;

enum Content {
    Whole(Option<Bytes>),
    InPieces(Bytes),
    Stream(mpsc::Receiver<Piece>),
}

/// One piece of a stream with its share of what may wait for the client; the share is free once the connection takes the piece.
pub type Piece = (Bytes, OwnedSemaphorePermit);

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self { content: Content::Whole(None), presence: None, place: None }
    }

    /// Everything at once.
    pub fn whole(bytes: Bytes) -> Self {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        Self { content: Content::Whole(bytes), presence: None, place: None }
    }

    /// Piece by piece, until the sender is dropped.
    pub fn stream(pieces: mpsc::Receiver<Piece>) -> Self {
        Self { content: Content::Stream(pieces), presence: None, place: None }
    }

    /// The same content, handed over only as the client of an HTTP/2 connection takes it.
    pub fn in_pieces(mut self) -> Self {
        if let Content::Whole(Some(bytes)) = &mut self.content {
            self.content = Content::InPieces(std::mem::take(bytes));
        }
        self
    }

    /// Ties the call's place to this body.
    pub fn holding(mut self, place: Option<Slot>) -> Self {
        self.place = place;
        self
    }

    /// Ties a sign of the client's presence to this body. A whole body needs none: the call is over.
    pub fn tied_to(mut self, presence: DropGuard) -> Self {
        match self.content {
            Content::Stream(_) => self.presence = Some(presence),
            Content::Whole(_) | Content::InPieces(_) => drop(presence.disarm()),
        }
        self
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::InPieces(rest) if rest.is_empty() => Poll::Ready(None),
            Content::InPieces(rest) => Poll::Ready(Some(Ok(Frame::data(rest.split_to(rest.len().min(PIECE)))))),
            Content::Stream(pieces) => pieces.poll_recv(context).map(|piece| piece.map(|(bytes, _share)| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(whole) => whole.is_none(),
            Content::InPieces(rest) => rest.is_empty(),
            Content::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::InPieces(rest) => SizeHint::with_exact(rest.len() as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}
