//! What a bucket is asked with: the client, its patience, the credentials, and what it says when it fails. Never shows a credential.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientOptions, Error, RetryConfig};

use super::Patience;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::config::BucketConfig;
use crate::crypto::tls::{Roots, client_config};

const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);
const LONGEST_WORD: usize = 300;

/// Requests by the client that was made here: TLS 1.3, the roots that were named, no proxy of the environment.
#[derive(Debug)]
pub(super) struct Connector(pub(super) reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// TLS 1.3, the roots that were named, no proxy of the environment, no redirect.
///
/// # Errors
/// `Invalid` for a CA that is none.
pub(super) fn client(config: &BucketConfig, patience: Patience) -> Verb<reqwest::Client> {
    let roots = match &config.ca {
        Some(path) => Roots::Pem(fs::read(path).map_err(|e| Fault::invalid("ca", format!("{path} cannot be read: {e}")))?),
        None => Roots::System,
    };
    let tls = client_config(&roots, &[], &["http/1.1"])?;
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(rustls::ClientConfig::clone(&tls))
        .https_only(!config.plain_loopback)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE);
    let builder = if patience == Patience::Short { builder.timeout(CONNECT) } else { builder };
    builder.build().map_err(|e| Fault::bug("no client for buckets can be made").because(e))
}

/// How often the client beneath tries again.
pub(super) fn retry(patience: Patience) -> RetryConfig {
    let (max_retries, seconds, most) = match patience {
        Patience::Long => (6, 120, 10),
        Patience::Short => (1, 5, 1),
    };
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(most), base: 2.0 };
    RetryConfig { backoff, max_retries, retry_timeout: Duration::from_secs(seconds) }
}

pub(super) type Credentials = (String, Secret<String>, Option<Secret<String>>);

/// The first profile of a file as the tools of AWS write it. Other accounts must not be able to read it.
pub(super) fn credentials(file: &Path) -> Verb<Credentials> {
    const FIELD: &str = "credentials_file";
    let unread = |e: std::io::Error| Fault::invalid(FIELD, format!("{} cannot be read: {e}", file.display()));
    if fs::metadata(file).map_err(unread)?.mode() & 0o077 != 0 {
        return Err(Fault::invalid(FIELD, format!("{} can be read by other accounts; chmod 600 it", file.display())));
    }
    let text = Secret::new(fs::read_to_string(file).map_err(unread)?);
    let value = |wanted: &str| {
        let mut pairs = text.reveal().lines().filter_map(|line| line.split_once('='));
        pairs.find(|(key, _)| key.trim() == wanted).map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    match (value("aws_access_key_id"), value("aws_secret_access_key")) {
        (Some(id), Some(secret)) => Ok((id, Secret::new(secret), value("aws_session_token").map(Secret::new))),
        _ => {
            let message = format!("{} holds no aws_access_key_id with its aws_secret_access_key", file.display());
            Err(Fault::invalid(FIELD, message))
        }
    }
}

/// What a bucket answered, without the XML around it; or why it did not, which stands at the bottom of everything.
pub(super) fn said(cause: &Error) -> String {
    let text = cause.to_string();
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(inner, _)| inner.to_owned())
    };
    let whole = match (between("Code"), between("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => causes(cause).last().map_or(text, ToString::to_string),
    };
    // It comes from elsewhere, and goes to a terminal and a log.
    whole.chars().filter(|c| !c.is_control()).take(LONGEST_WORD).collect()
}

/// Whether somebody put a name there that this library takes for no path; it gives up the whole list then.
pub(super) fn is_odd_name(cause: &Error) -> bool {
    causes(cause).any(|inner| inner.is::<object_store::path::Error>())
}

fn causes(cause: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(cause), |inner| inner.source())
}
