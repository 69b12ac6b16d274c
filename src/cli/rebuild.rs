//! `rebuild`: a deployment from archives and an identity alone, on a machine that has nothing else. Never prints an identity.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::args::RebuildArgs;
use super::order::file;
use super::out::{self, Voice};
use crate::admin::drills::rebuild::{self, Source};
use crate::admin::drills::steps::{Step, Steps};
use crate::admin::vaults;
use crate::audit::PublicKey;
use crate::base::clock::SystemClock;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::crypto::random::SystemEntropy;

const DONE: u8 = 0;

/// Rebuilds, and tells each step as it ends.
pub(super) fn rebuild(args: &RebuildArgs, voice: Voice) -> Verb<u8> {
    if args.from.contains("://") {
        return Err(super::order::not_yet("rebuild from anything but a directory"));
    }
    let whole = |path: &Path| {
        std::path::absolute(path).map_err(|cause| Fault::invalid(path.display().to_string(), "is no path").because(cause))
    };
    let source = Source {
        from: whole(Path::new(&args.from))?,
        identities: vec![Secret::new(file(&args.identity)?)],
        trust: trusted(&args.trust)?,
        to: whole(&args.to)?,
        outside: None,
        instead: (None, None),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|cause| Fault::unavailable("no runtime can be started").because(cause))?;
    let hearer = (voice == Voice::Text).then(|| Box::new(tell) as Box<dyn Fn(&Step) + Send + Sync>);
    let mut steps = Steps::begin(hearer);
    let rebuilt = runtime.block_on(rebuild::rebuild(source, &mut steps))?;
    let seconds = steps.elapsed();
    match voice {
        Voice::Json => {
            let mut answer = json!(rebuilt);
            (answer["seconds"], answer["steps"]) = (json!(seconds), json!(steps.into_steps()));
            out::say(&answer.to_string());
        }
        Voice::Text => {
            for warning in &rebuilt.warnings {
                out::say(&format!("warning: {warning}"));
            }
            out::say(&format!(
                "rebuilt in {seconds:.1} s. It is stopped. Fence the old host, then: lifeboat --data {0} serve, check, and \
                 lifeboat --data {0} kill release --reason \"...\"",
                rebuilt.to
            ));
        }
    }
    Ok(DONE)
}

fn tell(step: &Step) {
    let mark = if step.passed { "ok  " } else { "FAIL" };
    out::say(&format!("{mark} {:>8.3} s  {}: {}", step.seconds, step.name, step.detail));
}

/// The key itself, or a file that holds it.
pub(super) fn trusted(text: &str) -> Verb<PublicKey> {
    vaults::read_key(text).or_else(|fault| match std::fs::read_to_string(text) {
        Ok(held) => vaults::read_key(&held),
        Err(_) => Err(fault),
    })
}
