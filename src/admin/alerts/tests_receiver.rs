//! A receiver of alerts on loopback: real TLS 1.3 with a CA of its own, and whatever manners a test gives it. It keeps what reaches it. Stands alone, so
//! that the tests of the whole program use it too.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Hit {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a body in JSON")
    }

    /// Whether one of its signatures is the one of this secret, by the documented formula and nothing of the product.
    pub(crate) fn is_signed_by(&self, secret: &str) -> bool {
        let right = signature(secret, self.header("webhook-id"), self.header("webhook-timestamp"), &self.body);
        self.header("webhook-signature").split(' ').any(|one| one == right)
    }
}

/// `v1,` + base64(HMAC-SHA256(key, `id.timestamp.body`)); HMAC as RFC 2104 has it.
pub(crate) fn signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut key = BASE64.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
    assert!(key.len() <= 64, "longer keys are hashed first");
    key.resize(64, 0);
    let pad = |with: u8| key.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(format!("{id}.{timestamp}.")).chain_update(body).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    format!("v1,{}", BASE64.encode(outer))
}

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// A status, header lines, a body.
    Answer(u16, &'static str, Vec<u8>),
    /// Says nothing.
    Hang,
    /// 200, and a body of so many bytes.
    Flood(usize),
    /// The head of a 200, and then nothing.
    Stall,
}

impl Manner {
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(status, "", Vec::new())
    }
}

type Script = Arc<Mutex<Box<dyn Fn(&Hit) -> Manner + Send>>>;

/// The running receiver.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub address: SocketAddr,
    pub ca: PathBuf,
    pub connections: Arc<AtomicUsize>,
    pub written: Arc<AtomicU64>,
    hits: Arc<Mutex<Vec<Hit>>>,
    script: Script,
    _folder: Arc<tempfile::TempDir>,
}

impl Receiver {
    /// On a free port of 127.0.0.1; answers 204.
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1").await
    }

    pub(crate) async fn start_at(ip: &str) -> Self {
        let (acceptor, ca) = identity();
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, ca).expect("written");
        let listener = TcpListener::bind((ip, 0)).await.expect("a free port");
        let script: Box<dyn Fn(&Hit) -> Manner + Send> = Box::new(|_| Manner::status(204));
        let receiver = Self {
            address: listener.local_addr().expect("bound"),
            ca: path,
            connections: Arc::default(),
            written: Arc::default(),
            hits: Arc::default(),
            script: Arc::new(Mutex::new(script)),
            _folder: Arc::new(folder),
        };
        let served = receiver.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                served.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(served.clone().serve(acceptor.clone(), tcp));
            }
        });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/hook", self.address)
    }

    pub(crate) fn ca(&self) -> String {
        self.ca.display().to_string()
    }

    pub(crate) fn script(&self, script: impl Fn(&Hit) -> Manner + Send + 'static) {
        *self.script.lock().expect("not poisoned") = Box::new(script);
    }

    pub(crate) fn always(&self, manner: Manner) {
        self.script(move |_| manner.clone());
    }

    pub(crate) fn hits(&self) -> Vec<Hit> {
        self.hits.lock().expect("not poisoned").clone()
    }

    /// Waits for a number of requests.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Hit> {
        let began = std::time::Instant::now();
        while self.hits().len() < count {
            assert!(began.elapsed() < Duration::from_secs(60), "{count} requests did not come: {:?}", self.hits());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.hits()
    }

    async fn serve(self, acceptor: TlsAcceptor, tcp: TcpStream) {
        let Ok(mut stream) = acceptor.accept(tcp).await else { return };
        let mut seen = Vec::new();
        let mut buffer = [0u8; 16 * 1024];
        let hit = loop {
            if let Some(hit) = parse(&seen) {
                break hit;
            }
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(n) => seen.extend_from_slice(&buffer[..n]),
            }
        };
        self.hits.lock().expect("not poisoned").push(hit.clone());
        let manner = (self.script.lock().expect("not poisoned"))(&hit);
        let stalls = matches!(manner, Manner::Stall);
        let (head, body) = match manner {
            Manner::Hang => return tokio::time::sleep(Duration::from_secs(3_600)).await,
            Manner::Stall => ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_owned(), Vec::new()),
            Manner::Flood(size) => (format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n"), vec![b'x'; size]),
            Manner::Answer(status, headers, body) => {
                (format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len()), body)
            }
        };
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        for chunk in body.chunks(16 * 1024) {
            if stream.write_all(chunk).await.is_err() {
                return;
            }
            self.written.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        }
        let _ = stream.flush().await;
        if stalls {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
        }
        let _ = stream.shutdown().await;
    }
}

fn parse(seen: &[u8]) -> Option<Hit> {
    let end = seen.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&seen[..end]).into_owned();
    let mut lines = text.lines();
    let method = lines.next()?.split(' ').next()?.to_owned();
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(pair).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
    let body = seen.get(end..end + length)?.to_vec();
    Some(Hit { method, headers, body })
}

/// A CA, and what it signed for loopback.
fn identity() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let ca = params.self_signed(&key).expect("a CA");
    let issuer = Issuer::new(params, key);
    let names = ["localhost", "127.0.0.1", "127.0.0.2", "hook.example"].map(str::to_owned).to_vec();
    let own = KeyPair::generate().expect("a key");
    let cert = CertificateParams::new(names).expect("parameters").signed_by(&own, &issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let key = PrivateKeyDer::Pkcs8(own.serialize_der().into());
    let config = builder.expect("versions").with_no_client_auth().with_single_cert(vec![cert.der().clone()], key);
    (TlsAcceptor::from(Arc::new(config.expect("a server"))), ca.pem())
}

/// 64 KiB of gzip that would unpack to 10 MB: one block with the fixed codes (RFC 1951 section 3.2.6), a zero and then "258 times the same".
pub(crate) fn bomb() -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut byte, mut place) = (0u8, 0u8);
    let mut bit = |out: &mut Vec<u8>, one: u8| {
        byte |= one << place;
        place += 1;
        if place == 8 {
            out.push(byte);
            (byte, place) = (0, 0);
        }
    };
    for one in [1, 1, 0] {
        bit(&mut out, one);
    }
    for code in std::iter::once("00110000").chain(std::iter::repeat_n("1100010100000", 40_000)) {
        for one in code.bytes() {
            bit(&mut out, one - b'0');
        }
    }
    for _ in 0..16 {
        bit(&mut out, 0);
    }
    out
}
