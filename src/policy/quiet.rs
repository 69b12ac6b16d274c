//! Servers that must have no process for a while, because what they keep is exchanged: the admin plane asks, the proxy plane ends the processes,
//! starts none, and says when it is so. Never ends a process itself.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

/// What such a server says of itself.
pub const RESTORING: &str = "its vault is being restored";

#[derive(Clone, Copy, Debug)]
struct Silence {
    // Tells this order from an earlier one for the same server.
    order: u64,
    is_quiet: bool,
}

#[derive(Debug, Default)]
struct Orders {
    last: u64,
    by_server: BTreeMap<String, Silence>,
}

/// Every server that must be quiet.
#[derive(Debug, Default)]
pub struct Quiet(watch::Sender<Orders>);

/// Wakes on each change.
pub struct Changes(watch::Receiver<Orders>);

impl Changes {
    /// Waits for the next one; `false` when none can come any more.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Quiet {
    /// Asks that a server has no process, and waits until that is so. None starts until `let_go`, also when this fails.
    ///
    /// # Errors
    /// A sentence: the proxy did not do it in time.
    pub async fn order(&self, server: &str, wait: Duration) -> Result<(), String> {
        let mut order = 0;
        self.0.send_modify(|orders| {
            orders.last += 1;
            order = orders.last;
            orders.by_server.insert(server.to_owned(), Silence { order, is_quiet: false });
        });
        let mut changes = self.0.subscribe();
        let quiet = |orders: &Orders| orders.by_server.get(server).is_some_and(|one| one.order == order && one.is_quiet);
        match tokio::time::timeout(wait, changes.wait_for(quiet)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(format!("the processes of {server} did not end within {} s", wait.as_secs())),
        }
    }

    /// Lets a server have its process again.
    pub fn let_go(&self, server: &str) {
        self.0.send_modify(|orders| {
            orders.by_server.remove(server);
        });
    }

    /// Whether a server must be quiet.
    pub fn covers(&self, server: &str) -> bool {
        self.0.borrow().by_server.contains_key(server)
    }

    /// For the proxy: wakes on each order and each end of one.
    pub fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }

    /// For the proxy: who must be quiet and may still have a process, with the number of the order.
    pub fn asked(&self) -> Vec<(String, u64)> {
        let orders = self.0.borrow();
        orders.by_server.iter().filter(|(_, one)| !one.is_quiet).map(|(server, one)| (server.clone(), one.order)).collect()
    }

    /// For the proxy: nothing of the server is left. Counts only for the order it was done for.
    pub fn tell_quiet(&self, server: &str, order: u64) {
        self.0.send_if_modified(|orders| {
            let one = orders.by_server.get_mut(server).filter(|one| one.order == order && !one.is_quiet);
            one.map(|one| one.is_quiet = true).is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_server_is_quiet_only_by_the_word_for_this_order() {
        let quiet = Arc::new(Quiet::default());
        assert!(quiet.order("s", Duration::from_millis(20)).await.is_err(), "nobody answers");
        assert!(quiet.covers("s"), "and nothing may start all the same");
        let old = quiet.asked()[0].1;
        let waiting = tokio::spawn({
            let quiet = quiet.clone();
            async move { quiet.order("s", Duration::from_secs(5)).await }
        });
        while quiet.asked()[0].1 == old {
            tokio::task::yield_now().await;
        }
        quiet.tell_quiet("s", old);
        assert_eq!(quiet.asked().len(), 1, "an answer to the order before");
        quiet.tell_quiet("s", old + 1);
        waiting.await.unwrap().unwrap();
        quiet.let_go("s");
        quiet.tell_quiet("s", old + 1);
        assert!(!quiet.covers("s") && quiet.asked().is_empty());
    }
}
