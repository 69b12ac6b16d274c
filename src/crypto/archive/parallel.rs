//! Reading and writing on threads of their own, so that encryption, compression and digests share the cores. Never holds more than a few chunks.

use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{JoinHandle, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::standing::{Pieces, Standing};

const CHUNK: usize = 256 * 1024;
const AHEAD: usize = 4;

/// Bytes on their way between two threads: the first `len` of a buffer that goes round, so that memory is asked for once and not for each piece.
struct Chunk {
    bytes: Vec<u8>,
    len: usize,
}

impl Chunk {
    fn new() -> Self {
        Self { bytes: vec![0; CHUNK], len: 0 }
    }

    fn filled(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Copies as much as there is room for; how much that was.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let count = bytes.len().min(room.len());
        room.get_mut(..count).unwrap_or_default().copy_from_slice(bytes.get(..count).unwrap_or_default());
        self.len += count;
        count
    }

    /// Reads until it is full or the source ends.
    fn fill(&mut self, source: &mut impl Read) -> io::Result<()> {
        self.len = 0;
        while let Some(room) = self.bytes.get_mut(self.len..).filter(|room| !room.is_empty()) {
            match source.read(room) {
                Ok(0) => break,
                Ok(count) => self.len += count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }
}

/// What the other thread read, in order. An end without an empty chunk is a failure, never an end.
pub(super) struct Ahead<'rest> {
    /// What is done with the chunks, one after the other.
    pieces: Pieces<'rest>,
    chunks: Receiver<io::Result<Chunk>>,
    spare: Sender<Chunk>,
    now: Option<Chunk>,
    at: usize,
    done: bool,
}

impl<'rest> Ahead<'rest> {
    /// Reads `source` to its end on a thread of `scope`, which first does as `standing` says; whoever takes the chunks stands there as well, and rests
    /// after each.
    pub(super) fn spawn<'scope, R: Read + Send + 'scope>(
        scope: &'scope Scope<'scope, '_>,
        source: R,
        standing: Standing<'rest>,
    ) -> (Self, ScopedJoinHandle<'scope, ()>)
    where
        'rest: 'scope,
    {
        let (sender, chunks) = sync_channel(AHEAD);
        let (spare, spares) = channel();
        let thread = scope.spawn(move || {
            standing.take();
            pump(source, &sender, &spares);
        });
        (Self { pieces: standing.pieces(), chunks, spare, now: None, at: 0, done: false }, thread)
    }
}

fn pump(mut source: impl Read, chunks: &SyncSender<io::Result<Chunk>>, spares: &Receiver<Chunk>) {
    loop {
        let mut chunk = spares.try_recv().unwrap_or_else(|_| Chunk::new());
        let read = chunk.fill(&mut source);
        let last = read.is_err() || chunk.len == 0;
        // An empty chunk is the end. Nobody listens any more when the reader gave up.
        let told = chunks.send(read.map(|()| chunk));
        if told.is_err() || last {
            return;
        }
    }
}

impl BufRead for Ahead<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while !self.done && self.now.as_ref().is_none_or(|now| self.at >= now.len) {
            self.pieces.next();
            let next = self.chunks.recv().map_err(|_| io::Error::other("decryption broke off"))??;
            self.at = 0;
            self.done = next.len == 0;
            if let Some(used) = self.now.replace(next) {
                // The other thread may have ended: then nothing needs it.
                let _ = self.spare.send(used);
            }
        }
        Ok(self.now.as_ref().and_then(|now| now.filled().get(self.at..)).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Ahead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(buffer.len());
        buffer.get_mut(..count).unwrap_or_default().copy_from_slice(ready.get(..count).unwrap_or_default());
        self.consume(count);
        Ok(count)
    }
}

/// Passes bytes to a writer on a thread of its own, so that encrypting and compressing share the cores. Never holds more than a few chunks; what
/// fails there fails the next write, or the end.
pub(super) struct Behind<W> {
    chunks: Option<SyncSender<Chunk>>,
    spares: Receiver<Chunk>,
    now: Chunk,
    thread: Option<JoinHandle<io::Result<W>>>,
    waited: Duration,
}

impl<W: Write + Send + 'static> Behind<W> {
    /// Writes to `output` from now on, on a thread that first does as `standing` says.
    pub(super) fn spawn(mut output: W, standing: Standing<'static>) -> Self {
        let (sender, chunks) = sync_channel::<Chunk>(AHEAD);
        let (spare, spares) = channel();
        let thread = std::thread::spawn(move || {
            standing.take();
            for mut chunk in chunks {
                output.write_all(chunk.filled())?;
                chunk.len = 0;
                let _ = spare.send(chunk);
            }
            Ok(output)
        });
        Self { chunks: Some(sender), spares, now: Chunk::new(), thread: Some(thread), waited: Duration::ZERO }
    }

    fn pass(&mut self) -> io::Result<()> {
        let next = self.spares.try_recv().unwrap_or_else(|_| Chunk::new());
        let full = std::mem::replace(&mut self.now, next);
        let began = Instant::now();
        let told = self.chunks.as_ref().is_some_and(|chunks| chunks.send(full).is_ok());
        self.waited += began.elapsed();
        if told { Ok(()) } else { Err(self.failure()) }
    }

    /// How long the other thread was waited for: that is no work of this one.
    pub(super) fn waited(&self) -> Duration {
        self.waited
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
        if self.now.len > 0 {
            self.pass()?;
        }
        self.chunks = None;
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or_else(|| Err(io::Error::other("the archive's writer broke off")))
    }
}

impl<W: Write + Send + 'static> Write for Behind<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.now.take(bytes);
        if self.now.len == CHUNK {
            self.pass()?;
        }
        Ok(count)
    }

    // Whole chunks only: who flushes a stream waits for nothing here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
