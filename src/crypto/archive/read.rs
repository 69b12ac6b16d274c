//! Reads an archive and believes nothing it says: only regular files and directories, plain paths, no more than was declared, every digest as
//! in the manifest, and nothing after it. Never writes a file itself: that is the sink's part, into a place that counts for nothing until
//! all of this has passed.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read, Write};

use age::x25519;

use super::hashed::{Hashed, PIECE, copy, hex, pour};
use super::model::{Entry, EntryKind, FORMAT, Manifest, Meta};
use super::parallel::Ahead;
use super::standing::{Pace, Standing, last};
use super::write::encryptor;
use super::{ArchiveFault, MANIFEST, META, PAYLOAD, name};
use crate::base::secret::Secret;
use crate::crypto::keys::sha256;

/// A window above 128 MiB is no archive of ours and a way to take memory.
const WINDOW_LOG: u32 = 27;
const META_CAP: u64 = 1024 * 1024;
const MANIFEST_CAP: u64 = 512 * 1024 * 1024;
/// tar ends with zeros; how many of them there may be.
const PADDING_CAP: u64 = 64 * 1024;

/// How much an archive may hold; from its signed sidecar.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries of the payload.
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Where the content goes.
pub trait Sink {
    /// A directory. Directories come before what is in them.
    ///
    /// # Errors
    /// Ends the reading.
    fn dir(&mut self, path: &str, mode: u32, mtime: u64) -> io::Result<()>;

    /// A file. What is not read of `content` is passed over.
    ///
    /// # Errors
    /// Ends the reading.
    fn file(&mut self, path: &str, size: u64, mode: (u32, u64), content: &mut dyn Read) -> io::Result<()>;
}

/// Looks at everything and keeps nothing: verification.
impl Sink for () {
    fn dir(&mut self, _: &str, _: u32, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn file(&mut self, _: &str, _: u64, _: (u32, u64), _: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }
}

/// Keys to try.
#[derive(Clone, Default)]
pub struct Identities(Vec<x25519::Identity>);

impl Identities {
    /// From texts: one or more `AGE-SECRET-KEY-1…` lines; empty lines and lines that begin with `#` are passed over, as in an age key file.
    ///
    /// # Errors
    /// `Key` when a line is none of these, or there is no identity; the fault does not repeat it.
    pub fn read(texts: &[Secret<String>]) -> Result<Self, ArchiveFault> {
        let mut found = Vec::new();
        for (at, line) in texts.iter().flat_map(|text| text.reveal().lines()).enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let identity = line.parse().map_err(|_| ArchiveFault::Key(format!("line {} is no age identity", at + 1)))?;
            found.push(identity);
        }
        if found.is_empty() {
            return Err(ArchiveFault::Key("there is no age identity: it begins with AGE-SECRET-KEY-1".to_owned()));
        }
        Ok(Self(found))
    }

    /// `age1…` of each.
    pub fn recipients(&self) -> Vec<String> {
        self.0.iter().map(|identity| identity.to_public().to_string()).collect()
    }
}

/// An archive that passed.
#[derive(Debug)]
pub struct Opened {
    /// What it said before its files.
    pub meta: Meta,
    /// What it holds.
    pub manifest: Manifest,
    /// SHA-256 of `MANIFEST.json`, hex; to be compared with the signed sidecar.
    pub manifest_sha256: String,
}

/// Reads a whole archive into a sink.
///
/// # Errors
/// `WrongKey`, `Damaged`, `Hostile`, `Newer` or `TooLarge`; `Io` when the sink fails. Whatever the sink holds then is not to be used.
pub fn open<R: Read + Send>(
    input: R,
    identities: &Identities,
    limits: Limits,
    sink: &mut dyn Sink,
) -> Result<Opened, ArchiveFault> {
    read(input, identities, limits, (sink, Standing::Same))
}

/// Reads a whole archive and keeps nothing, behind everything else that wants the cores; decompressing and digesting rest after each piece.
///
/// # Errors
/// As `open`.
pub fn verify<R: Read + Send>(input: R, identities: &Identities, limits: Limits, pace: &dyn Pace) -> Result<Opened, ArchiveFault> {
    let read = last(|| read(input, identities, limits, (&mut (), Standing::Last(pace))));
    read.map_err(ArchiveFault::io("the archive cannot be read"))?
}

