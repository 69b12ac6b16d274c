//! The calling side: towards servers, for the kill's proof and the command line. Pins come on top of the roots, never instead of them.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{ServerTls, VERSIONS, bad, provider};
use crate::base::fault::{Fault, Verb};
use crate::crypto::keys;

/// Whose signature counts.
#[derive(Clone, Debug)]
pub enum Roots {
    /// These certificates, in PEM.
    Pem(Vec<u8>),
    /// Those of the operating system.
    System,
}

/// A TLS 1.3 client. With pins the server's own key must be one of them (SHA-256 of SubjectPublicKeyInfo) besides being signed by the roots.
///
/// # Errors
/// `Invalid` when the PEM holds no usable certificate; `Unavailable` when the system has no roots.
pub fn client_config(roots: &Roots, pins: &[[u8; 32]], alpn: &[&str]) -> Verb<Arc<ClientConfig>> {
    let verifier: Arc<dyn ServerCertVerifier> = match roots {
        Roots::Pem(pem) => WebPkiServerVerifier::builder_with_provider(Arc::new(store(pem)?), provider())
            .build()
            .map_err(|e| Fault::invalid("ca", "holds no certificate that can sign others").because(e))?,
        Roots::System => Arc::new(
            rustls_platform_verifier::Verifier::new(provider())
                .map_err(|e| Fault::unavailable("this system has no certificate store").because(e))?,
        ),
    };
    // The builder calls any verifier of one's own dangerous; this one only ever refuses more than the one inside it.
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .map_err(|e| bad(e, "cannot set TLS up"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { verifier, pins: pins.to_vec() }))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// A TLS 1.3 client that accepts the very certificate which `served` shows at that moment, and no other, under any name and whoever signed
/// it: a process that talks to its own listener.
///
/// # Errors
/// `Bug` when the provider lacks TLS 1.3.
pub fn own_client_config(served: &ServerTls) -> Verb<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .map_err(|e| bad(e, "cannot set TLS up"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Own(served.clone())))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A whole handshake, without a network, of a client that trusts these roots alone with what `served` shows.
///
/// # Errors
/// `Invalid`, saying why such a client would refuse it.
pub async fn handshake_in_memory(served: &ServerTls, roots: &[u8], host: &str) -> Verb<()> {
    let client = client_config(&Roots::Pem(roots.to_vec()), &[], &["http/1.1"])?;
    let server = served.server_config(&["http/1.1"])?;
    let name = ServerName::try_from(host.to_owned()).map_err(|e| Fault::invalid("hosts", "no host name").because(e))?;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (told, taken) = tokio::join!(
        tokio_rustls::TlsConnector::from(client).connect(name, near),
        tokio_rustls::TlsAcceptor::from(server).accept(far)
    );
    let refused = |e: std::io::Error| Fault::invalid("certificate", format!("a client would refuse it: {e}"));
    told.map_err(refused)?;
    taken.map(|_| ()).map_err(refused)
}

#[derive(Debug)]
struct Own(ServerTls);

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.fingerprint() {
            Some(digest) if digest == keys::sha256(end_entity) => Ok(ServerCertVerified::assertion()),
            _ => Err(Error::General("somebody else's certificate on our own listener".into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn store(pem: &[u8]) -> Verb<RootCertStore> {
    let wrong = || Fault::invalid("ca", "holds no certificate in PEM that can be read");
    let mut store = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem) {
        store.add(cert.map_err(|_| wrong())?).map_err(|e| wrong().because(e))?;
    }
    if store.is_empty() { Err(wrong()) } else { Ok(store) }
}

/// The digest that a pin names, of a certificate in DER. `None` when it is no certificate.
pub fn spki_sha256(cert: &[u8]) -> Option<[u8; 32]> {
    let cert = CertificateDer::from(cert);
    ParsedCertificate::try_from(&cert).ok().map(|parsed| keys::sha256(&parsed.subject_public_key_info()))
}

#[derive(Debug)]
struct Pinned {
    verifier: Arc<dyn ServerCertVerifier>,
    pins: Vec<[u8; 32]>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if self.pins.is_empty() {
            return Ok(verified);
        }
        match spki_sha256(end_entity) {
            Some(digest) if self.pins.contains(&digest) => Ok(verified),
            _ => Err(Error::General("the server's key is none of its pins".into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
