//! The calls that take time: each waits in a task of its own, tells its progress and ends at once when it is cancelled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Era, Fault};
use super::tools::Slow;

/// The slow calls that run now, by the text of their id.
#[derive(Clone, Default)]
pub(super) struct SlowCalls(Arc<Mutex<HashMap<String, CancellationToken>>>);

impl SlowCalls {
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<String, CancellationToken>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Cancels the call with that id, if it runs.
    pub(super) fn cancel(&self, id: &Value) {
        if let Some(stop) = self.change(|calls| calls.remove(&id.to_string())) {
            stop.cancel();
        }
    }

    /// Notes that a call runs. Before its task starts, so that a cancellation on the next line finds it.
    pub(super) fn begin(&self, id: &Value) -> CancellationToken {
        let stop = CancellationToken::new();
        self.change(|calls| calls.insert(id.to_string(), stop.clone()));
        stop
    }

    /// Counts, and answers when it is done. A cancelled call is answered with an error, which tells that it has ended.
    pub(super) async fn count(self, slow: Slow, call: SlowCall, out: mpsc::Sender<Value>) {
        let SlowCall { era, id, token, stop } = call;
        let pause = Duration::from_secs_f64(slow.seconds / f64::from(slow.steps));
        let counting = async {
            for done in 1..=slow.steps {
                tokio::time::sleep(pause).await;
                if let Some(token) = &token {
                    // Whoever closed the output gets no answer either.
                    let _ = out.send(answer::progress(token, done, slow.steps)).await;
                }
            }
        };
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Fault::new(-32800, "the call was cancelled")),
            () = counting => Ok(answer::tool_result(era, Ok(json!({"counted": slow.steps})))),
        };
        self.change(|calls| calls.remove(&id.to_string()));
        let _ = out.send(answer::response(&id, outcome)).await;
    }
}

/// One slow call.
pub(super) struct SlowCall {
    pub(super) era: Era,
    pub(super) id: Value,
    pub(super) token: Option<Value>,
    pub(super) stop: CancellationToken,
}
