//! Which parts of a path another account could exchange: servers have accounts of their own, and some write beside their vaults. Follows no link
//! that one of them can have put there, and never opens a file.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{getegid, geteuid};

use crate::base::fault::{Fault, Verb};

const MOST_LINKS: usize = 40;
const STICKY: u32 = 0o1000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted<'a> {
    /// A place to read from.
    Real,
    /// A place to write to by its path; these accounts may as well.
    Own(&'a [u32]),
}

/// The path without links, none of which another account can have made.
///
/// # Errors
/// `Conflict` for a link in a folder that another account can write; `NotFound` when a folder of it is not there.
pub(super) fn real(path: &Path) -> Verb<PathBuf> {
    walk(path, Wanted::Real)
}

/// A folder in which, and above which, no account exchanges anything but root, this one and those of `also`: what is written below it by a path
/// goes where it is meant to.
///
/// # Errors
/// As `real`, and `Conflict` when another account can.
pub(super) fn own_folder(path: &Path, also: &[u32]) -> Verb<PathBuf> {
    let found = walk(path, Wanted::Own(also))?;
    let folder = fs::symlink_metadata(&found).map_err(|e| unread(&found, e))?;
    if is_kept(&folder, also) { Ok(found) } else { Err(changeable(&found, &folder)) }
}

/// Who owns a folder and those above it: whoever can exchange the data directory needs no other way.
pub(super) fn owners(path: &Path) -> Vec<u32> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors().filter_map(|part| fs::metadata(part).ok()).map(|found| found.uid()).collect()
}

fn changeable(folder: &Path, found: &Metadata) -> Fault {
    Fault::conflict(format!(
        "{} can be changed by another account (uid {}), so nothing is exchanged in it; bring it back with --to",
        folder.display(),
        found.uid()
    ))
}

fn walk(path: &Path, wanted: Wanted<'_>) -> Verb<PathBuf> {
    if !path.is_absolute() {
        return Err(Fault::invalid("path", "must be an absolute path"));
    }
    let (mut done, mut todo, mut links) = (PathBuf::from("/"), parts(path), 0);
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&part);
        let above = fs::symlink_metadata(&done).map_err(|e| unread(&done, e))?;
        let also = match wanted {
            Wanted::Real => &[],
            Wanted::Own(also) if is_kept(&above, also) => also,
            Wanted::Own(_) => return Err(changeable(&done, &above)),
        };
        match fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() => {
                links += 1;
                if !is_kept(&above, also) || !is_ours(&found, also) || links > MOST_LINKS {
                    let message =
                        format!("{} is a link that another account can have put there; it is not followed", next.display());
                    return Err(Fault::conflict(message));
                }
                let target = fs::read_link(&next).map_err(|e| unread(&next, e))?;
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    todo.push_front(part);
                }
            }
            Ok(_) => done = next,
            Err(e) if e.kind() == io::ErrorKind::NotFound && todo.is_empty() => done = next,
            Err(e) => return Err(unread(&next, e)),
        }
    }
    Ok(done)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().filter_map(named).collect()
}

fn is_ours(found: &Metadata, also: &[u32]) -> bool {
    found.uid() == 0 || found.uid() == geteuid().as_raw() || also.contains(&found.uid())
}

/// Whether only this account and root can exchange what is in a folder. In one like `/tmp` nobody moves what belongs to others.
fn is_kept(folder: &Metadata, also: &[u32]) -> bool {
    let group_is_ours = folder.gid() == 0 || folder.gid() == getegid().as_raw();
    let others = folder.mode() & 0o002 != 0 || folder.mode() & 0o020 != 0 && !group_is_ours;
    is_ours(folder, also) && (!others || folder.mode() & STICKY != 0)
}

fn unread(path: &Path, cause: io::Error) -> Fault {
    Fault::not_found(format!("{} cannot be read: {cause}", path.display())).because(cause)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn open_to_others(path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }

    #[test]
    fn a_link_counts_only_where_nobody_else_could_have_put_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("there/notes")).unwrap();
        symlink("there", root.join("link")).unwrap();
        symlink(root.join("there/../there/notes"), root.join("far")).unwrap();
        assert_eq!(real(&root.join("link/notes")).unwrap(), root.join("there/notes"));
        assert_eq!(real(&root.join("far")).unwrap(), root.join("there/notes"));
        assert_eq!(own_folder(&root.join("link"), &[]).unwrap(), root.join("there"));
        assert_eq!(real(&root.join("there/new")).unwrap(), root.join("there/new"), "it need not be there yet");
        symlink("loop", root.join("loop")).unwrap();
        assert!(real(&root.join("loop")).is_err());
        assert!(real(Path::new("relative")).is_err());
        assert!(real(&root.join("gone/notes")).is_err());

        open_to_others(&root);
        for path in ["link/notes", "far"] {
            let fault = real(&root.join(path)).unwrap_err();
            assert!(fault.message.contains("another account can have put there"), "{fault}");
        }
        assert_eq!(real(&root.join("there/notes")).unwrap(), root.join("there/notes"), "reading follows nothing there");
        for path in [root.clone(), root.join("there")] {
            assert!(own_folder(&path, &[]).unwrap_err().message.contains("can be changed by another account"));
        }
    }

    #[test]
    fn a_folder_of_another_account_is_read_and_not_written_below() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("served/vault")).unwrap();
        // Only root can give a folder away.
        if chown(root.join("served"), Some(12_345), Some(12_345)).is_err() {
            return;
        }
        assert_eq!(real(&root.join("served/vault")).unwrap(), root.join("served/vault"));
        assert!(own_folder(&root.join("served"), &[]).is_err());
        assert_eq!(own_folder(&root.join("served"), &[12_345]).unwrap(), root.join("served"), "unless that account counts");
        assert_eq!(own_folder(&root, &[]).unwrap(), root);
        assert!(owners(&root.join("served")).contains(&12_345));
        symlink("/etc", root.join("served/trap")).unwrap();
        assert!(real(&root.join("served/trap")).is_err());
        assert!(real(&root.join("served/trap/passwd")).is_err());
    }
}
