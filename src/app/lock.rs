//! One process a data directory: a lock on `run/lock` that the kernel gives back when the process dies. Never waits for long.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;

/// Held while this process works on the data directory.
pub(super) struct Lock(File);

/// Whether another process works on the data directory now.
pub fn is_held(data: &DataDir) -> bool {
    OpenOptions::new().write(true).open(data.lock()).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// How long a start waits for a command that works on the files.
pub(super) const START: Duration = Duration::from_secs(10);
/// How long a command waits for another one.
pub(super) const COMMAND: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

impl Lock {
    /// Takes it, waiting that long for a process that is about to end.
    ///
    /// # Errors
    /// `Conflict` when another process still holds it then.
    pub(super) async fn take(data: &DataDir, patience: Duration) -> Verb<Self> {
        let path = data.lock();
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|cause| super::unavailable(&format!("{} cannot be opened", path.display()), cause))?;
        let until = tokio::time::Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < until => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(Fault::conflict(format!("another Lifeboat works on {}", data.root().display())));
                }
                Err(TryLockError::Error(cause)) => {
                    return Err(super::unavailable(&format!("{} cannot be locked", path.display()), cause));
                }
            }
        }
    }

    /// Gives it back before the process ends.
    pub(super) fn release(&self) {
        self.0.unlock().ok();
    }
}
