//! What was committed: the list of commits, the difference of two, and refs of our own beside HEAD. Never moves HEAD.

use std::path::Path;

use git2::{Commit, Delta, DiffOptions, ErrorCode, Oid, Patch, Sort};

use super::{Author, ChangeKind, Repository, bad, find, head_of, signature};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};

const OWN_REFS: &str = "refs/lifeboat/";
const MAX_PATCH: usize = 256 * 1024;

/// One commit of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id in hex.
    pub id: String,
    /// Who made it.
    pub author: String,
    /// When, to the second.
    pub at: Timestamp,
    /// The whole message.
    pub message: String,
    /// Files that differ from the commit before.
    pub files: Vec<String>,
}

/// How one file differs between two commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiff {
    /// Path inside `config/`.
    pub path: String,
    /// What happened to it.
    pub kind: ChangeKind,
    /// The difference in unified form; cut at 256 KiB.
    pub patch: String,
}

/// The difference of two texts in unified form, cut at 256 KiB; empty when they are the same.
///
/// # Errors
/// `Unavailable` when they cannot be compared.
pub fn unified(name: &str, before: &str, after: &str) -> Verb<String> {
    const WHAT: &str = "cannot compare the texts";
    let mut options = DiffOptions::new();
    options.context_lines(3).force_text(true);
    let path = Path::new(name);
    let mut patch = Patch::from_buffers(before.as_bytes(), Some(path), after.as_bytes(), Some(path), Some(&mut options))
        .map_err(|e| bad(e, WHAT))?;
    let text = patch.to_buf().map_err(|e| bad(e, WHAT))?;
    Ok(String::from_utf8_lossy(&text[..text.len().min(MAX_PATCH)]).into_owned())
}

impl Repository {
    /// The newest `limit` commits that HEAD reaches, newest first; with `after`, those before that commit.
    ///
    /// # Errors
    /// `NotFound` when `after` is no commit.
    pub fn history(&self, limit: usize, after: Option<&str>) -> Verb<Vec<CommitInfo>> {
        const WHAT: &str = "cannot read the configuration's history";
        let raw = self.raw()?;
        let mut walk = raw.revwalk().map_err(|e| bad(e, WHAT))?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME).map_err(|e| bad(e, WHAT))?;
        let start = match after {
            Some(after) => resolve(&raw, after)?,
            None => head_of(&raw)?.1,
        };
        walk.push(start).map_err(|e| bad(e, WHAT))?;
        let skip = usize::from(after.is_some());
        walk.skip(skip)
            .take(limit)
            .map(|id| info(&raw, &raw.find_commit(id.map_err(|e| bad(e, WHAT))?).map_err(|e| bad(e, WHAT))?))
            .collect()
    }

    /// How the files of commit `to` differ from those of commit `from`.
    ///
    /// # Errors
    /// `NotFound` when one of them is no commit.
    pub fn diff(&self, from: &str, to: &str) -> Verb<Vec<FileDiff>> {
        const WHAT: &str = "cannot compare the commits";
        let raw = self.raw()?;
        let tree = |revision: &str| -> Verb<git2::Tree<'_>> {
            raw.find_commit(resolve(&raw, revision)?).and_then(|commit| commit.tree()).map_err(|e| bad(e, WHAT))
        };
        let mut options = DiffOptions::new();
        options.ignore_filemode(true);
        let diff = raw.diff_tree_to_tree(Some(&tree(from)?), Some(&tree(to)?), Some(&mut options)).map_err(|e| bad(e, WHAT))?;
        let mut out = Vec::new();
        for (index, delta) in diff.deltas().enumerate() {
            let patch = Patch::from_diff(&diff, index).map_err(|e| bad(e, WHAT))?;
            let text = patch.map(|mut patch| patch.to_buf()).transpose().map_err(|e| bad(e, WHAT))?;
            let bytes: &[u8] = text.as_deref().unwrap_or_default();
            let patch = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_PATCH)]).into_owned();
            out.push(FileDiff { path: path_of(&delta), kind: kind_of(delta.status()), patch });
        }
        Ok(out)
    }

    /// Adds a text to the chain of commits under `refs/lifeboat/…`, as its file `text`. Neither HEAD nor a branch moves. Returns the id.
    ///
    /// # Errors
    /// `Invalid` for a name elsewhere; `Conflict` when somebody else added first.
    pub fn write_ref(&self, name: &str, text: &str, author: &Author) -> Verb<String> {
        const WHAT: &str = "cannot write the reference";
        if !name.starts_with(OWN_REFS) || !git2::Reference::is_valid_name(name) {
            return Err(Fault::invalid("ref", format!("a reference of ours begins with {OWN_REFS}")));
        }
        let _turn = self.turn()?;
        let raw = self.raw()?;
        let before = match raw.refname_to_id(name) {
            Ok(id) => Some(find(&raw, &id.to_string())?),
            Err(e) if e.code() == ErrorCode::NotFound => None,
            Err(e) => return Err(bad(e, WHAT)),
        };
        let write = || -> Result<Oid, git2::Error> {
            let mut builder = raw.treebuilder(None)?;
            builder.insert("text", raw.blob(text.as_bytes())?, 0o100_644)?;
            builder.write()
        };
        let tree = write().and_then(|id| raw.find_tree(id)).map_err(|e| bad(e, WHAT))?;
        let signature = signature(author)?;
        let parents: Vec<&Commit<'_>> = before.iter().collect();
        let id = raw.commit(None, &signature, &signature, "checkpoint", &tree, &parents).map_err(|e| bad(e, WHAT))?;
        match &before {
            Some(before) => raw.reference_matching(name, id, true, before.id(), "lifeboat: checkpoint"),
            None => raw.reference(name, id, false, "lifeboat: checkpoint"),
        }
        .map_err(|e| bad(e, WHAT))?;
        Ok(id.to_string())
    }

    /// The text added last under `refs/lifeboat/…`, if there is one.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read.
    pub fn read_ref(&self, name: &str) -> Verb<Option<String>> {
        const WHAT: &str = "cannot read the reference";
        let raw = self.raw()?;
        let id = match raw.refname_to_id(name) {
            Ok(id) => id,
            Err(e) if e.code() == ErrorCode::NotFound => return Ok(None),
            Err(e) => return Err(bad(e, WHAT)),
        };
        let files = self.files_of(&raw, id)?;
        Ok(files.get("text").map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }
}

