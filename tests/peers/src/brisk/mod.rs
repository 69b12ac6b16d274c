//! A fast MCP server over HTTP/1.1, for measuring what stands before it: it costs a few microseconds a call, on one thread. Answers in the era
//! of the request and remembers nothing but how many calls it had. Never checks a credential.
//!
//! Flags: `--port N` (0: any), and for a second listener with TLS 1.3 `--tls-port N --cert FILE --key FILE`. Prints `listening HOST:PORT
//! [HOST:PORT]`. `POST /mcp` answers as JSON, `POST /sse` as one event; `GET /stats` says `{"calls":N}`.

mod answer;

use std::convert::Infallible;
use std::io::{Error, Result};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::flags::Flags;

/// What the connections share.
#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    sessions: AtomicU64,
}

/// Serves until the process ends.
pub async fn run(flags: &Flags) -> Result<()> {
    let counts = Arc::new(Counts::default());
    let plain = bind(flags.number("port", 0)).await?;
    let address = plain.local_addr()?;
    if !flags.has("cert") {
        println!("listening {address}");
        return serve(plain, counts).await;
    }
    let acceptor = acceptor(Path::new(flags.need("cert")), Path::new(flags.need("key")))?;
    let secret = bind(flags.number("tls-port", 0)).await?;
    println!("listening {address} {}", secret.local_addr()?);
    tokio::try_join!(serve(plain, Arc::clone(&counts)), serve_tls(secret, acceptor, counts)).map(drop)
}

async fn bind(port: u64) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap_or(0))).await
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor> {
    let chain =
        CertificateDer::pem_file_iter(cert).map_err(Error::other)?.collect::<std::result::Result<_, _>>().map_err(Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(listener: TcpListener, counts: Arc<Counts>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(TokioIo::new(stream), Arc::clone(&counts)));
    }
}

async fn serve_tls(listener: TcpListener, acceptor: TlsAcceptor, counts: Arc<Counts>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, counts) = (acceptor.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                connection(TokioIo::new(stream), counts).await;
            }
        });
    }
}

async fn connection(io: impl Read + Write + Unpin, counts: Arc<Counts>) {
    let service = service_fn(|request: Request<Incoming>| {
        let counts = Arc::clone(&counts);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Ok::<Response<Full<Bytes>>, Infallible>(answer::answer(&counts, &head, &body))
        }
    });
    // A client that hangs up ends its connection, and nothing else.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
}
