//! The sockets of both planes: handed over, or bound as configured. Never listens in plain HTTP but on loopback or a unix socket.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;

use super::handed::Handed;
use super::{Options, unavailable};
use crate::base::fault::{Fault, Verb};
use crate::config::edge::PlainAddress;
use crate::config::settings::Listen;
use crate::crypto::tls::ServerTls;
use crate::policy::feed::{ProxyListener, Way};
use crate::proxy::connection::{Door, Guard, Socket};

/// Bound, and accepting nothing yet: who connects waits in the backlog.
pub(super) struct Doors {
    /// Where the dashboard listens.
    pub admin_address: SocketAddr,
    /// Where the proxy listens.
    pub proxy_address: SocketAddr,
    /// The dashboard's, by name.
    pub admin: Vec<(&'static str, Door)>,
    /// The proxy's, with what proofs need.
    pub proxy: Vec<(Door, ProxyListener)>,
    /// The one that sends browsers to the dashboard.
    pub redirect: Option<(TcpListener, bool)>,
}

const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// Opens every socket; those of the proxy on its own runtime.
///
/// # Errors
/// When an address or path cannot be listened on, or the certificate does not serve.
pub(super) async fn open(
    options: &Options,
    listen: &Listen,
    handed: Handed,
    tls: &ServerTls,
    proxy_runtime: &Handle,
) -> Verb<Doors> {
    let here = Handle::current();
    let (admin, admin_lasts) = tcp(&here, handed.admin, options.admin.as_deref().unwrap_or(&listen.admin)).await?;
    let (proxy, proxy_lasts) = tcp(proxy_runtime, handed.proxy, options.proxy.as_deref().unwrap_or(&listen.proxy)).await?;
    let (admin_address, proxy_address) = (local(&admin)?, local(&proxy)?);
    let guard = || Ok::<_, Fault>(Guard::Tls(tls.server_config(&PROTOCOLS)?.into()));
    let door = |socket, guard, outlives| Door { socket, guard, outlives };
    let mut doors = Doors {
        admin_address,
        proxy_address,
        admin: vec![("listener admin", door(Socket::Tcp(admin), guard()?, admin_lasts))],
        proxy: vec![(
            door(Socket::Tcp(proxy), guard()?, proxy_lasts),
            ProxyListener { name: "proxy".into(), way: Way::Tls(proxy_address, tls.clone()) },
        )],
        redirect: None,
    };
    if let Some(address) = &listen.plain.admin {
        let (socket, _) = plain(&here, address).await?;
        doors.admin.push(("plain listener admin", door(socket, Guard::Plain, false)));
    }
    if let Some(address) = &listen.plain.proxy {
        let (socket, way) = plain(proxy_runtime, address).await?;
        doors.proxy.push((door(socket, Guard::Plain, false), ProxyListener { name: "plain proxy".into(), way }));
    }
    if handed.redirect.is_some() || listen.redirect.is_some() {
        let address = listen.redirect.map(|address| address.to_string()).unwrap_or_default();
        doors.redirect = Some(tcp(&here, handed.redirect, &address).await?);
    }
    Ok(doors)
}

/// A socket on the runtime that will serve it, and whether it outlives this process.
async fn tcp(on: &Handle, handed: Option<std::net::TcpListener>, address: &str) -> Verb<(TcpListener, bool)> {
    if let Some(handed) = handed {
        let _on = on.enter();
        let listener =
            TcpListener::from_std(handed).map_err(|cause| unavailable("a handed socket cannot be listened on", cause))?;
        return Ok((listener, true));
    }
    let text = address.to_owned();
    let bound = on.spawn(async move { TcpListener::bind(&text).await }).await;
    let bound = bound.map_err(|cause| Fault::bug("binding a listener panicked").because(cause))?;
    Ok((bound.map_err(|cause| unavailable(&format!("{address} cannot be listened on"), cause))?, false))
}

async fn plain(on: &Handle, address: &PlainAddress) -> Verb<(Socket, Way)> {
    match address {
        PlainAddress::Loopback(address) => {
            let (listener, _) = tcp(on, None, &address.to_string()).await?;
            let bound = local(&listener)?;
            Ok((Socket::Tcp(listener), Way::Plain(bound)))
        }
        PlainAddress::Socket(path) => {
            let _on = on.enter();
            let listener = unix(path).map_err(|cause| unavailable(&format!("{} cannot be listened on", path.display()), cause))?;
            Ok((Socket::Unix(listener), Way::Socket(path.clone())))
        }
    }
}

/// Binds in place of a socket that an earlier process left, for the owner and the group of the folder (mode 0660).
fn unix(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "something else is there")),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn local(listener: &TcpListener) -> Verb<SocketAddr> {
    listener.local_addr().map_err(|cause| unavailable("a listener has no address", cause))
}
