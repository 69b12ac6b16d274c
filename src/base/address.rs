//! Which addresses a peer may stand at: what of the address space belongs to no server on the public internet.
//! Pure; never resolves a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::net::Network;

/// The addresses one peer may stand at.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Ranges that are allowed although they are not public.
    pub ranges: Vec<Network>,
    /// What loopback is.
    pub loopback: Loopback,
}

/// What loopback is to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Loopback {
    /// Not allowed, unless a range names it.
    #[default]
    Closed,
    /// Allowed.
    Open,
    /// The only thing that is allowed: plain HTTP must not leave the machine, whatever a name resolves to.
    Only,
}

impl Allowed {
    /// Whether a peer may stand at `ip`. An address that carries an IPv4 address inside is allowed only where both are: a translator
    /// delivers to the inner one.
    pub fn permits(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        match self.loopback {
            Loopback::Only => return ip.is_loopback(),
            Loopback::Open if ip.is_loopback() => return true,
            _ => {}
        }
        let named = self.ranges.iter().any(|range| range.holds(ip));
        let inner = match ip {
            IpAddr::V6(ip) => embedded(ip),
            IpAddr::V4(_) => None,
        };
        (named || !is_special(ip)) && inner.is_none_or(|inner| self.permits(IpAddr::V4(inner)))
    }
}

/// Whether an address belongs to no server on the public internet (the IANA special-purpose registries, RFC 6890).
pub fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => special_v4(ip),
        IpAddr::V6(ip) => special_v6(ip),
    }
}

fn special_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || a == 0
        || a >= 240
        // Shared by carriers (RFC 6598), assignments of the IETF, the retired 6to4 relays, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (18..20).contains(&b))
}

fn special_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Outside 2000::/3 nobody has a public address (RFC 4291): loopback, unique local, link-local, site-local, multicast and the like.
    a & 0xe000 != 0x2000
        || embedded(ip).is_some()
        // Assignments of the IETF (2001::/23, Teredo in it), documentation.
        || (a == 0x2001 && b < 0x200)
        || (a == 0x2001 && b == 0xdb8)
        || (a == 0x3fff && b < 0x1000)
}

/// The IPv4 address that a translated or tunnelled one leads to: IPv4-compatible `::/96`, IPv4-translated `::ffff:0:0:0/96`, 6to4
/// `2002::/16`, NAT64 `64:ff9b::/96` and `64:ff9b:1::/48`, Teredo `2001::/32`.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let from = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] => from(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => from(high, low),
        [0x2002, high, low, ..] => from(high, low),
        // RFC 6052 puts the address at the end of a /96; a local prefix of /48 to /64 spreads it around an empty octet.
        [0x64, 0xff9b, 0 | 1, 0, 0, 0, high, low] => from(high, low),
        [0x64, 0xff9b, 1, high, low, ..] => from(high, (low << 8) | (s[5] >> 8)),
        [0x2001, 0, .., high, low] => from(!high, !low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(ranges: &[&str], loopback: Loopback, ip: &str) -> bool {
        let ranges = ranges.iter().map(|range| range.parse().expect("range")).collect();
        Allowed { ranges, loopback }.permits(ip.parse().expect("ip"))
    }

    #[test]
    fn atk_w01_what_is_not_public_needs_leave() {
        for ip in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.0.1",
            "192.88.99.1",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::808:808",
            "::ffff:10.0.0.1",
            "::ffff:0:8.8.8.8",
            "4000::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::a00:1",
            "64:ff9b:1:a00:0:100::",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!permits(&[], Loopback::Closed, ip), "{ip}");
        }
        for ip in ["93.184.216.34", "8.8.8.8", "2606:4700::1", "2001:4860:4860::8888", "::ffff:8.8.8.8"] {
            assert!(permits(&[], Loopback::Closed, ip), "{ip}");
        }
    }

    #[test]
    fn leave_is_given_by_range() {
        assert!(permits(&["10.0.0.0/8"], Loopback::Closed, "10.1.2.3"));
        assert!(permits(&["10.0.0.0/8"], Loopback::Closed, "::ffff:10.1.2.3"));
        assert!(!permits(&["10.0.0.0/9"], Loopback::Closed, "10.200.0.1"));
        assert!(permits(&["fd00::/8"], Loopback::Closed, "fd12::1"));
        assert!(permits(&[], Loopback::Open, "127.0.0.1") && permits(&[], Loopback::Open, "::1"));
        assert!(!permits(&[], Loopback::Open, "10.0.0.1"));
        assert!(permits(&[], Loopback::Only, "127.8.0.1") && !permits(&["0.0.0.0/0"], Loopback::Only, "8.8.8.8"));
    }

    #[test]
    fn a_translated_address_needs_leave_for_both() {
        assert!(permits(&["64:ff9b::/96"], Loopback::Closed, "64:ff9b::808:808"));
        assert!(!permits(&["64:ff9b::/96"], Loopback::Closed, "64:ff9b::7f00:1"));
        assert!(!permits(&["10.0.0.0/8"], Loopback::Closed, "64:ff9b::a00:1"));
        assert!(permits(&["64:ff9b::/96", "10.0.0.0/8"], Loopback::Closed, "64:ff9b::a00:1"));
        assert!(!permits(&["64:ff9b:1::/48"], Loopback::Closed, "64:ff9b:1:a9fe:a9:fe00::"));
        assert!(!permits(&["::/8"], Loopback::Closed, "::ffff:0:10.0.0.1"));
        assert!(!permits(&["2002::/16"], Loopback::Closed, "2002:a9fe:a9fe::1"));
        assert!(permits(&["2002::/16"], Loopback::Closed, "2002:808:808::1"));
        // Teredo keeps its client's address inverted.
        assert!(!permits(&["2001::/32"], Loopback::Closed, "2001:0:4136:e378:8000:63bf:80ff:fffe"));
    }

    #[test]
    fn a_range_may_name_everything() {
        assert!(permits(&["0.0.0.0/0"], Loopback::Closed, "10.0.0.1") && permits(&["::/0"], Loopback::Closed, "fe80::1"));
    }
}
