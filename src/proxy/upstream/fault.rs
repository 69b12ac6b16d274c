//! Why a request got no response: sorted by whether a byte of it may have left, and by whether the server is the one that was approved.
//! The client reads the short sentence, operators the long one; neither holds anything of the request.

use std::error::Error;

use http::Extensions;
use hyper_util::client::legacy;
use rustls::{AlertDescription, CertificateError, Error as Tls};

use super::super::refuse::Failure;
use super::address::AddressRefused;
use super::tls::OtherKey;
use super::wire::Served;

/// A request got no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegFault {
    /// Whether a byte of it may have reached the server.
    pub reached: bool,
    /// Whether it broke on a connection that had served before, without a byte of an answer: the server has most likely closed it meanwhile.
    pub stale: bool,
    /// What to call it.
    pub failure: Failure,
    /// What happened, for clients.
    pub detail: &'static str,
    /// What happened, for operators.
    pub told: String,
}

impl LegFault {
    /// Nothing was sent.
    pub fn unsent(failure: Failure, detail: &'static str, told: impl Into<String>) -> Self {
        Self { reached: false, stale: false, failure, detail, told: told.into() }
    }

    /// It may have been sent.
    pub fn sent(failure: Failure, detail: &'static str) -> Self {
        Self { reached: true, stale: false, failure, detail, told: detail.to_owned() }
    }
}

/// What a failed request means. `asked` says that the server asked for a client certificate and we have none.
pub(super) fn sorted(fault: &legacy::Error, asked: bool) -> LegFault {
    if fault.is_connect() {
        return connecting(fault);
    }
    let served = fault.connect_info().is_some_and(|info| {
        let mut extras = Extensions::new();
        info.get_extras(&mut extras);
        extras.get::<Served>().is_some_and(Served::before)
    });
    // With TLS 1.3 a server judges our certificate after we have begun to send; it has read nothing of the request when it refuses it.
    if !served
        && let Some(Tls::AlertReceived(alert)) = find::<Tls>(fault)
        && judges_us(*alert)
    {
        let detail = "it does not accept the client certificate it is shown";
        let told = if asked { "it asks for a client certificate, and none is configured" } else { detail };
        return LegFault::unsent(Failure::Untrusted, detail, told);
    }
    let mut broke = LegFault::sent(Failure::Unavailable, "the connection broke");
    if asked && !served {
        "the connection broke; it had asked for a client certificate, and none is configured".clone_into(&mut broke.told);
    }
    LegFault { stale: served && is_silent(fault), ..broke }
}

fn connecting(fault: &legacy::Error) -> LegFault {
    const UNREACHED: &str = "it cannot be reached";
    if let Some(refused) = find::<AddressRefused>(fault) {
        return LegFault::unsent(Failure::Untrusted, "its name leads to an address that is not allowed", refused.to_string());
    }
    if let Some(tls) = find::<Tls>(fault) {
        let (detail, told) = distrust(tls);
        return LegFault::unsent(Failure::Untrusted, detail, told);
    }
    let told = match find::<std::io::Error>(fault) {
        Some(io) if io.kind() == std::io::ErrorKind::TimedOut => format!("{UNREACHED}: no connection came about in time"),
        Some(io) => format!("{UNREACHED}: {io}"),
        None => UNREACHED.to_owned(),
    };
    LegFault::unsent(Failure::Unavailable, UNREACHED, told)
}

/// What is wrong with a server's TLS: in general for clients, exactly for operators.
fn distrust(fault: &Tls) -> (&'static str, String) {
    let short = "its certificate is not accepted";
    let long = match fault {
        Tls::InvalidCertificate(CertificateError::Other(other)) if let Some(key) = other.0.downcast_ref::<OtherKey>() => {
            return ("its key is not one of the pinned keys", key.to_string());
        }
        Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        Tls::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "its certificate is not valid yet"
        }
        Tls::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "its certificate is for another name"
        }
        Tls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate is signed by nobody that is trusted"
        }
        Tls::InvalidCertificate(other) => return (short, format!("{short}: {other}")),
        Tls::PeerIncompatible(_) | Tls::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure) => {
            let detail = "it does not speak TLS 1.3";
            return (detail, detail.to_owned());
        }
        Tls::InvalidMessage(_) => {
            let detail = "it does not speak TLS";
            return (detail, detail.to_owned());
        }
        other => return ("TLS with it came to nothing", format!("TLS with it came to nothing: {other}")),
    };
    (short, long.to_owned())
}

fn judges_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// Whether the connection ended before a byte of the answer came.
fn is_silent(fault: &legacy::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let hyper = find::<hyper::Error>(fault).is_some_and(|hyper| hyper.is_incomplete_message() || hyper.is_canceled());
    let gone = [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof];
    hyper || find::<std::io::Error>(fault).is_some_and(|io| gone.contains(&io.kind()))
}

/// The innermost cause of a kind. An `io::Error` hides what it holds from `source`, so that is looked into as well.
fn find<'a, T: Error + 'static>(fault: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut found = None;
    let mut cause: Option<&(dyn Error + 'static)> = Some(fault);
    while let Some(inner) = cause {
        found = inner.downcast_ref::<T>().or(found);
        cause = match inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(held) => Some(held),
            None => inner.source(),
        };
    }
    found
}
