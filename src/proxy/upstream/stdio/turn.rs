//! One child per vault at any time: whoever replaces a server waits until the one before is gone. Never lets two of them write
//! the same memory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::locked;

static TURNS: LazyLock<Mutex<HashMap<PathBuf, Arc<Turn<()>>>>> = LazyLock::new(Mutex::default);

/// Waits for the turn of a vault and keeps it until the guard is dropped.
pub(super) async fn turn(vault: PathBuf) -> OwnedMutexGuard<()> {
    let turn = locked(&TURNS).entry(vault).or_default().clone();
    turn.lock_owned().await
}
