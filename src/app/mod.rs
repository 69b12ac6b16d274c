//! One Lifeboat: opens the parts in the order that fails closed, starts the two planes, stops them. Decides nothing itself.

mod certificates;
mod demo;
mod doors;
pub mod drill;
mod edge;
mod first_run;
mod handed;
mod lock;
mod notify;
mod offline;
mod open;
mod planes;
mod redirect;
mod trust;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::signal::unix::Signal;
use tokio::sync::Mutex;

pub use certificates::{SigningRequest, signing_request};
pub use handed::Handed;
pub use lock::is_held;
pub use offline::{Offline, local_actor};
pub use trust::{Trust, install as trust_install, remove as trust_remove};

use crate::admin::{Admin, credentials, drills, kill, operators, vaults};
use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;
use crate::crypto::tls::ServerTls;
use crate::lifecycle::{End, Lifecycle};

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything is.
    pub data: DataDir,
    /// Address of the dashboard instead of the configured one.
    pub admin: Option<String>,
    /// Address of the proxy instead of the configured one.
    pub proxy: Option<String>,
    /// Host names of a first run; empty means the default.
    pub hosts: Vec<String>,
    /// Adds the demo server, role and client.
    pub demo: bool,
    /// More lines for `lifeboat.toml` of a first run.
    pub settings: String,
    /// The program that stdio servers are started through; this one when it is not given.
    pub exe: Option<PathBuf>,
}

impl Options {
    /// Everything as configured.
    pub fn of(data: DataDir) -> Self {
        Self { data, admin: None, proxy: None, hosts: Vec::new(), demo: false, settings: String::new(), exe: None }
    }
}

/// What the person who started it needs to know.
#[derive(Clone, Debug, Default)]
pub struct Welcome {
    /// URL of the dashboard.
    pub dashboard: String,
    /// URL of the proxy.
    pub proxy: String,
    /// Path of the CA certificate.
    pub ca: String,
    /// Its SHA-256, colon-separated hex.
    pub ca_sha256: String,
    /// Secrets of a first run and snippets to copy; empty when nothing is new. Never logged.
    pub secrets: String,
    /// Where the same text lies, mode 0600.
    pub secrets_file: String,
}

/// A running Lifeboat.
pub struct App {
    admin: Arc<Admin>,
    local: Router,
    lifecycle: Arc<Lifecycle>,
    planes: planes::Planes,
    tls: Arc<ServerTls>,
    welcome: Welcome,
    kill_runtime: Handle,
    // The last to go: what runs on them is asked to stop before.
    _runtimes: [planes::Background; 2],
    lock: lock::Lock,
}

const LAST_WORDS: Duration = Duration::from_secs(10);

impl App {
    /// Starts it: first run where something is missing, then both planes.
    ///
    /// # Errors
    /// Whatever keeps it from serving safely; nothing listens then.
    pub async fn start(options: Options) -> Verb<Self> {
        Self::start_on(options, Handed::default()).await
    }

