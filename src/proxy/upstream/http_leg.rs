//! One streamable HTTP server: its address, its trust, its headers, its connections. Never follows a redirect and never repeats a request.

use std::error::Error;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;

use super::super::descriptors;
use super::super::refuse::Failure;
use super::address::{AddressRefused, Allowed, Cidr, Resolver};
use super::counted::Counted;
use super::tls;
use crate::config::server::HttpUpstream;
use crate::policy::snapshot::ServerEntry;

type Https = HttpsConnector<HttpConnector<Resolver>>;

/// A server over HTTP.
pub struct HttpLeg {
    /// Its name.
    pub name: Arc<str>,
    uri: Uri,
    client: Client<Patient<Https>, Full<Bytes>>,
    // What this host adds to each request.
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A request got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegFault {
    /// Whether a byte of it may have reached the server.
    pub reached: bool,
    /// What to call it.
    pub failure: Failure,
    /// What happened.
    pub detail: &'static str,
}

impl HttpLeg {
    /// Prepares a leg; nothing is connected yet.
    ///
    /// # Errors
    /// A sentence that says which part of the configuration cannot be used.
    pub fn build(entry: &ServerEntry, config: &HttpUpstream, connect: Duration) -> Result<Self, String> {
        let uri: Uri = config.url.parse().map_err(|_| format!("\"{}\" is no URL", config.url))?;
        let allowed = allowed(config)?;
        check(&uri, config, &allowed)?;
        let mut tcp = HttpConnector::new_with_resolver(Resolver(Arc::new(allowed)));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let tls = tls::config(config.ca.as_deref(), &config.pins)?;
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        // HTTP/1.1 only: a call has its connection to itself, so cutting the call surely ends it at the server.
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(64)
            // Only what was never begun to be written is taken to another connection.
            .retry_canceled_requests(true)
            .build(Patient { inner: https, patience: connect });
        let headers = entry.secrets.headers.iter().map(|(name, value)| secret(name, value.reveal())).collect::<Result<_, _>>()?;
        Ok(Self { name: entry.name.clone(), uri, client, headers })
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
        match tokio::time::timeout(wait, self.client.request(request)).await {
            Err(_) => Err(LegFault { reached: true, failure: Failure::Timeout, detail: "no answer came" }),
            Ok(Err(fault)) => Err(sorted(&fault)),
            Ok(Ok(response)) => Ok(response),
        }
    }
}

fn allowed(config: &HttpUpstream) -> Result<Allowed, String> {
    let read = |text: &String| Cidr::parse(text).ok_or_else(|| format!("\"{text}\" is no address range; one is 10.0.0.0/8"));
    let ranges = config.allow_addresses.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Allowed { ranges, loopback: config.plain_loopback })
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

fn sorted(fault: &hyper_util::client::legacy::Error) -> LegFault {
    let mut cause: Option<&(dyn Error + 'static)> = Some(fault);
    let mut untrusted = None;
    while let Some(inner) = cause {
        if inner.is::<AddressRefused>() || io_holds::<AddressRefused>(inner) {
            untrusted = Some("its name leads to an address that is not allowed");
        }
        if is_distrust(inner) {
            untrusted = Some("its certificate or TLS version is not accepted");
        }
        cause = inner.source();
    }
    match untrusted {
        Some(detail) => LegFault { reached: false, failure: Failure::Untrusted, detail },
        None if fault.is_connect() => LegFault { reached: false, failure: Failure::Unavailable, detail: "it cannot be reached" },
        None => LegFault { reached: true, failure: Failure::Unavailable, detail: "the connection broke" },
    }
}

fn io_holds<T: Error + 'static>(fault: &(dyn Error + 'static)) -> bool {
    fault.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref).is_some_and(|inner| inner.is::<T>())
}

fn is_distrust(fault: &(dyn Error + 'static)) -> bool {
    let held = fault.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let tls = fault.downcast_ref::<rustls::Error>().or_else(|| held.and_then(|held| held.downcast_ref::<rustls::Error>()));
    tls.is_some()
}

/// Bounds a connector by a time, TLS handshake included.
#[derive(Clone)]
struct Patient<C> {
    inner: C,
    patience: Duration,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<C> Service<Uri> for Patient<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Response: Send + 'static,
    C::Error: Into<BoxError>,
{
    type Response = Counted<C::Response>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let patience = self.patience;
        Box::pin(async move {
            let connected = async {
                let place = descriptors::for_servers().acquire_owned().await?;
                Ok(Counted::new(connecting.await.map_err(Into::into)?, place))
            };
            match tokio::time::timeout(patience, connected).await {
                Ok(connected) => connected,
                Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            }
        })
    }
}
