//! One process a data directory: a lock on `run/lock` that the kernel gives back when the process dies. Waits for a process that says in the
//! file that it is about to end, and never for long for any other.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
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
/// How long a start waits for a predecessor that drains: its calls have 30 s, its tasks and children a little more.
const SUCCESSION: Duration = Duration::from_secs(90);
/// In the file while its holder drains.
const LEAVING: &str = "leaving\n";
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
        let begun = tokio::time::Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => {
                    file.set_len(0).ok();
                    return Ok(Self(file));
                }
                Err(TryLockError::WouldBlock) if begun.elapsed() < wait(&path, patience) => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(Fault::conflict(format!("another Lifeboat works on {}", data.root().display())));
                }
                Err(TryLockError::Error(cause)) => {
                    return Err(super::unavailable(&format!("{} cannot be locked", path.display()), cause));
                }
            }
        }
    }

    /// Tells a successor that waiting is worth while.
    pub(super) fn hand_over(&self) {
        // Without it the successor waits less long; nothing else depends on it.
        (&self.0).write_all(LEAVING.as_bytes()).ok();
    }

    /// Gives it back before the process ends.
    pub(super) fn release(&self) {
        self.0.unlock().ok();
    }
}

fn wait(path: &Path, patience: Duration) -> Duration {
    let leaving = std::fs::read_to_string(path).is_ok_and(|said| said == LEAVING);
    if leaving { patience.max(SUCCESSION) } else { patience }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_successor_waits_for_a_predecessor_that_leaves_and_for_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        data.create().unwrap();
        let first = Lock::take(&data, COMMAND).await.unwrap();
        assert!(is_held(&data));
        assert!(Lock::take(&data, PAUSE).await.is_err(), "it does not leave");
        first.hand_over();
        let second = Lock::take(&data, PAUSE);
        let release = async {
            tokio::time::sleep(PAUSE * 10).await;
            first.release();
        };
        let (second, ()) = tokio::join!(second, release);
        let _second = second.unwrap();
        assert!(Lock::take(&data, PAUSE).await.is_err(), "the new holder does not leave");
    }
}
