//! Servers as they are met in the wild: TLS of every make, certificates of every state, and bytes that are no HTTP. They count what reaches them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::upstream::Upstream;

/// A CA that signs servers and clients.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
}

/// A certificate with its key.
pub(crate) struct Identity {
    cert: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a CA");
        Self { pem: cert.pem(), der: cert.der().clone(), issuer: Issuer::new(params, key) }
    }

    pub(crate) fn issue(&self, name: &str) -> Identity {
        self.issue_with(name, |_| {})
    }

    pub(super) fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        Identity { cert: params.signed_by(&key, &self.issuer).expect("a certificate"), key }
    }
}

impl Identity {
    pub(super) fn pin(&self) -> String {
        format!("sha256/{}", STANDARD.encode(Sha256::digest(self.key.subject_public_key_info())))
    }

    /// Certificate and key in one text.
    pub(super) fn pem(&self) -> String {
        format!("{}{}", self.cert.pem(), self.key.serialize_pem())
    }
}

/// TLS 1.3, as it should be.
pub(crate) fn tls13(identity: &Identity) -> Arc<ServerConfig> {
    tls(identity, &rustls::version::TLS13, None)
}

/// TLS 1.2 and nothing newer.
pub(super) fn tls12(identity: &Identity) -> Arc<ServerConfig> {
    tls(identity, &rustls::version::TLS12, None)
}

/// TLS 1.3 for clients whose certificate the authority signs.
pub(super) fn mutual(identity: &Identity, clients: &Authority) -> Arc<ServerConfig> {
    tls(identity, &rustls::version::TLS13, Some(clients))
}

fn tls(identity: &Identity, version: &'static SupportedProtocolVersion, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der.clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("a verifier");
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::Pkcs8(identity.key.serialize_der().into());
    Arc::new(builder.with_single_cert(vec![identity.cert.der().clone()], key).expect("a server"))
}

/// How a site meets a connection.
#[derive(Clone)]
enum Manner {
    Plain,
    Tls(Arc<ServerConfig>),
    /// The port answers nobody: connections are closed at once.
    Down,
}

/// An MCP server behind TLS that can change while it runs.
pub(crate) struct Site {
    pub(crate) upstream: Upstream,
    pub(super) address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    open: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Site {
    pub(crate) async fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let site = Self {
            upstream: Upstream::start().await,
            address: listener.local_addr().expect("bound"),
            manner: Arc::new(Mutex::new(Manner::Tls(config))),
            open: Arc::default(),
        };
        let (manner, open, upstream) = (site.manner.clone(), site.open.clone(), site.upstream.clone());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let manner = manner.lock().expect("lock").clone();
                let task = tokio::spawn(meet(tcp, manner, upstream.clone()));
                open.lock().expect("lock").push(task.abort_handle());
            }
        });
        site
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/mcp", self.address.port())
    }

    /// Starts anew with another certificate: what was open is closed.
    pub(super) fn restart(&self, config: Arc<ServerConfig>) {
        self.change(Manner::Tls(config));
    }

    /// Starts anew without TLS.
    pub(super) fn restart_plain(&self) {
        self.change(Manner::Plain);
    }

    /// Goes away.
    pub(super) fn stop(&self) {
        self.change(Manner::Down);
    }

    fn change(&self, manner: Manner) {
        *self.manner.lock().expect("lock") = manner;
        self.open.lock().expect("lock").drain(..).for_each(|task| task.abort());
    }
}

async fn meet(tcp: TcpStream, manner: Manner, upstream: Upstream) {
    let _ = tcp.set_nodelay(true);
    let service = service_fn(move |request| upstream.clone().serve(request));
    let http = hyper::server::conn::http1::Builder::new();
    match manner {
        Manner::Down => {}
        Manner::Plain => drop(http.serve_connection(TokioIo::new(tcp), service).await),
        Manner::Tls(config) => match TlsAcceptor::from(config).accept(tcp).into_fallible().await {
            Ok(stream) => drop(http.serve_connection(TokioIo::new(stream), service).await),
            // Lets the alert arrive: closing with bytes unread would be a reset.
            Err((_, mut tcp)) => {
                let mut rest = [0; 4096];
                let draining = async { while matches!(tcp.read(&mut rest).await, Ok(read) if read > 0) {} };
                let _ = tokio::time::timeout(Duration::from_millis(500), draining).await;
            }
        },
    }
}

