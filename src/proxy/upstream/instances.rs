//! A stdio server with a child for each legacy session, for servers that ask their client for input (`instances = "per-session"`). One
//! more child, shared, serves what has no session: the modern era, probes, and the vault's turn. No child outlives its session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::stdio::{StdioParts, StdioServer};
use crate::config::server::StdioUpstream;
use crate::policy::snapshot::ServerEntry;

/// The children of one server.
pub struct Instances {
    entry: Arc<ServerEntry>,
    parts: StdioParts,
    base: Arc<StdioServer>,
    most: usize,
    idle: Duration,
    living: Mutex<Living>,
    tasks: TaskTracker,
    ending: TaskTracker,
}

#[derive(Default)]
struct Living {
    by_session: HashMap<Arc<str>, Instance>,
    is_over: bool,
}

struct Instance {
    client: Arc<str>,
    child: Arc<StdioServer>,
    used: Instant,
}

impl Instances {
    /// Starts the shared child. `tasks` counts the children that are being ended.
    pub fn start(entry: Arc<ServerEntry>, config: &StdioUpstream, parts: StdioParts, tasks: TaskTracker) -> Arc<Self> {
        let base = StdioServer::start(entry.clone(), parts.clone());
        let ending = TaskTracker::new();
        ending.close();
        let (most, idle) = (config.max_instances as usize, Duration::from_secs(config.idle_seconds));
        Arc::new(Self { entry, parts, base, most, idle, living: Mutex::default(), tasks, ending })
    }

    fn living(&self) -> MutexGuard<'_, Living> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The child that belongs to no session.
    pub fn base(&self) -> &Arc<StdioServer> {
        &self.base
    }

    /// The child of a session, while both last.
    pub fn find(&self, session: &str) -> Option<Arc<StdioServer>> {
        let mut living = self.living();
        let instance = living.by_session.get_mut(session).filter(|instance| !instance.child.is_over())?;
        instance.used = Instant::now();
        Some(instance.child.clone())
    }

    /// Starts a child for a session. Where there are as many as allowed, one that does nothing makes room: of whoever holds most, the one
    /// that was used longest ago. Where none does nothing, one that is only listened to, of a client that holds more than the one that comes:
    /// listening costs nothing, so nobody keeps the others out by it.
    ///
    /// # Errors
    /// When all of them are at work.
    pub fn begin(&self, session: Arc<str>, client: Arc<str>) -> Result<Arc<StdioServer>, &'static str> {
        let mut living = self.living();
        if living.is_over {
            return Err("it is being stopped");
        }
        if living.by_session.len() >= self.most {
            let idlest = living.idlest(&client).ok_or("as many of its processes as are allowed are at work")?;
            self.let_go(living.by_session.remove(&idlest));
        }
        let child = StdioServer::start_for_one(self.entry.clone(), self.parts.clone());
        living.by_session.insert(session, Instance { client, child: child.clone(), used: Instant::now() });
        Ok(child)
    }

    /// Ends the child of a session.
    pub fn end(&self, session: &str) {
        let gone = self.living().by_session.remove(session);
        self.let_go(gone);
    }

    /// Ends what nobody has used for long, whose session is over, and what has ended by itself.
    pub fn sweep(&self, lasts: impl Fn(&str) -> bool) {
        let mut living = self.living();
        let idle = self.idle;
        let busy = living.by_session.values_mut().filter(|instance| instance.child.is_busy());
        busy.for_each(|instance| instance.used = Instant::now());
        let stays =
            |session: &str, instance: &Instance| lasts(session) && instance.used.elapsed() < idle && !instance.child.is_over();
        let gone: Vec<Arc<str>> = living
            .by_session
            .iter()
            .filter(|(session, instance)| !stays(session, instance))
            .map(|(session, _)| session.clone())
            .collect();
        for session in gone {
            self.let_go(living.by_session.remove(&session));
        }
    }

    /// Waits a while until no call is in flight in any child.
    pub async fn calm(&self, wait: Duration) {
        let children: Vec<Arc<StdioServer>> =
            self.living().by_session.values().map(|instance| instance.child.clone()).chain([self.base.clone()]).collect();
        futures_util::future::join_all(children.iter().map(|child| child.calm(wait))).await;
    }

    /// Stops every child and waits until nothing of them is left.
    pub async fn shutdown(&self) {
        let all: Vec<Instance> = {
            let mut living = self.living();
            living.is_over = true;
            living.by_session.drain().map(|(_, instance)| instance).collect()
        };
        let ends = all.iter().map(|instance| instance.child.shutdown());
        futures_util::future::join_all(ends).await;
        self.ending.wait().await;
        self.base.shutdown().await;
    }

    fn let_go(&self, instance: Option<Instance>) {
        if let Some(Instance { child, .. }) = instance {
            let ending = self.ending.token();
            self.tasks.spawn(async move {
                child.shutdown().await;
                drop(ending);
            });
        }
    }
}

impl Living {
    fn idlest(&self, newcomer: &str) -> Option<Arc<str>> {
        let mut held: HashMap<&str, usize> = HashMap::new();
        for instance in self.by_session.values() {
            *held.entry(&instance.client).or_default() += 1;
        }
        let holds = |client: &str| held.get(client).copied().unwrap_or(0);
        let least = holds(newcomer) + 1;
        let rank = |instance: &Instance| {
            let child = &instance.child;
            let held = holds(&instance.client);
            let may_go = !child.is_busy() || (!child.is_called() && held > least);
            may_go.then(|| (!child.is_busy(), held, instance.used.elapsed()))
        };
        let ranked = self.by_session.iter().filter_map(|(session, instance)| Some((rank(instance)?, session)));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, session)| session.clone())
    }
}
