//! `up` and `serve`: start the app in the foreground, say where it is, pass signals on, end as it ends. Never asks a question.

use std::env;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::UpArgs;
use super::out::{self, Voice};
use crate::app::{App, Handed, Options, Welcome};
use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;
use crate::lifecycle::End;
use crate::proxy::descriptors;
use crate::telemetry;

const DONE: u8 = 0;
const FAULT: u8 = 1;

/// First run and every later one: completes what is missing, then serves.
pub(super) fn up(data: &DataDir, args: &UpArgs, voice: Voice) -> Verb<u8> {
    let options = Options {
        data: data.clone(),
        admin: args.admin.clone(),
        proxy: args.proxy.clone(),
        hosts: args.hosts.clone(),
        demo: args.demo,
        settings: String::new(),
        exe: None,
    };
    run(options, voice)
}

/// Serves an existing data directory.
pub(super) fn serve(data: &DataDir, voice: Voice) -> Verb<u8> {
    if !data.config().join(".git").exists() {
        let message = "there is no Lifeboat here yet; make one with lifeboat up";
        return Err(Fault::not_found(format!("{}: {message}", data.root().display())));
    }
    run(Options::of(data.clone()), voice)
}

/// What the allocator reads from the environment, once, before `main`: for how many milliseconds it keeps what nobody uses, and after how many
/// allocations off the quick path a thread looks through its own for what other threads have freed in them.
const SPARING: [(&str, &str); 2] = [("MIMALLOC_PURGE_DELAY", "10"), ("MIMALLOC_GENERIC_COLLECT", "1000")];

/// Begins once more, as the same process, with an allocator that gives memory back soon: else a busy minute is held for ever. Whoever has set
/// one of them keeps it; where the program cannot be found again, it goes on as it is.
fn sparing_memory() {
    let (Ok(exe), mut words) = (env::current_exe(), env::args_os()) else { return };
    let missing = SPARING.into_iter().filter(|(name, _)| env::var_os(name).is_none());
    if missing.clone().next().is_none() {
        return;
    }
    let mut again = Command::new(exe);
    if let Some(name) = words.next() {
        again.arg0(name);
    }
    // Comes back only where it could not be done.
    let _stayed = again.args(words).envs(missing).exec();
}

fn run(options: Options, voice: Voice) -> Verb<u8> {
    sparing_memory();
    let handed = Handed::from_env()?;
    let _log = telemetry::logs::init()?;
    descriptors::raise();
    telemetry::metrics::install()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("admin").enable_all().build();
    let runtime = runtime.map_err(|cause| Fault::unavailable("no runtime can be started").because(cause))?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let app = App::start_on(options, handed).await?;
        if let Some(signal) = signals.usr2.take() {
            app.heed(signal);
        }
        greet(app.welcome(), voice);
        let end = tokio::select! {
            end = app.wait() => end,
            () = signals.obey(&app) => {
                tokio::select! {
                    () = app.stop() => {}
                    () = signals.insist(&app) => {}
                }
                End::Asked
            }
        };
        Ok(end)
    });
    runtime.shutdown_background();
    match ended? {
        End::Asked => Ok(DONE),
        End::Died(task) => {
            out::warn(&format!("lifeboat: {task} ended, and nothing works without it"));
            Ok(FAULT)
        }
    }
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    // Listened to from the first moment on, so that it never ends the process; the app takes it over.
    usr2: Option<Signal>,
}

impl Signals {
    fn new() -> Verb<Self> {
        let listen = |kind| signal(kind).map_err(|cause| Fault::unavailable("signals cannot be listened to").because(cause));
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
            usr2: Some(listen(SignalKind::user_defined2())?),
        })
    }

    // A second signal cuts what the first one waits for. Never returns: the stop ends all the same.
    async fn insist(&mut self, app: &App) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
        app.hurry();
        std::future::pending().await
    }

    // Returns when the process is asked to end.
    async fn obey(&mut self, app: &App) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.hup.recv() => app.reload_certificates(),
            }
        }
    }
}

fn greet(welcome: &Welcome, voice: Voice) {
    if voice == Voice::Json {
        return out::say(
            &json!({"dashboard": welcome.dashboard, "proxy": welcome.proxy, "ca": welcome.ca, "ca_sha256": welcome.ca_sha256})
                .to_string(),
        );
    }
    // A pipe or a log file is no place for a secret; the file is readable by this account only.
    if !welcome.secrets.is_empty() && std::io::stdout().is_terminal() {
        // They begin with these addresses.
        return out::say(&welcome.secrets);
    }
    out::say(&format!(
        "dashboard: {}\nproxy: {}\nca: {}\nca sha256: {}",
        welcome.dashboard, welcome.proxy, welcome.ca, welcome.ca_sha256
    ));
    if !welcome.secrets.is_empty() {
        out::say(&format!("secrets of the first run: {}", welcome.secrets_file));
    }
}
