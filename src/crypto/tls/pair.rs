//! A certificate and the private key that fits it, as one text in PEM: what Lifeboat shows where a server asks who is calling. Never prints
//! anything of the key.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::provider;
use crate::base::clock::Timestamp;

/// Reads a certificate chain and its private key.
///
/// # Errors
/// A sentence that says what is missing or does not fit. Never holds anything of the key.
pub fn client_pair(pem: &str) -> Result<CertifiedKey, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| "the client certificate is no certificate in PEM".to_owned())?;
    if chain.is_empty() {
        return Err("the client certificate is missing".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "the client certificate comes without its private key in PEM".to_owned())?;
    let signer = provider().key_provider.load_private_key(key);
    let signer = signer.map_err(|_| "the client's private key is of a kind that TLS cannot use".to_owned())?;
    let pair = CertifiedKey::new(chain, signer);
    pair.keys_match().map_err(|_| "the client's private key does not fit its certificate".to_owned())?;
    Ok(pair)
}

/// When the first certificate of a text in PEM ends; `None` when there is none.
pub fn ends_at(pem: &str) -> Option<Timestamp> {
    let first = CertificateDer::pem_slice_iter(pem.as_bytes()).next()?.ok()?;
    let (_, parsed) = X509Certificate::from_der(&first).ok()?;
    Some(Timestamp(parsed.validity().not_after.timestamp().saturating_mul(1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_comes_with_the_key_that_fits_it() {
        let make = || rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
        let (one, other) = (make(), make());
        let read = |parts: &[String]| client_pair(&parts.concat()).map(|pair| pair.cert.len());
        let (cert, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        assert_eq!(read(&[cert.clone(), key.clone()]), Ok(1));
        assert_eq!(read(&[key.clone(), cert.clone()]), Ok(1));
        assert!(ends_at(&[key.clone(), cert.clone()].concat()).is_some_and(|end| end.civil().0 > 3000));
        for (parts, told) in [
            (vec![cert.clone()], "without its private key"),
            (vec![key], "certificate is missing"),
            (vec![cert, other.signing_key.serialize_pem()], "does not fit"),
        ] {
            let refused = read(&parts).unwrap_err();
            assert!(refused.contains(told), "{refused}");
        }
    }
}
