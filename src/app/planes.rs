//! Starts the two planes: binds both listeners, starts every tended task, and serves on two runtimes once the first run is complete. Says
//! where it listens in `run/addresses.json`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};

use super::open::Opened;
use super::{Options, edge, unavailable};
use crate::admin::{Admin, api, health, kill, operators, publish};
use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;
use crate::crypto::files::{Readers, write};
use crate::crypto::tls::ServerTls;
use crate::lifecycle::Lifecycle;
use crate::policy::feed::HostSandbox;
use crate::proxy::{Health, Proxy, ProxyParts, sandbox};

/// The running planes.
pub(super) struct Planes {
    /// Where the dashboard listens.
    pub admin_address: SocketAddr,
    /// Where the proxy listens.
    pub proxy_address: SocketAddr,
    /// The first host name, for URLs.
    pub host: String,
    /// What both listeners show.
    pub tls: Arc<ServerTls>,
    /// The proxy plane.
    pub proxy: Proxy,
}

/// Bound, and accepting nothing yet: who connects waits in the backlog.
pub(super) struct Doors {
    admin: TcpListener,
    proxy: TcpListener,
}

/// The runtime of the proxy plane.
///
/// # Errors
/// When no thread can be started.
pub(super) fn proxy_runtime() -> Verb<Runtime> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name("proxy").enable_all().build();
    runtime.map_err(|cause| unavailable("the proxy's runtime cannot be started", cause))
}

/// The runtime of the last resort: one thread that watches the file `KILL` and the signal, so that a blocked dashboard cannot keep
/// anybody from stopping.
///
/// # Errors
/// When no thread can be started.
pub(super) fn kill_runtime() -> Verb<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("kill").enable_all().build();
    runtime.map_err(|cause| unavailable("the kill switch's runtime cannot be started", cause))
}

/// Where the planes run, besides the runtime that starts them.
#[derive(Clone, Copy)]
pub(super) struct Runtimes<'a> {
    /// The proxy plane's.
    pub proxy: &'a Handle,
    /// The last resort's.
    pub kill: &'a Handle,
}

/// Binds, and starts everything but the listeners.
///
/// # Errors
/// When an address cannot be bound or the certificate not be read.
pub(super) async fn start(
    options: &Options,
    opened: Opened,
    lifecycle: &Lifecycle,
    runtimes: Runtimes<'_>,
) -> Verb<(Planes, Doors)> {
    let proxy_runtime = runtimes.proxy;
    let Opened { admin, probes } = opened;
    let listen = admin.feed.snapshot().settings.listen.clone();
    let data = &options.data;
    let tls = Arc::new(ServerTls::load(&data.server_pem(), &data.server_key())?);
    let admin_listener = bind(options.admin.as_deref().unwrap_or(&listen.admin)).await?;
    let proxy_address = options.proxy.as_deref().unwrap_or(&listen.proxy).to_owned();
    let proxy_listener = proxy_runtime.spawn(async move { bind(&proxy_address).await }).await;
    let proxy_listener = proxy_listener.map_err(|cause| Fault::bug("binding the proxy panicked").because(cause))??;
    let addresses = (local(&admin_listener)?, local(&proxy_listener)?);
    let own = || std::env::current_exe().map_err(|cause| unavailable("this program cannot find itself", cause));
    let exe = options.exe.clone().map_or_else(own, Ok)?;
    let strength = sandbox::strength(&exe);
    admin.feed.set_sandbox(HostSandbox { sentence: strength.sentence(), whole: strength.confined() });
    let proxy = {
        let _on = proxy_runtime.enter();
        Proxy::new(parts(options, &admin, lifecycle, exe)?, probes)
    };
    let stop = lifecycle.stop_token();
    let here = Handle::current();
    let socket = api::socket::open(&admin)?;
    lifecycle.vital(
        &here,
        "control socket",
        api::socket::serve(socket, edge::incoming(api::router().with_state(admin.clone())), stop.clone()),
    );
    let ledger = admin.ledger.clone();
    // The recorder ends last, after the stop: only its end before that is a death.
    lifecycle.vital(&here, "recorder", async move { stop.run_until_cancelled(ledger.ended()).await.unwrap_or_default() });
    tend_kill(&admin, lifecycle, runtimes.kill);
    tend(&admin, lifecycle, &here, &tls);
    let host = listen.hosts.first().cloned().unwrap_or_else(|| "localhost".into());
    let planes = Planes { admin_address: addresses.0, proxy_address: addresses.1, host, tls, proxy };
    Ok((planes, Doors { admin: admin_listener, proxy: proxy_listener }))
}

