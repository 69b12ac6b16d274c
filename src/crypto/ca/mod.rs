//! Lifeboat's own certificate authority: ECDSA P-256, constrained to the names it was made for, and the listeners' certificates. Never
//! touches a certificate that somebody else's authority signed.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::crypto::files::{self, Readers};
use crate::crypto::keys::sha256;

const DAY_MS: i64 = 86_400_000;
const CA_DAYS: i64 = 3_652;
/// The longest that browsers accept.
const SERVER_DAYS: i64 = 397;
const RENEW_DAYS: i64 = 30;
/// Clocks of clients may be behind ours.
/// How much earlier than it was made a certificate of this authority begins to count: the clocks of clients may be behind.
pub const BACKDATE_MS: i64 = 3_600_000;

/// The authority, ready to sign.
pub struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca").field("pem", &self.pem).finish_non_exhaustive()
    }
}

/// What became of the listeners' certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// It fits and lasts.
    Kept,
    /// It was made new.
    Issued,
    /// Somebody else's authority signed it; it is theirs to renew.
    Foreign,
}

/// Reads the authority, or makes one for these host names and addresses: 10 years; the certificate 0644, the key 0600.
///
/// # Errors
/// `Invalid` when only one of the two files is there, or they cannot be read as what they should be.
pub fn ensure_ca(cert: &Path, key: &Path, hosts: &[String], now: Timestamp) -> Verb<Ca> {
    match (files::read(cert)?, files::read(key)?) {
        (Some(pem), Some(secret)) => read_ca(cert, key, pem, &zeroize::Zeroizing::new(secret)),
        (None, None) => make_ca(cert, key, hosts, now),
        (Some(_), None) => Err(Fault::invalid(key.display().to_string(), "is missing, and without it the CA cannot sign")),
        (None, Some(_)) => Err(Fault::invalid(cert.display().to_string(), "is missing, though its key is there")),
    }
}

fn read_ca(cert: &Path, key: &Path, pem: Vec<u8>, secret: &[u8]) -> Verb<Ca> {
    let pem = String::from_utf8(pem).map_err(|_| Fault::invalid(cert.display().to_string(), "is no PEM"))?;
    let wrong = |path: &Path| Fault::invalid(path.display().to_string(), "cannot be read as part of the CA");
    let pair = std::str::from_utf8(secret).ok().and_then(|text| KeyPair::from_pem(text).ok()).ok_or_else(|| wrong(key))?;
    let der = first_cert(pem.as_bytes()).ok_or_else(|| wrong(cert))?;
    let fits = X509Certificate::from_der(&der).is_ok_and(|(_, parsed)| {
        parsed.public_key().subject_public_key.data.as_ref() == rcgen::PublicKeyData::der_bytes(&pair) && parsed.is_ca()
    });
    if !fits {
        return Err(Fault::invalid(key.display().to_string(), "does not fit the CA's certificate"));
    }
    let issuer = Issuer::from_ca_cert_pem(&pem, pair).map_err(|e| wrong(cert).because(e))?;
    Ok(Ca { pem, issuer })
}

fn make_ca(cert: &Path, key: &Path, hosts: &[String], now: Timestamp) -> Verb<Ca> {
    const WHAT: &str = "cannot make the CA";
    let bug = |e: rcgen::Error| Fault::bug(WHAT).because(e);
    let pair = KeyPair::generate().map_err(bug)?;
    let mut params = CertificateParams::default();
    // Two authorities with one name would hide each other in a trust store.
    let tag: String = sha256(pair.public_key_raw()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Lifeboat CA {tag}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.name_constraints = Some(constraints(hosts));
    (params.not_before, params.not_after) = validity(now, CA_DAYS)?;
    let made = params.self_signed(&pair).map_err(bug)?;
    // The key first: a certificate without its key would look like somebody else's.
    files::write(key, zeroize::Zeroizing::new(pair.serialize_pem()).as_bytes(), Readers::Owner)?;
    files::write(cert, made.pem().as_bytes(), Readers::Everybody)?;
    Ok(Ca { pem: made.pem(), issuer: Issuer::new(params, pair) })
}

/// Only these names may ever be certified. A kind of name that is not mentioned at all would be free, so each kind gets one entry at least.
fn constraints(hosts: &[String]) -> NameConstraints {
    let subtree = |host: &String| match host.parse::<IpAddr>() {
        Ok(address @ IpAddr::V4(_)) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 32)),
        Ok(address @ IpAddr::V6(_)) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 128)),
        Err(_) => GeneralSubtree::DnsName(host.clone()),
    };
    let mut permitted: Vec<GeneralSubtree> = hosts.iter().map(subtree).collect();
    if !permitted.iter().any(|tree| matches!(tree, GeneralSubtree::DnsName(_))) {
        permitted.push(GeneralSubtree::DnsName("none.invalid".into()));
    }
    if !permitted.iter().any(|tree| matches!(tree, GeneralSubtree::IpAddress(_))) {
        permitted.push(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 32)));
    }
    NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() }
}

fn validity(now: Timestamp, days: i64) -> Verb<(OffsetDateTime, OffsetDateTime)> {
    let at =
        |ms: i64| OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).map_err(|e| Fault::bug("the clock is wrong").because(e));
    // The day of the back-dated hour counts towards the longest time too.
    Ok((at(now.0 - BACKDATE_MS)?, at(now.0 - BACKDATE_MS + days * DAY_MS - 1_000)?))
}

