//! The PROXY protocol header with which a balancer at layer 4 names its client before TLS begins (HAProxy's proxy-protocol.txt): version 2
//! (section 2.2), and version 1 (section 2.1) because nginx sends no other. Never believes a peer that is not trusted, and never waits or reads without bound.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::peer::is_here;
use crate::base::net::PROXY_SIGNATURE as SIGNATURE;
use crate::config::Settings;
use crate::config::edge::ProxyProtocol;

const OLD_SIGNATURE: &[u8] = b"PROXY ";
/// The longest header of version 1, with its line end.
const OLD_LONGEST: usize = 107;
/// Every header of either version is longer.
const FIRST: usize = 12;
/// Addresses take at most 36 bytes; what balancers add besides (section 2.2.7) takes a few hundred.
const LONGEST: usize = 2_048;
const PATIENCE: Duration = Duration::from_secs(5);

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// The peer speaks for itself: a health check of a balancer, or an address family that names nobody.
    Itself,
    /// The client at this address.
    Client(SocketAddr),
}

/// Reads the header where one is due and gives the address of the client. `None`: the connection is to be closed without a word.
pub async fn client(settings: &Settings, protocol: ProxyProtocol, tcp: &mut TcpStream, peer: SocketAddr) -> Option<SocketAddr> {
    if protocol == ProxyProtocol::Off {
        return Some(peer);
    }
    let trusted = settings.trusts(peer.ip());
    // This host itself may say no more than that it speaks for itself: kill proofs come that way.
    let heard = trusted || is_here(peer.ip(), tcp.local_addr().ok().map(|own| own.ip()));
    let told = timeout(PATIENCE, async {
        if protocol == ProxyProtocol::OptionalFromTrusted && (!heard || !begins(tcp).await?) {
            return Ok(Named::Itself);
        }
        if heard { read(tcp).await } else { Err(malformed()) }
    });
    match told.await {
        Ok(Ok(Named::Itself)) => Some(peer),
        Ok(Ok(Named::Client(client))) if trusted => Some(client),
        _ => None,
    }
}

