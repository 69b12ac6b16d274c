//! Writes an archive as a stream. What was not finished does not open: age and tar both end with a mark that is written last.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use age::secrecy::ExposeSecret as _;
use age::stream::StreamWriter;
use age::x25519;

use super::hashed::{Hashed, PIECE, hex, pour};
use super::model::{Entry, EntryKind, FORMAT, Manifest, Meta, Skipped};
use super::parallel::Behind;
use super::standing::{AtOnce, Pace, Standing, last};
use super::{ArchiveFault, MANIFEST, META, PAYLOAD, name};
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;
use crate::crypto::keys::sha256;

const LEVEL: i32 = 3;
const WORKERS: u32 = 2;
/// What one worker compresses at a time. Eight times as much by itself, which only takes memory.
const JOB: u32 = 1024 * 1024;
/// Of a tar: everything in it begins at a multiple of it.
const BLOCK: u64 = 512;

/// An identity made for one archive: opens it to verify it, and for drills while it is among the newest.
pub struct Ephemeral(x25519::Identity);

impl Ephemeral {
    /// A new one.
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// Its text, to be sealed.
    pub fn text(&self) -> Secret<String> {
        Secret::new(self.0.to_string().expose_secret().to_owned())
    }

    /// `age1…`.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }
}

/// A finished archive.
#[derive(Debug)]
pub struct Sealed<W> {
    /// Where it was written.
    pub output: W,
    /// SHA-256 of `MANIFEST.json`, hex.
    pub manifest_sha256: String,
    /// What it holds.
    pub manifest: Manifest,
}

type Encrypted<W> = StreamWriter<Behind<W>>;
type Compressed<W> = zstd::stream::write::Encoder<'static, Behind<Encrypted<W>>>;

/// Takes entries one by one.
pub struct Writer<W: Write + Send + 'static> {
    // Writes the headers; content goes past it, in large pieces.
    tar: tar::Builder<Compressed<W>>,
    scratch: Vec<u8>,
    manifest: Manifest,
    /// Bytes that stand for the rest of a file that became shorter while it was read.
    shrunk: Vec<String>,
    room: Room,
}

/// What was compressed since the last rest.
struct Room {
    pace: Arc<dyn Pace>,
    bytes: usize,
    took: Duration,
}

impl Room {
    fn new(pace: Arc<dyn Pace>) -> Self {
        Self { pace, bytes: 0, took: Duration::ZERO }
    }

    /// Passes a piece on and rests after it. The compressor's own threads rest as well, since there is nothing left for them to do. What comes after
    /// them rests for itself: waiting for it is no work.
    fn pass<W: Write + Send + 'static>(&mut self, to: &mut Compressed<W>, bytes: &[u8]) -> io::Result<usize> {
        let (began, waited) = (Instant::now(), to.get_ref().waited());
        let took = |to: &Compressed<W>| began.elapsed().saturating_sub(to.get_ref().waited().saturating_sub(waited));
        let count = to.write(bytes)?;
        self.bytes += count;
        if self.bytes < PIECE {
            self.took += took(to);
            return Ok(count);
        }
        if self.pace.is_due() {
            to.flush()?;
            self.pace.rest(self.took + took(to));
        }
        (self.bytes, self.took) = (0, Duration::ZERO);
        Ok(count)
    }
}

