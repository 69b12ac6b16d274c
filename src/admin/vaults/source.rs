//! Reads what a vault protects into an archive: plain files as they are, SQLite databases as consistent copies. A file that changes while it
//! is read is read again; what still changes is said to be torn, never passed off as whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use tokio::runtime::Handle;

use super::folder::read_in_pieces;
use super::pace::Paced;
use super::trusted;
use super::walk::{Found, Item, Root};
use crate::base::fault::{Fault, Verb};
use crate::crypto::archive::{ArchiveFault, EntryKind, Pace, Skipped, Writer};
use crate::db::foreign::{self, Facts, MAGIC};

/// A file up to this size is held in memory until it was read without a change.
const HELD: u64 = 8 * 1024 * 1024;
const ATTEMPTS: usize = 3;
/// What SQLite keeps beside a database; its copy has it all.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A directory, scanned, with its databases copied.
pub(super) struct Prepared {
    root: Root,
    items: Vec<Item>,
    copies: BTreeMap<String, PathBuf>,
    special: Vec<Skipped>,
    unread: Vec<Skipped>,
    /// What the databases hold, by path.
    pub facts: BTreeMap<String, Facts>,
}

/// Scans a directory, or the one file at `path`, and copies its databases into `staging`. Blocks.
///
/// # Errors
/// `NotFound` when it is not there; what `need_room` says of the bytes that will be written.
pub(super) fn prepare(path: &Path, excluded: &[&str], staging: &Path, need_room: impl Fn(u64) -> Verb<()>) -> Verb<Prepared> {
    let path = trusted::real(&std::path::absolute(path).map_err(|e| Fault::bug("a vault whose path is none").because(e))?)?;
    let path = path.as_path();
    let (folder, Found { mut items, special, unread }, root) = if path.is_dir() {
        let root = Root::open(path)?;
        let found = root.scan(excluded);
        (path, found, root)
    } else {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let root = Root::open(folder)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (_, item, _) =
            root.read(name).map_err(|e| Fault::not_found(format!("{} cannot be read: {e}", path.display())).because(e))?;
        (folder, Found { items: vec![item], ..Found::default() }, root)
    };
    let mut prepared = Prepared { root, items: Vec::new(), copies: BTreeMap::new(), special, unread, facts: BTreeMap::new() };
    let databases: Vec<String> = items.iter().filter(|item| prepared.is_database(item)).map(|item| item.path.clone()).collect();
    let beside = |path: &str| databases.iter().any(|one| BESIDE.iter().any(|end| path.strip_suffix(end) == Some(one)));
    items.retain(|item| !beside(&item.path));
    // A database is copied before it is archived: for a while it is there twice.
    let sizes = |item: &&Item| databases.contains(&item.path);
    let twice: u64 = items.iter().filter(sizes).map(|item| item.stored).sum();
    need_room(twice + items.iter().map(|item| item.stored).sum::<u64>())?;
    for (at, one) in databases.iter().enumerate() {
        let copy = staging.join(format!("{at}.sqlite"));
        let copied = Handle::current().block_on(foreign::snapshot(&folder.join(one), &copy));
        match copied {
            Ok(facts) => {
                prepared.facts.insert(one.clone(), facts);
                prepared.copies.insert(one.clone(), copy);
            }
            Err(fault) => {
                items.retain(|item| item.path != *one);
                prepared.unread.push(Skipped { path: one.clone(), why: fault.message });
            }
        }
    }
    prepared.items = items;
    Ok(prepared)
}

impl Prepared {
    fn is_database(&self, item: &Item) -> bool {
        let mut head = [0u8; 16];
        item.kind == EntryKind::File
            && item.size >= 512
            && self.root.read(&item.path).is_ok_and(|(mut file, ..)| file.read_exact(&mut head).is_ok())
            && head == *MAGIC
    }

    /// Writes everything; whether it is complete.
    ///
    /// # Errors
    /// When the archive cannot be written.
    pub(super) fn feed<W: Write + Send + 'static>(self, writer: &mut Writer<W>, pace: &dyn Pace) -> Result<bool, ArchiveFault> {
        let (mut complete, mut held) = (self.unread.is_empty(), Vec::new());
        for item in &self.items {
            complete &= match (item.kind, self.copies.get(&item.path)) {
                (EntryKind::Dir, _) => writer.dir(&item.path, item.mode, item.mtime).map(|()| true)?,
                (EntryKind::File, Some(copy)) => whole_file((writer, pace), &item.path, copy, (item.mode, item.mtime))?,
                (EntryKind::File, None) => self.plain((&mut *writer, pace), item, &mut held)?,
            };
        }
        for one in self.special.into_iter().chain(self.unread) {
            writer.skip(one.path, one.why);
        }
        Ok(complete)
    }

    /// `held` is where small files are held; it stays, so that memory is asked for once.
    fn plain<W: Write + Send + 'static>(
        &self,
        (writer, pace): (&mut Writer<W>, &dyn Pace),
        item: &Item,
        held: &mut Vec<u8>,
    ) -> Result<bool, ArchiveFault> {
        for attempt in 1..=ATTEMPTS {
            let (file, now, before) = match self.root.read(&item.path) {
                Ok(opened) => opened,
                Err(cause) => {
                    writer.skip(&item.path, format!("it cannot be read: {cause}"));
                    return Ok(false);
                }
            };
            let told = (now.mode, now.mtime);
            read_in_pieces(&file);
            if now.size > HELD {
                let mut source = Lenient { inner: Paced::new(&file, pace), fault: None };
                let whole = writer.file(&item.path, now.size, told, &mut source)?;
                if let Some(cause) = source.fault {
                    writer.skip(&item.path, format!("it cannot be read as a whole: {cause}"));
                    return Ok(false);
                }
                let still = whole && before.is_still(&file);
                if whole && !still {
                    writer.skip(&item.path, "it changed while it was read");
                }
                return Ok(still);
            }
            held.clear();
            held.reserve(usize::try_from(now.size).unwrap_or_default() + 1);
            let read = Paced::new(&file, pace).take(HELD + 1).read_to_end(held);
            let stable = read.is_ok() && held.len() as u64 == now.size && before.is_still(&file);
            if stable || attempt == ATTEMPTS {
                writer.file(&item.path, held.len() as u64, told, held.as_slice())?;
                match read {
                    Ok(_) if stable => {}
                    Ok(_) => writer.skip(&item.path, "it changed each time it was read"),
                    Err(cause) => writer.skip(&item.path, format!("it cannot be read as a whole: {cause}")),
                }
                return Ok(stable);
            }
        }
        Ok(false)
    }
}

/// Ends where its source cannot be read on: one bad block must not cost the archive of all the rest.
struct Lenient<R> {
    inner: R,
    fault: Option<std::io::Error>,
}

impl<R: std::io::Read> std::io::Read for Lenient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.inner.read(buffer) {
            Err(cause) if cause.kind() != std::io::ErrorKind::Interrupted => {
                self.fault = Some(cause);
                Ok(0)
            }
            done => done,
        }
    }
}

/// A file that nobody writes any more.
pub(super) fn whole_file<W: Write + Send + 'static>(
    (writer, pace): (&mut Writer<W>, &dyn Pace),
    path: &str,
    from: &Path,
    told: (u32, u64),
) -> Result<bool, ArchiveFault> {
    let io = |cause| ArchiveFault::Io { what: format!("{} cannot be read", from.display()), cause };
    let file = File::open(from).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    read_in_pieces(&file);
    writer.file(path, size, told, Paced::new(file, pace))
}
