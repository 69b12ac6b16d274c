//! Listening sockets that systemd or a predecessor hands over as descriptors (`LISTEN_FDS`, `LISTEN_FDNAMES`; sd_listen_fds(3)). They stay
//! open there while no Lifeboat runs, so nobody who connects is turned away. Never takes one without a name that says what it is for.

use std::net::TcpListener;

use listenfd::ListenFd;

use crate::base::fault::{Fault, Verb};

/// What was handed over.
#[derive(Debug, Default)]
pub struct Handed {
    /// For the dashboard.
    pub(super) admin: Option<TcpListener>,
    /// For the proxy.
    pub(super) proxy: Option<TcpListener>,
    /// For the listener that answers plain HTTP with the dashboard's address.
    pub(super) redirect: Option<TcpListener>,
}

const VARIABLE: &str = "LISTEN_FDNAMES";

impl Handed {
    /// Takes what this process was started with; nothing, mostly.
    ///
    /// # Errors
    /// `Invalid` when a socket has no name or one that Lifeboat does not know, is no TCP socket that listens, or a name is there twice.
    pub fn from_env() -> Verb<Self> {
        let mut sockets = ListenFd::from_env();
        let names = std::env::var(VARIABLE).unwrap_or_default();
        let mut handed = Self::default();
        for index in 0..sockets.len() {
            let name = names.split(':').nth(index).unwrap_or_default();
            let taken = sockets.take_tcp_listener(index);
            let wrong = |why: &str| Fault::invalid(VARIABLE, format!("socket {index} is called \"{name}\": {why}"));
            let listener =
                taken.map_err(|cause| wrong("it is no TCP socket").because(cause))?.ok_or_else(|| wrong("it is not there"))?;
            handed.put(name, listener).map_err(wrong)?;
        }
        Ok(handed)
    }

    fn put(&mut self, name: &str, listener: TcpListener) -> Result<(), &'static str> {
        let place = match name {
            "admin" => &mut self.admin,
            "proxy" => &mut self.proxy,
            "redirect" => &mut self.redirect,
            _ => return Err("it must be admin, proxy or redirect (FileDescriptorName= of the socket unit)"),
        };
        // The descriptor is shared with whoever handed it over; neither of them reads it, so they do not mind.
        listener.set_nonblocking(true).map_err(|_| "it cannot be used")?;
        match place.replace(listener) {
            None => Ok(()),
            Some(_) => Err("there is one of that name already"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_known_by_its_name() {
        let socket = || TcpListener::bind("127.0.0.1:0").unwrap();
        let mut handed = Handed::default();
        assert!(handed.put("proxy", socket()).is_ok());
        assert!(handed.put("admin", socket()).is_ok());
        assert!(handed.put("proxy", socket()).is_err(), "twice");
        assert!(handed.put("lifeboat.socket", socket()).is_err());
        assert!(handed.put("", socket()).is_err());
        assert!(handed.admin.is_some() && handed.proxy.is_some() && handed.redirect.is_none());
    }
}