/// Whether the first byte is that of a header; TLS begins with another one.
async fn begins(tcp: &TcpStream) -> io::Result<bool> {
    let mut first = [0u8; 1];
    Ok(tcp.peek(&mut first).await? == 1 && (first[0] == SIGNATURE[0] || first[0] == OLD_SIGNATURE[0]))
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Named> {
    let mut first = [0u8; FIRST];
    stream.read_exact(&mut first).await?;
    if first.starts_with(OLD_SIGNATURE) {
        return read_line(stream, first.to_vec()).await;
    }
    if first != SIGNATURE {
        return Err(malformed());
    }
    let mut fixed = [0u8; 4];
    stream.read_exact(&mut fixed).await?;
    let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if length > LONGEST {
        return Err(malformed());
    }
    let mut rest = vec![0u8; length];
    stream.read_exact(&mut rest).await?;
    named(fixed[0], fixed[1], &rest).ok_or_else(malformed)
}

/// The rest of a header of version 1. Byte by byte: what follows it is TLS and must stay where it is.
async fn read_line(stream: &mut (impl AsyncRead + Unpin), mut line: Vec<u8>) -> io::Result<Named> {
    while !line.ends_with(b"\r\n") {
        if line.len() >= OLD_LONGEST {
            return Err(malformed());
        }
        line.push(stream.read_u8().await?);
    }
    std::str::from_utf8(&line).ok().and_then(named_by_line).ok_or_else(malformed)
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT`, `TCP6` alike, or `PROXY UNKNOWN` and anything.
fn named_by_line(line: &str) -> Option<Named> {
    let words: Vec<&str> = line.strip_suffix("\r\n")?.split(' ').collect();
    let [_, family, rest @ ..] = words.as_slice() else { return None };
    let (source, port) = match (*family, rest) {
        ("UNKNOWN", _) => return Some(Named::Itself),
        ("TCP4" | "TCP6", [source, _, port, _]) => (source.parse::<IpAddr>().ok()?, port.parse().ok()?),
        _ => return None,
    };
    (source.is_ipv4() == (*family == "TCP4")).then(|| Named::Client(SocketAddr::new(source.to_canonical(), port)))
}

/// What version, command, family and addresses say; `None` when they say nothing that a TCP connection can.
fn named(version_command: u8, family: u8, rest: &[u8]) -> Option<Named> {
    match (version_command, family) {
        (0x20, _) => Some(Named::Itself),
        // Unspecified: the receiver uses the connection's own addresses (section 2.2).
        (0x21, 0x00) => Some(Named::Itself),
        (0x21, 0x11) => {
            let addresses: &[u8; 12] = rest.first_chunk()?;
            let [a, b, c, d, ..] = *addresses;
            Some(Named::Client(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port(addresses[8], addresses[9]))))
        }
        (0x21, 0x21) => {
            let addresses: &[u8; 36] = rest.first_chunk()?;
            let source: [u8; 16] = *addresses.first_chunk()?;
            let ip = IpAddr::V6(Ipv6Addr::from(source)).to_canonical();
            Some(Named::Client(SocketAddr::new(ip, port(addresses[32], addresses[33]))))
        }
        _ => None,
    }
}

fn port(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no PROXY header, or from a peer that is not trusted")
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::base::net::PROXY_LOCAL;

    fn header(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version_command, family], &length, rest].concat()
    }

    fn v4() -> Vec<u8> {
        header(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0x01, 0xbb])
    }

    /// What becomes of a connection from 127.0.0.1 that begins with these bytes.
    async fn told(settings: &str, protocol: ProxyProtocol, bytes: &[u8]) -> Option<SocketAddr> {
        let settings: Settings = toml::from_str(settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let (mut near, peer) = listener.accept().await.unwrap();
        client(&settings, protocol, &mut near, peer)
            .await
            .map(|told| if told == peer { SocketAddr::from(([0; 4], 0)) } else { told })
    }

    const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";
    const STRANGE: &str = "trusted_proxies = [\"10.0.0.0/8\"]";

    #[tokio::test]
    async fn atk_p12_a_header_counts_only_from_a_trusted_peer() {
        use ProxyProtocol::{Off, OptionalFromTrusted, Required};
        let itself = Some(SocketAddr::from(([0; 4], 0)));
        let named = Some(SocketAddr::from(([192, 0, 2, 7], 0x1234)));
        let v6 = header(0x21, 0x21, &[&[0xfd; 16][..], &[1; 16], &[0x12, 0x34, 0, 1]].concat());
        assert_eq!(told(TRUSTED, Required, &v4()).await, named);
        assert_eq!(told(TRUSTED, OptionalFromTrusted, &v4()).await, named);
        assert!(told(TRUSTED, Required, &v6).await.is_some_and(|at| at.is_ipv6() && at.port() == 0x1234));
        let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\n\x16\x03\x01";
        assert_eq!(told(TRUSTED, Required, line).await, named, "version 1");
        assert_eq!(told(TRUSTED, OptionalFromTrusted, line).await, named);
        assert_eq!(told(STRANGE, Required, line).await, None);
        assert_eq!(told(TRUSTED, Required, b"PROXY UNKNOWN\r\n").await, itself);
        let extended = header(0x21, 0x11, &[&v4()[16..], &[3, 0, 1, 9]].concat());
        assert_eq!(told(TRUSTED, Required, &extended).await, named, "what is added is skipped");
        for protocol in [Required, OptionalFromTrusted] {
            assert_eq!(told(TRUSTED, protocol, &PROXY_LOCAL).await, itself, "a balancer's health check");
            assert_eq!(told(STRANGE, protocol, &PROXY_LOCAL).await, itself, "a kill proof");
            assert_eq!(told(STRANGE, protocol, &v4()).await, None, "this host is not trusted to name others");
            assert_eq!(told(TRUSTED, protocol, &header(0x21, 0, &[])).await, itself);
        }
        assert_eq!(told(TRUSTED, OptionalFromTrusted, b"\x16\x03\x01").await, itself);
        assert_eq!(told(TRUSTED, Required, b"\x16\x03\x01 and more than sixteen bytes").await, None);
        assert_eq!(told(STRANGE, Off, &v4()).await, itself, "nothing is read; TLS refuses it");
    }

    #[tokio::test]
    async fn atk_p12_a_malformed_header_ends_the_connection() {
        let mut wrong_signature = v4();
        wrong_signature[11] = 0;
        for bad in [
            header(0x11, 0x11, &v4()[16..]),
            header(0x22, 0x11, &v4()[16..]),
            header(0x21, 0x11, &[192, 0, 2]),
            header(0x21, 0x21, &[0; 35]),
            header(0x21, 0x12, &v4()[16..]),
            header(0x21, 0x31, &[0; 216]),
            header(0x21, 0x11, &[0; LONGEST + 1]),
            wrong_signature,
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 10.0.0.1 4660 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 466000 443\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.7 10.0.0.1 4660 443\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.7 10.0.0.1 4660 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\n".to_vec(),
            [b"PROXY UNKNOWN ".as_slice(), &[b'x'; OLD_LONGEST]].concat(),
            b"proxy TCP4 192.0.2.7 10.0.0.1 4660 443\r\n".to_vec(),
            v4()[..20].to_vec(),
            Vec::new(),
        ] {
            assert_eq!(told(TRUSTED, ProxyProtocol::Required, &bad).await, None, "{bad:02x?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn atk_p24_a_header_that_does_not_come_is_not_waited_for() {
        let settings: Settings = toml::from_str(TRUSTED).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        far.write_all(&v4()[..8]).await.unwrap();
        let (mut near, peer) = listener.accept().await.unwrap();
        assert_eq!(client(&settings, ProxyProtocol::Required, &mut near, peer).await, None);
    }
}
