//! How legs end: with the process, with their configuration, with the sessions of their clients, or because what a server keeps is exchanged.
//! Whoever is told that a server is quiet can rely on it: no process of it is left, and none comes.

use std::sync::{Arc, PoisonError};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::stdio::{CALM, Lent};
use super::{Leg, Upstreams};
use crate::policy::feed::ServerState;
use crate::policy::quiet::RESTORING;

impl Upstreams {
    /// Stops every child.
    pub async fn shutdown(&self) {
        let legs: Vec<Leg> = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.drain().map(|(_, running)| running.leg).collect()
        };
        for leg in legs {
            leg.shutdown().await;
        }
    }

    /// Ends the children of sessions that are over or idle; `lasts` says whether a session does.
    pub fn sweep(&self, lasts: impl Fn(&str) -> bool) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for kept in running.values() {
            if let Leg::Instances(all) = &kept.leg {
                all.sweep(&lasts);
            }
        }
    }

    /// Counts a leg that is not kept until the token is dropped: it may have a process.
    pub fn aside(&self, server: &str) -> TaskTrackerToken {
        self.others(server).token()
    }

    /// Ends every process of a server that must be quiet. When this returns there is none.
    pub async fn quiet(&self, server: &str) {
        let kept = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(server);
        if let Some(kept) = kept {
            kept.leg.shutdown().await;
        }
        self.others(server).wait().await;
        self.parts.feed.set_server(server, ServerState { state: "down", detail: RESTORING.to_owned(), sandbox: String::new() });
    }

    /// Ends a leg whose place another takes: calls that are under way may end, for a little while, and new ones wait for the other.
    pub(super) fn replace(&self, server: &Arc<str>, leg: Leg) {
        if leg.child().is_some() {
            let aside = self.aside(server);
            self.parts.tasks.spawn(async move {
                leg.calm(CALM).await;
                leg.shutdown().await;
                drop(aside);
            });
        }
    }

    /// Has the process of a server end for a while, when it has one, so that another can be looked at in its vault.
    ///
    /// # Errors
    /// A sentence.
    pub async fn lend(&self, server: &str) -> Result<Option<Lent>, String> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(server).map(|kept| kept.leg.clone());
        match running.as_ref().and_then(Leg::child) {
            Some(child) => child.lend().await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn shut(&self, server: &Arc<str>, leg: Leg) {
        if leg.child().is_some() {
            let aside = self.aside(server);
            self.parts.tasks.spawn(async move {
                leg.shutdown().await;
                drop(aside);
            });
        }
    }

    /// Legs of a server that are not kept, or not any more.
    fn others(&self, server: &str) -> TaskTracker {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let tracker = others.entry(server.into()).or_insert_with(|| {
            let tracker = TaskTracker::new();
            // Closed, it can be waited for; it still counts.
            tracker.close();
            tracker
        });
        tracker.clone()
    }
}
