//! Tells whoever listens that a list has changed because the policy did. Only what that client sees differently now, and never in a storm.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::mcp::message::Incoming;
use crate::mcp::sse;

use super::sight::Outline;

/// Changes that come together are told together.
const GATHER: Duration = Duration::from_millis(100);
/// Between two tellings on one stream.
const REST: Duration = Duration::from_secs(2);

/// What one stream has been told and what it wants to hear.
pub(super) struct News {
    told: Outline,
    wanted: Wanted,
    due: Option<Instant>,
    last: Option<Instant>,
}

#[derive(Clone, Copy, Default)]
struct Wanted {
    tools: bool,
    prompts: bool,
    resources: bool,
}

impl News {
    /// For the stream of a legacy session: it has not asked, and gets all.
    pub(super) fn of_session(seen: Outline) -> Self {
        Self { told: seen, wanted: Wanted { tools: true, prompts: true, resources: true }, due: None, last: None }
    }

    /// For subscriptions/listen: nothing until the server has acknowledged what was asked for.
    pub(super) fn of_subscription(seen: Outline) -> Self {
        Self { wanted: Wanted::default(), ..Self::of_session(seen) }
    }

    /// Takes what a server acknowledged (2026-07-28, basic/patterns/subscriptions): clients refuse what goes beyond.
    pub(super) fn acknowledged(&mut self, incoming: &Incoming) {
        let accepted = incoming.param_raw("notifications").and_then(|raw| serde_json::from_slice::<Value>(raw).ok());
        let Some(accepted) = accepted else { return };
        let is_true = |key: &str| accepted.get(key).and_then(Value::as_bool) == Some(true);
        self.wanted = Wanted {
            tools: is_true("toolsListChanged"),
            prompts: is_true("promptsListChanged"),
            resources: is_true("resourcesListChanged"),
        };
    }

    /// The policy has changed; says when it is time to look.
    pub(super) fn changed(&mut self) {
        let soonest = Instant::now() + GATHER;
        let rested = self.last.map_or(soonest, |last| last + REST);
        self.due.get_or_insert(soonest.max(rested));
    }

    /// Waits until it is time to look; for ever while nothing has changed.
    pub(super) async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// The notifications for what is seen now; `subscription` tags them in the modern era.
    pub(super) fn tell(&mut self, seen: Outline, subscription: Option<&[u8]>) -> Vec<Bytes> {
        self.due = None;
        let news = [
            ("tools", self.wanted.tools && seen.tools != self.told.tools),
            ("prompts", self.wanted.prompts && seen.prompts != self.told.prompts),
            ("resources", self.wanted.resources && seen.resources != self.told.resources),
        ];
        self.told = seen;
        let events: Vec<Bytes> = news.iter().filter(|(_, is_new)| *is_new).map(|(list, _)| event(list, subscription)).collect();
        if !events.is_empty() {
            self.last = Some(Instant::now());
        }
        events
    }
}

fn event(list: &str, subscription: Option<&[u8]>) -> Bytes {
    let head = format!(r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed""#);
    let body = match subscription {
        Some(id) => {
            let tag = br#","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"#.as_slice();
            [head.as_bytes(), tag, id, b"}}}"].concat()
        }
        None => [head.as_bytes(), b"}"].concat(),
    };
    sse::encode(&body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::message::parse_incoming;

    const SEEN: Outline = Outline { tools: 1, prompts: false, resources: true };

    #[tokio::test]
    async fn pit_20_only_what_changed_is_told_and_once() {
        let mut news = News::of_session(SEEN);
        assert!(news.tell(SEEN, None).is_empty());
        let now = Outline { tools: 2, ..SEEN };
        assert_eq!(news.tell(now, None), [sse::encode(br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#)]);
        assert!(news.tell(now, None).is_empty());
        assert_eq!(news.tell(Outline { prompts: true, resources: false, ..now }, None).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn pit_20_a_storm_of_changes_is_told_together_and_then_rests() {
        let mut news = News::of_session(SEEN);
        let began = Instant::now();
        (0..1_000).for_each(|_| news.changed());
        news.due().await;
        assert_eq!(began.elapsed().as_millis() / 10, GATHER.as_millis() / 10);
        assert_eq!(news.tell(Outline { tools: 2, ..SEEN }, None).len(), 1);
        news.changed();
        news.due().await;
        assert!(began.elapsed() >= REST);
    }

    #[tokio::test]
    async fn a_subscription_hears_what_was_acknowledged_under_its_own_id() {
        let mut news = News::of_subscription(SEEN);
        let now = Outline { tools: 2, prompts: true, resources: false };
        assert!(news.tell(now, Some(b"7")).is_empty());
        let text = br#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"promptsListChanged":false}}}"#;
        news.acknowledged(&parse_incoming(Bytes::from_static(text)).expect("a message"));
        let told = news.tell(SEEN, Some(b"\"s\""));
        let due = br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}}"#;
        assert_eq!(told, [sse::encode(due)]);
    }
}
