//! Odd sources (REC-09): what changes, vanishes, cannot be read, has no end or a strange name. Whatever it is, the rest is in the archive, and what
//! is not, or not as a whole, is listed: never torn silently.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::folder::Folder;
use super::source::{Prepared, prepare};
use super::tests::{back_up, house};
use super::*;
use crate::admin::tests_house::{House, root};
use crate::crypto::archive::{AtOnce, Ephemeral, FORMAT, Identities, Manifest, Meta, Writer};

const LARGE: usize = 9 << 20;

/// What an archive says it holds; read with the recovery identity.
fn manifest(house: &House, archive: &Archive, key: &Ephemeral) -> Manifest {
    let folder = Folder::open(&house.admin.data.archives()).unwrap();
    let found = catalogue::read(&folder, house.admin.vaults.signer.public()).unwrap();
    let note = found.archives.iter().find(|note| note.id == archive.id).unwrap();
    let keys = Identities::read(&[key.text()]).unwrap();
    catalogue::extract(&folder, note, &keys, &mut ()).unwrap().manifest
}

fn paths(manifest: &Manifest) -> Vec<&str> {
    manifest.entries.iter().map(|entry| entry.path.as_str()).collect()
}

fn why<'a>(manifest: &'a Manifest, path: &str) -> &'a str {
    manifest.skipped.iter().find(|one| one.path == path).map_or("", |one| one.why.as_str())
}

/// Scans a directory; the test then does to it what happens between the scan and the reading.
async fn scanned(path: &Path) -> (tempfile::TempDir, Prepared) {
    let staging = tempfile::tempdir().unwrap();
    let (from, to) = (path.to_owned(), staging.path().to_owned());
    let ready = tokio::task::spawn_blocking(move || prepare(&from, &[], &to, |_| Ok(()))).await.unwrap().unwrap();
    (staging, ready)
}

