//! The addresses from which this process is about to visit its own listeners: a kill must be provable while strangers hold every place.
//! Never knows what a visit is for.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Addresses that are taken by this process, so that nobody else can come from one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Guests(Arc<Mutex<HashSet<SocketAddr>>>);

/// One address, until it is dropped.
#[derive(Debug)]
pub struct Guest {
    all: Guests,
    address: SocketAddr,
}

impl Guests {
    fn locked(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Expects a connection from an address that a socket of this process is bound to.
    pub fn expect_from(&self, address: SocketAddr) -> Guest {
        self.locked().insert(address);
        Guest { all: self.clone(), address }
    }

    /// Whether a connection from there is one of this process.
    pub fn holds(&self, address: SocketAddr) -> bool {
        self.locked().contains(&address)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.all.locked().remove(&self.address);
    }
}
