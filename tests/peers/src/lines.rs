//! JSON lines in files, and the wall clock they carry. A line is written whole and at once: no buffer holds one back.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// CLOCK_REALTIME in nanoseconds. The tests compare stamps of several processes on one machine.
pub fn wall_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// An append-only file of JSON lines, or nothing when no file was named.
pub struct Lines {
    file: Option<Mutex<File>>,
}

impl Lines {
    /// Opens `path` for appending.
    pub fn open(path: Option<&Path>) -> std::io::Result<Self> {
        let file = path.map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()?;
        Ok(Self { file: file.map(Mutex::new) })
    }

    /// Writes one line with one system call.
    pub fn write(&self, line: &Value) {
        let Some(file) = &self.file else { return };
        let text = format!("{line}\n");
        if let Ok(mut file) = file.lock()
            && let Err(error) = file.write_all(text.as_bytes())
        {
            eprintln!("a line was lost: {error}");
        }
    }
}

/// Every complete line of a file, oldest first. A torn last line is left out.
pub fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