fn read<R: Read + Send>(
    input: R,
    identities: &Identities,
    limits: Limits,
    (sink, standing): (&mut dyn Sink, Standing<'_>),
) -> Result<Opened, ArchiveFault> {
    let clear = decrypted(input, identities)?;
    std::thread::scope(|scope| {
        let (clear, _decrypting) = Ahead::spawn(scope, clear, standing);
        let mut decoder = zstd::stream::read::Decoder::with_buffer(clear).map_err(damaged)?.single_frame();
        decoder.window_log_max(WINDOW_LOG).map_err(damaged)?;
        let (plain, _decompressing) = Ahead::spawn(scope, OneFrame(Some(decoder)), standing);
        let mut archive = tar::Archive::new(plain);
        let opened = entries(&mut archive, limits, sink)?;
        end(archive.into_inner())?;
        Ok(opened)
    })
}

/// The compressed part, as it is decrypted.
fn decrypted<R: Read>(input: R, identities: &Identities) -> Result<age::stream::StreamReader<io::BufReader<R>>, ArchiveFault> {
    let decryptor = age::Decryptor::new_buffered(io::BufReader::with_capacity(PIECE, input)).map_err(unreadable)?;
    decryptor.decrypt(identities.0.iter().map(|one| one as &dyn age::Identity)).map_err(unreadable)
}

/// Encrypts an archive to other recipients; what is inside passes as it is. The caller reads the result back before it counts.
///
/// # Errors
/// `WrongKey` or `Damaged` for the input, `Key` for a recipient; `Io` when the output cannot be written.
pub fn reencrypt<R: Read, W: Write>(
    input: R,
    identities: &Identities,
    output: W,
    recipients: &[String],
) -> Result<W, ArchiveFault> {
    let mut clear = decrypted(input, identities)?;
    let begun = encryptor(recipients)?.wrap_output(output);
    let mut sealed = begun.map_err(ArchiveFault::io("the archive cannot be begun"))?;
    // One that cannot be read to its end and one that cannot be written look alike here; both leave the old archive as it is.
    copy(&mut clear, &mut sealed).map_err(ArchiveFault::io("the archive cannot be encrypted anew"))?;
    sealed.finish().map_err(ArchiveFault::io("the archive cannot be ended"))
}

/// One frame and nothing after it. Its end is the end of the encryption's last chunk: reading on is what proves that nothing was cut off.
struct OneFrame<R: BufRead>(Option<zstd::stream::read::Decoder<'static, R>>);

impl<R: BufRead> Read for OneFrame<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.0 else { return Ok(0) };
        let count = decoder.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let mut more = [0u8; 1];
        match self.0.take().map(|decoder| decoder.finish().read(&mut more)).transpose()? {
            Some(1..) => Err(io::Error::other("something stands after the compressed part")),
            _ => Ok(0),
        }
    }
}

fn unreadable(cause: age::DecryptError) -> ArchiveFault {
    match cause {
        age::DecryptError::NoMatchingKeys => ArchiveFault::WrongKey,
        other => ArchiveFault::Damaged(other.to_string()),
    }
}

fn damaged(cause: io::Error) -> ArchiveFault {
    ArchiveFault::Damaged(cause.to_string())
}

/// After the manifest comes padding of tar, and then the end of everything.
fn end(mut rest: impl Read) -> Result<(), ArchiveFault> {
    let mut padding = Vec::new();
    rest.by_ref().take(PADDING_CAP + 1).read_to_end(&mut padding).map_err(damaged)?;
    if padding.len() as u64 > PADDING_CAP || padding.iter().any(|byte| *byte != 0) {
        return Err(ArchiveFault::Hostile("something stands after the manifest".to_owned()));
    }
    Ok(())
}

fn entries<R: Read>(archive: &mut tar::Archive<R>, limits: Limits, sink: &mut dyn Sink) -> Result<Opened, ArchiveFault> {
    let mut walk = Walk { limits, meta: None, seen: Vec::new(), names: BTreeSet::new(), bytes: 0, scratch: vec![0; PIECE] };
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if let Some((manifest, manifest_sha256)) = walk.take(&mut entry, sink)? {
            let Some(meta) = walk.meta.take() else { return Err(ArchiveFault::Damaged("it does not begin with META.json".into())) };
            compare(&walk.seen, &manifest, &meta)?;
            return Ok(Opened { meta, manifest, manifest_sha256 });
        }
    }
    Err(ArchiveFault::Damaged("it ends without MANIFEST.json".to_owned()))
}

struct Walk {
    limits: Limits,
    meta: Option<Meta>,
    seen: Vec<Entry>,
    names: BTreeSet<String>,
    bytes: u64,
    scratch: Vec<u8>,
}