/// Accepts from now on: whoever finds `/ready` or `run/addresses.json` finds a complete first run with it.
///
/// # Errors
/// When the certificate does not serve or the addresses cannot be written.
pub(super) fn listen(planes: &Planes, doors: Doors, admin: &Arc<Admin>, lifecycle: &Lifecycle, proxy_runtime: &Handle) -> Verb<()> {
    let stop = lifecycle.stop_token();
    let protocols = ["h2", "http/1.1"];
    let (to_proxy, to_admin) = (planes.tls.server_config(&protocols)?, planes.tls.server_config(&protocols)?);
    write_addresses(&admin.data, (planes.admin_address, planes.proxy_address))?;
    lifecycle.vital(proxy_runtime, "listener proxy", planes.proxy.serve(doors.proxy, to_proxy, "proxy", stop.clone()));
    lifecycle.vital(&Handle::current(), "listener admin", edge::serve(doors.admin, to_admin, edge::router(admin), stop));
    Ok(())
}

fn parts(options: &Options, admin: &Arc<Admin>, lifecycle: &Lifecycle, exe: PathBuf) -> Verb<ProxyParts> {
    let watched = admin.clone();
    Ok(ProxyParts {
        feed: admin.feed.clone(),
        recorder: admin.recorder.clone(),
        clock: admin.clock.clone(),
        entropy: admin.entropy.clone(),
        data: std::fs::canonicalize(options.data.root())
            .map_err(|cause| unavailable("the data directory cannot be found", cause))?,
        exe,
        health: Arc::new(move || match health::bare(&watched) {
            health::Bare::Ok => Health::Ok,
            health::Bare::Degraded => Health::Degraded,
            health::Bare::Unusable => Health::Unusable,
        }),
        stop: lifecycle.stop_token(),
    })
}

fn tend_kill(admin: &Arc<Admin>, lifecycle: &Lifecycle, kill_runtime: &Handle) {
    let stop = lifecycle.stop_token();
    let with = |admin: &Arc<Admin>| (admin.clone(), stop.clone());
    let (a, s) = with(admin);
    lifecycle.tended(kill_runtime, "kill file", move || kill::watch(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(kill_runtime, "kill records", move || kill::keep(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(kill_runtime, "kill proof line", move || kill::keep_warm(a.clone(), s.clone()));
}

fn tend(admin: &Arc<Admin>, lifecycle: &Lifecycle, here: &Handle, tls: &Arc<ServerTls>) {
    let stop = lifecycle.stop_token();
    let with = |admin: &Arc<Admin>| (admin.clone(), stop.clone());
    let (a, s) = with(admin);
    lifecycle.tended(here, "sessions", move || operators::task::watch(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(here, "publisher", move || publish::watch(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(here, "ledger index", move || a.ledger.clone().run_index(s.clone()));
    let (t, s) = (tls.clone(), stop.clone());
    lifecycle.tended(here, "certificates", move || {
        (*t).clone().watch(s.clone(), |reloaded| match reloaded {
            Ok(()) => tracing::info!("certificates changed and were read anew"),
            Err(fault) => tracing::error!(%fault, "the old certificate stays"),
        })
    });
}

async fn bind(address: &str) -> Verb<TcpListener> {
    TcpListener::bind(address).await.map_err(|cause| unavailable(&format!("{address} cannot be listened on"), cause))
}

fn local(listener: &TcpListener) -> Verb<SocketAddr> {
    listener.local_addr().map_err(|cause| unavailable("a listener has no address", cause))
}

fn write_addresses(data: &DataDir, (admin, proxy): (SocketAddr, SocketAddr)) -> Verb<()> {
    let text = json!({"admin": admin.to_string(), "proxy": proxy.to_string(), "pid": std::process::id()}).to_string();
    write(&data.run().join("addresses.json"), text.as_bytes(), Readers::Owner)
}
