//! The file `KILL` in the data directory: the copy of the kill state that needs no database, and the order anybody with a shell can
//! give. What cannot be read counts as everything stopped. Never removes the file but for a release of the last entry.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::model::OrderBody;
use crate::policy::{KillEntry, KillOverlay, Mode, Scope};

/// The file's name in the data directory.
pub const NAME: &str = "KILL";

// Blocks set aside for the file, so that a kill is kept though the disk is full.
const RESERVE: &str = ".KILL.reserve";
const RESERVE_BYTES: usize = 16 * 1024;
// Larger than any honest file; whatever is larger counts as unreadable.
const LARGEST: u64 = 1024 * 1024;

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// There is no file.
    Nothing,
    /// Lifeboat's own description of what is stopped.
    State(KillOverlay),
    /// A person's order: a scope, a mode, a reason. An empty file is an order to stop everything.
    Order {
        /// What.
        scope: Scope,
        /// How far.
        mode: Mode,
        /// Why.
        reason: String,
    },
    /// There is a file and it cannot be read or understood: everything is stopped.
    Unreadable(String),
}

/// How the file looked when Lifeboat last wrote or read it: a `touch` by somebody else changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Mark {
    fn of(meta: &Metadata) -> Self {
        Self { inode: meta.ino(), size: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    epoch: u64,
    entries: Vec<KillEntry>,
}

/// Where the file stands.
pub fn path(data: &Path) -> PathBuf {
    data.join(NAME)
}

/// How the file looks now; `None` when there is none.
///
/// # Errors
/// When its directory cannot be looked into.
pub fn mark(data: &Path) -> io::Result<Option<Mark>> {
    match fs::symlink_metadata(path(data)) {
        Ok(meta) => Ok(Some(Mark::of(&meta))),
        Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Reads the file.
pub fn read(data: &Path) -> Said {
    read_marked(data).0
}

/// Reads the file, and says how what was read looked: whatever is done to it from then on looks different.
pub fn read_marked(data: &Path) -> (Said, Option<Mark>) {
    let path = path(data);
    let unreadable = |fault: &io::Error| Said::Unreadable(format!("the file KILL cannot be read: {}", fault.kind()));
    match fs::symlink_metadata(&path) {
        Err(fault) if fault.kind() == ErrorKind::NotFound => return (Said::Nothing, None),
        Err(fault) => return (unreadable(&fault), None),
        Ok(meta) if !meta.is_file() => return (Said::Unreadable("KILL is not a plain file".into()), Some(Mark::of(&meta))),
        Ok(meta) if meta.len() > LARGEST => return (Said::Unreadable("the file KILL is too large".into()), Some(Mark::of(&meta))),
        Ok(_) => {}
    }
    // Whatever takes the file's place after the look above neither leads elsewhere nor makes us wait.
    let plainly = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let mut text = String::new();
    let read = OpenOptions::new().read(true).custom_flags(plainly).open(&path).and_then(|file| {
        let meta = file.metadata()?;
        file.take(LARGEST).read_to_string(&mut text).map(|_| Mark::of(&meta))
    });
    match read {
        Ok(mark) => (understand(&text), Some(mark)),
        Err(fault) if fault.kind() == ErrorKind::NotFound => (Said::Nothing, None),
        Err(fault) => (unreadable(&fault), None),
    }
}

/// Understands the text of the file: Lifeboat's own JSON, or `reason`, `mode` and one of `server`, `tool`, `client` as JSON or TOML,
/// or any other text, which then is the reason to stop everything.
pub fn understand(text: &str) -> Said {
    let text = text.trim();
    if text.is_empty() {
        return Said::Order { scope: Scope::Everything, mode: Mode::Full, reason: "the file KILL appeared".into() };
    }
    if let Ok(written) = serde_json::from_str::<Written>(text) {
        return match written.entries.is_empty() {
            true => Said::Unreadable("the file KILL names nothing that is stopped".into()),
            false => Said::State(KillOverlay { epoch: written.epoch, entries: written.entries }),
        };
    }
    let body = serde_json::from_str::<OrderBody>(text).ok().or_else(|| toml::from_str::<OrderBody>(text).ok());
    if let Some(Ok(order)) = body.map(OrderBody::into_order) {
        let reason = if order.reason.is_empty() { "the file KILL appeared".to_owned() } else { order.reason };
        return Said::Order { scope: order.scope, mode: order.mode, reason };
    }
    let first: String = text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
    Said::Unreadable(format!("the file KILL says: {first}"))
}

/// Writes what is stopped, so that it outlives a power cut: blocks set aside are filled and renamed, else a new file is. When the disk
/// takes no byte, an empty file still means that everything is stopped. Says how the file looked before anybody else could reach it: who
/// changes it in the very next moment is noticed.
///
/// # Errors
/// When not even an empty file can be made.
pub fn write(data: &Path, overlay: &KillOverlay) -> io::Result<Mark> {
    let written = Written { epoch: overlay.epoch, entries: overlay.entries.clone() };
    let mut text = serde_json::to_vec(&written)?;
    text.push(b'\n');
    let mark = fill_reserve(data, &text).or_else(|_| fill_new(data, &text)).or_else(|fault| {
        if mark(data)?.is_some() {
            return Err(fault);
        }
        let empty = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path(data))?;
        Ok(Mark::of(&empty.metadata()?))
    })?;
    sync_directory(data)?;
    // The next kill wants its blocks too; without them it writes a new file.
    let _ = set_aside(data);
    Ok(mark)
}

/// Removes the file: the last step of releasing the last entry.
///
/// # Errors
/// When it cannot be removed, or its removal not be made to last.
pub fn remove(data: &Path) -> io::Result<()> {
    match fs::remove_file(path(data)) {
        Err(fault) if fault.kind() != ErrorKind::NotFound => Err(fault),
        _ => sync_directory(data),
    }
}

/// Sets blocks aside for the next kill, when there are none yet.
///
/// # Errors
/// When the disk does not have them.
pub fn set_aside(data: &Path) -> io::Result<()> {
    let reserve = data.join(RESERVE);
    if fs::metadata(&reserve).is_ok_and(|meta| meta.len() == RESERVE_BYTES as u64) {
        return Ok(());
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&reserve)?;
    // Spaces, not a hole: only written blocks are there when the disk is full.
    file.write_all(&[b' '; RESERVE_BYTES])?;
    file.sync_all()
}

fn fill_reserve(data: &Path, text: &[u8]) -> io::Result<Mark> {
    if text.len() > RESERVE_BYTES {
        return Err(io::Error::from(ErrorKind::FileTooLarge));
    }
    let reserve = data.join(RESERVE);
    let mut file = OpenOptions::new().write(true).open(&reserve)?;
    if file.metadata()?.len() != RESERVE_BYTES as u64 {
        return Err(io::Error::from(ErrorKind::InvalidData));
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text)?;
    file.write_all(&vec![b' '; RESERVE_BYTES - text.len()])?;
    file.sync_all()?;
    let mark = Mark::of(&file.metadata()?);
    fs::rename(reserve, path(data)).map(|()| mark)
}

fn fill_new(data: &Path, text: &[u8]) -> io::Result<Mark> {
    let fresh = data.join(".KILL.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    let mark = Mark::of(&file.metadata()?);
    fs::rename(fresh, path(data)).map(|()| mark)
}

fn sync_directory(data: &Path) -> io::Result<()> {
    File::open(data)?.sync_all()
}
