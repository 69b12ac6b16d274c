//! Tasks with names, the token that stops them, and which deaths are fatal. Never decides what a task does.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A signal or a test asked for it.
    Asked,
    /// A task died that nothing works without.
    Died(String),
}

/// Owns every long-lived task of one Lifeboat.
pub struct Lifecycle {
    stop: CancellationToken,
    tasks: TaskTracker,
    deaths: mpsc::UnboundedSender<String>,
    mourner: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let (deaths, mourner) = mpsc::unbounded_channel();
        Self { stop: CancellationToken::new(), tasks: TaskTracker::new(), deaths, mourner: Mutex::new(Some(mourner)) }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(30);

impl Lifecycle {
    /// The token every task watches.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task whose end before the stop ends the process: a listener or the recorder.
    pub fn vital(&self, on: &Handle, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        let (name, deaths, stop) = (name.to_owned(), self.deaths.clone(), self.stop.clone());
        self.tasks.spawn_on(
            async move {
                let ended = AssertUnwindSafe(task).catch_unwind().await;
                if !stop.is_cancelled() {
                    tracing::error!(task.name = %name, task.panicked = ended.is_err(), "a vital task ended");
                    deaths.send(name).ok();
                }
            },
            on,
        );
    }

    /// Runs a task that is started again with a growing pause when it ends or panics before the stop.
    pub fn tended<F, T>(&self, on: &Handle, name: &str, mut make: F)
    where
        F: FnMut() -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let (name, stop) = (name.to_owned(), self.stop.clone());
        self.tasks.spawn_on(
            async move {
                let mut pause = FIRST_PAUSE;
                loop {
                    let ended = AssertUnwindSafe(make()).catch_unwind().await;
                    if stop.is_cancelled() {
                        return;
                    }
                    tracing::warn!(task.name = %name, task.panicked = ended.is_err(), "a task ended and is started again");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.cancelled() => return,
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            },
            on,
        );
    }

    /// Asks every task to end.
    pub fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Waits until somebody asks for the stop or a vital task dies, then for every task to end (at most 30 s).
    pub async fn wait(&self) -> End {
        let mourner = self.mourner.lock().ok().and_then(|mut slot| slot.take());
        let death = async {
            match mourner {
                Some(mut mourner) => mourner.recv().await,
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            () = self.stop.cancelled() => End::Asked,
            name = death => End::Died(name.unwrap_or_default()),
        };
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks did not end in 30 s");
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_vital_death_ends_the_process_and_names_the_task() {
        let lifecycle = Lifecycle::default();
        lifecycle.vital(&Handle::current(), "listener proxy", async {});
        assert_eq!(lifecycle.wait().await, End::Died("listener proxy".into()));
    }

    #[tokio::test]
    async fn a_tended_task_that_panics_is_started_again() {
        let lifecycle = Lifecycle::default();
        let (starts, stop) = (Arc::new(AtomicUsize::new(0)), lifecycle.stop_token());
        let seen = starts.clone();
        lifecycle.tended(&Handle::current(), "job", move || {
            let (seen, stop) = (seen.clone(), stop.clone());
            async move {
                if seen.fetch_add(1, Ordering::SeqCst) < 2 {
                    std::panic::resume_unwind(Box::new("again"));
                }
                stop.cancelled().await;
            }
        });
        let third = async {
            while starts.load(Ordering::SeqCst) < 3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), third).await.expect("the task is started a third time");
        lifecycle.ask_to_stop();
        assert_eq!(lifecycle.wait().await, End::Asked);
    }
}
