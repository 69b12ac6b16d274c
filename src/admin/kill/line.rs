//! The connection canaries go through: an ordinary HTTPS client of the proxy, kept warm so that a proof does not wait for a handshake.
//! Never trusts more than the certificate files of this data directory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;
use tokio_util::sync::CancellationToken;

use super::super::Admin;
use super::control::locked;
use crate::crypto::tls::{self, Roots};
use crate::policy::feed::ProxyListener;

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

// A refusal is a few hundred bytes; whatever is larger is none.
const LARGEST_ANSWER: usize = 64 * 1024;
const CONNECT: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(90);
// Shorter than the time after which the proxy closes an idle connection.
const KEEP_WARM: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(2);

/// The client of the canaries.
pub(super) struct Line {
    certificates: [PathBuf; 2],
    client: Mutex<Option<(String, Https)>>,
}

impl Line {
    /// A client that trusts `tls/ca.pem` and what `tls/server.pem` brings along.
    pub(super) fn new(data: &Path) -> Self {
        let tls = data.join("tls");
        Self { certificates: [tls.join("ca.pem"), tls.join("server.pem")], client: Mutex::default() }
    }

    /// Sends a request to a listener under the name `host`; gives status and body.
    ///
    /// # Errors
    /// A sentence; the next attempt begins with fresh certificates and a new connection.
    pub(super) async fn send(
        &self,
        listener: &ProxyListener,
        host: &str,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let sent = self.try_send(listener, host, request, body).await;
        if sent.is_err() {
            *locked(&self.client) = None;
        }
        sent
    }

    async fn try_send(
        &self,
        listener: &ProxyListener,
        host: &str,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let mut request: Request<Full<Bytes>> = request.body(Full::new(body)).map_err(|e| e.to_string())?;
        let address = reachable(listener.address);
        let path = request.uri().path().to_owned();
        *request.uri_mut() = format!("https://{address}{path}").parse().map_err(|e: http::uri::InvalidUri| e.to_string())?;
        let name = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let authority = HeaderValue::try_from(format!("{name}:{}", address.port())).map_err(|e| e.to_string())?;
        request.headers_mut().insert(HOST, authority);
        let answer = self.client(host)?.request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await.map_err(|e| e.to_string())?;
        Ok((status, body.to_bytes()))
    }

    fn client(&self, host: &str) -> Result<Https, String> {
        let mut held = locked(&self.client);
        if let Some((_, client)) = held.as_ref().filter(|(name, _)| name == host) {
            return Ok(client.clone());
        }
        let client = self.connect(host)?;
        *held = Some((host.to_owned(), client.clone()));
        Ok(client)
    }

    fn connect(&self, host: &str) -> Result<Https, String> {
        let mut roots = Vec::new();
        for file in &self.certificates {
            if let Ok(pem) = std::fs::read(file) {
                roots.extend(pem);
            }
        }
        let config = tls::client_config(&Roots::Pem(roots), &[], &[]).map_err(|fault| fault.message)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config((*config).clone())
            .https_only()
            .with_server_name_resolver(FixedServerNameResolver::new(name))
            .enable_http1()
            .wrap_connector(tcp);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(2);
        Ok(builder.build(connector))
    }
}

/// A listener on all addresses is reached over loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The name a canary asks for: the first of the configured hosts.
pub(super) fn host(admin: &Admin) -> String {
    let snapshot = admin.feed.snapshot();
    snapshot.settings.listen.hosts.first().cloned().unwrap_or_else(|| "localhost".to_owned())
}

/// The task that keeps one connection per listener open, so that a proof costs one round trip. Runs until `stop`.
pub async fn keep_warm(admin: Arc<Admin>, stop: CancellationToken) {
    loop {
        let host = host(&admin);
        let listeners = admin.feed.listeners();
        for listener in &listeners {
            let ping = admin.kill.line.send(listener, &host, Request::get("/health"), Bytes::new());
            if let Ok(Err(fault)) = tokio::time::timeout(PING, ping).await {
                tracing::warn!(listener = listener.name, %fault, "no connection to prove a kill through");
            }
        }
        let pause = if listeners.is_empty() { PING } else { KEEP_WARM };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
