//! Holds the place of the stdio leg until it is merged: no child is ever started.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::base::ids::SharedEntropy;
use crate::mcp::message::Message;
use crate::policy::feed::Feed;
use crate::policy::snapshot::ServerEntry;

pub struct StdioServer;

pub struct StdioParts {
    pub data: PathBuf,
    pub exe: PathBuf,
    pub feed: Arc<Feed>,
    pub entropy: SharedEntropy,
    pub stop: CancellationToken,
}

#[derive(Clone, Debug)]
pub struct Handshake {
    pub initialize_result: Option<Bytes>,
    pub legacy_version: Option<String>,
    pub modern: bool,
}

pub struct RequestKey(pub String);

pub enum CancelWhy {
    Client,
    Kill,
}

pub enum StdioEvent {
    Notification(Bytes),
    Response(Bytes),
    Gone,
}

pub struct StdioCall {
    pub events: mpsc::Receiver<StdioEvent>,
}

impl StdioCall {
    pub fn cancel(self, _why: CancelWhy) {}
}

impl StdioServer {
    pub fn start(_entry: Arc<ServerEntry>, _parts: StdioParts) -> Arc<Self> {
        Arc::new(Self)
    }

    pub async fn ready(&self, _wait: Duration) -> Result<Handshake, String> {
        Err("no stdio leg".into())
    }

    pub async fn request(&self, _message: &Message, _key: RequestKey) -> Result<StdioCall, String> {
        Err("no stdio leg".into())
    }

    pub async fn notify(&self, _message: &Message, _on_behalf: RequestKey) {}

    pub async fn shutdown(&self) {}
}
