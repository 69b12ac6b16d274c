//! Which files a command line names: the program, and the folders its arguments lie in. Only looks, opens nothing for anybody.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::params::within;

/// Where a program is looked for when the declared environment names no PATH.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The absolute path of a program: as named, or the first in `path` that is a file somebody may execute.
pub(super) fn find_program(name: &OsStr, path: &str, cwd: &Path) -> Option<PathBuf> {
    let runs = |candidate: &Path| {
        let mode = |found: std::fs::Metadata| std::os::unix::fs::PermissionsExt::mode(&found.permissions());
        candidate.metadata().is_ok_and(|found| found.is_file() && mode(found) & 0o111 != 0)
    };
    if name.as_encoded_bytes().contains(&b'/') {
        let named = cwd.join(name);
        return runs(&named).then_some(named);
    }
    path.split(':').filter(|folder| folder.starts_with('/')).map(|folder| Path::new(folder).join(name)).find(|file| runs(file))
}

/// What the server must read to run this command line, besides the system's own directories.
pub(super) fn named_by(program: Option<&Path>, arguments: &[OsString], data: &Path) -> Vec<PathBuf> {
    let data = &data.canonicalize().unwrap_or_else(|_| data.to_path_buf());
    let mut reads = Vec::new();
    if let Some(program) = program {
        add_around(program, data, &mut reads);
    }
    for argument in arguments {
        let path = Path::new(argument);
        if path.is_absolute() && path.exists() {
            add_around(path, data, &mut reads);
        }
    }
    reads.sort();
    reads.dedup();
    reads
}

fn add_around(path: &Path, data: &Path, reads: &mut Vec<PathBuf>) {
    let mut names = vec![path.to_path_buf()];
    if let Ok(real) = path.canonicalize()
        && real != path
    {
        names.push(real);
    }
    let overlaps = |path: &Path| within(data, path) || within(path, data);
    let homes: Vec<PathBuf> = names.iter().filter_map(|name| python_home(name)).collect();
    reads.extend(homes.into_iter().filter(|home| !overlaps(home)));
    for name in names {
        let wide = surroundings(&name);
        if !overlaps(&wide) {
            reads.push(wide);
        } else if !overlaps(&name) {
            // Whoever keeps programs beside the data directory gets the one file only.
            reads.push(name);
        }
        // What lies in the data directory is not opened by naming it.
    }
}

/// The tree a program or script belongs to: its package tree, its virtual environment, or its folder; for a folder that
/// everybody shares, the file alone.
fn surroundings(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_path_buf();
    }
    if let Some(tree) = path.ancestors().filter(|part| part.file_name() == Some(OsStr::new("node_modules"))).last() {
        return tree.to_path_buf();
    }
    let Some(folder) = path.parent() else { return path.to_path_buf() };
    match folder.parent() {
        Some(above) if above.join("pyvenv.cfg").is_file() => above.to_path_buf(),
        Some(above) if above != Path::new("/") && above != Path::new("/home") => folder.to_path_buf(),
        _ if folder == Path::new("/opt") => folder.to_path_buf(),
        _ => path.to_path_buf(),
    }
}

/// The installation that a Python, or a script of a virtual environment, stands on: its library lies beside its `bin`, and in an
/// environment the Python is only a link to it.
fn python_home(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    let is_environment = folder.parent()?.join("pyvenv.cfg").is_file();
    let python = if is_environment { folder.join("python3") } else { path.to_path_buf() }.canonicalize().ok()?;
    let name = python.file_name()?.to_str().filter(|name| name.starts_with("python3."))?;
    let home = python.parent()?.parent()?;
    home.join("lib").join(name).is_dir().then(|| home.to_path_buf())
}

/// Refuses a declared directory that would open the data directory.
pub(super) fn check_dirs(dirs: &[PathBuf], data: &Path) -> Result<(), String> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let data = real(data);
    for dir in dirs {
        let found = real(dir);
        if !dir.is_absolute() {
            return Err(format!("the directory {} is not absolute", dir.display()));
        }
        if within(&data, &found) || within(&found, &data) {
            return Err(format!("the directory {} would open Lifeboat's own data to the server", dir.display()));
        }
    }
    Ok(())
}