impl<W: Write + Send + 'static> Writer<W> {
    /// Begins an archive to recipients (`age1…`).
    ///
    /// # Errors
    /// `Key` when one of them is no recipient or there is none; `Io` when nothing can be written.
    pub fn begin(output: W, recipients: &[String], meta: &Meta) -> Result<Self, ArchiveFault> {
        let encryptor = encryptor(recipients)?;
        let begin = ArchiveFault::io("the archive cannot be begun");
        // What writes the file stands where its caller does; what encrypts for it only computes.
        let disk = Behind::spawn(output, Standing::Same);
        let encrypted = encryptor.wrap_output(disk).map_err(begin)?;
        let behind = Behind::spawn(encrypted, Standing::Last(&AtOnce));
        // The compressor takes its threads at its first byte, and they stand where the thread does that gives it.
        last(move || Self::compressing(behind, meta)).map_err(ArchiveFault::io("the archive cannot be begun"))?
    }

    fn compressing(behind: Behind<Encrypted<W>>, meta: &Meta) -> Result<Self, ArchiveFault> {
        let begun = || -> io::Result<Compressed<W>> {
            let mut encoder = zstd::stream::write::Encoder::new(behind, LEVEL)?;
            encoder.include_checksum(true)?;
            encoder.multithread(WORKERS)?;
            encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(JOB))?;
            Ok(encoder)
        };
        let mut tar = tar::Builder::new(begun().map_err(ArchiveFault::io("the archive cannot be begun"))?);
        tar.mode(tar::HeaderMode::Deterministic);
        let manifest = Manifest {
            format: FORMAT,
            id: meta.id.clone(),
            entries: Vec::new(),
            files: 0,
            bytes: 0,
            skipped: Vec::new(),
            finished_at: meta.started_at,
        };
        let room = Room::new(Arc::new(AtOnce));
        let mut writer = Self { tar, scratch: vec![0; PIECE], manifest, shrunk: Vec::new(), room };
        writer.document(META, meta, meta.started_at)?;
        Ok(writer)
    }

    /// From here on it goes at this pace.
    pub fn go_at(&mut self, pace: Arc<dyn Pace>) {
        self.room = Room::new(pace);
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// `Hostile` for a path that no archive may hold.
    pub fn dir(&mut self, path: &str, mode: u32, mtime: u64) -> Result<(), ArchiveFault> {
        self.header(path, EntryKind::Dir, 0, mode, mtime, io::empty())?;
        self.note(path, EntryKind::Dir, 0, (mode, mtime), String::new());
        Ok(())
    }

    /// Adds a file of exactly `size` bytes. A source that ends before is filled up with zeros, so that the archive stays readable, and the
    /// file is listed as torn; what a source has beyond `size` is not read.
    ///
    /// # Errors
    /// `Io` when source or archive fail; the archive is then lost. `Hostile` for a path that no archive may hold.
    pub fn file(&mut self, path: &str, size: u64, (mode, mtime): (u32, u64), source: impl Read) -> Result<bool, ArchiveFault> {
        let mut filled = Filled { inner: source.take(size), left: size, short: false };
        let mut hashed = Hashed::new(&mut filled);
        self.header(path, EntryKind::File, size, mode, mtime, &mut hashed)?;
        let (sha256, _) = hashed.finish();
        let whole = !filled.short;
        if !whole {
            self.shrunk.push(path.to_owned());
        }
        self.note(path, EntryKind::File, size, (mode, mtime), sha256);
        Ok(whole)
    }

    /// Says that something of the source is not in the archive.
    pub fn skip(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.manifest.skipped.push(Skipped { path: path.into(), why: why.into() });
    }

    /// Writes the manifest and every end mark.
    ///
    /// # Errors
    /// `Io`: the archive is then lost.
    pub fn finish(mut self, now: Timestamp) -> Result<Sealed<W>, ArchiveFault> {
        for path in std::mem::take(&mut self.shrunk) {
            self.skip(path, "it became shorter while it was read");
        }
        self.manifest.finished_at = now;
        let manifest = std::mem::replace(&mut self.manifest, empty(now));
        let bytes = self.document(MANIFEST, &manifest, now)?;
        let end = ArchiveFault::io("the archive cannot be ended");
        let ended = self
            .tar
            .into_inner()
            .and_then(zstd::stream::write::Encoder::finish)
            .and_then(Behind::finish)
            .and_then(StreamWriter::finish)
            .and_then(Behind::finish);
        let output = ended.map_err(end)?;
        Ok(Sealed { output, manifest_sha256: hex(&sha256(&bytes)), manifest })
    }

    fn note(&mut self, path: &str, kind: EntryKind, size: u64, (mode, mtime): (u32, u64), sha256: String) {
        self.manifest.files += u64::from(kind == EntryKind::File);
        self.manifest.bytes += size;
        self.manifest.entries.push(Entry { path: path.to_owned(), kind, size, mode: mode & 0o777, mtime, sha256 });
    }

    fn document(&mut self, name: &str, value: &impl serde::Serialize, now: Timestamp) -> Result<Vec<u8>, ArchiveFault> {
        let mut bytes = serde_json::to_vec_pretty(value)
            .map_err(|cause| ArchiveFault::Io { what: format!("{name} cannot be written"), cause: cause.into() })?;
        bytes.push(b'\n');
        let mtime = u64::try_from(now.0 / 1000).unwrap_or(0);
        self.append(name, EntryKind::File, bytes.len() as u64, (0o600, mtime), bytes.as_slice())?;
        Ok(bytes)
    }

    fn header(
        &mut self,
        path: &str,
        kind: EntryKind,
        size: u64,
        mode: u32,
        mtime: u64,
        source: impl Read,
    ) -> Result<(), ArchiveFault> {
        name::check(path).map_err(|why| ArchiveFault::Hostile(why.to_owned()))?;
        self.append(&format!("{PAYLOAD}{path}"), kind, size, (mode & 0o777, mtime), source)
    }

    fn append(
        &mut self,
        path: &str,
        kind: EntryKind,
        size: u64,
        (mode, mtime): (u32, u64),
        mut source: impl Read,
    ) -> Result<(), ArchiveFault> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(if kind == EntryKind::Dir { tar::EntryType::Directory } else { tar::EntryType::Regular });
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(mtime);
        header.set_uid(0);
        header.set_gid(0);
        let path = if kind == EntryKind::Dir { format!("{path}/") } else { path.to_owned() };
        let mut put = |tar: &mut tar::Builder<Compressed<W>>, scratch: &mut [u8], room: &mut Room| -> io::Result<()> {
            tar.append_data(&mut header, &path, io::empty())?;
            let written = pour(&mut source, &mut Roomy { to: tar.get_mut(), room }, scratch)?;
            // POSIX ustar: content is filled up with zeros to whole blocks.
            let rest = (BLOCK - written % BLOCK) % BLOCK;
            io::copy(&mut io::repeat(0).take(rest), tar.get_mut()).map(|_| ())
        };
        put(&mut self.tar, &mut self.scratch, &mut self.room).map_err(ArchiveFault::io(format!("{path} cannot be archived")))
    }
}

