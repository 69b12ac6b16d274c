//! The git repository of `config/`. Only HEAD counts; every change is a commit that compares and sets. Never runs a hook, a filter or any
//! other program, never follows a link, never sweeps up or overwrites somebody's uncommitted edits. All calls block.

mod bundle;
mod forward;
mod history;
mod tree;
mod working;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use git2::{ErrorCode, Oid, RepositoryInitOptions, RepositoryOpenFlags, Signature, Time};

pub use history::{CommitInfo, FileDiff, unified};
pub use tree::check_path;
pub use working::{ChangeKind, FileChange};

use super::{ConfigFault, Desired};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};

/// Files of one tree, by path inside `config/`.
pub type Files = BTreeMap<String, Vec<u8>>;

const BRANCH: &str = "refs/heads/main";
const EMPTY: &str = "0000000000000000000000000000000000000000";

const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Held while a commit is made; the file's lock ends with the file.
struct Turn<'a> {
    _outside: File,
    _inside: MutexGuard<'a, ()>,
}

/// Who makes a commit, and when.
#[derive(Clone, Debug)]
pub struct Author {
    /// The operator's name, or `local:NAME`.
    pub name: String,
    /// The moment of the commit; git keeps whole seconds.
    pub at: Timestamp,
}

/// What HEAD holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Commit id in hex.
    pub commit: String,
    /// All its files.
    pub files: Files,
}

/// One change of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Creates or replaces a file.
    Put {
        /// Path inside `config/`.
        path: String,
        /// The whole new content.
        bytes: Vec<u8>,
    },
    /// Removes a file.
    Remove {
        /// Path inside `config/`.
        path: String,
    },
}

impl Change {
    /// The file it is about.
    pub fn path(&self) -> &str {
        match self {
            Self::Put { path, .. } | Self::Remove { path } => path,
        }
    }
}

/// The changes that turn one tree into the other, for a roll back.
pub fn changes_between(from: &Files, to: &Files) -> Vec<Change> {
    let put = to.iter().filter(|(path, bytes)| from.get(*path) != Some(bytes));
    let put = put.map(|(path, bytes)| Change::Put { path: path.clone(), bytes: bytes.clone() });
    let removed = from.keys().filter(|path| !to.contains_key(*path)).map(|path| Change::Remove { path: path.clone() });
    put.chain(removed).collect()
}

/// The repository. Cheap to clone; clones share one lock, and a file's lock holds off other processes: commits come one after the other.
#[derive(Clone, Debug)]
pub struct Repository {
    root: PathBuf,
    lock: Arc<Mutex<()>>,
}

impl Repository {
    /// Opens the repository at `root`, or makes one whose first commit holds `files`.
    ///
    /// # Errors
    /// `Conflict` when other files stand in the way; else as `open`.
    pub fn init(root: &Path, author: &Author, files: &Files) -> Verb<Self> {
        let repository = Self { root: root.to_owned(), lock: Arc::default() };
        if !root.join(".git").exists() {
            let mut options = RepositoryInitOptions::new();
            options.no_reinit(true).mkdir(false).mkpath(false).external_template(false).initial_head("main");
            let made =
                git2::Repository::init_opts(root, &options).map_err(|e| bad(e, "cannot make the configuration's repository"))?;
            let settings = made.config().and_then(|mut config| config.set_bool("core.fsyncObjectFiles", true));
            settings.map_err(|e| bad(e, "cannot make the configuration's repository"))?;
        }
        if repository.raw()?.head().is_err_and(|e| e.code() == ErrorCode::UnbornBranch) {
            let changes = changes_between(&Files::new(), files);
            repository.commit(EMPTY, &changes, author, "Begin the configuration")?;
        }
        Self::open(root)
    }

    /// Opens the repository at `root`, and finishes what a crash left half done in the working tree.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Invalid` when it belongs to another account or is no plain repository.
    pub fn open(root: &Path) -> Verb<Self> {
        let repository = Self { root: root.to_owned(), lock: Arc::default() };
        let raw = repository.raw()?;
        let turn = repository.turn()?;
        repository.finish_pending(&raw)?;
        drop(turn);
        Ok(repository)
    }