/// The commit that a person's words mean. Only ids and `HEAD` with `~` and `^` are read: git's other words search messages and dates.
pub(super) fn resolve(raw: &git2::Repository, revision: &str) -> Verb<Oid> {
    let unknown = || Fault::not_found(format!("there is no commit {revision:?}"));
    let base = revision.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '~' | '^'));
    let is_id = (4..=40).contains(&revision.len()) && revision.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_id && base != "HEAD" || revision.len() > 64 {
        return Err(unknown());
    }
    let object = raw.revparse_single(revision).map_err(|_| unknown())?;
    object.peel_to_commit().map(|commit| commit.id()).map_err(|_| unknown())
}

fn info(raw: &git2::Repository, commit: &Commit<'_>) -> Verb<CommitInfo> {
    const WHAT: &str = "cannot read a commit of the configuration";
    let tree = commit.tree().map_err(|e| bad(e, WHAT))?;
    let before = commit.parent(0).ok().and_then(|parent| parent.tree().ok());
    let diff = raw.diff_tree_to_tree(before.as_ref(), Some(&tree), None).map_err(|e| bad(e, WHAT))?;
    Ok(CommitInfo {
        id: commit.id().to_string(),
        author: String::from_utf8_lossy(commit.author().name_bytes()).into_owned(),
        at: Timestamp(commit.time().seconds().saturating_mul(1000)),
        message: String::from_utf8_lossy(commit.message_bytes()).into_owned(),
        files: diff.deltas().map(|delta| path_of(&delta)).collect(),
    })
}

fn path_of(delta: &git2::DiffDelta<'_>) -> String {
    let path = delta.new_file().path().or_else(|| delta.old_file().path());
    path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

fn kind_of(status: Delta) -> ChangeKind {
    match status {
        Delta::Added => ChangeKind::Added,
        Delta::Deleted => ChangeKind::Removed,
        _ => ChangeKind::Changed,
    }
}
