//! What systemd wants to hear of a service (sd_notify(3)): ready, stopping, alive. Never waits for it, and says nothing where nobody listens.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Both planes accept.
pub(super) const READY: &str = "READY=1";
/// The drain has begun.
pub(super) const STOPPING: &str = "STOPPING=1";
const ALIVE: &str = "WATCHDOG=1";

/// Tells the service manager, if there is one.
pub(super) fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(fault) = send(&socket, state) {
        tracing::debug!(%fault, state, "the service manager was not told");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let datagram = UnixDatagram::unbound()?;
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

/// How often the service manager wants a sign of life, when it wants one of this process.
fn period(microseconds: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
    let period = microseconds?.parse().ok().map(Duration::from_micros)?;
    // Half would do (sd_watchdog_enabled(3)); a third leaves room for a busy machine.
    (ours && !period.is_zero()).then(|| period / 3)
}

/// The task that gives signs of life for as long as every runtime still takes work.
pub(super) async fn watchdog(runtimes: Vec<Handle>, stop: CancellationToken) {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(period) = period(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref()) else {
        return stop.cancelled().await;
    };
    while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
        let pulses = runtimes.iter().map(|runtime| runtime.spawn(async {}));
        let all = futures_util::future::join_all(pulses);
        if tokio::time::timeout(period, all).await.is_ok() {
            tell(ALIVE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_it_by_path_and_by_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("lifeboat-test-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(path.as_os_str(), READY).unwrap();
        send(OsStr::new(&format!("@{name}")), STOPPING).unwrap();
        for (socket, said) in [(by_path, READY), (by_name, STOPPING)] {
            let mut buffer = [0u8; 32];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], said.as_bytes());
        }
        assert!(send(dir.path().join("nobody").as_os_str(), READY).is_err());
    }

    #[test]
    fn signs_of_life_are_for_who_was_asked() {
        assert_eq!(period(Some("30000000"), None), Some(Duration::from_secs(10)));
        assert_eq!(period(Some("30000000"), Some(&std::process::id().to_string())), Some(Duration::from_secs(10)));
        assert_eq!(period(Some("30000000"), Some("1")), None);
        assert_eq!(period(None, None), None);
        assert_eq!(period(Some("0"), None), None);
        assert_eq!(period(Some("soon"), None), None);
    }
}
