//! Holds servers for the admin plane: ends their processes, starts none, and starts them again once they are let go. Never decides who is held.

use std::sync::Arc;

use super::Shared;

/// Task: follows the orders of the feed.
pub(super) async fn serve(shared: Arc<Shared>) {
    let held = shared.feed.held();
    let mut changes = held.changes();
    loop {
        for (server, order) in held.asked() {
            shared.upstreams.quiet(&server).await;
            held.tell_quiet(&server, order);
        }
        // Whoever was let go has its leg again.
        shared.upstreams.reconcile(&shared.feed.snapshot());
        tokio::select! {
            () = shared.stop.cancelled() => return,
            more = changes.next() => if !more { return },
        }
    }
}
