//! Tasks with names, the order in which they end, and which deaths are fatal. Never decides what a task does.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::proxy::connection::Ends;

/// Why the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A signal or a test asked for it.
    Asked,
    /// A task died that nothing works without.
    Died(String),
}

/// The listeners of one plane, which end before everything they stand on.
#[derive(Default)]
pub struct Doors {
    /// How they end.
    pub ends: Ends,
    tasks: TaskTracker,
}

/// Owns every long-lived task of one Lifeboat. They end in order: the proxy's listeners with their calls, so that everything is there
/// until the last call has its end; the dashboard's, so that it can be stopped and seen until then; all the rest.
pub struct Lifecycle {
    /// The proxy's listeners.
    pub proxy: Doors,
    /// The dashboard's listeners.
    pub admin: Doors,
    asked: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
    deaths: mpsc::UnboundedSender<String>,
    mourner: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let (deaths, mourner) = mpsc::unbounded_channel();
        Self {
            proxy: Doors::default(),
            admin: Doors::default(),
            asked: CancellationToken::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            deaths,
            mourner: Mutex::new(Some(mourner)),
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(30);
/// Listeners bound their own drain; this is for one that hangs.
const DOORS: Duration = Duration::from_secs(40);

impl Lifecycle {
    /// The token every task watches.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task whose end before the stop ends the process: the recorder or the control socket.
    pub fn vital(&self, on: &Handle, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(self.mourned(name, task), on);
    }

    /// Runs a listener of one plane; its end before the stop ends the process.
    pub fn door(&self, doors: &Doors, on: &Handle, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        doors.tasks.spawn_on(self.mourned(name, task), on);
    }

    fn mourned(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) -> impl Future<Output = ()> + Send + 'static {
        let (name, deaths, asked) = (name.to_owned(), self.deaths.clone(), self.asked.clone());
        async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if !asked.is_cancelled() {
                tracing::error!(task.name = %name, task.panicked = ended.is_err(), "a vital task ended");
                deaths.send(name).ok();
            }
        }
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

    /// Asks every task to end, in order.
    pub fn ask_to_stop(&self) {
        self.asked.cancel();
    }

    /// Cuts what a drain would wait for.
    pub fn hurry(&self) {
        self.proxy.ends.cut.cancel();
        self.admin.ends.cut.cancel();
    }

    /// Waits until somebody asks for the stop or a vital task dies, then for every task to end.
    pub async fn wait(&self) -> End {
        let mourner = self.mourner.lock().ok().and_then(|mut slot| slot.take());
        let death = async {
            match mourner {
                Some(mut mourner) => mourner.recv().await,
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            () = self.asked.cancelled() => End::Asked,
            name = death => End::Died(name.unwrap_or_default()),
        };
        self.asked.cancel();
        for (doors, name) in [(&self.proxy, "proxy"), (&self.admin, "dashboard")] {
            doors.ends.drain.cancel();
            if !ended(&doors.tasks, DOORS).await {
                tracing::warn!(listener = name, "a listener did not end");
            }
        }
        self.stop.cancel();
        if !ended(&self.tasks, DRAIN).await {
            tracing::warn!("some tasks did not end in 30 s");
        }
        end
    }
}

impl Drop for Lifecycle {
    fn drop(&mut self) {
        for token in [&self.asked, &self.proxy.ends.drain, &self.admin.ends.drain, &self.stop] {
            token.cancel();
        }
    }
}

async fn ended(tasks: &TaskTracker, limit: Duration) -> bool {
    tasks.close();
    tokio::time::timeout(limit, tasks.wait()).await.is_ok()
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

    #[tokio::test]
    async fn listeners_end_before_what_they_stand_on() {
        let lifecycle = Lifecycle::default();
        let (order, ends, stop) = (Arc::new(Mutex::new(Vec::new())), &lifecycle, lifecycle.stop_token());
        let mark = |name: &'static str, token: CancellationToken| {
            let order = order.clone();
            async move {
                token.cancelled().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                order.lock().expect("lock").push(name);
            }
        };
        lifecycle.vital(&Handle::current(), "recorder", mark("recorder", stop));
        lifecycle.door(&ends.admin, &Handle::current(), "listener admin", mark("admin", ends.admin.ends.drain.clone()));
        lifecycle.door(&ends.proxy, &Handle::current(), "listener proxy", mark("proxy", ends.proxy.ends.drain.clone()));
        lifecycle.ask_to_stop();
        assert_eq!(lifecycle.wait().await, End::Asked);
        assert_eq!(*order.lock().expect("lock"), ["proxy", "admin", "recorder"]);
    }
}
