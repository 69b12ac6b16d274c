//! Trees in git: read whole into memory, with caps; written from the commit before and the changes. Never reads the working tree.

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, ObjectType, Repository, Tree};

use super::{Change, Files, bad};
use crate::base::fault::{Fault, Verb};

pub(super) const MAX_FILE: usize = 4 << 20;
pub(super) const MAX_TOTAL: usize = 128 << 20;
pub(super) const MAX_FILES: usize = 20_000;
pub(super) const MAX_DEPTH: usize = 8;

const FILE: i32 = 0o100_644;
const PROGRAM: i32 = 0o100_755;

/// Whether a path may stand in the configuration.
///
/// # Errors
/// A sentence that says what a path may be made of.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    let parts: Vec<&str> = path.split('/').collect();
    if parts.len() > MAX_DEPTH || !parts.iter().all(|part| check_part(part)) || parts.iter().any(|part| part.starts_with('.')) {
        return Err(
            "a path in the configuration has no empty part, none that begins with a dot, and no backslash or control character",
        );
    }
    Ok(())
}

pub(super) fn check_part(part: &str) -> bool {
    let git = part.eq_ignore_ascii_case(".git") || part.to_ascii_lowercase().starts_with("git~");
    !part.is_empty()
        && part.len() <= 255
        && part != "."
        && part != ".."
        && !git
        && !part.chars().any(|c| c.is_control() || c == '\\' || c == '/')
}

/// Reads every file of a tree.
pub(super) fn read(raw: &Repository, tree: &Tree<'_>) -> Verb<Files> {
    let mut files = Files::new();
    let mut total = 0;
    walk(raw, tree, "", &mut files, &mut total)?;
    Ok(files)
}

fn walk(raw: &Repository, tree: &Tree<'_>, folder: &str, files: &mut Files, total: &mut usize) -> Verb<()> {
    const WHAT: &str = "cannot read the configuration's files";
    if folder.matches('/').count() >= MAX_DEPTH {
        return Err(Fault::invalid(folder, "the configuration is nested too deep"));
    }
    for entry in tree {
        let shown = String::from_utf8_lossy(entry.name_bytes()).into_owned();
        let refuse = |message: &str| Fault::invalid(format!("{folder}{shown:?}"), message);
        let name = entry
            .name()
            .ok()
            .filter(|name| check_part(name))
            .ok_or_else(|| refuse("is no name for a file of the configuration"))?;
        let path = format!("{folder}{name}");
        match (entry.kind(), entry.filemode_raw()) {
            (Some(ObjectType::Tree), _) => {
                let inner = raw.find_tree(entry.id()).map_err(|e| bad(e, WHAT))?;
                walk(raw, &inner, &format!("{path}/"), files, total)?;
            }
            (Some(ObjectType::Blob), FILE | PROGRAM) => {
                let size = raw.odb().and_then(|odb| odb.read_header(entry.id())).map_err(|e| bad(e, WHAT))?.0;
                *total += size;
                if size > MAX_FILE || *total > MAX_TOTAL || files.len() >= MAX_FILES {
                    return Err(refuse("the configuration is too large"));
                }
                let blob = raw.find_blob(entry.id()).map_err(|e| bad(e, WHAT))?;
                files.insert(path, blob.content().to_vec());
            }
            _ => return Err(refuse("is a link or a submodule; the configuration holds plain files only")),
        }
    }
    Ok(())
}

/// Writes the tree that follows from the parent's by the changes. What the changes do not name stays as it is, byte for byte.
pub(super) fn write<'r>(raw: &'r Repository, parent: Option<&git2::Commit<'_>>, changes: &[Change]) -> Verb<Tree<'r>> {
    const WHAT: &str = "cannot write the configuration's files";
    let mut builder = TreeUpdateBuilder::new();
    for change in changes {
        match change {
            Change::Put { path, bytes } => {
                if bytes.len() > MAX_FILE {
                    return Err(Fault::invalid(path, "the file is too large"));
                }
                let blob = raw.blob(bytes).map_err(|e| bad(e, WHAT))?;
                builder.upsert(path.as_str(), blob, FileMode::Blob);
            }
            Change::Remove { path } => drop(builder.remove(path.as_str())),
        }
    }
    let base = match parent {
        Some(parent) => parent.tree_id(),
        None => raw.treebuilder(None).and_then(|empty| empty.write()).map_err(|e| bad(e, WHAT))?,
    };
    let base = raw.find_tree(base).map_err(|e| bad(e, WHAT))?;
    let id = builder.create_updated(raw, &base).map_err(|e| bad(e, WHAT))?;
    raw.find_tree(id).map_err(|e| bad(e, WHAT))
}
