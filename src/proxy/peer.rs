//! Whose request it is, as an address: the peer's own, or the one that trusted balancers name in `X-Forwarded-For`. Never believes
//! anybody else, and never looks at `Forwarded` or `X-Real-IP`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::HeaderMap;

use crate::config::Settings;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address, or that of its client where a PROXY header named one.
    pub address: SocketAddr,
    /// Whether it came by a unix socket, which has no address; it counts as this host.
    pub by_socket: bool,
    /// Whether the connection comes from this host, as kill proofs do.
    pub is_here: bool,
}

/// Whether a connection begins and ends on one host: over loopback, or at the very address it comes from.
pub fn is_here(peer: IpAddr, own: Option<IpAddr>) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback() || own.is_some_and(|own| own.to_canonical() == peer)
}

impl Peer {
    /// A peer with an address, at an address of ours.
    pub fn at(address: SocketAddr, own: Option<IpAddr>) -> Self {
        Self { address, by_socket: false, is_here: is_here(address.ip(), own) }
    }

    /// A peer at a unix socket.
    pub fn by_socket() -> Self {
        Self { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), by_socket: true, is_here: true }
    }

    /// The address of the client of one request: from the right, the first hop that is not trusted itself. A hop that is no address
    /// ends the walk: the last one that was trusted answers for it.
    pub fn client(&self, settings: &Settings, headers: &HeaderMap) -> SocketAddr {
        let believed = if self.by_socket { settings.trusts_sockets() } else { settings.trusts(self.address.ip()) };
        if !believed {
            return self.address;
        }
        let mut client = self.address;
        let named: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or("")).collect();
        for hop in named.iter().rev().flat_map(|value| value.rsplit(',')) {
            let Some(ip) = address(hop.trim()) else { return client };
            client = SocketAddr::new(ip, 0);
            if !settings.trusts(ip) {
                return client;
            }
        }
        client
    }
}

/// `1.2.3.4`, `1.2.3.4:5`, `fd00::1` or `[fd00::1]:5`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().ok();
    let ip = bare.or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    ip.or_else(bracketed).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: Peer, values: &[&str]) -> String {
        let settings: Settings = toml::from_str("trusted_proxies = [\"10.0.0.0/8\", \"fd00::/8\", \"unix:\"]").unwrap();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        peer.client(&settings, &headers).ip().to_string()
    }

    fn at(ip: &str) -> Peer {
        Peer::at(SocketAddr::new(ip.parse().unwrap(), 4000), None)
    }

    #[test]
    fn a_kill_proof_comes_from_this_host_whatever_address_the_listener_has() {
        let here = |peer: &str, own: &str| is_here(peer.parse().unwrap(), own.parse().ok());
        for (peer, own) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("10.0.0.5", "10.0.0.5"), ("::ffff:10.0.0.5", "10.0.0.5")] {
            assert!(here(peer, own), "{peer} {own}");
        }
        assert!(!here("10.0.0.6", "10.0.0.5") && !here("10.0.0.5", ""));
    }

    #[test]
    fn atk_p12_a_stranger_is_not_believed() {
        assert_eq!(client(at("192.0.2.9"), &["203.0.113.1"]), "192.0.2.9");
        assert_eq!(client(at("192.0.2.9"), &[]), "192.0.2.9");
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_is_not_trusted() {
        for (values, client_is) in [
            (vec![], "10.0.0.1"),
            (vec!["203.0.113.1"], "203.0.113.1"),
            (vec!["198.51.100.1, 203.0.113.1"], "203.0.113.1"),
            (vec!["198.51.100.1", "203.0.113.1, 10.9.9.9"], "203.0.113.1"),
            (vec!["203.0.113.1 ,fd00::2"], "203.0.113.1"),
            (vec!["10.1.1.1,10.2.2.2"], "10.1.1.1"),
            (vec!["203.0.113.1:5000"], "203.0.113.1"),
            (vec!["[2001:db8::1]:5000"], "2001:db8::1"),
            (vec!["2001:db8::1"], "2001:db8::1"),
            (vec!["::ffff:203.0.113.1"], "203.0.113.1"),
        ] {
            assert_eq!(client(at("10.0.0.1"), &values), client_is, "{values:?}");
        }
    }

    #[test]
    fn atk_p12_what_is_no_address_ends_the_walk() {
        for values in
            [vec!["203.0.113.1, evil"], vec!["203.0.113.1,"], vec!["203.0.113.1", ""], vec!["unknown"], vec!["203.0.113.1 evil"]]
        {
            assert_eq!(client(at("10.0.0.1"), &values), "10.0.0.1", "{values:?}");
        }
        assert_eq!(client(at("10.0.0.1"), &["198.51.100.1, evil, 10.3.3.3"]), "10.3.3.3");
    }

    #[test]
    fn a_socket_is_this_host_until_it_names_its_client() {
        assert_eq!(client(Peer::by_socket(), &[]), "127.0.0.1");
        assert_eq!(client(Peer::by_socket(), &["203.0.113.1"]), "203.0.113.1");
        let nobody: Settings = toml::from_str("").unwrap();
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, http::HeaderValue::from_static("203.0.113.1"));
        assert_eq!(Peer::by_socket().client(&nobody, &headers).ip().to_string(), "127.0.0.1");
    }
}
