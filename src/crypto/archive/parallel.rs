//! Decrypts on a thread of its own, so that decrypting and decompressing share the cores. Never holds more than a few chunks.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

const CHUNK: usize = 256 * 1024;
const AHEAD: usize = 4;

/// What the other thread read, in order. An end without `Done` is a failure, never an end.
pub(super) struct Ahead {
    chunks: Receiver<io::Result<Vec<u8>>>,
    now: Vec<u8>,
    at: usize,
    done: bool,
}

impl Ahead {
    /// Reads `source` to its end on a thread of `scope`.
    pub(super) fn spawn<'scope, R: Read + Send + 'scope>(
        scope: &'scope Scope<'scope, '_>,
        source: R,
    ) -> (Self, ScopedJoinHandle<'scope, ()>) {
        let (sender, chunks) = sync_channel(AHEAD);
        let thread = scope.spawn(move || pump(source, &sender));
        (Self { chunks, now: Vec::new(), at: 0, done: false }, thread)
    }
}

fn pump(mut source: impl Read, chunks: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = source.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
        let last = chunk.is_empty();
        let failed = read.is_err();
        // An empty chunk is the end. Nobody listens any more when the reader gave up.
        let told = chunks.send(read.map(|_| chunk));
        if told.is_err() || failed || last {
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.now.len() {
            if self.done {
                return Ok(0);
            }
            self.now = self.chunks.recv().map_err(|_| io::Error::other("decryption broke off"))??;
            self.at = 0;
            self.done = self.now.is_empty();
        }
        let rest = self.now.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.get_mut(..count).unwrap_or_default().copy_from_slice(rest.get(..count).unwrap_or_default());
        self.at += count;
        Ok(count)
    }
}
