//! Reading and writing on threads of their own, so that encryption, compression and digests share the cores. Never holds more than a few chunks.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{JoinHandle, Scope, ScopedJoinHandle};

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

/// Passes bytes to a writer on a thread of its own, so that encrypting and compressing share the cores. Never holds more than a few chunks; what
/// fails there fails the next write, or the end.
pub(super) struct Behind<W> {
    chunks: Option<SyncSender<Vec<u8>>>,
    now: Vec<u8>,
    thread: Option<JoinHandle<io::Result<W>>>,
}

impl<W: Write + Send + 'static> Behind<W> {
    /// Writes to `output` from now on.
    pub(super) fn spawn(mut output: W) -> Self {
        let (sender, chunks) = sync_channel::<Vec<u8>>(AHEAD);
        let thread = std::thread::spawn(move || {
            for chunk in chunks {
                output.write_all(&chunk)?;
            }
            Ok(output)
        });
        Self { chunks: Some(sender), now: Vec::with_capacity(CHUNK), thread: Some(thread) }
    }

    fn pass(&mut self) -> io::Result<()> {
        let full = std::mem::replace(&mut self.now, Vec::with_capacity(CHUNK));
        let told = self.chunks.as_ref().is_some_and(|chunks| chunks.send(full).is_ok());
        if told { Ok(()) } else { Err(self.failure()) }
    }

    /// Why the other end does not listen any more.
    fn failure(&mut self) -> io::Error {
        self.chunks = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(cause))) => cause,
            _ => io::Error::other("the archive's writer broke off"),
        }
    }

    /// Waits for the last byte; gives the writer back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if !self.now.is_empty() {
            self.pass()?;
        }
        self.chunks = None;
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_else(|| Err(io::Error::other("the archive's writer broke off")))
    }
}

impl<W: Write + Send + 'static> Write for Behind<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK - self.now.len());
        self.now.extend_from_slice(bytes.get(..count).unwrap_or_default());
        if self.now.len() == CHUNK {
            self.pass()?;
        }
        Ok(count)
    }

    // Whole chunks only: who flushes a stream waits for nothing here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