    /// Reads HEAD.
    ///
    /// # Errors
    /// `Invalid` when its tree holds a link, a submodule, a bad name or too much; `Unavailable` when it cannot be read.
    pub fn head(&self) -> Verb<Head> {
        let raw = self.raw()?;
        let (_, id) = head_of(&raw)?;
        Ok(Head { commit: id.to_string(), files: self.files_of(&raw, id)? })
    }

    /// Reads the files of any commit: an id, an unambiguous beginning of one, or `HEAD~2`.
    ///
    /// # Errors
    /// `NotFound` when there is no such commit; else as `head`.
    pub fn at(&self, revision: &str) -> Verb<Head> {
        let raw = self.raw()?;
        let id = history::resolve(&raw, revision)?;
        Ok(Head { commit: id.to_string(), files: self.files_of(&raw, id)? })
    }

    /// Commits changes on top of `expected`, the commit the caller has seen, and brings them into the working tree. Returns the new id.
    ///
    /// # Errors
    /// `Conflict` when HEAD is another commit by now, or a file to change has uncommitted edits; `Invalid` when the result is no valid
    /// configuration, or nothing would change. Nothing is changed then.
    pub fn commit(&self, expected: &str, changes: &[Change], author: &Author, message: &str) -> Verb<String> {
        let _turn = self.turn()?;
        let raw = self.raw()?;
        let old = self.expect_head(&raw, expected)?;
        let mut new = old.files.clone();
        for change in changes {
            check_path(change.path()).map_err(|message| Fault::invalid(change.path(), message))?;
            match change {
                Change::Put { path, bytes } => drop(new.insert(path.clone(), bytes.clone())),
                Change::Remove { path } => {
                    new.remove(path).ok_or_else(|| Fault::not_found(format!("there is no file {path} to remove")))?;
                }
            }
        }
        if new == old.files && expected != EMPTY {
            return Err(Fault::invalid("config", "nothing would change"));
        }
        self.refuse_edited(&old.files, &new)?;
        let id = self.record(&raw, &old, &new, author, message)?;
        self.bring_in(&raw, &old.files, &new)?;
        Ok(id)
    }

    /// What the working tree holds that HEAD does not. Names that begin with a dot or end with `~` are left to editors.
    ///
    /// # Errors
    /// `Invalid` when a link or something else that is no file stands there.
    pub fn working_changes(&self) -> Verb<Vec<FileChange>> {
        let head = self.head()?;
        Ok(working::compare(&head.files, &working::read(&self.root)?))
    }

    /// The files of the working tree, for `config check`.
    ///
    /// # Errors
    /// As `working_changes`.
    pub fn working_files(&self) -> Verb<Files> {
        let head = self.head()?;
        Ok(working::overlay(&head.files, working::read(&self.root)?))
    }

    /// Commits all edits of the working tree. Returns the new id.
    ///
    /// # Errors
    /// `Invalid` with all faults when they are no valid configuration, or when there are none; `Conflict` when HEAD moved meanwhile.
    pub fn commit_working(&self, author: &Author, message: &str) -> Verb<String> {
        let _turn = self.turn()?;
        let raw = self.raw()?;
        let (_, id) = head_of(&raw)?;
        let old = self.expect_head(&raw, &id.to_string())?;
        let new = working::overlay(&old.files, working::read(&self.root)?);
        if new == old.files {
            return Err(Fault::invalid("config", "there is nothing to commit"));
        }
        let id = self.record(&raw, &old, &new, author, message)?;
        working::stage(&raw, &old.files, &new);
        Ok(id)
    }

