//! How many bytes of large things may be in memory at once, whoever sent them. What waits for room stays in its sender's socket. Never
//! refuses what is small.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for bytes.
pub struct Room {
    all: Arc<Semaphore>,
    size: usize,
}

impl Room {
    /// Room for so many bytes.
    pub fn new(size: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(size)), size }
    }

    /// Room for a thing of `bytes`, all of it at once: two that wait for each other's rest would wait for ever. One that is larger than
    /// all room takes all. `None` never comes but at the end of the process.
    pub async fn enter(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        self.all.clone().acquire_many_owned(self.share(bytes)).await.ok()
    }

    /// The same without waiting.
    pub fn try_enter(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        self.all.clone().try_acquire_many_owned(self.share(bytes)).ok()
    }

    fn share(&self, bytes: u64) -> u32 {
        let most = u32::try_from(self.size).unwrap_or(u32::MAX);
        u32::try_from(bytes).unwrap_or(most).min(most)
    }
}

/// Bytes that hold their room until the last clone of them is dropped.
pub fn holding(bytes: Bytes, share: Option<OwnedSemaphorePermit>) -> Bytes {
    match share {
        Some(share) => Bytes::from_owner(Holding { bytes, _share: share }),
        None => bytes,
    }
}

struct Holding {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Holding {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn flt_13_room_is_given_back_with_the_last_clone_of_the_bytes() {
        let room = Room::new(10);
        let share = room.enter(8).await;
        let bytes = holding(Bytes::from_static(b"12345678"), share);
        let part = bytes.slice(2..4);
        assert!(room.try_enter(3).is_none());
        drop(bytes);
        assert!(room.try_enter(3).is_none(), "a part of it is still there");
        drop(part);
        assert!(room.try_enter(1 << 40).is_some(), "what is larger than all room takes all of it");
    }
}
