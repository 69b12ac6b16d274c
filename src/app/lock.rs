//! One process a data directory: a lock on `run/lock` that the kernel gives back when the process dies. Never waits.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;

use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;

/// Held while this process works on the data directory.
pub(super) struct Lock(File);

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// `Conflict` when another process holds it.
    pub(super) fn take(data: &DataDir) -> Verb<Self> {
        let path = data.lock();
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|cause| super::unavailable(&format!("{} cannot be opened", path.display()), cause))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Fault::conflict(format!("another Lifeboat works on {}", data.root().display()))),
            Err(TryLockError::Error(cause)) => Err(super::unavailable(&format!("{} cannot be locked", path.display()), cause)),
        }
    }

    /// Gives it back before the process ends.
    pub(super) fn release(&self) {
        self.0.unlock().ok();
    }
}