/// Passes pieces on with rests between them.
struct Roomy<'a, W: Write + Send + 'static> {
    to: &'a mut Compressed<W>,
    room: &'a mut Room,
}

impl<W: Write + Send + 'static> Write for Roomy<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.room.pass(self.to, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Encrypts to recipients (`age1…`).
///
/// # Errors
/// `Key` when one of them is no recipient or there is none.
pub(super) fn encryptor(recipients: &[String]) -> Result<age::Encryptor, ArchiveFault> {
    let parsed = recipients
        .iter()
        .map(|text| text.parse::<x25519::Recipient>().map_err(|_| ArchiveFault::Key(format!("{text} is no age recipient"))));
    let parsed: Vec<x25519::Recipient> = parsed.collect::<Result<_, _>>()?;
    age::Encryptor::with_recipients(parsed.iter().map(|one| one as &dyn age::Recipient))
        .map_err(|cause| ArchiveFault::Key(cause.to_string()))
}

fn empty(now: Timestamp) -> Manifest {
    Manifest { format: FORMAT, id: String::new(), entries: Vec::new(), files: 0, bytes: 0, skipped: Vec::new(), finished_at: now }
}

/// Exactly `left` bytes: zeros where the source ends too early.
struct Filled<R> {
    inner: R,
    left: u64,
    short: bool,
}

impl<R: Read> Read for Filled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let mut count = if self.short { 0 } else { self.inner.read(buffer)? };
        if count == 0 {
            self.short = true;
            buffer.fill(0);
            count = room;
        }
        self.left -= count as u64;
        Ok(count)
    }
}
