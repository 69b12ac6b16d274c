//! One command on the files of a Lifeboat that is not running: the same parts and the same verbs, without listeners. Never runs beside
//! another process on the same data.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use nix::unistd::{User, geteuid};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{lock, open};
use crate::admin::{Actor, Admin, api, vaults};
use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;

/// The open parts and the router over them.
pub struct Offline {
    admin: Arc<Admin>,
    router: Router,
    // Questions to the ledger are answered from its index.
    index: JoinHandle<()>,
    stop: CancellationToken,
    _lock: lock::Lock,
}

impl Offline {
    /// Opens the data directory for one command.
    ///
    /// # Errors
    /// `NotFound` when there is no Lifeboat; `Conflict` when one is running but its socket does not answer.
    pub async fn open(data: &DataDir) -> Verb<Self> {
        if !data.config().join(".git").exists() {
            return Err(Fault::not_found(format!("there is no Lifeboat in {}; make one with lifeboat up", data.root().display())));
        }
        let lock = lock::Lock::take(data, lock::COMMAND).await?;
        let opened = open::open(data, open::Purpose::Command).await?;
        // What a process that died has left half way is ended here too; a command does not fail for it.
        if let Err(fault) = vaults::settle(&opened.admin).await {
            tracing::error!(%fault, "a restore that was cut off is not settled");
        }
        let router = router(&opened.admin);
        let stop = CancellationToken::new();
        let index = tokio::spawn(opened.admin.ledger.clone().run_index(stop.clone()));
        Ok(Self { admin: opened.admin, router, index, stop, _lock: lock })
    }

    /// Performs one verb: status and body.
    ///
    /// # Errors
    /// When the request cannot be built or its answer not read.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Verb<(u16, Vec<u8>)> {
        ask(&self.router, method, path, body).await
    }

    /// Brings everything to disk.
    pub async fn close(self) {
        // There is no task that would do it; a command that revoked something must not leave that to the next start.
        for sent in [vaults::deny::push(&self.admin).await, vaults::deny::send(&self.admin).await] {
            if let Err(fault) = sent {
                tracing::warn!(%fault, "the deny-list is not at its destination");
            }
        }
        self.stop.cancel();
        // Its end is all that is waited for.
        let _ended = self.index.await;
        self.admin.ledger.shutdown().await;
        self.admin.db.close().await;
    }
}

/// The API with the local account as the actor.
pub(super) fn router(admin: &Arc<Admin>) -> Router {
    api::router().with_state(admin.clone()).layer(axum::Extension(local_actor()))
}

/// The account this process runs as.
pub fn local_actor() -> Actor {
    let name = User::from_uid(geteuid()).ok().flatten().map_or_else(|| geteuid().to_string(), |user| user.name);
    Actor::local(&name)
}

/// Sends one request through a router.
pub(super) async fn ask(router: &Router, method: &str, path: &str, body: &Value) -> Verb<(u16, Vec<u8>)> {
    let content = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json").body(content);
    let request = request.map_err(|cause| Fault::bug("a request that cannot be built").because(cause))?;
    let Ok(response) = router.clone().oneshot(request).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.map_err(|cause| Fault::unavailable("an answer broke off").because(cause))?;
    Ok((status, bytes.to_bytes().to_vec()))
}
