//! The process's log: one JSON document a line on stderr, filtered by `LIFEBOAT_LOG`. Never waits for whoever reads it.

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::sink::Sink;
use crate::base::fault::{Fault, Verb};

/// The variable that says what is logged, such as `info,lifeboat::proxy=debug`. Default `info`.
pub const FILTER: &str = "LIFEBOAT_LOG";
const WAITING: usize = 8_192;

/// Keeps the log going; flushes it when dropped, at the end of the process.
#[derive(Debug)]
pub struct LogGuard(Sink);

impl LogGuard {
    /// Lines dropped because the sink was stuck.
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Starts the log of the process.
///
/// # Errors
/// `Invalid` when the filter cannot be read; `Conflict` when a log was started before.
pub fn init() -> Verb<LogGuard> {
    let text = std::env::var(FILTER).unwrap_or_else(|_| USUAL.into());
    let sink = Sink::start(std::io::stderr(), WAITING)?;
    subscriber(&text, sink.clone())?.try_init().map_err(|e| Fault::conflict("a log was started before").because(e))?;
    Ok(LogGuard(sink))
}

/// What is shown when nobody asks for more: the scheduler tells of itself at each start.
const USUAL: &str = "info,tokio_cron_scheduler=warn";

fn subscriber(filter: &str, sink: Sink) -> Verb<impl Subscriber + Send + Sync + use<>> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|e| Fault::invalid(FILTER, "is no log filter, such as info,lifeboat=debug").because(e))?;
    Ok(tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(sink)
        .finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::telemetry::sink::tests::Pipe;

    #[test]
    fn a_line_is_one_json_document_and_a_secret_stays_one() {
        let pipe = Pipe::default();
        pipe.open();
        let sink = Sink::start(pipe.clone(), 10).unwrap();
        tracing::subscriber::with_default(subscriber("warn", sink.clone()).unwrap(), || {
            let key = Secret::new("hunter2".to_owned());
            tracing::info!("not this");
            tracing::warn!(client = "bot", %key, "refused\nonce");
        });
        sink.flush();
        let text = pipe.text();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["client"], &line["message"]), (&"WARN".into(), &"bot".into(), &"refused\nonce".into()));
        assert!(!text.contains("hunter2") && text.lines().count() == 1);
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        let sink = Sink::start(std::io::sink(), 1).unwrap();
        assert!(subscriber("lifeboat=loud=very", sink).is_err());
    }
}
