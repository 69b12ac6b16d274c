//! One streamable HTTP server: its address, its trust, its headers, its connections. Never follows a redirect and never repeats a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::refuse::Failure;
use super::LegParts;
use super::address::Resolver;
pub use super::fault::LegFault;
use super::fault::sorted;
use super::health::Word;
use super::tls::{self, Oldest, Trust};
use super::wire::{Patient, Served};
use crate::base::address::{Allowed, Loopback};
use crate::base::clock::{SharedClock, Timestamp};
use crate::base::net::Network;
use crate::config::server::HttpUpstream;
use crate::config::settings::Upstream;
use crate::policy::snapshot::ServerEntry;

type Pool = Client<Patient<HttpsConnector<HttpConnector<Resolver>>>, Full<Bytes>>;

/// Streams that one server may have open, besides its calls.
const STREAMS: usize = 4096;

/// A server over HTTP.
pub struct HttpLeg {
    /// Its name.
    pub name: Arc<str>,
    /// What is known of it.
    pub word: Word,
    uri: Uri,
    strict: Pool,
    // Under a waiver, until it ends: connections of their own, so that none made under it outlives it.
    waived: Option<Waived>,
    // What this host adds to each request.
    headers: Vec<(HeaderName, HeaderValue)>,
    // Set when the server asks for a client certificate that we do not have.
    bare: Option<Arc<AtomicBool>>,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    began: Instant,
    answered: AtomicU64,
}

struct Waived {
    pool: Pool,
    until: Timestamp,
    clock: SharedClock,
}

/// What a request is for, as far as its connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// One answer.
    Call,
    /// A stream that stays open.
    Stream,
}

