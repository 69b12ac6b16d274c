//! The one client of a child that serves a single session: what the child says on its own account goes to it. Never speaks to anybody else,
//! and never keeps more than a little while nobody listens.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{EVENTS, StdioEvent, locked};

/// What may wait for a client that is on its way, and how large each of it.
const MOST: usize = 64;
const LARGEST: usize = 1 << 20;

/// A child's single client.
#[derive(Default)]
pub(super) struct Guest(Mutex<Open>);

#[derive(Default)]
struct Open {
    ear: Option<mpsc::Sender<StdioEvent>>,
    waiting: VecDeque<Bytes>,
}

impl Guest {
    /// Opens the client's own stream; one that was open before ends.
    pub(super) fn hear(&self) -> mpsc::Receiver<StdioEvent> {
        let (ear, events) = mpsc::channel(EVENTS + MOST);
        let mut open = locked(&self.0);
        for text in std::mem::take(&mut open.waiting) {
            // There is room for all that may wait.
            let _ = ear.try_send(StdioEvent::Notification(text));
        }
        open.ear = Some(ear);
        events
    }

    /// Whether the client's own stream is open.
    pub(super) fn hears(&self) -> bool {
        locked(&self.0).ear.as_ref().is_some_and(|ear| !ear.is_closed())
    }

    /// Hands something to the client: on the stream of its one call, else on its own stream, else on that of any call. What finds none waits.
    pub(super) fn say(&self, text: Bytes, calls: &[&mpsc::Sender<StdioEvent>]) {
        if text.len() > LARGEST {
            return;
        }
        let mut open = locked(&self.0);
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

    /// What waits goes out with the call that begins.
    pub(super) fn catch_up(&self, call: &mpsc::Sender<StdioEvent>) {
        let mut open = locked(&self.0);
        while call.capacity() > 1
            && let Some(text) = open.waiting.pop_front()
        {
            let _ = call.try_send(StdioEvent::Notification(text));
        }
    }

    /// The child has ended, and with it the client's stream.
    pub(super) fn leave(&self) {
        *locked(&self.0) = Open::default();
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
