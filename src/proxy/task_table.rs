//! Whose task is whose: a task belongs to the client, and in a legacy session to the session, whose call began it. Bounded. Never tells one
//! client of another's.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::sessions::SessionView;
use crate::mcp::era::Era;
use crate::policy::KillOverlay;
use crate::policy::feed::FlyingCall;

/// Tasks of one client; over that, the oldest that is over goes, else the oldest of all, which is then cancelled.
const MOST: usize = 1_024;
/// How long one is remembered, whatever its server says of it.
const SHORTEST: Duration = Duration::from_secs(3_600);
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
const UNTOLD: Duration = Duration::from_secs(86_400);

/// What names a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskKey {
    /// Its server.
    pub server: Arc<str>,
    /// Who may ask for it.
    pub owner: Owner,
    /// Its id there.
    pub id: Arc<str>,
}

/// Who may ask for a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// One legacy session.
    Session(Arc<str>),
    /// A client without session.
    Client(Arc<str>),
}

impl Owner {
    /// The owner of what a client begins, in a session or without.
    pub fn of(session: Option<&SessionView>, client: &Arc<str>) -> Self {
        session.map_or_else(|| Self::Client(client.clone()), |session| Self::Session(session.id.clone()))
    }
}

/// A task that a call began.
#[derive(Clone, Debug)]
pub struct Task {
    /// The call: a task counts as it did.
    pub call: FlyingCall,
    /// How its server is spoken to.
    pub era: Era,
    /// In which session.
    pub session: Option<SessionView>,
}

struct Kept {
    task: Task,
    is_live: bool,
    deadline: Instant,
}

/// All tasks.
#[derive(Default)]
pub struct TaskTable {
    store: Mutex<Store>,
    news: Notify,
}

#[derive(Default)]
struct Store {
    by_key: HashMap<TaskKey, Kept>,
    // Per client, oldest first; entries of forgotten tasks are skipped.
    queues: HashMap<Arc<str>, VecDeque<TaskKey>>,
    // Those that had to be forgotten while they ran.
    pushed_out: Vec<(TaskKey, Task)>,
}

impl TaskTable {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a task for as long as its server does, within bounds.
    pub fn remember(&self, key: TaskKey, task: Task, ttl_ms: Option<u64>, is_live: bool) {
        let kept = ttl_ms.map_or(UNTOLD, Duration::from_millis).clamp(SHORTEST, LONGEST);
        let client = task.call.client.clone();
        let mut store = self.store();
        while store.queues.get(&client).is_some_and(|queue| queue.len() >= MOST) {
            store.make_room(&client);
        }
        store.queues.entry(client).or_default().push_back(key.clone());
        store.by_key.insert(key, Kept { task, is_live, deadline: Instant::now() + kept });
        if !store.pushed_out.is_empty() {
            self.news.notify_one();
        }
    }

    /// The call that began a task, while it is remembered.
    pub fn find(&self, key: &TaskKey) -> Option<FlyingCall> {
        let store = self.store();
        let kept = store.by_key.get(key).filter(|kept| kept.deadline > Instant::now())?;
        Some(kept.task.call.clone())
    }

    /// A task has ended; its result may still be fetched.
    pub fn over(&self, key: &TaskKey) {
        if let Some(kept) = self.store().by_key.get_mut(key) {
            kept.is_live = false;
        }
    }

    /// A task could not be cancelled.
    pub fn still_live(&self, key: &TaskKey) {
        if let Some(kept) = self.store().by_key.get_mut(key) {
            kept.is_live = true;
        }
    }

    /// Takes the tasks that a kill covers, and those that were pushed out: they are to be cancelled, and count as over.
    pub fn take_stopped(&self, overlay: &KillOverlay) -> Vec<(TaskKey, Task)> {
        let mut store = self.store();
        let mut taken = std::mem::take(&mut store.pushed_out);
        if overlay.engaged() {
            for (key, kept) in store.by_key.iter_mut().filter(|(_, kept)| kept.is_live) {
                let call = &kept.task.call;
                if overlay.stops(&call.server, call.tool.as_deref(), &call.client, call.class).is_some() {
                    kept.is_live = false;
                    taken.push((key.clone(), kept.task.clone()));
                }
            }
        }
        taken
    }

    /// Wakes whoever cancels tasks.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    /// Waits for [`TaskTable::wake`].
    pub async fn woken(&self) {
        self.news.notified().await;
    }

