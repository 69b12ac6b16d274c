//! The proxy's listeners as the admin plane reaches them from this host. Never opens one.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::crypto::tls::ServerTls;

/// A proxy listener that a kill proof must go through.
#[derive(Clone, Debug)]
pub struct ProxyListener {
    /// Its name in proofs.
    pub name: String,
    /// How it is reached from this host.
    pub way: Way,
}

/// How a listener is reached from this host.
#[derive(Clone, Debug)]
pub enum Way {
    /// TLS at this address, with the certificate that is served now.
    Tls(SocketAddr, ServerTls),
    /// Plain HTTP at this address of loopback.
    Plain(SocketAddr),
    /// Plain HTTP at this unix socket.
    Socket(PathBuf),
}

impl ProxyListener {
    /// The address with its port; none for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.way {
            Way::Tls(address, _) | Way::Plain(address) => Some(address),
            Way::Socket(_) => None,
        }
    }
}