impl Walk {
    /// One entry; the manifest when it was that.
    fn take<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        sink: &mut dyn Sink,
    ) -> Result<Option<(Manifest, String)>, ArchiveFault> {
        let raw = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| ArchiveFault::Hostile("a path that is not UTF-8".to_owned()))?;
        let kind = match entry.header().entry_type() {
            tar::EntryType::Regular => EntryKind::File,
            tar::EntryType::Directory => EntryKind::Dir,
            other => return Err(ArchiveFault::Hostile(format!("{raw:?} is neither a file nor a directory ({other:?})"))),
        };
        if self.meta.is_none() {
            if raw != META || kind != EntryKind::File {
                return Err(ArchiveFault::Damaged("it does not begin with META.json".to_owned()));
            }
            let (meta, _) = document::<Meta>(entry, META, META_CAP)?;
            if meta.format > FORMAT {
                return Err(ArchiveFault::Newer(meta.format));
            }
            self.meta = Some(meta);
            return Ok(None);
        }
        if raw == MANIFEST && kind == EntryKind::File {
            return document::<Manifest>(entry, MANIFEST, MANIFEST_CAP).map(Some);
        }
        self.payload(entry, &raw, kind, sink).map(|()| None)
    }

    fn payload<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        raw: &str,
        kind: EntryKind,
        sink: &mut dyn Sink,
    ) -> Result<(), ArchiveFault> {
        let refuse = |why: &str| ArchiveFault::Hostile(format!("{raw:?}: {why}"));
        let path = raw.strip_prefix(PAYLOAD).ok_or_else(|| refuse("it stands outside payload/"))?;
        let path = if kind == EntryKind::Dir { path.strip_suffix('/').unwrap_or(path) } else { path };
        name::check(path).map_err(refuse)?;
        // A file under the name of a directory, or the reverse, is a double as well.
        if !self.names.insert(path.to_owned()) {
            return Err(refuse("it is there twice"));
        }
        let header = entry.header();
        let (mode, mtime) = (header.mode().map_err(damaged)?, header.mtime().map_err(damaged)?);
        if mode > 0o777 {
            return Err(refuse("its mode has more than permission bits"));
        }
        let size = if kind == EntryKind::Dir { 0 } else { entry.size() };
        self.bytes = self.bytes.saturating_add(size);
        if self.seen.len() as u64 >= self.limits.entries {
            return Err(ArchiveFault::TooLarge(format!("{} entries", self.limits.entries)));
        }
        if self.bytes > self.limits.bytes {
            return Err(ArchiveFault::TooLarge(format!("{} bytes", self.limits.bytes)));
        }
        let mut sha256 = String::new();
        let put = |cause| ArchiveFault::Io { what: format!("{path:?} cannot be restored"), cause };
        if kind == EntryKind::Dir {
            sink.dir(path, mode, mtime).map_err(put)?;
        } else {
            let mut content = Marked { inner: Hashed::new(entry), failed: None };
            let written = sink.file(path, size, (mode, mtime), &mut content);
            if let Some(why) = content.failed.take() {
                return Err(ArchiveFault::Damaged(why));
            }
            written.map_err(put)?;
            pour(&mut content, &mut io::sink(), &mut self.scratch).map_err(damaged)?;
            if content.inner.passed() != size {
                return Err(ArchiveFault::Damaged(format!("{raw:?} ends too early")));
            }
            sha256 = content.inner.finish().0;
        }
        self.seen.push(Entry { path: path.to_owned(), kind, size, mode, mtime, sha256 });
        Ok(())
    }
}

/// Tells a failure of the archive from one of the sink.
struct Marked<R> {
    inner: Hashed<R>,
    failed: Option<String>,
}

impl<R: Read> Read for Marked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|cause| self.failed = Some(cause.to_string()))
    }
}

fn document<T: serde::de::DeserializeOwned>(entry: &mut impl Read, what: &str, cap: u64) -> Result<(T, String), ArchiveFault> {
    let mut bytes = Vec::new();
    entry.take(cap + 1).read_to_end(&mut bytes).map_err(damaged)?;
    if bytes.len() as u64 > cap {
        return Err(ArchiveFault::TooLarge(format!("{cap} bytes of {what}")));
    }
    let value = serde_json::from_slice(&bytes).map_err(|cause| ArchiveFault::Damaged(format!("{what} cannot be read: {cause}")))?;
    Ok((value, hex(&sha256(&bytes))))
}

fn compare(seen: &[Entry], manifest: &Manifest, meta: &Meta) -> Result<(), ArchiveFault> {
    if manifest.format > FORMAT {
        return Err(ArchiveFault::Newer(manifest.format));
    }
    if manifest.id != meta.id {
        return Err(ArchiveFault::Damaged("META.json and MANIFEST.json are of two archives".to_owned()));
    }
    let differs = seen.iter().zip(&manifest.entries).find(|(one, other)| one != other);
    if let Some((one, _)) = differs {
        return Err(ArchiveFault::Damaged(format!("{:?} is not what the manifest says", one.path)));
    }
    if seen.len() != manifest.entries.len() {
        let (have, said) = (seen.len(), manifest.entries.len());
        return Err(ArchiveFault::Damaged(format!("the manifest lists {said} entries, there are {have}")));
    }
    Ok(())
}
