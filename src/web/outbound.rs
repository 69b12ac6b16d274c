//! Requests of Lifeboat's own to somewhere else. A name is resolved once and only addresses that were checked are connected to. Never follows a
//! redirect, never asks a proxy, never unpacks.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use rustls::ClientConfig;

use crate::base::address::Allowed;
use crate::base::fault::{Fault, Verb};
use crate::config::alerts::Target;
use crate::crypto::tls::{Roots, client_config};

/// For the whole of one request: name, handshake, request, answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST_CA: u64 = 1024 * 1024;
const LONGEST_WHY: usize = 200;

/// A look at a name server.
pub type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
/// Resolves a name. A parameter, so that tests own it.
pub type Lookup = Arc<dyn Fn(String) -> Looking + Send + Sync>;

/// By the system's resolver.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect()) }))
}

/// The name leads where it must not.
#[derive(Debug, thiserror::Error)]
#[error("its name leads to {0}, which is not allowed")]
struct Refused(IpAddr);

/// Gives the addresses of a name that are allowed, and no other. What it gives is what is connected to.
struct Guard {
    allowed: Allowed,
    lookup: Lookup,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (allowed, looking) = (self.allowed.clone(), (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let (kept, refused): (Vec<IpAddr>, Vec<IpAddr>) = looking.await?.into_iter().partition(|ip| allowed.permits(*ip));
            match (kept.is_empty(), refused.first()) {
                (true, Some(ip)) => Err(Refused(*ip).into()),
                (true, None) => Err("its name has no address".into()),
                (false, _) => Ok(Box::new(kept.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs),
            }
        })
    }
}

/// A client for one request: nothing of it is used again, so every request resolves and checks anew.
///
/// # Errors
/// `Invalid` when its CA cannot be read.
pub async fn client(target: &Target, lookup: &Lookup) -> Verb<Client> {
    let tls = tls(target.ca().map(PathBuf::from)).await?;
    let guard = Guard { allowed: target.allowed().clone(), lookup: lookup.clone() };
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(target.url().scheme() == "https")
        .http1_only()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .pool_max_idle_per_host(0)
        .timeout(PATIENCE)
        .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(guard))
        .build();
    client.map_err(|error| Fault::unavailable("no request can be made").because(error))
}

/// TLS 1.3 with the system's roots, or those of a file.
///
/// # Errors
/// `Invalid` when the file holds no certificate or cannot be read.
pub async fn tls(ca: Option<PathBuf>) -> Verb<ClientConfig> {
    // Reading certificates, the system's too, takes its time.
    let read = tokio::task::spawn_blocking(move || {
        let roots = match ca {
            None => Roots::System,
            Some(path) => Roots::Pem(certificates(&path)?),
        };
        client_config(&roots, &[], &["http/1.1"])
    });
    let config = read.await.map_err(|e| Fault::bug("reading certificates was interrupted").because(e))??;
    Ok(Arc::unwrap_or_clone(config))
}

fn certificates(path: &Path) -> Verb<Vec<u8>> {
    let wrong = |why: &str| Fault::invalid("ca", format!("{} {why}", path.display()));
    let found = std::fs::metadata(path).map_err(|e| wrong("cannot be found").because(e))?;
    if !found.is_file() || found.len() > LARGEST_CA {
        return Err(wrong("is no file of certificates"));
    }
    std::fs::read(path).map_err(|e| wrong("cannot be read").because(e))
}

/// Nothing came in time.
pub fn late() -> String {
    format!("no answer in {} s", PATIENCE.as_secs())
}

/// The innermost cause, without the URL.
pub fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return late();
    }
    let mut inner: &dyn Error = error;
    while let Some(source) = inner.source() {
        if source.downcast_ref::<Refused>().is_some() {
            return source.to_string();
        }
        inner = source;
    }
    // The outermost one would name the URL.
    let text = if error.source().is_some() { inner.to_string() } else { "the request failed".to_owned() };
    text.chars().filter(|c| !c.is_control()).take(LONGEST_WHY).collect()
}
