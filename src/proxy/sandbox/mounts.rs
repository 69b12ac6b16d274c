//! The file system as one server sees it: its own `/proc`, and an empty folder where the data directory is, with nothing in it
//! but the server's vault. Works only on a mount namespace of its own; never changes a file.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::params::{Identity, Plan, within};

const NOTHING: Option<&str> = None;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    Yes,
    No,
}

/// A folder or file that stays visible under a cover.
struct Window {
    path: PathBuf,
    source: File,
    writes: Writes,
}

/// Hides what the server must not see. `Ok(false)`: this system allows no mount namespace.
///
/// # Errors
/// When it stopped half-way: the server would see a broken file system.
pub(super) fn hide(plan: &Plan) -> Result<bool, String> {
    if unshare(CloneFlags::CLONE_NEWNS).is_err()
        || mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING).is_err()
    {
        return Ok(false);
    }
    let private = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let own_proc = mount(Some("proc"), "/proc", Some("proc"), private, NOTHING).is_ok();
    if plan.params.probe {
        return Ok(own_proc);
    }
    let (covers, windows) = layout(plan)?;
    for cover in &covers {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("lifeboat"), cover, Some("tmpfs"), flags, Some("mode=0711,size=256k"))
            .map_err(|fault| told("cannot cover", cover, fault))?;
    }
    for window in &windows {
        open_window(window)?;
    }
    Ok(own_proc)
}

fn told(what: &str, path: &Path, fault: nix::Error) -> String {
    format!("{what} {}: {}", path.display(), fault.desc())
}

/// The folders to cover and what stays visible in them. A folder the server's user may not pass is covered whole: nothing is
/// lost to it, and what the command line names in it can be reached.
fn layout(plan: &Plan) -> Result<(BTreeSet<PathBuf>, Vec<Window>), String> {
    let params = &plan.params;
    let data = params.data.canonicalize().map_err(|fault| format!("{}: {fault}", params.data.display()))?;
    let shut = |path: &Path| match plan.identity {
        Identity::Own(uid) => first_shut(path, uid),
        Identity::Nested { .. } | Identity::Same => None,
    };
    let mut covers = BTreeSet::from([shut(&data).unwrap_or_else(|| data.clone())]);
    let wanted = std::iter::once((&params.vault, Writes::Yes))
        .chain(params.dirs.iter().map(|dir| (dir, Writes::Yes)))
        .chain(plan.reads.iter().map(|path| (path, Writes::No)));
    let mut named = Vec::new();
    for (path, writes) in wanted {
        let Ok(real) = path.canonicalize() else { continue };
        covers.extend(shut(&real));
        named.push((real, writes));
    }
    let top: BTreeSet<PathBuf> =
        covers.iter().filter(|cover| !covers.iter().any(|other| other != *cover && within(cover, other))).cloned().collect();
    let mut windows = Vec::new();
    for (path, writes) in named {
        if !top.iter().any(|cover| within(&path, cover)) {
            continue;
        }
        let flags = nix::fcntl::OFlag::O_PATH.bits() | nix::fcntl::OFlag::O_NOFOLLOW.bits();
        let source = OpenOptions::new().read(true).custom_flags(flags).open(&path);
        windows.push(Window { source: source.map_err(|fault| format!("{}: {fault}", path.display()))?, path, writes });
    }
    // An outer window first, so that an inner one lies upon it.
    windows.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((top, windows))
}

/// The first folder on the way to `path` that `uid` may not pass.
fn first_shut(path: &Path, uid: u32) -> Option<PathBuf> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.reverse();
    let passes = |folder: &Path| {
        folder.metadata().is_ok_and(|found| found.mode() & 0o001 != 0 || (found.uid() == uid && found.mode() & 0o100 != 0))
    };
    folders.into_iter().find(|folder| !passes(folder)).map(Path::to_path_buf)
}

fn open_window(window: &Window) -> Result<(), String> {
    let path = &window.path;
    let made = || -> std::io::Result<()> {
        let is_dir = window.source.metadata()?.is_dir();
        let folder = if is_dir { Some(path.as_path()) } else { path.parent() };
        if let Some(folder) = folder {
            std::fs::DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
        }
        if !is_dir && !path.exists() {
            OpenOptions::new().write(true).create_new(true).open(path)?;
        }
        Ok(())
    };
    made().map_err(|fault| format!("cannot show {}: {fault}", path.display()))?;
    let source = format!("/proc/self/fd/{}", window.source.as_raw_fd());
    mount(Some(source.as_str()), path, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
        .map_err(|fault| told("cannot show", path, fault))?;
    if window.writes == Writes::No {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(NOTHING, path, NOTHING, flags, NOTHING).map_err(|fault| told("cannot protect", path, fault))?;
    }
    Ok(())
}
