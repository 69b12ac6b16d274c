//! What a client asks for of its own key, and cannot decide: the proxy plane asks, the admin plane answers, once. Bounded, and nobody waits for long. Never
//! makes a key.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

/// How many may wait for an answer at once.
const WAITING: usize = 16;
/// How long one waits.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A client that wants its key replaced.
#[derive(Debug)]
pub struct RotationAsked {
    /// Its name.
    pub client: Arc<str>,
    /// The key that it showed.
    pub kid: Arc<str>,
    /// How long both are to count; as the configuration says when not given.
    pub overlap: Option<String>,
    /// The request it asked by, so that both planes' events are found together.
    pub request: String,
    /// Where the answer goes. Once nobody waits for it, no key may be handed over.
    pub answer: oneshot::Sender<Result<Successor, NotRotated>>,
}

/// The key that comes after one; shown this once.
#[derive(Debug)]
pub struct Successor {
    /// Its public name.
    pub kid: String,
    /// It.
    pub key: Secret<String>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Until when the one before counts beside it, at least while it is used.
    pub old_valid_until: Option<Timestamp>,
}

/// Why there is no successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRotated {
    /// The client may not ask, by its file or since it is stopped.
    Denied,
    /// A rotation of it is open already.
    Open,
    /// The overlap cannot be; what would be right.
    Overlap(String),
    /// Not now.
    Unavailable,
}

/// The asks that wait.
#[derive(Debug)]
pub struct Asks {
    sender: mpsc::Sender<RotationAsked>,
    receiver: Mutex<mpsc::Receiver<RotationAsked>>,
}

impl Default for Asks {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl Asks {
    /// For the proxy: asks, and waits for the answer.
    ///
    /// # Errors
    /// `Unavailable` when too many wait, or nobody answers in time; what the admin plane says.
    pub async fn ask(
        &self,
        (client, kid): (Arc<str>, Arc<str>),
        overlap: Option<String>,
        request: String,
    ) -> Result<Successor, NotRotated> {
        let (answer, answered) = oneshot::channel();
        let asked = RotationAsked { client, kid, overlap, request, answer };
        self.sender.try_send(asked).map_err(|_| NotRotated::Unavailable)?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            _ => Err(NotRotated::Unavailable),
        }
    }

    /// For the admin plane: the next one that anybody still waits for.
    pub async fn next(&self) -> Option<RotationAsked> {
        let mut receiver = self.receiver.lock().await;
        loop {
            let asked = receiver.recv().await?;
            if !asked.answer.is_closed() {
                return Some(asked);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(asks: &Arc<Asks>) -> tokio::task::JoinHandle<Result<Successor, NotRotated>> {
        let asks = asks.clone();
        tokio::spawn(async move { asks.ask(("ci".into(), "k".into()), None, "req_1".into()).await })
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long_and_what_nobody_waits_for_is_not_answered() {
        let asks = Arc::new(Asks::default());
        let begun = tokio::time::Instant::now();
        assert_eq!(ask(&asks).await.unwrap().err(), Some(NotRotated::Unavailable), "nobody answers");
        assert_eq!(begun.elapsed(), PATIENCE);
        let second = ask(&asks);
        let asked = asks.next().await.unwrap();
        assert!(!asked.answer.is_closed(), "the first one was left out");
        asked.answer.send(Err(NotRotated::Open)).unwrap();
        assert_eq!(second.await.unwrap().err(), Some(NotRotated::Open));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_there_is_room_for() {
        let asks = Arc::new(Asks::default());
        let waiting: Vec<_> = (0..WAITING).map(|_| ask(&asks)).collect();
        tokio::task::yield_now().await;
        let begun = tokio::time::Instant::now();
        assert_eq!(ask(&asks).await.unwrap().err(), Some(NotRotated::Unavailable));
        assert_eq!(begun.elapsed(), Duration::ZERO, "it is told at once");
        for one in waiting {
            assert_eq!(one.await.unwrap().err(), Some(NotRotated::Unavailable));
        }
    }
}