impl Ca {
    /// The certificate, as clients must trust it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate for the hosts, 397 days, with a key of its own. Returns chain and key in PEM.
    ///
    /// # Errors
    /// `Invalid` when a host is not among the names that the CA is constrained to.
    pub fn issue_server(&self, hosts: &[String], now: Timestamp) -> Verb<(String, zeroize::Zeroizing<String>)> {
        let bug = |e: rcgen::Error| Fault::bug("cannot make the certificate").because(e);
        let mut params = CertificateParams::new(hosts).map_err(|e| Fault::invalid("hosts", "holds no host name").because(e))?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Lifeboat");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = validity(now, SERVER_DAYS)?;
        let pair = KeyPair::generate().map_err(bug)?;
        let made = params.signed_by(&pair, &self.issuer).map_err(bug)?;
        self.check(made.der(), hosts, now)?;
        Ok((made.pem(), zeroize::Zeroizing::new(pair.serialize_pem())))
    }

    /// Sees the new certificate with a client's eyes, so that a host outside the constraints is found here and not by every client.
    fn check(&self, der: &CertificateDer<'_>, hosts: &[String], now: Timestamp) -> Verb<()> {
        let bug = |e: Box<dyn std::error::Error + Send + Sync>| Fault::bug("cannot check the certificate").because(e);
        let mut store = rustls::RootCertStore::empty();
        let root = first_cert(self.pem.as_bytes()).ok_or_else(|| Fault::bug("the CA is no PEM"))?;
        store.add(root).map_err(|e| bug(e.into()))?;
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(store.into(), provider).build().map_err(|e| bug(e.into()))?;
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.0.unsigned_abs()));
        for host in hosts {
            let name = ServerName::try_from(host.as_str())
                .map_err(|e| Fault::invalid("hosts", format!("{host} is no host name")).because(e))?;
            verifier.verify_server_cert(der, &[], &name, &[], at).map_err(|e| {
                let message =
                    format!("the CA of this deployment may not certify {host}: it is constrained to the names of the first run");
                Fault::invalid("hosts", message).because(e)
            })?;
        }
        Ok(())
    }
}

/// Sees to it that the listeners have a certificate for the hosts that lasts 30 days more, at 0600.
///
/// # Errors
/// As `Ca::issue_server`; `Unavailable` when the files cannot be written.
pub fn ensure_server(ca: &Ca, cert: &Path, key: &Path, hosts: &[String], now: Timestamp) -> Verb<Ensured> {
    if let (Some(pem), Some(_)) = (files::read(cert)?, files::read(key)?) {
        match describe(&pem) {
            Some(found) if found.issuer != describe(ca.pem.as_bytes()).map(|ca| ca.subject).unwrap_or_default() => {
                return Ok(Ensured::Foreign);
            }
            Some(found)
                if found.not_after.since_ms(now) > RENEW_DAYS * DAY_MS && hosts.iter().all(|host| found.hosts.contains(host)) =>
            {
                return Ok(Ensured::Kept);
            }
            _ => {}
        }
    }
    let (chain, secret) = ca.issue_server(hosts, now)?;
    files::write(key, secret.as_bytes(), Readers::Owner)?;
    files::write(cert, chain.as_bytes(), Readers::Owner)?;
    Ok(Ensured::Issued)
}

/// A request for a certificate of these names, signed with the listeners' own key, in PEM (PKCS #10): for an authority of the organisation.
///
/// # Errors
/// `Invalid` when the key is none that can sign, or a name is no host name.
pub fn request(key: &[u8], names: &[String]) -> Verb<String> {
    let pair = std::str::from_utf8(key).ok().and_then(|text| KeyPair::from_pem(text).ok());
    let pair = pair.ok_or_else(|| Fault::invalid("tls.key", "holds no private key in PEM (PKCS #8) that can sign a request"))?;
    let mut params = CertificateParams::new(names).map_err(|e| Fault::invalid("hosts", "holds no host name").because(e))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, names.first().map_or("Lifeboat", String::as_str));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let bug = |e: rcgen::Error| Fault::bug("cannot make the request").because(e);
    params.serialize_request(&pair).and_then(|request| request.pem()).map_err(bug)
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Host names and addresses.
    pub hosts: Vec<String>,
    /// When it begins to count.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// Reads the first certificate of a PEM file; `None` when there is none.
pub fn describe(pem: &[u8]) -> Option<Described> {
    describe_der(&first_cert(pem)?)
}

/// Reads one certificate in DER; `None` when it is none.
pub fn describe_der(der: &[u8]) -> Option<Described> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    let names =
        cert.subject_alternative_name().ok().flatten().map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .ok()
            .map(|address| address.to_string()),
        _ => None,
    };
    Some(Described {
        subject: cert.subject().to_string(),
        issuer: cert.issuer().to_string(),
        hosts: names.iter().filter_map(host).collect(),
        not_before: Timestamp(cert.validity().not_before.timestamp().saturating_mul(1000)),
        not_after: Timestamp(cert.validity().not_after.timestamp().saturating_mul(1000)),
    })
}

/// SHA-256 of the first certificate of a PEM file as `AA:BB:…`, the way browsers and openssl show it; `None` when there is none.
pub fn fingerprint_sha256(pem: &str) -> Option<String> {
    let digest = sha256(&first_cert(pem.as_bytes())?);
    Some(digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
}

fn first_cert(pem: &[u8]) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem).ok()
}
