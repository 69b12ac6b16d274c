//! Tests of the ledger as a whole, on real files.

mod faults;
mod index;
mod ledger;
mod verifier;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::disk::{Disk, SystemDisk};
use super::ledger::{Ledger, Opening};
use super::recorder::{Durability, Recorder};
use super::verify::{Extent, Report, verify};
use super::{Event, Signer, load_or_create_key};
use crate::base::clock::{ManualClock, Timestamp};
use crate::base::size::ByteSize;
use crate::config::settings::Audit;

/// A data directory with a key, and a clock.
struct Home {
    root: tempfile::TempDir,
    clock: Arc<ManualClock>,
    settings: Audit,
}

impl Home {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::parse("2026-11-22T03:14:02.008Z").unwrap()));
        let settings = Audit { reserve: ByteSize(4_096), ..Audit::default() };
        Self { root, clock, settings }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("audit")
    }

    fn signer(&self) -> Signer {
        load_or_create_key(&self.root.path().join("audit-signing.pk8")).unwrap()
    }

    fn opening(&self) -> Opening {
        Opening::new(self.dir(), self.settings.clone(), self.clock.clone(), self.signer())
    }

    fn open(&self) -> (Ledger, Recorder) {
        Ledger::open(self.opening()).unwrap()
    }

    fn check(&self) -> Report {
        check(&self.dir(), &self.signer())
    }

    fn segment(&self, number: u64) -> PathBuf {
        super::segment::plain_path(&self.dir(), number)
    }

    fn text(&self, number: u64) -> String {
        std::fs::read_to_string(self.segment(number)).unwrap()
    }
}

fn check(dir: &Path, signer: &Signer) -> Report {
    verify(dir, signer.public(), Extent::All, &[]).unwrap()
}

fn call(client: &str, tool: &str) -> Event {
    Event {
        request_id: Some(format!("req_{client}_{tool}")),
        client: Some(client.into()),
        server: Some("demo".into()),
        tool: Some(tool.into()),
        class: Some("read".into()),
        decision: Some("permit".into()),
        status: Some("ok".into()),
        ..Event::of("call")
    }
}

async fn fill(recorder: &Recorder, count: usize) {
    for n in 0..count {
        recorder.record(call("c", &format!("t{n}")), Durability::Written).await.unwrap();
    }
}

/// Waits up to 5 s for something to become true.
async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 5 s: {what}");
}

/// A disk whose failures a test chooses: 0 is none, else an errno. `hits` counts syncs asked.
#[derive(Default)]
struct FaultyDisk {
    append: AtomicU64,
    sync: AtomicU64,
    reserve: AtomicU64,
    hang_ms: AtomicU64,
    syncs: AtomicU64,
}

impl FaultyDisk {
    fn fail(switch: &AtomicU64) -> io::Result<()> {
        match i32::try_from(switch.load(Ordering::SeqCst)).unwrap() {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

impl Disk for FaultyDisk {
    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(self.hang_ms.load(Ordering::SeqCst)));
        if let Err(error) = Self::fail(&self.append) {
            // As a real disk does: part of it arrives.
            SystemDisk.append(file, &bytes[..bytes.len() / 2]).unwrap();
            return Err(error);
        }
        SystemDisk.append(file, bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        Self::fail(&self.sync)?;
        SystemDisk.sync(file)
    }

    fn set_aside(&self, file: &File, bytes: u64) -> io::Result<()> {
        Self::fail(&self.reserve)?;
        SystemDisk.set_aside(file, bytes)
    }
}