/// Reads it; whether it says to be complete, and its manifest.
async fn fed(ready: Prepared) -> (bool, Manifest) {
    let read = || {
        let meta = Meta {
            format: FORMAT,
            id: "ar_1".into(),
            vault: "v".into(),
            set: "rp_1".into(),
            source: "directory".into(),
            program: "lifeboat".into(),
            head: String::new(),
            started_at: Timestamp(0),
            facts: serde_json::Value::Null,
        };
        let mut writer = Writer::begin(Vec::new(), &[Ephemeral::generate().recipient()], &meta).unwrap();
        let complete = ready.feed(&mut writer, &AtOnce).unwrap();
        (complete, writer.finish(Timestamp(0)).unwrap().manifest)
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_09_a_file_that_vanishes_or_becomes_something_else_before_it_is_read_is_listed_and_waits_for_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    for name in ["stays", "vanishes", "pipe", "link", "folder/in", "shrinks", "grows"] {
        fs::write(at(name), "text").unwrap();
    }
    fs::write(at("large"), vec![7u8; LARGE]).unwrap();
    let (_staging, ready) = scanned(dir.path()).await;
    for name in ["vanishes", "pipe", "link"] {
        fs::remove_file(at(name)).unwrap();
    }
    assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
    fs::remove_dir_all(at("folder")).unwrap();
    std::os::unix::fs::symlink("/etc", at("folder")).unwrap();
    fs::write(at("shrinks"), "t").unwrap();
    fs::write(at("grows"), "text and more").unwrap();
    File::options().write(true).open(at("large")).unwrap().set_len(LARGE as u64 - 1).unwrap();
    let (complete, manifest) = fed(ready).await;
    assert!(!complete);
    for name in ["vanishes", "pipe", "link", "folder/in"] {
        assert!(
            why(&manifest, name).contains("cannot be read") && !paths(&manifest).contains(&name),
            "{name}: {:?}",
            manifest.skipped
        );
    }
    // What rests again is read as it is now, and is whole.
    let size = |name: &str| manifest.entries.iter().find(|entry| entry.path == name).unwrap().size;
    assert_eq!((size("stays"), size("shrinks"), size("grows"), size("large")), (4, 1, 13, LARGE as u64 - 1));
    assert!(["shrinks", "grows", "large", "stays"].iter().all(|name| why(&manifest, name).is_empty()), "{:?}", manifest.skipped);
}

/// Does something again and again until the end.
fn restless(mut change: impl FnMut(u64) + Send + 'static) -> impl FnOnce() {
    let over = Arc::new(AtomicBool::new(false));
    let seen = over.clone();
    let thread = std::thread::spawn(move || {
        let mut at = 0;
        while !seen.load(Ordering::SeqCst) {
            change(at);
            at += 1;
        }
    });
    move || {
        over.store(true, Ordering::SeqCst);
        thread.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_09_a_file_that_never_rests_is_torn_and_said_to_be() {
    let (house, notes, key) = house().await;
    fs::write(notes.join("shrinks"), vec![1u8; 2 * LARGE]).unwrap();
    fs::write(notes.join("large"), vec![2u8; LARGE]).unwrap();
    let large = File::options().write(true).open(notes.join("large")).unwrap();
    let shrinks = File::options().write(true).open(notes.join("shrinks")).unwrap();
    let changes = restless(move |at| {
        (&large).seek(SeekFrom::Start(at % LARGE as u64)).unwrap();
        (&large).write_all(b"!").unwrap();
        shrinks.set_len(if at % 2 == 0 { LARGE as u64 } else { 2 * LARGE as u64 }).unwrap();
    });
    let archive = back_up(&house).await;
    changes();
    let manifest = manifest(&house, &archive, &key);
    assert!(!archive.complete);
    for name in ["large", "shrinks"] {
        let why = why(&manifest, name);
        assert!(why.contains("changed") || why.contains("shorter"), "{name}: {:?}", manifest.skipped);
    }
    assert!(why(&manifest, "memory.jsonl").is_empty() && paths(&manifest).contains(&"memory.jsonl"));
    assert!(back_up(&house).await.complete, "once it rests, it is whole");
    // A small one is read again and again; this one is never as long as it says.
    let (_staging, ready) = scanned(Path::new("/proc/uptime")).await;
    let (complete, manifest) = fed(ready).await;
    assert!(!complete && why(&manifest, "uptime") == "it changed each time it was read", "{:?}", manifest.skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_09_what_cannot_be_read_is_listed_with_the_systems_own_reason() {
    // A regular file that nobody can read from its beginning, not even root.
    let (_staging, ready) = scanned(Path::new("/proc/self/mem")).await;
    let (complete, manifest) = fed(ready).await;
    assert!(!complete && why(&manifest, "mem").contains("cannot be read as a whole"), "{:?}", manifest.skipped);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("closed"), "text").unwrap();
    fs::set_permissions(dir.path().join("closed"), std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
    let can_read = File::open(dir.path().join("closed")).is_ok();
    let (_staging, ready) = scanned(dir.path()).await;
    let (complete, manifest) = fed(ready).await;
    assert_eq!((complete, why(&manifest, "closed").is_empty()), (can_read, can_read), "{:?}", manifest.skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_09_strange_names_are_kept_where_they_can_be_written_and_listed_where_not() {
    let (house, notes, key) = house().await;
    fs::write(notes.join("new\nline"), "a").unwrap();
    fs::write(notes.join("tab\tand \u{1f6df}"), "b").unwrap();
    let deep: Vec<String> = (0..7).map(|at| format!("{at}{}", "d".repeat(200))).collect();
    let long = deep.join("/");
    fs::create_dir_all(notes.join(&long)).unwrap();
    fs::write(notes.join(&long).join("end"), "c").unwrap();
    assert!(std::process::Command::new("mkfifo").arg(notes.join("pipe")).status().unwrap().success());
    let _socket = UnixListener::bind(notes.join("socket")).unwrap();
    let archive = back_up(&house).await;
    assert!(archive.complete, "a pipe and a socket are no memory");
    let whole = manifest(&house, &archive, &key);
    assert_eq!(
        (why(&whole, "pipe"), why(&whole, "socket")),
        ("it is neither a file nor a directory", "it is neither a file nor a directory")
    );
    let to = house.path().join("back");
    let order = RestoreOrder { archive: archive.id, to: to.display().to_string(), ..RestoreOrder::default() };
    restore(&house.admin, &root(), order).await.unwrap();
    for (name, text) in [("new\nline".to_owned(), "a"), ("tab\tand \u{1f6df}".to_owned(), "b"), (format!("{long}/end"), "c")] {
        assert_eq!(fs::read_to_string(to.join(&name)).unwrap(), text, "{name:?}");
    }
    // Names that an archive cannot hold are files all the same: without them it is partial.
    fs::write(notes.join(OsStr::from_bytes(b"caf\xe9")), "lost").unwrap();
    fs::write(notes.join("back\\slash"), "lost").unwrap();
    let archive = back_up(&house).await;
    let partial = manifest(&house, &archive, &key);
    assert!(!archive.complete && paths(&partial).contains(&"memory.jsonl"));
    assert_eq!(why(&partial, "caf\u{fffd}"), "its name is not UTF-8");
    assert!(why(&partial, "back\\slash").contains("backslash"), "{:?}", partial.skipped);
}

fn long() -> bool {
    std::env::var_os("LIFEBOAT_LONG").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_09_a_sparse_file_asks_for_no_more_room_than_it_takes() {
    let (house, notes, key) = house().await;
    let size: u64 = if long() { 10 << 30 } else { 256 << 20 };
    let mut file = File::create(notes.join("sparse")).unwrap();
    file.set_len(size).unwrap();
    file.seek(SeekFrom::Start(size / 2)).unwrap();
    file.write_all(b"here").unwrap();
    let staging = tempfile::tempdir().unwrap();
    let (from, to, asked) = (notes.clone(), staging.path().to_owned(), Arc::new(std::sync::Mutex::new(0)));
    let told = asked.clone();
    let room = move |bytes| {
        *told.lock().unwrap() = bytes;
        Ok(())
    };
    tokio::task::spawn_blocking(move || prepare(&from, &[], &to, room).map(drop)).await.unwrap().unwrap();
    assert!(*asked.lock().unwrap() < 1 << 20, "{asked:?}");
    let archive = back_up(&house).await;
    assert!(archive.complete && archive.bytes < size / 256, "{} bytes of {size}", archive.bytes);
    let entry = manifest(&house, &archive, &key).entries.into_iter().find(|entry| entry.path == "sparse").unwrap();
    assert_eq!(entry.size, size);
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_09_ten_thousand_small_files_come_back_one_by_one() {
    let (house, notes, _) = house().await;
    for at in 0..10_000 {
        let folder = notes.join(format!("f{}", at % 100));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{at}")), format!("number {at}")).unwrap();
    }
    let archive = back_up(&house).await;
    let to = house.path().join("back");
    let order = RestoreOrder { archive: archive.id, to: to.display().to_string(), ..RestoreOrder::default() };
    let restored = restore(&house.admin, &root(), order).await.unwrap();
    assert_eq!((archive.complete, restored.archives[0].files), (true, 10_002));
    for at in [0, 4_711, 9_999] {
        assert_eq!(fs::read_to_string(to.join(format!("f{}/{at}", at % 100))).unwrap(), format!("number {at}"));
    }
}

/// A tar header has eleven octal digits for a size: 8 GiB and more are written otherwise. Takes minutes, so only where `LIFEBOAT_LONG` is set; else
/// the size just fits.
#[tokio::test(flavor = "multi_thread")]
async fn rec_09_a_member_that_is_larger_than_a_tar_header_can_say_is_whole() {
    let (house, notes, key) = house().await;
    let size: u64 = if long() { (8 << 30) + 4097 } else { LARGE as u64 + 4097 };
    let mut file = File::create(notes.join("huge")).unwrap();
    file.set_len(size).unwrap();
    file.seek(SeekFrom::End(-4)).unwrap();
    file.write_all(b"tail").unwrap();
    let archive = back_up(&house).await;
    let manifest = manifest(&house, &archive, &key);
    let entry = manifest.entries.iter().find(|entry| entry.path == "huge").unwrap();
    assert_eq!((archive.complete, entry.size, manifest.skipped.len()), (true, size, 0));
    let to = house.path().join("back");
    let order = RestoreOrder { archive: archive.id, to: to.display().to_string(), ..RestoreOrder::default() };
    restore(&house.admin, &root(), order).await.unwrap();
    let mut back = File::open(to.join("huge")).unwrap();
    assert_eq!(back.metadata().unwrap().len(), size);
    back.seek(SeekFrom::End(-4)).unwrap();
    assert_eq!(std::io::read_to_string(back).unwrap(), "tail");
}
