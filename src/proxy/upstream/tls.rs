//! TLS towards servers: 1.3 only, the system's roots or the one configured, and pins of the server's public key. Never falls back.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The client side of TLS for one server. `ca` is PEM, pins are `sha256/BASE64`.
///
/// # Errors
/// A sentence that says which part of the configuration cannot be used.
pub fn config(ca: Option<&str>, pins: &[String]) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = verifier(ca, &provider)?;
    let pins = pins.iter().map(|pin| read_pin(pin)).collect::<Result<Vec<_>, _>>()?;
    let verifier: Arc<dyn ServerCertVerifier> = if pins.is_empty() { roots } else { Arc::new(Pinned { roots, pins }) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|fault| format!("TLS 1.3 cannot be used: {fault}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.enable_early_data = false;
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
            Ok(verified)
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
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
