//! Speaks to a listener the way an attacker or a client does: raw bytes over TLS 1.3, or whole requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An answer, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a header, by lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON, or the data of its last SSE event.
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|_| {
            let last = text.lines().filter_map(|line| line.strip_prefix("data:")).next_back().unwrap_or("null");
            serde_json::from_str(last).unwrap_or(Value::Null)
        })
    }

    /// The reason slug of an in-band refusal.
    pub(crate) fn reason(&self) -> String {
        self.json()["error"]["data"]["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// The JSON-RPC error code; 0 when it is no error.
    pub(crate) fn code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap_or(0)
    }
}

/// Opens a TLS 1.3 connection that trusts only `ca_pem`.
pub(crate) async fn connect(address: SocketAddr, ca_pem: &[u8]) -> TlsStream<TcpStream> {
    connect_with(address, ca_pem, b"http/1.1").await
}

/// The same, for another protocol on top.
pub(crate) async fn connect_with(address: SocketAddr, ca_pem: &[u8], protocol: &[u8]) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.expect("the listener accepts");
    tcp.set_nodelay(true).expect("nodelay");
    shake(tcp, ca_pem, protocol).await.expect("the handshake succeeds")
}

/// A TLS 1.3 handshake over a connection that is open already.
pub(crate) async fn shake(tcp: TcpStream, ca_pem: &[u8], protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        roots.add(certificate.expect("a certificate")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// Sends raw bytes and reads until the answer is whole or the peer closes (at most `patience`).
pub(crate) async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    bytes: &[u8],
    patience: Duration,
) -> Option<Reply> {
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    // The answer to HEAD names the length of a body that does not come (RFC 9110 section 9.3.2).
    let bodiless = bytes.starts_with(b"HEAD ");
    let mut seen = Vec::new();
    let read = async {
        let mut buffer = [0u8; 16 * 1024];
        loop {
            match parse_head(&seen) {
                Some((status, headers, _)) if bodiless => return Some(Reply { status, headers, body: Vec::new() }),
                _ => {}
            }
            if let Some(reply) = whole(&seen) {
                return Some(reply);
            }
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => {
                    return parse_head(&seen).map(|(status, headers, at)| Reply { status, headers, body: seen[at..].to_vec() });
                }
                Ok(n) => seen.extend_from_slice(&buffer[..n]),
            }
        }
    };
    tokio::time::timeout(patience, read).await.ok().flatten()
}

type Head = (u16, Vec<(String, String)>, usize);

fn parse_head(seen: &[u8]) -> Option<Head> {
    let end = seen.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&seen[..end]).into_owned();
    let mut lines = text.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Some((status, lines.filter_map(pair).collect(), end))
}

fn whole(seen: &[u8]) -> Option<Reply> {
    let (status, headers, at) = parse_head(seen)?;
    let find = |name: &str| headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.clone());
    let rest = &seen[at..];
    if let Some(length) = find("content-length") {
        let length: usize = length.parse().ok()?;
        return (rest.len() >= length).then(|| Reply { status, headers, body: rest[..length].to_vec() });
    }
    if find("transfer-encoding").is_some_and(|value| value == "chunked") {
        return dechunk(rest).map(|body| Reply { status, headers, body });
    }
    (status == 202 || status == 204 || status == 304).then(|| Reply { status, headers, body: Vec::new() })
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim(), 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

/// One request on a connection of its own.
pub(crate) async fn request(
    address: SocketAddr,
    ca_pem: &[u8],
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut stream = connect(address, ca_pem).await;
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: localhost:{}\r\n", address.port()));
    }
    let framed = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding"));
    if !framed && (!body.is_empty() || method == "POST") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let bytes = [head.as_bytes(), body].concat();
    exchange(&mut stream, &bytes, Duration::from_secs(20)).await.expect("an answer comes")
}