/// What a raw server does with a tools/call that has arrived whole.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// A good answer, after which the connection serves on.
    Answer,
    /// Closes the connection without a byte.
    Close,
    /// Sends these bytes, then closes.
    Bytes(Vec<u8>),
    /// Sends these bytes, then resets the connection.
    Reset(Vec<u8>),
    /// Sends these bytes, then closes only its own half.
    HalfClose(Vec<u8>),
    /// Never answers.
    Hang,
    /// Answers one byte at a time, with a pause after each, without end.
    Drip(Vec<u8>, Duration),
    /// Says `100 Continue` over and over.
    Continue,
}

/// A server that speaks HTTP by hand, so that it can speak it wrongly. Counts the tools/call that arrived, and on which connection.
pub(super) struct Raw {
    pub(super) address: SocketAddr,
    acts: Arc<Mutex<Vec<Act>>>,
    calls: Arc<Mutex<Vec<usize>>>,
}

impl Raw {
    /// Everything but tools/call is answered well.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let raw = Self { address: listener.local_addr().expect("bound"), acts: Arc::default(), calls: Arc::default() };
        let (acts, calls) = (raw.acts.clone(), raw.calls.clone());
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((tcp, _)) = listener.accept().await else { return };
                tokio::spawn(by_hand(tcp, connection, acts.clone(), calls.clone()));
            }
        });
        raw
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// What is done with the next calls, in order; afterwards they are answered well.
    pub(super) fn will(&self, acts: Vec<Act>) {
        *self.acts.lock().expect("lock") = acts;
        self.calls.lock().expect("lock").clear();
    }

    /// The connection of each tools/call that arrived since.
    pub(super) fn calls(&self) -> Vec<usize> {
        self.calls.lock().expect("lock").clone()
    }
}

async fn by_hand(mut tcp: TcpStream, connection: usize, acts: Arc<Mutex<Vec<Act>>>, calls: Arc<Mutex<Vec<usize>>>) {
    let _ = tcp.set_nodelay(true);
    while let Some(body) = next_request(&mut tcp).await {
        let request: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut act = Act::Answer;
        if request["method"] == "tools/call" {
            calls.lock().expect("lock").push(connection);
            let mut acts = acts.lock().expect("lock");
            act = if acts.is_empty() { Act::Answer } else { acts.remove(0) };
        }
        match act {
            Act::Answer => {
                let text = crate::support::upstream::usual_text(&request);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", text.len());
                if tcp.write_all(format!("{head}{text}").as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::Close => return,
            Act::Bytes(bytes) => {
                let _ = tcp.write_all(&bytes).await;
                return;
            }
            Act::Reset(bytes) => {
                let _ = tcp.write_all(&bytes).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = tcp.set_zero_linger();
                return;
            }
            Act::HalfClose(bytes) => {
                let _ = tcp.write_all(&bytes).await;
                let _ = tcp.shutdown().await;
                let _ = next_request(&mut tcp).await;
                return;
            }
            Act::Hang => {
                let _ = next_request(&mut tcp).await;
                return;
            }
            Act::Drip(bytes, pause) => {
                for byte in bytes.into_iter().chain(std::iter::repeat(b' ')) {
                    if tcp.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
            Act::Continue => {
                while tcp.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                return;
            }
        }
    }
}

/// The body of the next whole request; `None` when the peer has closed.
async fn next_request(tcp: &mut TcpStream) -> Option<Vec<u8>> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(at) = seen.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&seen[..at]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
            if seen.len() >= at + 4 + length {
                return Some(seen[at + 4..at + 4 + length].to_vec());
            }
        }
        match tcp.read(&mut buffer).await {
            Ok(read) if read > 0 => seen.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
}
