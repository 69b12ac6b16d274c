//! TLS 1.3 connections to Lifeboat, trusting exactly the CA of the deployment under test. Never skips verification.

use std::io::{Error, Result};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Connects to one listener, again and again.
#[derive(Clone)]
pub struct Dialer {
    authority: String,
    connector: TlsConnector,
    source: Option<IpAddr>,
}

impl Dialer {
    /// `authority` is `127.0.0.1:PORT`; `alpn` is empty for HTTP/1.1.
    pub fn new(authority: &str, ca: &Path, alpn: &[&str]) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).map_err(Error::other)? {
            roots.add(certificate.map_err(Error::other)?).map_err(Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self { authority: authority.to_owned(), connector: TlsConnector::from(Arc::new(config)), source: None })
    }

    /// The same, from another address of this host.
    pub fn coming_from(self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    /// `host:port`, as the Host header wants it.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// One new connection.
    pub async fn dial(&self) -> Result<TlsStream<TcpStream>> {
        let stream = match self.source {
            None => TcpStream::connect(&self.authority).await?,
            Some(source) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::new(source, 0))?;
                socket.connect(self.authority.parse().map_err(Error::other)?).await?
            }
        };
        stream.set_nodelay(true)?;
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host).to_owned();
        let name = ServerName::try_from(host).map_err(Error::other)?;
        self.connector.connect(name, stream).await
    }
}
