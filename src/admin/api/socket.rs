//! The control socket `run/lifeboat.sock`: the API for the local account. A caller must be this account or root, and show a token that only
//! they can read: a stdio child, whose uid may be the same, cannot. Never open to anybody over a network.

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::unistd::{Uid, User, geteuid};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::super::{Actor, Admin};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::crypto::keys;
use crate::telemetry::pace::Pace;

/// The header that carries the token of `run/token`.
pub const TOKEN_HEADER: &str = "lifeboat-socket-token";

const HEADERS: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 32;
const DRAIN: Duration = Duration::from_secs(5);

/// The bound socket with the token of this start.
pub struct Socket {
    listener: UnixListener,
    token: Secret<String>,
}

/// Binds the socket in place of one that an earlier process left, and writes a new token (0600 both).
///
/// # Errors
/// `Unavailable` when the directory cannot be written.
pub fn open(admin: &Admin) -> Verb<Socket> {
    let unavailable = |e: std::io::Error| Fault::unavailable("the control socket cannot be opened").because(e);
    let token = keys::token(admin.entropy.as_ref());
    let path = admin.data.socket();
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(unavailable(e)),
        _ => {}
    }
    let target = admin.data.socket_token();
    let fresh = target.with_extension("new");
    // A file left by a crash keeps its mode; a new one is what the mode below is for.
    let _ = fs::remove_file(&fresh);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(unavailable)?;
    file.write_all(token.reveal().as_bytes()).map_err(unavailable)?;
    fs::rename(&fresh, &target).map_err(unavailable)?;
    // The directory is 0700, so nobody else reaches the socket in the moment before its mode is set.
    let listener = UnixListener::bind(&path).map_err(unavailable)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(unavailable)?;
    Ok(Socket { listener, token })
}

/// Serves `service` (the API's router) until `stop`, then lets what runs end.
pub async fn serve<S, B>(socket: Socket, service: S, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let token: Arc<Secret<String>> = Arc::new(socket.token);
    let mut connections = JoinSet::new();
    let told = Pace::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            // Whoever has no token holds a place for ten seconds at most, and waits for one outside.
            accepted = socket.listener.accept(), if connections.len() < CONNECTIONS => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => drop(connections.spawn(connection(stream, service.clone(), token.clone(), stop.clone()))),
            Err(fault) => {
                if let Some(unsaid) = told.turn() {
                    tracing::warn!(%fault, unsaid, "the control socket could not accept");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection<S, B>(stream: UnixStream, service: S, token: Arc<Secret<String>>, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let Some(account) = account(&stream) else { return };
    let asked = tower::service_fn(move |mut request: Request<Incoming>| {
        let shown = request.headers().get(TOKEN_HEADER).map(|value| value.as_bytes().to_vec()).unwrap_or_default();
        if keys::same(&keys::sha256(&shown), &keys::hash_text(token.reveal())) {
            request.extensions_mut().insert(Actor::local(&account));
        } else {
            // Nobody else may have put one there; without an actor every route refuses.
            request.extensions_mut().remove::<Actor>();
        }
        service.clone().oneshot(request)
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(asked));
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "a connection of the control socket ended early");
    }
}

/// The account on the other side, when it is ours or root.
fn account(stream: &UnixStream) -> Option<String> {
    let uid = Uid::from_raw(stream.peer_cred().ok()?.uid());
    if uid != geteuid() && !uid.is_root() {
        tracing::warn!(uid = uid.as_raw(), "another account tried the control socket");
        return None;
    }
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    Some(name.unwrap_or_else(|| uid.to_string()))
}