    /// Waits for this process's turn and then for other processes', 2 s at most.
    fn turn(&self) -> Verb<Turn<'_>> {
        const WHAT: &str = "cannot lock the configuration's repository";
        // The mutex guards no data, so a thread that died with it left nothing half done here.
        let inside = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.root.join(".git/lifeboat.lock");
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        let file = file.map_err(|e| Fault::unavailable(WHAT).because(e))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Turn { _outside: file, _inside: inside }),
                Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_PAUSE),
                Err(TryLockError::Error(e)) => return Err(Fault::unavailable(WHAT).because(e)),
            }
        }
        Err(Fault::unavailable("another process keeps the configuration's repository locked"))
    }

    /// Opens git's own handle. Done anew for each call: handles cannot be shared between threads.
    fn raw(&self) -> Verb<git2::Repository> {
        let git = self.root.join(".git");
        let found =
            std::fs::symlink_metadata(&git).map_err(|e| Fault::not_found("there is no configuration repository").because(e))?;
        if !found.is_dir() {
            return Err(Fault::invalid("config/.git", "must be a directory, not a link to another place"));
        }
        let flags = RepositoryOpenFlags::NO_SEARCH | RepositoryOpenFlags::NO_DOTGIT;
        git2::Repository::open_ext(&git, flags, std::iter::empty::<&Path>())
            .map_err(|e| bad(e, "cannot open the configuration's repository"))
    }

    fn expect_head(&self, raw: &git2::Repository, expected: &str) -> Verb<Head> {
        if expected == EMPTY {
            return Ok(Head { commit: EMPTY.into(), files: Files::new() });
        }
        let (_, id) = head_of(raw)?;
        if id.to_string() != expected {
            return Err(moved());
        }
        Ok(Head { commit: id.to_string(), files: self.files_of(raw, id)? })
    }

    fn files_of(&self, raw: &git2::Repository, id: Oid) -> Verb<Files> {
        let commit = raw.find_commit(id).map_err(|e| bad(e, "cannot read the commit"))?;
        tree::read(raw, &commit.tree().map_err(|e| bad(e, "cannot read the commit's files"))?)
    }

    /// Makes the commit and moves HEAD from `old` to it, or fails if HEAD is not `old` any more.
    fn record(&self, raw: &git2::Repository, old: &Head, new: &Files, author: &Author, message: &str) -> Verb<String> {
        Desired::read(new).map_err(|faults| ConfigFault::join(&faults))?;
        const WHAT: &str = "cannot write the commit";
        let signature = signature(author)?;
        let parent = if old.commit == EMPTY { None } else { Some(find(raw, &old.commit)?) };
        let tree = tree::write(raw, parent.as_ref(), &changes_between(&old.files, new))?;
        let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
        let message = message.trim();
        let message = if message.is_empty() { "Change the configuration" } else { message };
        let id = raw.commit(None, &signature, &signature, message, &tree, &parents).map_err(|e| bad(e, WHAT))?;
        self.note_pending(&old.commit, id)?;
        match &parent {
            Some(parent) => {
                let (name, _) = head_of(raw)?;
                raw.reference_matching(&name, id, true, parent.id(), "lifeboat: commit").map_err(|_| moved())?;
            }
            None => drop(raw.reference(BRANCH, id, false, "lifeboat: first commit").map_err(|_| moved())?),
        }
        Ok(id.to_string())
    }
}

fn moved() -> Fault {
    Fault::conflict("somebody changed the configuration first; look at it again and repeat")
}

fn find<'r>(raw: &'r git2::Repository, id: &str) -> Verb<git2::Commit<'r>> {
    let id = Oid::from_str(id).map_err(|e| bad(e, "this is no commit id"))?;
    raw.find_commit(id).map_err(|e| bad(e, "cannot read the commit"))
}

/// The reference that HEAD stands for, and its commit.
fn head_of(raw: &git2::Repository) -> Verb<(String, Oid)> {
    const WHAT: &str = "cannot read HEAD of the configuration";
    let head = raw.head().map_err(|e| bad(e, WHAT))?;
    let id = head.target().ok_or_else(|| Fault::bug(WHAT))?;
    Ok((head.name().map_err(|e| bad(e, WHAT))?.to_owned(), id))
}

fn signature(author: &Author) -> Verb<Signature<'static>> {
    let name = author.name.trim();
    if name.is_empty() || name.len() > 128 || name.chars().any(|c| c.is_control() || matches!(c, '<' | '>')) {
        return Err(Fault::invalid("author", "an author is 1 to 128 printable characters without < and >"));
    }
    let email = format!("{}@lifeboat", name.replace([' ', ':', '@'], "."));
    Signature::new(name, &email, &Time::new(author.at.0.div_euclid(1000), 0)).map_err(|e| bad(e, "cannot name the commit's author"))
}

/// A git error as a fault.
fn bad(error: git2::Error, what: &str) -> Fault {
    let fault = match error.code() {
        ErrorCode::NotFound | ErrorCode::UnbornBranch => Fault::not_found(what),
        ErrorCode::Owner => Fault::invalid("config/.git", format!("{what}: it belongs to another account")),
        ErrorCode::Modified | ErrorCode::Exists => Fault::conflict(what),
        _ => Fault::unavailable(what),
    };
    fault.because(error)
}
