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
use crate::admin::vaults::places::Place;
use crate::audit::PublicKey;
use crate::base::clock::SystemClock;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::config::BucketConfig;
use crate::crypto::random::SystemEntropy;

const DONE: u8 = 0;

/// Rebuilds, and tells each step as it ends.
pub(super) fn rebuild(args: &RebuildArgs, voice: Voice) -> Verb<u8> {
    let whole = |path: &Path| {
        std::path::absolute(path).map_err(|cause| Fault::invalid(path.display().to_string(), "is no path").because(cause))
    };
    let source = Source {
        from: if args.from.contains("://") {
            Place::Bucket(bucket(&args.from)?)
        } else {
            Place::Directory(whole(Path::new(&args.from))?)
        },
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

/// A bucket as the variables of its family tell: there is no configuration yet.
fn bucket(url: &str) -> Verb<BucketConfig> {
    let set = |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let endpoint = set(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
    let ca = set(["AWS_CA_BUNDLE", "SSL_CERT_FILE"]);
    let plain_loopback = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let region = set(["AWS_REGION", "AWS_DEFAULT_REGION"]);
    let bucket = BucketConfig { url: url.to_owned(), endpoint, region, credentials_file: None, ca, plain_loopback };
    match bucket.faults().first() {
        Some(("url", why)) => Err(Fault::invalid("from", *why)),
        Some((key, why)) => Err(Fault::invalid(format!("AWS_… ({key})"), *why)),
        None => Ok(bucket),
    }
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
