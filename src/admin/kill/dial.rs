//! How a canary reaches a listener of this process: over TLS as its clients do, or plain where a balancer on this host comes in plain.
//! Never connects to another host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tower::Service;

use super::line::Manner;
use crate::base::fault::{Fault, Verb};
use crate::base::net::PROXY_LOCAL;
use crate::crypto::{keys, tls};
use crate::policy::feed::Way;
use crate::policy::guests::{Guest, Guests};

const CONNECT: Duration = Duration::from_secs(2);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to one listener.
#[derive(Clone)]
pub(super) struct Dialler {
    way: Way,
    announced: bool,
    guests: Guests,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Dialler {
    /// Prepares the way.
    ///
    /// # Errors
    /// When the host is no name that TLS can carry.
    pub(super) fn new(way: &Way, manner: &Manner, guests: &Guests) -> Verb<Self> {
        let tls = match way {
            Way::Tls(_, served) => {
                let name = ServerName::try_from(manner.host.clone());
                let name = name.map_err(|e| Fault::invalid("hosts", format!("{} is no host name", manner.host)).because(e))?;
                Some((tls::own_client_config(served)?, name))
            }
            Way::Plain(_) | Way::Socket(_) => None,
        };
        Ok(Self { way: way.clone(), announced: manner.announced, guests: guests.clone(), tls })
    }

    async fn dial(self) -> io::Result<Dialled> {
        let (stream, guest): (Box<dyn Stream>, _) = match (&self.way, self.tls) {
            (Way::Socket(path), _) => (Box::new(UnixStream::connect(path).await?), None),
            (Way::Tls(address, _), Some((config, name))) => {
                let (mut tcp, guest) = connect(*address, &self.guests).await?;
                if self.announced {
                    tcp.write_all(&PROXY_LOCAL).await?;
                }
                (Box::new(TlsConnector::from(config).connect(name, tcp).await?), Some(guest))
            }
            (Way::Tls(address, _) | Way::Plain(address), _) => {
                let (tcp, guest) = connect(*address, &self.guests).await?;
                (Box::new(tcp), Some(guest))
            }
        };
        Ok(Dialled { stream: TokioIo::new(stream), _guest: guest })
    }
}

/// Bound first, so that the listener can tell that it is us before anything is said.
async fn connect(address: SocketAddr, guests: &Guests) -> io::Result<(TcpStream, Guest)> {
    let to = reachable(address);
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(to.ip(), 0))?;
    let guest = guests.expect_from(socket.local_addr()?);
    let tcp = socket.connect(to).await?;
    tcp.set_nodelay(true)?;
    Ok((tcp, guest))
}

/// A listener on all addresses is reached over loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

impl Service<Uri> for Dialler {
    type Response = Dialled;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Dialled>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { tokio::time::timeout(CONNECT, this.dial()).await? })
    }
}

/// An open connection.
pub(super) struct Dialled {
    stream: TokioIo<Box<dyn Stream>>,
    _guest: Option<Guest>,
}

impl Connection for Dialled {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Dialled {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Dialled {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A handshake with a listener as its clients do it, by the CA alone; gives the first 16 hex digits of the certificate's SHA-256.
///
/// # Errors
/// A sentence: not reached, or not trusted.
pub(in crate::admin) async fn certificate_shown(
    listener: &crate::policy::feed::ProxyListener,
    (manner, guests): (&Manner, &Guests),
    ca: &[u8],
) -> Result<String, String> {
    let Some(address) = listener.address() else { return Err("it is no TLS listener".to_owned()) };
    let config = tls::client_config(&tls::Roots::Pem(ca.to_vec()), &[], &["http/1.1"]).map_err(|fault| fault.to_string())?;
    let name = ServerName::try_from(manner.host.clone()).map_err(|_| format!("{} is no host name", manner.host))?;
    let shake = async {
        let (mut tcp, _guest) = connect(address, guests).await?;
        if manner.announced {
            tcp.write_all(&PROXY_LOCAL).await?;
        }
        let stream = TlsConnector::from(config).connect(name, tcp).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|first| keys::sha256(first));
        io::Result::Ok(shown)
    };
    let shown =
        tokio::time::timeout(CONNECT, shake).await.map_err(|_| "no answer in 2 s".to_owned())?.map_err(|e| e.to_string())?;
    let digest = shown.ok_or_else(|| "it showed no certificate".to_owned())?;
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
