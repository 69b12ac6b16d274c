//! Which addresses a server may stand at. A public name that resolves to a private address is refused unless it was allowed
//! (server-side request forgery, DNS rebinding). Never connects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// The name resolves to no address that is allowed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the address is not allowed for this server")]
pub struct AddressRefused;

/// `ADDRESS/BITS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Reads `10.0.0.0/8`, `fd00::/8`, or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.trim().parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.trim().parse().ok()).filter(|bits| *bits <= most)?;
        Some(Self { address, bits })
    }

    fn holds(self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.bits);
                u64::from(net.to_bits()) >> shift == u64::from(ip.to_bits()) >> shift
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.bits);
                net.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

/// The addresses one server may stand at.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// Private ranges that are allowed.
    pub ranges: Vec<Cidr>,
    /// Whether loopback is allowed.
    pub loopback: bool,
}

impl Allowed {
    /// Whether a server may stand at `ip`.
    pub fn permits(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        (self.loopback && ip.is_loopback()) || !is_private(ip) || self.ranges.iter().any(|range| range.holds(ip))
    }
}

/// Whether an address belongs to no server on the public internet.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => private_v4(ip),
        IpAddr::V6(ip) => private_v6(ip),
    }
}

fn private_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (18..20).contains(&b))
}

fn private_v6(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    // 64:ff9b::/96 and 2002::/16 carry IPv4 addresses inside.
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || first & 0xfe00 == 0xfc00
        || first & 0xffc0 == 0xfe80
        || first == 0x2002
        || (first == 0x64 && ip.segments()[1] == 0xff9b)
}

/// Resolves names to allowed addresses only.
#[derive(Clone)]
pub struct Resolver(pub Arc<Allowed>);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allowed = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let kept: Vec<SocketAddr> = found.filter(|address| allowed.permits(address.ip())).collect();
            if kept.is_empty() {
                return Err(std::io::Error::other(AddressRefused));
            }
            Ok(kept.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(ranges: &[&str], loopback: bool, ip: &str) -> bool {
        let ranges = ranges.iter().map(|range| Cidr::parse(range).expect("range")).collect();
        Allowed { ranges, loopback }.permits(ip.parse().expect("ip"))
    }

    #[test]
    fn private_addresses_need_leave() {
        for ip in [
            "10.1.2.3",
            "127.0.0.1",
            "169.254.169.254",
            "192.168.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(!permits(&[], false, ip), "{ip}");
        }
        assert!(permits(&[], false, "93.184.216.34"));
        assert!(permits(&[], false, "2606:4700::1"));
        assert!(permits(&["10.0.0.0/8"], false, "10.1.2.3"));
        assert!(!permits(&["10.0.0.0/8"], false, "11.0.0.1") || !is_private("11.0.0.1".parse().expect("ip")));
        assert!(permits(&["fd00::/8"], false, "fd12::1"));
        assert!(permits(&[], true, "127.0.0.1"));
        assert!(!permits(&[], true, "10.0.0.1"));
    }

    #[test]
    fn ranges_are_read_strictly() {
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "x", "::/129"] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
        assert!(permits(&["0.0.0.0/0"], false, "10.0.0.1") && permits(&["::/0"], false, "::1"));
    }
}