    /// As `start`, on sockets that were handed over.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_on(options: Options, handed: Handed) -> Verb<Self> {
        crate::crypto::tls::install();
        options.data.create()?;
        let lock = lock::Lock::take(&options.data, lock::START).await?;
        let mut first = first_run::complete(&options)?;
        let opened = open::open(&options.data, open::Purpose::Serve).await?;
        // Before any server has a process that could write to its vault.
        vaults::settle(&opened.admin).await?;
        // What is left of the leases ends by itself when this fails.
        if let Err(fault) = credentials::resume(&opened.admin).await {
            tracing::error!(%fault, "the rotations of an earlier process wait for its leases to end");
        }
        let lifecycle = Arc::new(Lifecycle::default());
        let (proxy_runtime, proxy_ends) = planes::proxy_runtime()?;
        let admin = opened.admin.clone();
        let (kill_runtime, kill_ends) = planes::kill_runtime()?;
        let runtimes = planes::Runtimes { proxy: &proxy_runtime, kill: &kill_runtime };
        let (planes, doors) = planes::start(&options, handed, opened, &lifecycle, runtimes).await?;
        vaults::sweep(&admin.data);
        drills::sweep(&admin).await?;
        if operators::needs_setup(&admin) {
            first.setup_code = operators::ensure_setup_code(&admin.db, admin.entropy.as_ref()).await?;
        }
        if options.demo {
            first.demo_key = demo::complete(&admin).await?;
        }
        let welcome = first_run::welcome(&options, &planes, first)?;
        planes::listen(&planes, doors, &admin, &lifecycle, &proxy_runtime)?;
        let local = offline::router(&admin);
        Ok(Self {
            tls: planes.tls.clone(),
            kill_runtime,
            _runtimes: [proxy_ends, kill_ends],
            admin,
            local,
            lifecycle,
            planes,
            welcome,
            lock,
        })
    }

    /// What to tell the person who started it.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Where the dashboard listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.planes.admin_address
    }

    /// Where the proxy listens.
    pub fn proxy_address(&self) -> SocketAddr {
        self.planes.proxy_address
    }

    /// Everything a verb may use.
    pub fn admin(&self) -> &Arc<Admin> {
        &self.admin
    }

    /// Performs a verb of the API as the local account, without a connection.
    ///
    /// # Errors
    /// When the request cannot be built or its answer not read.
    pub async fn local_call(&self, method: &str, path: &str, body: &Value) -> Verb<(u16, Value)> {
        let (status, bytes) = offline::ask(&self.local, method, path, body).await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    /// Reads the certificates anew; a pair that does not fit is refused and the old one stays.
    pub fn reload_certificates(&self) {
        self.tls.aim(certificates::files(&self.admin.feed.snapshot().settings, &self.admin.data));
        match self.tls.reload() {
            Ok(()) => tracing::info!("certificates were read anew"),
            Err(fault) => tracing::error!(%fault, "the old certificate stays"),
        }
    }

    /// Stops everything at each `signal`, on the thread of the last resort.
    pub fn heed(&self, signal: Signal) {
        let (admin, stop, signal) = (self.admin.clone(), self.lifecycle.stop_token(), Arc::new(Mutex::new(signal)));
        self.lifecycle.tended(&self.kill_runtime, "kill signal", move || {
            let (admin, stop, signal) = (admin.clone(), stop.clone(), signal.clone());
            async move {
                let mut signal = signal.lock().await;
                while let Some(Some(())) = stop.run_until_cancelled(signal.recv()).await {
                    if let Err(fault) = kill::engage_by_signal(&admin).await {
                        tracing::error!(%fault, "the signal could not engage the kill switch");
                    }
                }
            }
        });
    }

    /// Waits until a vital task dies or `stop` is called.
    pub async fn wait(&self) -> End {
        let end = self.lifecycle.wait().await;
        if let End::Died(_) = end {
            self.close().await;
        }
        end
    }

    /// Drains and stops; returns when every event is on disk. First `/ready` says no, then nobody new is accepted and open streams end,
    /// then calls under way get up to 30 s.
    pub async fn stop(&self) {
        self.admin.feed.set_draining();
        self.lock.hand_over();
        notify::tell(notify::STOPPING);
        let notice = self.admin.feed.snapshot().settings.listen.drain_notice_ms;
        tokio::time::sleep(Duration::from_millis(notice)).await;
        self.lifecycle.ask_to_stop();
        // A backup would hold up the stop for as long as its command takes.
        tokio::join!(vaults::end_commands(&self.admin), self.lifecycle.wait());
        self.close().await;
    }

    /// Cuts what a stop would wait for.
    pub fn hurry(&self) {
        self.lifecycle.hurry();
    }

    async fn close(&self) {
        self.planes.proxy.drained(LAST_WORDS).await;
        self.admin.ledger.shutdown().await;
        self.admin.db.close().await;
        std::fs::remove_file(self.admin.data.socket()).ok();
        self.lock.release();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.lifecycle.ask_to_stop();
    }
}

fn unavailable(what: &str, cause: std::io::Error) -> Fault {
    Fault::unavailable(format!("{what}: {cause}")).because(cause)
}
