//! The task that writes to the database what the operators' memory learned, and ends sessions that are over. Never stands in a request.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::admin::Admin;

const EVERY: Duration = Duration::from_secs(60);

/// Runs until `stop`; then once more.
pub async fn watch(admin: Arc<Admin>, stop: CancellationToken) {
    loop {
        let ends = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        if let Err(fault) = super::keep(&admin).await {
            tracing::warn!(%fault, "sessions are kept in memory only for now");
        }
        if ends {
            return;
        }
    }
}