impl HttpLeg {
    /// Prepares a leg; nothing is connected yet.
    ///
    /// # Errors
    /// A sentence that says which part of the configuration cannot be used.
    pub fn build(entry: &ServerEntry, config: &HttpUpstream, limits: &Upstream, parts: &LegParts) -> Result<Self, String> {
        if let Some(missing) = entry.secrets.missing(&entry.config) {
            return Err(missing);
        }
        let uri: Uri = config.url.parse().map_err(|_| format!("\"{}\" is no URL", config.url))?;
        let allowed = allowed(config, &uri)?;
        check(&uri, config, &allowed)?;
        let client = entry.secrets.client.as_ref().map(|client| client.reveal().as_str());
        let trust = Trust { ca: config.ca.as_deref(), pins: &config.pins, client };
        let asked = Arc::new(AtomicBool::new(false));
        let connect = Duration::from_millis(limits.connect_ms);
        let resolver = Resolver::new(allowed);
        let pool = |oldest| Ok::<_, String>(pool(resolver.clone(), tls::config(&trust, oldest, asked.clone())?, connect));
        let waived = match config.tls12_ends() {
            Some(until) => Some(Waived { pool: pool(Oldest::Tls12)?, until, clock: parts.clock.clone() }),
            None => None,
        };
        let headers = entry.secrets.headers.iter().map(|(name, value)| secret(name, value.reveal())).collect::<Result<_, _>>()?;
        Ok(Self {
            name: entry.name.clone(),
            word: Word::new(entry.name.clone(), parts.feed.clone()),
            uri,
            strict: pool(Oldest::Tls13)?,
            waived,
            headers,
            bare: client.is_none().then_some(asked),
            calls: Arc::new(Semaphore::new(limits.calls as usize)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            began: Instant::now(),
            answered: AtomicU64::new(0),
        })
    }

    /// Takes a place for one request, given back when dropped: what one server holds is bounded, so that it cannot hold everything.
    ///
    /// # Errors
    /// When the server has all it may have.
    pub fn place(&self, line: Line) -> Result<OwnedSemaphorePermit, LegFault> {
        let room = if line == Line::Call { &self.calls } else { &self.streams };
        let full =
            || LegFault::unsent(Failure::Declined, "it has too many calls in flight", "it has as many calls in flight as it may");
        room.clone().try_acquire_owned().map_err(|_| full())
    }

    /// Sends one request and waits for the head of its response.
    ///
    /// # Errors
    /// See [`LegFault`].
    pub async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        wait: Duration,
    ) -> Result<Response<Incoming>, LegFault> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        let fixed = request.headers_mut();
        fixed.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        fixed.insert(header::USER_AGENT, HeaderValue::from_static(concat!("lifeboat/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in &self.headers {
            fixed.insert(name.clone(), value.clone());
        }
        let (pool, ended) = match &self.waived {
            Some(waived) if waived.clock.now() < waived.until => (&waived.pool, false),
            waived => (&self.strict, waived.is_some()),
        };
        match tokio::time::timeout(wait, pool.request(request)).await {
            Err(_) => Err(LegFault::sent(Failure::Timeout, "no answer came")),
            Ok(Err(fault)) => {
                let asked = self.bare.as_ref().is_some_and(|asked| asked.load(Ordering::Relaxed));
                Err(waiver_over(sorted(&fault, asked), ended))
            }
            Ok(Ok(response)) => {
                if let Some(served) = response.extensions().get::<Served>() {
                    served.again();
                }
                self.answered.store(self.age(), Ordering::Relaxed);
                Ok(response)
            }
        }
    }

    /// Whether it has answered anything in the last `span`.
    pub fn answered_within(&self, span: Duration) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        answered > 0 && self.age().saturating_sub(answered) < u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether calls are under way.
    pub fn is_busy(&self, limits: &Upstream) -> bool {
        self.calls.available_permits() < limits.calls as usize
    }

    fn age(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

fn pool(resolver: Resolver, tls: rustls::ClientConfig, patience: Duration) -> Pool {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
    // HTTP/1.1 only: a call has its connection to itself, so cutting the call surely ends it at the server.
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(20))
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(64)
        // Only what was never begun to be written is taken to another connection.
        .retry_canceled_requests(true)
        .build(Patient { inner: https, patience })
}

/// A server that needs TLS 1.2 after its waiver has ended is told so.
fn waiver_over(fault: LegFault, ended: bool) -> LegFault {
    if ended && fault.detail == "it does not speak TLS 1.3" {
        return LegFault { told: format!("{}, and its waiver for TLS 1.2 has ended", fault.detail), ..fault };
    }
    fault
}

fn allowed(config: &HttpUpstream, uri: &Uri) -> Result<Allowed, String> {
    let read = |text: &String| text.parse::<Network>().map_err(|fault| fault.to_string());
    let ranges = config.allow_addresses.iter().map(read).collect::<Result<_, _>>()?;
    let loopback = match (uri.scheme_str(), config.plain_loopback) {
        (Some("http"), _) => Loopback::Only,
        (_, true) => Loopback::Open,
        _ => Loopback::Closed,
    };
    Ok(Allowed { ranges, loopback })
}

/// Plain HTTP stays on this machine, and a literal address must be allowed: the connector resolves only names.
fn check(uri: &Uri, config: &HttpUpstream, allowed: &Allowed) -> Result<(), String> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let literal: Option<IpAddr> = host.parse().ok();
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("a URL holds no user name or password; use a header file".into());
    }
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if config.plain_loopback => {
            let is_loopback = literal.map_or(host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback());
            if !is_loopback {
                return Err("plain http is served on a loopback address only".into());
            }
        }
        Some("http") => return Err("plain http needs plain_loopback and a loopback address".into()),
        _ => return Err(format!("\"{uri}\" is neither https nor http")),
    }
    match literal {
        Some(ip) if !allowed.permits(ip) => Err(format!("{ip} is a private address; allow it with allow_addresses")),
        _ => Ok(()),
    }
}

fn secret(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let fault = || format!("the header \"{name}\" of this server cannot be sent");
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
    let mut value = HeaderValue::from_str(value).map_err(|_| fault())?;
    value.set_sensitive(true);
    Ok((header, value))
}
