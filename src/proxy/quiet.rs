//! Keeps servers quiet for the admin plane: ends their processes, starts none, and starts them again once they are let go. Never decides whose.

use std::sync::Arc;

use super::Shared;

/// Task: follows the orders of the feed.
pub(super) async fn serve(shared: Arc<Shared>) {
    let quiet = shared.feed.quiet();
    let mut changes = quiet.changes();
    loop {
        for (server, order) in quiet.asked() {
            shared.upstreams.quiet(&server).await;
            quiet.tell_quiet(&server, order);
        }
        // Whoever was let go has its leg again.
        shared.upstreams.reconcile(&shared.feed.snapshot());
        tokio::select! {
            () = shared.stop.cancelled() => return,
            more = changes.next() => if !more { return },
        }
    }
}
