//! A whole admin plane on a temporary directory for tests: real SQLite, git, ledger, certificates; and a listener that stands in for the proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::tests_door::stand_in;
use super::{Actor, Admin, OperatorRole, Parts, Via, kill, publish, tokens};
use crate::audit::{self, Ledger, Opening};
use crate::base::clock::{Clock, SharedClock, SystemClock};
use crate::config::paths::DataDir;
use crate::config::repo::{Author, Repository};
use crate::config::{Class, Settings};
use crate::crypto::random::SystemEntropy;
use crate::crypto::seal::InstanceKey;
use crate::crypto::{ca, tls};
use crate::db::{Db, Migrations};
use crate::policy::feed::{Feed, ProbeRequest, Probed, ProxyListener, ToolSeen, Way};

/// An admin plane in a temporary directory.
pub(crate) struct House {
    pub(crate) admin: Arc<Admin>,
    pub(crate) stop: CancellationToken,
    /// Whether the stand-in refuses what is killed; `false` plays a proxy whose kill does not work.
    pub(crate) obeys: Arc<AtomicBool>,
    /// Values of headers that no server takes.
    pub(crate) refuses: Arc<std::sync::Mutex<Vec<String>>>,
    _tasks: DropGuard,
    root: PathBuf,
    /// Its directory, when it goes with the house.
    dir: Option<tempfile::TempDir>,
}

const SERVER: &str = "[upstream.http]\nurl = \"https://tools.example.com/mcp\"\n[tools.read_graph]\nclass = \"read\"\n[tools.add]\nclass = \"write\"\n";

/// The configuration a house begins with: server `demo`, role `demo`.
pub(crate) fn files() -> BTreeMap<String, Vec<u8>> {
    let role = "[[grant]]\ntools = [\"demo/*\"]\nclasses = [\"read\", \"write\"]\n";
    [("lifeboat.toml", ""), ("servers/demo.toml", SERVER), ("roles/demo.toml", role)]
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
        .collect()
}

pub(crate) fn operator(role: OperatorRole) -> Actor {
    Actor { name: "ana".into(), role, via: Via::Api, login_at: None }
}

/// An admin on the host, who may everything.
pub(crate) fn root() -> Actor {
    Actor { via: Via::Socket, ..operator(OperatorRole::Admin) }
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::open_at(tempfile::tempdir().unwrap()).await
    }

    /// Opens a house on the directory of an earlier one.
    pub(crate) async fn open_at(dir: tempfile::TempDir) -> Self {
        Self::open_with(dir, Arc::new(SystemClock)).await
    }

    /// The same, by another clock.
    pub(crate) async fn open_with(dir: tempfile::TempDir, clock: SharedClock) -> Self {
        let house = Self::open_in(dir.path(), clock).await;
        Self { dir: Some(dir), ..house }
    }

    /// The same in a directory that is somebody else's to remove.
    pub(crate) async fn open_in(root: &Path, clock: SharedClock) -> Self {
        tls::install();
        let data = DataDir::new(root);
        data.create().unwrap();
        let now = SystemClock.now();
        let hosts = Settings::default().listen.hosts;
        let ca = ca::ensure_ca(&data.ca_pem(), &data.ca_key(), &hosts, now).unwrap();
        ca::ensure_server(&ca, &data.server_pem(), &data.server_key(), &hosts, now).unwrap();
        let author = Author { name: "first".into(), at: now };
        let repository = Repository::init(&data.config(), &author, &files()).unwrap();
        let db = Db::open_with(&data.state_db(), &Migrations::embedded().unwrap(), Duration::from_secs(2)).await.unwrap();
        let signer = audit::load_or_create_key(&data.ledger_key()).unwrap();
        let (ledger, recorder) =
            Ledger::open(Opening::new(data.audit(), Settings::default().audit, Arc::new(SystemClock), signer.clone())).unwrap();
        let sealer = Arc::new(InstanceKey::ensure(&data.instance_key(), &SystemEntropy).unwrap());
        let overlay = kill::load(Some(&db), data.root(), now, &SystemEntropy).await;
        tokens::ensure(&db, &sealer, &SystemEntropy, now).await.unwrap();
        let (snapshot, refused) = publish::first(&db, &repository, &sealer).await.unwrap();
        let (feed, probes) = Feed::new(snapshot, overlay);
        let entropy = Arc::new(SystemEntropy);
        let admin =
            Admin::open(Parts { db, repository, feed, recorder, ledger, clock, entropy, data, sealer, refused, signer }).await;
        let stop = CancellationToken::new();
        tokio::spawn(kill::keep(admin.clone(), stop.clone()));
        tokio::spawn(kill::watch(admin.clone(), stop.clone()));
        tokio::spawn(tokens::task::keep(admin.clone(), stop.clone()));
        let refuses = Arc::default();
        tokio::spawn(answer_probes(probes, Arc::clone(&refuses)));
        tokio::spawn(admin.ledger.clone().run_index(stop.clone()));
        Self {
            admin,
            obeys: Arc::new(AtomicBool::new(true)),
            refuses,
            _tasks: stop.clone().drop_guard(),
            stop,
            root: root.to_owned(),
            dir: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// Ends the tasks as a stop does; gives the directory for the next start.
    pub(crate) async fn close(self) -> tempfile::TempDir {
        self.stop.cancel();
        self.admin.ledger.shutdown().await;
        self.admin.db.close().await;
        let Self { admin, dir, .. } = self;
        drop(admin);
        let dir = dir.unwrap();
        // The tasks give up their hold of the ledger's lock when they see the stop.
        tokio::time::sleep(Duration::from_millis(300)).await;
        dir
    }

    /// Starts a listener that does of the proxy's work what a proof sees: canary, kill, refusal.
    pub(crate) async fn listen(&self, name: &str) -> SocketAddr {
        let data = &self.admin.data;
        let served = tls::ServerTls::load(&data.server_pem(), &data.server_key()).unwrap();
        let acceptor = TlsAcceptor::from(served.server_config(&["http/1.1"]).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (feed, obeys, stop) = (self.admin.feed.clone(), self.obeys.clone(), self.stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, feed, obeys) = (acceptor.clone(), feed.clone(), obeys.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    let service = hyper::service::service_fn(move |request| stand_in(feed.clone(), obeys.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }));
        self.admin.feed.add_listener(ProxyListener { name: name.into(), way: Way::Tls(address, served) });
        address
    }
}

/// Plays the proxy's part of a probe: every server has `read_graph` and `wipe`, and a server called `down` does not answer.
async fn answer_probes(mut probes: mpsc::Receiver<ProbeRequest>, refuses: Arc<std::sync::Mutex<Vec<String>>>) {
    let tool = |name: &str, class| ToolSeen {
        name: name.into(),
        class,
        definition: json!({"name": name, "inputSchema": {"type": "object"}}).to_string(),
    };
    while let Some(request) = probes.recv().await {
        let tools = vec![tool("read_graph", Class::Read), tool("wipe", Class::Destructive)];
        let seen = Probed { server_info: "stand-in 1".into(), protocol: "2026-07-28".into(), tools, ms: 1 };
        let refused = refuses.lock().unwrap().clone();
        let is_refused = request.server.secrets.headers.iter().any(|(_, value)| refused.contains(value.reveal()));
        let answer = match request.server.name.as_ref() {
            "down" => Err("connection refused".to_owned()),
            _ if is_refused => Err("it answered 401".to_owned()),
            _ => Ok(seen),
        };
        let _ = request.reply.send(answer);
    }
}
