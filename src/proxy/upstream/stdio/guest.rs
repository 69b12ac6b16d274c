//! The one client of a child that serves a single session: what the child says on its own account goes to it. Never speaks to anybody else,
//! and never keeps more than a little while nobody listens.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{EVENTS, StdioEvent, locked};
use crate::proxy::room::{self, Room};

/// What may wait for a client that is on its way.
const MOST: usize = 64;
/// How large one thing may be, and all that the client has not taken yet together; what comes beyond is left out.
const LARGEST: usize = 1 << 20;

/// A child's single client.
pub(super) struct Guest {
    open: Mutex<Open>,
    room: Room,
}

impl Default for Guest {
    fn default() -> Self {
        Self { open: Mutex::default(), room: Room::new(LARGEST) }
    }
}

#[derive(Default)]
struct Open {
    ear: Option<mpsc::Sender<StdioEvent>>,
    waiting: VecDeque<Bytes>,
}

impl Guest {
    /// Opens the client's own stream; one that was open before ends.
    pub(super) fn hear(&self) -> mpsc::Receiver<StdioEvent> {
        let (ear, events) = mpsc::channel(EVENTS + MOST);
        let mut open = locked(&self.open);
        for text in std::mem::take(&mut open.waiting) {
            // There is room for all that may wait.
            let _ = ear.try_send(StdioEvent::Notification(text));
        }
        open.ear = Some(ear);
        events
    }

    /// Whether the client's own stream is open.
    pub(super) fn hears(&self) -> bool {
        locked(&self.open).ear.as_ref().is_some_and(|ear| !ear.is_closed())
    }

    /// Hands something to the client: on the stream of its one call, else on its own stream, else on that of any call. What finds none waits.
    pub(super) fn say(&self, text: Bytes, calls: &[&mpsc::Sender<StdioEvent>]) {
        if text.len() > LARGEST {
            return;
        }
        let mut open = locked(&self.open);
        let Some(text) = self.make_room(&mut open, text) else { return };
        let ear = open.ear.as_ref();
        let streams = match calls {
            [one] => [Some(*one), ear],
            many => [ear, many.last().copied()],
        };
        // The last place of a call is kept for its end.
        let taken = streams
            .into_iter()
            .flatten()
            .any(|stream| stream.capacity() > 1 && stream.try_send(StdioEvent::Notification(text.clone())).is_ok());
        if !taken {
            if open.waiting.len() >= MOST {
                open.waiting.pop_front();
            }
            open.waiting.push_back(text);
        }
    }

    /// The text with its share of the room; the oldest that nobody is on the way to yet make place for it.
    fn make_room(&self, open: &mut Open, text: Bytes) -> Option<Bytes> {
        loop {
            if let Some(share) = self.room.try_enter(text.len() as u64) {
                return Some(room::holding(text, Some(share)));
            }
            open.waiting.pop_front()?;
        }
    }

    /// What waits goes out with the call that begins.
    pub(super) fn catch_up(&self, call: &mpsc::Sender<StdioEvent>) {
        let mut open = locked(&self.open);
        while call.capacity() > 1
            && let Some(text) = open.waiting.pop_front()
        {
            let _ = call.try_send(StdioEvent::Notification(text));
        }
    }

    /// The child has ended, and with it the client's stream.
    pub(super) fn leave(&self) {
        *locked(&self.open) = Open::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(event: Option<StdioEvent>) -> String {
        match event {
            Some(StdioEvent::Notification(text)) => String::from_utf8_lossy(&text).into_owned(),
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_a_child_says_finds_its_client() {
        let guest = Guest::default();
        guest.say("early".into(), &[]);
        let mut own = guest.hear();
        assert_eq!(text(own.recv().await), "early");
        let (call, mut events) = mpsc::channel(EVENTS);
        let (other, mut others) = mpsc::channel(EVENTS);
        guest.say("one".into(), &[&call]);
        guest.say("many".into(), &[&call, &other]);
        guest.say("none".into(), &[]);
        assert_eq!(text(events.recv().await), "one");
        assert_eq!((text(own.recv().await), text(own.recv().await)), ("many".into(), "none".into()));
        drop(own);
        assert!(!guest.hears());
        guest.say("many".into(), &[&call, &other]);
        assert_eq!(text(others.recv().await), "many");
    }

    #[tokio::test]
    async fn flt_13_what_waits_for_a_client_is_bounded_in_bytes() {
        let guest = Guest::default();
        let large = || Bytes::from(vec![b'x'; LARGEST / 4]);
        (0..100).for_each(|_| guest.say(large(), &[]));
        assert_eq!(locked(&guest.open).waiting.len(), 4);
        let mut own = guest.hear();
        guest.say("beyond".into(), &[]);
        (0..4).for_each(|_| assert!(own.try_recv().is_ok()));
        assert!(own.try_recv().is_err(), "there was no room for more");
        guest.say("after".into(), &[]);
        assert_eq!(text(own.try_recv().ok()), "after");
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_goes_out_with_the_next_call() {
        let guest = Guest::default();
        (0..1_000).for_each(|n| guest.say(format!("{n}").into(), &[]));
        guest.say(vec![b'x'; LARGEST + 1].into(), &[]);
        let (call, mut events) = mpsc::channel(4);
        guest.catch_up(&call);
        assert_eq!(text(events.recv().await), (1_000 - MOST).to_string());
        assert_eq!(call.capacity(), 2, "the last place is kept for the end of the call");
    }
}
