//! TLS towards servers: 1.3, and 1.2 only where a waiver says so; the system's roots or the one configured; pins of the server's public
//! key; a client certificate where one is due. Never falls back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls::{SupportedProtocolVersion, version};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::crypto::tls::client_pair;

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oldest {
    /// Under a waiver.
    Tls12,
    /// Always.
    Tls13,
}

/// Whom one server is trusted by, and as whom we come.
pub struct Trust<'a> {
    /// A CA in PEM instead of the system's roots.
    pub ca: Option<&'a str>,
    /// `sha256/BASE64`; the key must be one of them.
    pub pins: &'a [String],
    /// Certificate chain and key in PEM.
    pub client: Option<&'a str>,
}

/// The server's key is not among its pins.
#[derive(Clone, Debug, thiserror::Error)]
#[error("its key is {0}, which is none of its pins")]
pub struct OtherKey(pub String);

/// The client side of TLS for one server. `asked` is set once the server has asked for a client certificate.
///
/// # Errors
/// A sentence that says which part of the configuration cannot be used.
pub fn config(trust: &Trust<'_>, oldest: Oldest, asked: Arc<AtomicBool>) -> Result<ClientConfig, String> {
    const NEW: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    const OLD: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = verifier(trust.ca, &provider)?;
    let pins = trust.pins.iter().map(|pin| read_pin(pin)).collect::<Result<Vec<_>, _>>()?;
    let verifier: Arc<dyn ServerCertVerifier> = if pins.is_empty() { roots } else { Arc::new(Pinned { roots, pins }) };
    let key = trust.client.map(client_pair).transpose()?.map(Arc::new);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(if oldest == Oldest::Tls12 { &OLD } else { &NEW })
        .map_err(|fault| format!("TLS cannot be used: {fault}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(Ours { key, asked }));
    config.enable_early_data = false;
    if oldest == Oldest::Tls12 {
        // A TLS 1.2 session that is taken up again shows no certificate, so nothing of it would be checked again.
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

fn verifier(ca: Option<&str>, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let Some(pem) = ca else {
        let system = rustls_platform_verifier::Verifier::new(provider.clone());
        return Ok(Arc::new(system.map_err(|fault| format!("the system's root certificates cannot be read: {fault}"))?));
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "the CA is no certificate in PEM".to_owned())?;
        roots.add(certificate).map_err(|fault| format!("the CA certificate cannot be used: {fault}"))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    Ok(verifier.map_err(|fault| format!("the CA certificate cannot be used: {fault}"))?)
}

fn read_pin(pin: &str) -> Result<[u8; 32], String> {
    let bytes = pin.strip_prefix("sha256/").and_then(|text| STANDARD.decode(text).ok());
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| format!("\"{pin}\" is no pin; one is sha256/BASE64 of 32 bytes"))
}

/// Shows our certificate where the server asks for one, and remembers that it asked.
#[derive(Debug)]
struct Ours {
    key: Option<Arc<CertifiedKey>>,
    asked: Arc<AtomicBool>,
}

impl ResolvesClientCert for Ours {
    fn resolve(&self, _issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.key.clone().filter(|key| key.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

/// Asks the roots first, then compares the public key of the server's certificate.
#[derive(Debug)]
struct Pinned {
    roots: Arc<dyn ServerCertVerifier>,
    pins: Vec<[u8; 32]>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.roots.verify_server_cert(certificate, intermediates, name, ocsp, now)?;
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let digest: [u8; 32] = Sha256::digest(parsed.public_key().raw).into();
        if self.pins.contains(&digest) {
            return Ok(verified);
        }
        let seen = OtherKey(format!("sha256/{}", STANDARD.encode(digest)));
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(seen)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_32_bytes_in_base_64() {
        let good = format!("sha256/{}", STANDARD.encode([7u8; 32]));
        assert_eq!(read_pin(&good), Ok([7u8; 32]));
        for bad in ["", "sha256/", "sha1/AAAA", "sha256/AAAA"] {
            assert!(read_pin(bad).is_err(), "{bad}");
        }
    }
}
