//! Servers that must have no process for a while, because what they keep is exchanged: the admin plane asks, the proxy plane ends the processes,
//! starts none, and says when it is so. Never ends a process itself.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

/// What a held server says of itself.
pub const HELD: &str = "its vault is being restored";

#[derive(Clone, Copy, Debug)]
struct Hold {
    // Tells this order from an earlier one for the same server.
    order: u64,
    is_quiet: bool,
}

#[derive(Debug, Default)]
struct Orders {
    last: u64,
    by_server: BTreeMap<String, Hold>,
}

/// Every server that is held.
#[derive(Debug, Default)]
pub struct Held(watch::Sender<Orders>);

/// Wakes on each change.
pub struct Changes(watch::Receiver<Orders>);

impl Changes {
    /// Waits for the next one; `false` when none can come any more.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Held {
    /// Asks that a server has no process, and waits until that is so. It stays held until `let_go`, also when this fails.
    ///
    /// # Errors
    /// A sentence: the proxy did not do it in time.
    pub async fn hold(&self, server: &str, wait: Duration) -> Result<(), String> {
        let mut order = 0;
        self.0.send_modify(|orders| {
            orders.last += 1;
            order = orders.last;
            orders.by_server.insert(server.to_owned(), Hold { order, is_quiet: false });
        });
        let mut changes = self.0.subscribe();
        let quiet = |orders: &Orders| orders.by_server.get(server).is_some_and(|hold| hold.order == order && hold.is_quiet);
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

    /// Whether a server is held.
    pub fn holds(&self, server: &str) -> bool {
        self.0.borrow().by_server.contains_key(server)
    }

    /// For the proxy: wakes on each order and each end of one.
    pub fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }

    /// For the proxy: who is held and may still have a process, with the number of the order.
    pub fn asked(&self) -> Vec<(String, u64)> {
        let orders = self.0.borrow();
        orders.by_server.iter().filter(|(_, hold)| !hold.is_quiet).map(|(server, hold)| (server.clone(), hold.order)).collect()
    }

    /// For the proxy: nothing of the server is left. Counts only for the order it was done for.
    pub fn tell_quiet(&self, server: &str, order: u64) {
        self.0.send_if_modified(|orders| {
            let hold = orders.by_server.get_mut(server).filter(|hold| hold.order == order && !hold.is_quiet);
            hold.map(|hold| hold.is_quiet = true).is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_server_is_quiet_only_by_the_word_for_this_order() {
        let held = Arc::new(Held::default());
        assert!(held.hold("s", Duration::from_millis(20)).await.is_err(), "nobody answers");
        assert!(held.holds("s"), "and nothing may start all the same");
        let old = held.asked()[0].1;
        let waiting = tokio::spawn({
            let held = held.clone();
            async move { held.hold("s", Duration::from_secs(5)).await }
        });
        while held.asked()[0].1 == old {
            tokio::task::yield_now().await;
        }
        held.tell_quiet("s", old);
        assert_eq!(held.asked().len(), 1, "an answer to the order before");
        held.tell_quiet("s", old + 1);
        waiting.await.unwrap().unwrap();
        held.let_go("s");
        held.tell_quiet("s", old + 1);
        assert!(!held.holds("s") && held.asked().is_empty());
    }
}
