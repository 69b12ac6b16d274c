//! Starts the two planes: opens their sockets, starts every tended task, and serves on two runtimes once the first run is complete. Says
//! where it listens in `run/addresses.json`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio::runtime::{Handle, Runtime};

use super::doors::{self, Doors};
use super::handed::Handed;
use super::open::Opened;
use super::{Options, certificates, edge, notify, redirect, unavailable};
use crate::admin::{Admin, alerts, api, credentials, health, kill, operators, publish, schedule, tokens, vaults};
use crate::base::fault::Verb;
use crate::config::Settings;
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
    /// As they were at the start, for URLs.
    pub settings: Arc<Settings>,
    /// What both listeners show.
    pub tls: Arc<ServerTls>,
    /// The proxy plane.
    pub proxy: Proxy,
}

/// The runtime of the proxy plane.
///
/// # Errors
/// When no thread can be started.
pub(super) fn proxy_runtime() -> Verb<(Handle, Background)> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name("proxy").enable_all().build();
    runtime.map(Background::of).map_err(|cause| unavailable("the proxy's runtime cannot be started", cause))
}

/// The runtime of the last resort: one thread that watches the file `KILL` and the signal, so that a blocked dashboard cannot keep
/// anybody from stopping.
///
/// # Errors
/// When no thread can be started.
pub(super) fn kill_runtime() -> Verb<(Handle, Background)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("kill").enable_all().build();
    runtime.map(Background::of).map_err(|cause| unavailable("the kill switch's runtime cannot be started", cause))
}

/// A runtime that ends in the background: one that is dropped where others wait would have to wait itself.
pub(super) struct Background(Option<Runtime>);

impl Background {
    fn of(runtime: Runtime) -> (Handle, Self) {
        (runtime.handle().clone(), Self(Some(runtime)))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where the planes run, besides the runtime that starts them.
#[derive(Clone, Copy)]
pub(super) struct Runtimes<'a> {
    /// The proxy plane's.
    pub proxy: &'a Handle,
    /// The last resort's.
    pub kill: &'a Handle,
}

/// Opens the sockets, and starts everything but the listeners.
///
/// # Errors
/// When an address cannot be bound or the certificate not be read.
pub(super) async fn start(
    options: &Options,
    handed: Handed,
    opened: Opened,
    lifecycle: &Lifecycle,
    runtimes: Runtimes<'_>,
) -> Verb<(Planes, Doors)> {
    let proxy_runtime = runtimes.proxy;
    let Opened { admin, probes } = opened;
    let settings = admin.feed.snapshot().settings.clone();
    let tls = certificates::load(&settings, &options.data)?;
    let doors = doors::open(options, &settings.listen, handed, &tls, proxy_runtime).await?;
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
    let watched = [&here, runtimes.proxy, runtimes.kill].map(Clone::clone).to_vec();
    let token = lifecycle.stop_token();
    lifecycle.tended(&here, "watchdog", move || notify::watchdog(watched.clone(), token.clone()));
    let planes = Planes { admin_address: doors.admin_address, proxy_address: doors.proxy_address, settings, tls, proxy };
    Ok((planes, doors))
}

/// Accepts from now on: whoever finds `/ready` or `run/addresses.json` finds a complete first run with it.
///
/// # Errors
/// When the addresses cannot be written.
pub(super) fn listen(planes: &Planes, doors: Doors, admin: &Arc<Admin>, lifecycle: &Lifecycle, proxy_runtime: &Handle) -> Verb<()> {
    write_addresses(&admin.data, (planes.admin_address, planes.proxy_address))?;
    let here = Handle::current();
    for (door, listener) in doors.proxy {
        let name = format!("listener {}", listener.name);
        let serving = planes.proxy.serve(door, Some(listener), lifecycle.proxy.ends.clone());
        lifecycle.door(&lifecycle.proxy, proxy_runtime, &name, serving);
    }
    let (router, places) = (edge::router(admin), edge::places(&admin.feed));
    for (name, door) in doors.admin {
        let serving = edge::serve(admin.feed.clone(), door, router.clone(), places.clone(), lifecycle.admin.ends.clone());
        lifecycle.door(&lifecycle.admin, &here, name, serving);
    }
    if let Some((listener, _)) = doors.redirect {
        let (feed, listener, drain) = (admin.feed.clone(), Arc::new(listener), lifecycle.admin.ends.drain.clone());
        let dashboard = planes.admin_address;
        let answering = move || redirect::serve(feed.clone(), listener.clone(), dashboard, drain.clone());
        lifecycle.tended(&here, "redirect", answering);
    }
    notify::tell(notify::READY);
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
        drain: lifecycle.proxy.ends.drain.clone(),
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
    lifecycle.tended(here, "deny-list", move || vaults::deny::keep(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(here, "tokens", move || tokens::task::keep(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(here, "alerts", move || alerts::keep(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(here, "alert delivery", move || alerts::outbox::keep(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(here, "alert watchdog", move || alerts::watchdog::keep(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(here, "schedule", move || schedule::keep(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(here, "rotations", move || credentials::keep(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(here, "clients' own rotations", move || credentials::answer(a.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(here, "ledger index", move || a.ledger.clone().run_index(s.clone()));
    let (a, s) = with(admin);
    let tls = tls.clone();
    lifecycle.tended(here, "certificates", move || certificates::watch(a.clone(), tls.clone(), s.clone()));
    let (a, s) = with(admin);
    lifecycle.tended(here, "certificate renewal", move || certificates::keep(a.clone(), s.clone()));
}

fn write_addresses(data: &DataDir, (admin, proxy): (SocketAddr, SocketAddr)) -> Verb<()> {
    let text = json!({"admin": admin.to_string(), "proxy": proxy.to_string(), "pid": std::process::id()}).to_string();
    write(&data.run().join("addresses.json"), text.as_bytes(), Readers::Owner)
}
