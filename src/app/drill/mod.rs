//! The process that performs a drill: it rebuilds the deployment from archives alone into an empty directory, starts it on ports of its own, and
//! asks of it what a client would. It knows nothing of the deployment that runs but what stands in its instructions. Never leaves its sandbox.

mod arguments;
mod called;
mod checks;
mod client;
pub mod isolate;

use std::sync::Arc;

use super::{App, Options};
use crate::admin::drills::adapt::{self, Places};
use crate::admin::drills::order::{Instructions, Network, Outcome, REBUILT, SKIPPED, SUBSTITUTED, Scenario, Told};
use crate::admin::drills::rebuild::{self, Source};
use crate::admin::drills::steps::{Step, Steps};
use crate::admin::vaults::places::Place;
use crate::admin::vaults::{self, deny, folder::Folder};
use crate::base::clock::{Clock, SystemClock};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::config::paths::DataDir;
use crate::crypto::files;
use crate::crypto::random::SystemEntropy;
use checks::Bench;
use client::Target;
use isolate::Isolation;

/// Performs a drill; every step is told as it ends, and the outcome last.
pub async fn perform(told: Instructions, isolation: Isolation, tell: Arc<dyn Fn(&Told) + Send + Sync>) -> Outcome {
    let hearer = tell.clone();
    let mut steps = Steps::begin(Some(Box::new(move |step: &Step| hearer(&Told::Step(step.clone())))));
    let Isolation { network, step } = isolation;
    let mut outcome = Outcome::default();
    if network == Network::Host {
        // Not the step alone: nobody reads the steps of a drill that passed.
        outcome.warnings.push(step.detail.clone());
    }
    steps.add(step);
    let ended = attempt(&told, network, &mut steps, &mut outcome).await;
    outcome.recovered = ended.is_ok() && outcome.fault.is_none();
    if let Err(fault) = ended {
        outcome.seconds = steps.elapsed();
        outcome.fault = Some(fault.to_string());
    }
    tell(&Told::Over(outcome.clone()));
    outcome
}

async fn attempt(told: &Instructions, network: Network, steps: &mut Steps, outcome: &mut Outcome) -> Verb<()> {
    let data = DataDir::new(told.sandbox.join("d"));
    let outside = told.sandbox.join("outside");
    std::fs::create_dir_all(&outside).map_err(|e| Fault::unavailable("the sandbox cannot be written").because(e))?;
    let trust = vaults::read_key(&told.trust)?;
    let source = Source {
        from: Place::Directory(told.from.clone()),
        identities: told.identities.iter().cloned().map(Secret::new).collect(),
        trust: trust.clone(),
        to: data.root().to_owned(),
        outside: Some(outside.clone()),
        instead: (told.bundle.clone(), told.state.clone()),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let rebuilt = rebuild::rebuild(source, steps).await?;
    outcome.oldest = rebuilt.vaults.iter().map(|back| back.started_at).min();
    outcome.warnings.extend(rebuilt.warnings);
    outcome.head = rebuilt.head;
    let places = Places { root: &told.root, data: &data, outside: &outside };
    let missing = told.scenario == Scenario::PackageMissing;
    let fitted = steps.take("fit-into-sandbox", async {
        let fates = adapt::adapt(&places, network, missing, (SystemClock.now(), &SystemEntropy)).await?;
        let count = |state: &str| fates.iter().filter(|fate| fate.state == state).count();
        let (own, substituted, left) = (count(REBUILT), count(SUBSTITUTED), count(SKIPPED));
        let detail = format!("{own} servers to start, {substituted} stand-ins for remote ones, {left} left out");
        Ok((fates, detail))
    });
    outcome.servers = fitted.await?;
    let app = steps.take("start", start(&data)).await?;
    let checked = check(&app, told, network, (steps, outcome)).await;
    outcome.seconds = steps.elapsed();
    let stopped = steps.take("stop", stop(app)).await;
    checked.and(stopped)
}

async fn start(data: &DataDir) -> Verb<(App, String)> {
    // Ports of its own, whatever the configuration says.
    let any = || Some("127.0.0.1:0".to_owned());
    let app = App::start(Options { admin: any(), proxy: any(), ..Options::of(data.clone()) }).await?;
    let detail = format!("both planes listen, the proxy on {}", app.proxy_address());
    Ok((app, detail))
}

async fn check(app: &App, told: &Instructions, network: Network, (steps, outcome): (&mut Steps, &mut Outcome)) -> Verb<()> {
    let admin = app.admin();
    let ca = files::read(&admin.data.ca_pem())?.unwrap_or_default();
    let hosts = admin.feed.snapshot().settings.listen.hosts.clone();
    let host = hosts.first().map_or("localhost", String::as_str);
    let target = Target::new(app.proxy_address(), host, ca)?;
    let list = deny::read(&Folder::open(&told.from)?, &vaults::read_key(&told.trust)?)?;
    let bench = steps.take("reissue-credentials", Bench::new(admin, target, network)).await?;
    bench.all(&mut outcome.servers, list.as_ref(), steps).await
}

async fn stop(app: App) -> Verb<((), String)> {
    app.stop().await;
    Ok(((), "every listener and child of the drill has ended".to_owned()))
}
