//! A stream of unknown length as files of known size: an archive's entries begin with their size. One part is held at a time, its beginning in
//! memory and the rest in a file of the staging directory that only this account can read. Never knows where the stream comes from.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::crypto::archive::{ArchiveFault, Writer};

/// What is held in memory of a part.
const IN_MEMORY: usize = 4 * 1024 * 1024;
const FILE: &str = "part";
const MODE: u32 = 0o600;

/// How the parts are called, how large they are, and where one is held.
pub(super) struct Shape<'a> {
    /// Name of the file in the archive.
    pub name: &'a str,
    /// Bytes of a part.
    pub size: u64,
    /// When the stream began, in seconds since 1970.
    pub mtime: u64,
    /// Directory for what is held.
    pub staging: &'a Path,
}

/// Why a stream is not in the archive.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The stream ended badly; its owner knows why.
    Source,
    /// A part could not be held.
    Held(io::Error),
    /// The archive could not be written.
    Archive(ArchiveFault),
}

/// Writes the whole stream: `name` when it fits in one part, else `name.part-000001` and so on. Gives how many parts there are.
pub(super) fn write<W: Write + Send + 'static>(
    source: &mut impl BufRead,
    writer: &mut Writer<W>,
    shape: &Shape<'_>,
) -> Result<u64, Stopped> {
    let mut number = 0;
    loop {
        let held = Held::fill(source, shape)?;
        let more = !source.fill_buf().map_err(|_| Stopped::Source)?.is_empty();
        let name = match (number, more) {
            (0, false) => shape.name.to_owned(),
            _ => format!("{}.part-{:06}", shape.name, number + 1),
        };
        number += 1;
        held.write(writer, &name, shape.mtime)?;
        if !more {
            return Ok(number);
        }
    }
}

struct Held {
    size: u64,
    start: Vec<u8>,
    rest: Option<File>,
}

impl Held {
    fn fill(source: &mut impl BufRead, shape: &Shape<'_>) -> Result<Self, Stopped> {
        let mut held = Self { size: 0, start: Vec::new(), rest: None };
        while held.size < shape.size {
            let bytes = source.fill_buf().map_err(|_| Stopped::Source)?;
            if bytes.is_empty() {
                break;
            }
            let room = usize::try_from(shape.size - held.size).unwrap_or(usize::MAX);
            let bytes = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
            let count = bytes.len();
            held.take(bytes, shape.staging).map_err(Stopped::Held)?;
            source.consume(count);
        }
        Ok(held)
    }

    fn take(&mut self, bytes: &[u8], staging: &Path) -> io::Result<()> {
        self.size += bytes.len() as u64;
        if self.rest.is_none() && self.start.len() + bytes.len() <= IN_MEMORY {
            self.start.extend_from_slice(bytes);
            return Ok(());
        }
        if self.rest.is_none() {
            // It has no name any more as soon as it is open: whatever happens, the system removes it.
            let path = staging.join(FILE);
            let made = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(&path)?;
            std::fs::remove_file(&path)?;
            self.rest = Some(made);
        }
        self.rest.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    fn write<W: Write + Send + 'static>(self, writer: &mut Writer<W>, name: &str, mtime: u64) -> Result<(), Stopped> {
        let told = (MODE, mtime);
        let whole = match self.rest {
            None => writer.file(name, self.size, told, self.start.as_slice()),
            Some(mut file) => {
                file.rewind().map_err(Stopped::Held)?;
                writer.file(name, self.size, told, self.start.as_slice().chain(file))
            }
        };
        match whole.map_err(Stopped::Archive)? {
            true => Ok(()),
            false => Err(Stopped::Held(io::Error::from(io::ErrorKind::UnexpectedEof))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::crypto::archive::{Ephemeral, FORMAT, Meta};

    fn parts(bytes: &[u8], size: u64) -> Vec<(String, u64)> {
        let meta = Meta {
            format: FORMAT,
            id: "ar_1".into(),
            vault: "v".into(),
            set: "rp_1".into(),
            source: "command".into(),
            program: "lifeboat".into(),
            head: String::new(),
            started_at: Timestamp(0),
            facts: serde_json::Value::Null,
        };
        let staging = tempfile::tempdir().unwrap();
        let mut writer = Writer::begin(Vec::new(), &[Ephemeral::generate().recipient()], &meta).unwrap();
        // Pieces of an odd size, as a pipe gives them.
        let mut source = io::BufReader::with_capacity(7, bytes);
        let shape = Shape { name: "output", size, mtime: 1, staging: staging.path() };
        let count = write(&mut source, &mut writer, &shape).unwrap();
        assert_eq!(staging.path().read_dir().unwrap().count(), 0, "nothing plain is left");
        let sealed = writer.finish(Timestamp(1)).unwrap();
        let entries = sealed.manifest.entries;
        assert_eq!(entries.len() as u64, count);
        assert!(entries.iter().all(|entry| entry.mode == MODE));
        entries.into_iter().map(|entry| (entry.path, entry.size)).collect()
    }

    #[test]
    fn a_stream_is_one_file_or_parts_of_known_size() {
        let one = |size| vec![("output".to_owned(), size)];
        assert_eq!((parts(b"", 10), parts(&[1; 9], 10), parts(&[1; 10], 10)), (one(0), one(9), one(10)));
        let part = |number, size| (format!("output.part-{number:06}"), size);
        assert_eq!(parts(&[1; 11], 10), [part(1, 10), part(2, 1)]);
        assert_eq!(parts(&[1; 30], 10), [part(1, 10), part(2, 10), part(3, 10)], "no empty one at the end");
    }

    #[test]
    fn what_is_held_in_a_file_is_whole_and_in_order() {
        let bytes: Vec<u8> = (0..3 * IN_MEMORY as u32 / 4).flat_map(u32::to_le_bytes).collect();
        assert_eq!(parts(&bytes, bytes.len() as u64), [("output".to_owned(), bytes.len() as u64)]);
        assert_eq!(parts(&bytes, 2 * IN_MEMORY as u64).len(), 2);
    }

    #[test]
    fn a_source_that_fails_is_no_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let staging = tempfile::tempdir().unwrap();
        let shape = Shape { name: "output", size: 10, mtime: 1, staging: staging.path() };
        let mut source = io::BufReader::new(b"abc".chain(Broken));
        assert!(matches!(Held::fill(&mut source, &shape), Err(Stopped::Source)));
    }
}
