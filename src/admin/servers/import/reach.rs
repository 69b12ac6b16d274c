//! What a command line needs of this host: its program, and the directories it seems to work in. Only looks; opens nothing for anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

// Where the sandbox looks for programs when a server's environment says nothing else.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

// Every server may read these, and none may write there.
const SYSTEM: [&str; 11] = ["/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/opt", "/proc", "/sbin", "/sys", "/usr"];

// A file with one of these endings is what a program works on; others are the program itself.
const DATA_ENDINGS: [&str; 12] =
    ["csv", "db", "duckdb", "json", "jsonl", "log", "md", "ndjson", "parquet", "sqlite", "sqlite3", "txt"];

/// This host, as far as a plan looks at it.
pub(super) struct Host<'a> {
    /// Lifeboat's own data.
    pub data: &'a Path,
}

/// Where programs are looked for.
pub(super) fn path(env: &BTreeMap<String, String>) -> &str {
    env.get("PATH").map_or(PATH, String::as_str)
}

impl Host<'_> {
    /// Whether a program can be started here.
    pub(super) fn runs(&self, program: &str, env: &BTreeMap<String, String>) -> bool {
        let runs = |file: &Path| file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        match program {
            "@demo" => true,
            named if named.contains('/') => named.starts_with('/') && runs(Path::new(named)),
            "" => false,
            bare => path(env).split(':').filter(|folder| folder.starts_with('/')).any(|folder| runs(&Path::new(folder).join(bare))),
        }
    }

    fn holds_data(&self, dir: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let (data, dir) = (real(self.data), real(dir));
        data.starts_with(&dir) || dir.starts_with(&data)
    }
}

/// The words with what exists below `cwd` as whole paths, because nobody else keeps that directory.
pub(super) fn absolute(words: Vec<String>, cwd: &str) -> Vec<String> {
    let whole = |(place, word): (usize, String)| {
        let below = Path::new(cwd).join(&word);
        // A bare program is looked for on the path, whatever lies in the directory.
        let meant = word.contains('/') || place > 0;
        let relative = meant && !word.is_empty() && !word.starts_with(['/', '-']) && cwd.starts_with('/');
        if relative && below.exists() { below.to_string_lossy().into_owned() } else { word }
    };
    words.into_iter().enumerate().map(whole).collect()
}

/// The directories that texts name, and those among them that may not be given.
pub(super) fn dirs<'t>(texts: impl Iterator<Item = &'t String>, host: &Host<'_>) -> (Vec<String>, Vec<String>) {
    let mut dirs = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for text in texts {
        // --db=/srv/x.db names a path too.
        let named = text.split_once('=').map_or(text.as_str(), |(_, value)| value);
        let Some(dir) = worked_in(named) else { continue };
        let shown = dir.to_string_lossy().into_owned();
        if host.holds_data(&dir) {
            refused.insert(shown);
        } else {
            dirs.insert(shown);
        }
    }
    (dirs.into_iter().collect(), refused.into_iter().collect())
}

// The directory itself, or the one of a file that a program works on, or would make.
fn worked_in(named: &str) -> Option<PathBuf> {
    let path = Path::new(named);
    let plain = named.starts_with('/') && !named.contains("..") && !named.contains('\0');
    if !plain {
        return None;
    }
    let data = path.extension().and_then(|end| end.to_str()).is_some_and(|end| DATA_ENDINGS.contains(&end));
    let dir = match path.is_dir() {
        true => path.to_path_buf(),
        false if data || !path.exists() => path.parent().filter(|parent| parent.is_dir())?.to_path_buf(),
        false => return None,
    };
    let system = SYSTEM.iter().any(|system| dir.starts_with(system));
    (dir != Path::new("/") && !system).then_some(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_what_arguments_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let (work, data) = (dir.path().join("work"), dir.path().join("data"));
        for made in [&work, &data] {
            std::fs::create_dir(made).expect("made");
        }
        std::fs::write(work.join("server.js"), "").expect("written");
        std::fs::write(work.join("notes.md"), "").expect("written");
        let host = Host { data: &data };
        let named = |texts: &[String]| dirs(texts.iter(), &host);
        let work = work.to_string_lossy().into_owned();
        for text in [work.clone(), format!("{work}/notes.md"), format!("--db={work}/new.db"), format!("{work}/not-yet")] {
            assert_eq!(named(&[text]), (vec![work.clone()], vec![]));
        }
        for text in
            [format!("{work}/server.js"), "/".into(), "/usr/lib".into(), "work".into(), "--x".into(), format!("{work}/../work")]
        {
            assert_eq!(named(std::slice::from_ref(&text)), (vec![], vec![]), "{text}");
        }
        for text in [
            data.to_string_lossy().into_owned(),
            format!("{}/keys/x.db", data.display()),
            dir.path().to_string_lossy().into_owned(),
        ] {
            if Path::new(&text).parent().is_some_and(Path::is_dir) {
                assert_eq!(named(std::slice::from_ref(&text)).1.len(), 1, "{text}");
            }
        }
        assert_eq!(absolute(vec!["node".into(), "server.js".into(), "--x".into()], &work)[1], format!("{work}/server.js"));
        assert!(host.runs("sh", &BTreeMap::new()) && host.runs("/bin/sh", &BTreeMap::new()));
        assert!(!host.runs("./sh", &BTreeMap::new()) && !host.runs("no-such-program", &BTreeMap::new()));
    }
}
