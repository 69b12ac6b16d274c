//! A reader or writer that takes the SHA-256 of what passes. Never changes a byte.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};

/// Passes bytes on and digests them.
pub struct Hashed<T> {
    inner: T,
    context: Context,
    passed: u64,
}

impl<T> Hashed<T> {
    /// Around a reader or writer.
    pub fn new(inner: T) -> Self {
        Self { inner, context: Context::new(&SHA256), passed: 0 }
    }

    /// How many bytes passed.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// The digest of what passed as hex, and what it was around.
    pub fn finish(self) -> (String, T) {
        (hex(self.context.finish().as_ref()), self.inner)
    }
}

impl<T: Read> Read for Hashed<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.context.update(buffer.get(..count).unwrap_or_default());
        self.passed += count as u64;
        Ok(count)
    }
}

impl<T: Write> Write for Hashed<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.context.update(buffer.get(..count).unwrap_or_default());
        self.passed += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is worth one call to the system.
pub const PIECE: usize = 256 * 1024;

/// Copies everything.
///
/// # Errors
/// When one of the two fails.
pub(super) fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<u64> {
    pour(from, to, &mut vec![0; PIECE])
}

/// The same by way of memory that is there already: for whoever copies many things, each of them small.
///
/// # Errors
/// When one of the two fails.
pub fn pour(from: &mut dyn Read, to: &mut dyn Write, scratch: &mut [u8]) -> io::Result<u64> {
    let mut copied = 0;
    loop {
        let count = match from.read(scratch) {
            Ok(0) => return Ok(copied),
            Ok(count) => count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cause),
        };
        to.write_all(scratch.get(..count).unwrap_or_default())?;
        copied += count as u64;
    }
}

/// SHA-256 and length of a whole file, from its beginning.
///
/// # Errors
/// When it cannot be read.
pub fn digest_file(file: &File) -> io::Result<(String, u64)> {
    let mut reader = Hashed::new(file);
    io::Seek::seek(&mut reader.inner, io::SeekFrom::Start(0))?;
    let mut buffer = vec![0u8; PIECE];
    while reader.read(&mut buffer)? > 0 {}
    let bytes = reader.passed();
    Ok((reader.finish().0, bytes))
}
