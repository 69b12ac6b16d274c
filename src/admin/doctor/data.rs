//! The files of the data directory: who may reach them, whether certificates still hold, whether the recovery identity has left. Reads
//! certificates and names; never a key's text beyond the mark it begins with.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{Check, State, check, ok};
use crate::base::clock::Timestamp;
use crate::config::paths::DataDir;
use crate::crypto::ca;

const DAY_MS: i64 = 86_400_000;
const RENEW_DAYS: i64 = 30;
// A directory with more is looked at in part; what is wrong is rarely wrong once.
const MOST: usize = 20_000;
const NAMED: usize = 5;

pub(super) fn checks(data: &DataDir, now: Timestamp) -> Vec<Check> {
    let mut checks = vec![
        permissions(data),
        recovery_identity(data),
        certificate("CA", &data.ca_pem(), now, "clients must trust a new one: docs/OPERATING.md, \"Certificates\""),
    ];
    checks.extend(first_run(data));
    checks
}

fn recovery_identity(data: &DataDir) -> Check {
    let told = data.first_run();
    let shown = std::fs::read_to_string(&told).is_ok_and(|text| text.contains("AGE-SECRET-KEY-"));
    let key = data.recovery_key();
    let path = if key.exists() { key } else { told };
    if path == data.first_run() && !shown {
        return ok("recovery identity", "is not on this machine");
    }
    let mend = format!("copy {} to a safe place off this machine, then delete it here", path.display());
    check("recovery identity", State::Warn, "still lies on the machine it is meant to rebuild", mend)
}

fn first_run(data: &DataDir) -> Option<Check> {
    let path = data.first_run();
    let mend = format!("store what it holds elsewhere, then remove {}", path.display());
    path.exists().then(|| check("first run", State::Warn, "the secrets of the first run are still in a file", mend))
}

fn certificate(name: &str, path: &Path, now: Timestamp, mend: &str) -> Check {
    let Some(found) = std::fs::read(path).ok().and_then(|pem| ca::describe(&pem)) else {
        return check(name, State::Fail, format!("{} cannot be read as a certificate", path.display()), mend);
    };
    let days = found.not_after.since_ms(now).div_euclid(DAY_MS);
    let detail = format!("valid until {}, {days} days", found.not_after);
    match days {
        ..0 => check(name, State::Fail, format!("ended at {}", found.not_after), mend),
        0..RENEW_DAYS => check(name, State::Warn, detail, mend),
        _ => ok(name, detail),
    }
}

fn permissions(data: &DataDir) -> Check {
    let mut wrong = Vec::new();
    let mut seen = 0;
    walk(data, data.root(), &mut seen, &mut wrong);
    if wrong.is_empty() {
        return ok("permissions", format!("{seen} files and directories, each for its own account only"));
    }
    let more = wrong.len().saturating_sub(NAMED);
    let named: Vec<String> = wrong.iter().take(NAMED).map(|(path, why)| format!("{} {why}", path.display())).collect();
    let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
    let paths: Vec<String> = wrong.iter().take(NAMED).map(|(path, _)| path.display().to_string()).collect();
    check("permissions", State::Fail, format!("{}{rest}", named.join("; ")), format!("chmod go= {}", paths.join(" ")))
}

// A closed directory covers what git keeps in config/ and what a server keeps in its vault.
fn walk(data: &DataDir, dir: &Path, seen: &mut usize, wrong: &mut Vec<(PathBuf, String)>) {
    let Ok(own) = std::fs::symlink_metadata(data.root()) else { return };
    look(data, dir, own.uid(), wrong);
    *seen += 1;
    if dir == data.config() || dir.starts_with(data.vaults()) && dir != data.vaults() {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if *seen >= MOST {
            return;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(data, &path, seen, wrong);
        } else {
            *seen += 1;
            look(data, &path, own.uid(), wrong);
        }
    }
}

fn look(data: &DataDir, path: &Path, owner: u32, wrong: &mut Vec<(PathBuf, String)>) {
    let Ok(found) = std::fs::symlink_metadata(path) else { return };
    let mode = found.permissions().mode() & 0o777;
    // Servers with accounts of their own must be able to walk to their vaults.
    let walked = path == data.root() || path == data.vaults();
    let allowed = if walked {
        0o711
    } else if path == data.ca_pem() {
        0o644
    } else {
        0o700
    };
    let vault = path.parent() == Some(data.vaults().as_path());
    if found.file_type().is_symlink() {
        wrong.push((path.to_path_buf(), "is a link; nothing here may lie elsewhere".to_owned()));
    } else if mode & !allowed & 0o077 != 0 {
        wrong.push((path.to_path_buf(), format!("has mode {mode:04o}: other accounts can reach it")));
    } else if found.uid() != owner && !vault {
        wrong.push((path.to_path_buf(), format!("belongs to account {}, not to the one of the data directory", found.uid())));
    }
}