    /// Forgets what is past its time.
    pub fn sweep(&self) {
        let now = Instant::now();
        let store = &mut *self.store();
        store.by_key.retain(|_, kept| kept.deadline > now);
        let by_key = &store.by_key;
        store.queues.retain(|_, queue| {
            queue.retain(|key| by_key.contains_key(key));
            !queue.is_empty()
        });
    }
}

impl Store {
    fn make_room(&mut self, client: &str) {
        let Some(queue) = self.queues.get_mut(client) else { return };
        let is_over = |key: &TaskKey| self.by_key.get(key).is_none_or(|kept| !kept.is_live);
        let at = queue.iter().position(is_over).unwrap_or(0);
        let Some(key) = queue.remove(at) else { return };
        if let Some(kept) = self.by_key.remove(&key).filter(|kept| kept.is_live) {
            self.pushed_out.push((key, kept.task));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::config::Class;
    use crate::policy::{KillEntry, Mode, Scope};

    fn key(owner: &str, id: &str) -> TaskKey {
        TaskKey { server: "s".into(), owner: Owner::Client(owner.into()), id: id.into() }
    }

    fn task(client: &str, tool: &str, class: Class) -> Task {
        let call = FlyingCall { server: "s".into(), tool: Some(tool.into()), client: client.into(), class };
        Task { call, era: Era::Modern, session: None }
    }

    fn killed(scope: Scope, mode: Mode) -> KillOverlay {
        let entry =
            KillEntry { decision_id: "kd_1".into(), scope, mode, since: Timestamp(0), by: "ana".into(), reason: "r".into() };
        KillOverlay::default().engage(entry)
    }

    #[tokio::test]
    async fn atk_p31_a_task_is_its_owners_alone() {
        let table = TaskTable::default();
        table.remember(key("ci", "1"), task("ci", "put", Class::Write), Some(1), true);
        assert!(table.find(&key("ci", "1")).is_some(), "however short its server would keep it");
        assert!(table.find(&key("other", "1")).is_none() && table.find(&key("ci", "2")).is_none());
        let session = Owner::Session("ci".into());
        assert!(table.find(&TaskKey { owner: session, ..key("ci", "1") }).is_none());
    }

    #[tokio::test]
    async fn pit_27_a_kill_takes_what_it_covers_once() {
        let table = TaskTable::default();
        table.remember(key("ci", "w"), task("ci", "put", Class::Write), None, true);
        table.remember(key("ci", "r"), task("ci", "look", Class::Read), None, true);
        table.remember(key("ci", "done"), task("ci", "put", Class::Write), None, false);
        let taken = |overlay: &KillOverlay| {
            let mut ids: Vec<String> = table.take_stopped(overlay).iter().map(|(key, _)| key.id.to_string()).collect();
            ids.sort();
            ids
        };
        assert!(taken(&KillOverlay::default()).is_empty());
        assert!(taken(&killed(Scope::Tool { server: "s".into(), tool: "x".into() }, Mode::Full)).is_empty());
        assert_eq!(taken(&killed(Scope::Everything, Mode::ReadOnly)), ["w"]);
        assert_eq!(taken(&killed(Scope::Everything, Mode::Full)), ["r"]);
        table.still_live(&key("ci", "w"));
        assert_eq!(taken(&killed(Scope::Client { client: "ci".into() }, Mode::Full)), ["w"]);
    }

    #[tokio::test]
    async fn too_many_tasks_push_out_the_oldest_and_that_is_cancelled() {
        let table = TaskTable::default();
        (0..MOST).for_each(|n| table.remember(key("ci", &n.to_string()), task("ci", "put", Class::Write), None, n != 5));
        table.remember(key("ci", "a"), task("ci", "put", Class::Write), None, true);
        assert!(table.take_stopped(&KillOverlay::default()).is_empty() && table.find(&key("ci", "5")).is_none());
        table.remember(key("ci", "b"), task("ci", "put", Class::Write), None, true);
        let pushed = table.take_stopped(&KillOverlay::default());
        assert_eq!((pushed.len(), &*pushed[0].0.id), (1, "0"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_is_forgotten_in_the_end() {
        let table = TaskTable::default();
        table.remember(key("ci", "1"), task("ci", "put", Class::Write), None, true);
        tokio::time::advance(UNTOLD + Duration::from_secs(1)).await;
        assert!(table.find(&key("ci", "1")).is_none());
        table.sweep();
        assert!(table.store().by_key.is_empty() && table.store().queues.is_empty());
    }
}
