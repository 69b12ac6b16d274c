//! TLS 1.3 connections to Lifeboat, trusting exactly the CA of the deployment under test. Never skips verification.

use std::io::{Error, Result};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Connects to one listener, again and again.
#[derive(Clone)]
pub struct Dialer {
    authority: String,
    connector: TlsConnector,
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
        Ok(Self { authority: authority.to_owned(), connector: TlsConnector::from(Arc::new(config)) })
    }

    /// `host:port`, as the Host header wants it.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// One new connection.
    pub async fn dial(&self) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host).to_owned();
        let name = ServerName::try_from(host).map_err(Error::other)?;
        self.connector.connect(name, stream).await
    }
}
