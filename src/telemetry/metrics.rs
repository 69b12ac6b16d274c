//! The process's metrics, kept in memory and rendered for Prometheus. Never opens a listener of its own.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::base::fault::{Fault, Verb};

/// Upper bounds for everything measured in seconds (`…_seconds`): from 250 us, the proxy's own share of a call, to a minute.
const SECONDS: [f64; 14] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];
const UPKEEP: Duration = Duration::from_secs(5);

static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Renders what was recorded through the `metrics` macros. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Installs the recorder of the process; a second call gives the same one.
///
/// # Errors
/// `Bug` when another recorder is installed; `Unavailable` when no thread can be started.
pub fn install() -> Verb<Metrics> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = installed.as_ref() {
        return Ok(Metrics(handle.clone()));
    }
    let bug = |e: metrics_exporter_prometheus::BuildError| Fault::bug("cannot keep metrics").because(e);
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .map_err(bug)?
        .install_recorder()
        .map_err(bug)?;
    // Samples of histograms pile up until somebody drains them, and nobody may ever ask for the metrics.
    let drained = handle.clone();
    std::thread::Builder::new()
        .name("lifeboat-metrics".into())
        .spawn(move || {
            loop {
                std::thread::park_timeout(UPKEEP);
                drained.run_upkeep();
            }
        })
        .map_err(|e| Fault::unavailable("cannot start the metrics' thread").because(e))?;
    *installed = Some(handle.clone());
    Ok(Metrics(handle))
}

impl Metrics {
    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_rendered() {
        let first = install().unwrap();
        let second = install().unwrap();
        metrics::counter!("lifeboat_test_calls_total", "decision" => "permit").increment(3);
        metrics::histogram!("lifeboat_test_latency_seconds").record(0.002);
        for text in [first.render(), second.render()] {
            assert!(text.contains(r#"lifeboat_test_calls_total{decision="permit"} 3"#), "{text}");
            assert!(text.contains(r#"lifeboat_test_latency_seconds_bucket{le="0.0025"} 1"#), "{text}");
        }
    }
}
