//! The format from both ends: what is written reads back, and nothing that was changed, cut or made by a stranger passes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

#[derive(Debug, Default, PartialEq)]
struct Memory(BTreeMap<String, Option<Vec<u8>>>);

impl Sink for Memory {
    fn dir(&mut self, path: &str, _: u32, _: u64) -> io::Result<()> {
        self.0.insert(path.to_owned(), None);
        Ok(())
    }

    fn file(&mut self, path: &str, _: u64, _: (u32, u64), content: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        self.0.insert(path.to_owned(), Some(bytes));
        Ok(())
    }
}

const WIDE: Limits = Limits { entries: 1_000, bytes: 1 << 30 };

fn meta() -> Meta {
    Meta {
        format: FORMAT,
        id: "ar_1".into(),
        vault: "demo".into(),
        set: "rp_1".into(),
        source: "directory".into(),
        program: "lifeboat 0".into(),
        head: "0".repeat(40),
        started_at: Timestamp(1_700_000_000_000),
        facts: serde_json::Value::Null,
    }
}

fn keys(one: &Ephemeral) -> Identities {
    Identities::read(&[one.text()]).unwrap()
}

fn archive(files: &[(&str, &[u8])], to: &[String]) -> (Vec<u8>, Manifest, String) {
    let mut writer = Writer::begin(Vec::new(), to, &meta()).unwrap();
    writer.dir("sub", 0o700, 5).unwrap();
    for (path, bytes) in files {
        assert!(writer.file(path, bytes.len() as u64, (0o600, 7), *bytes).unwrap());
    }
    let sealed = writer.finish(Timestamp(1_700_000_001_000)).unwrap();
    (sealed.output, sealed.manifest, sealed.manifest_sha256)
}

fn small() -> (Vec<u8>, Ephemeral) {
    let key = Ephemeral::generate();
    let (bytes, ..) = archive(&[("memory.jsonl", b"one\ntwo\n"), ("sub/a", b"")], &[key.recipient()]);
    (bytes, key)
}

#[test]
fn what_is_written_reads_back_with_each_recipient() {
    let (a, b, stranger) = (Ephemeral::generate(), Ephemeral::generate(), Ephemeral::generate());
    let large: Vec<u8> = (0..3_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let long = format!("sub/{}", "n".repeat(200));
    let files: [(&str, &[u8]); 3] = [("memory.jsonl", b"one\n"), ("sub/large", &large), (&long, b"x")];
    let (bytes, manifest, digest) = archive(&files, &[a.recipient(), b.recipient()]);
    for key in [&a, &b] {
        let mut memory = Memory::default();
        let opened = open(bytes.as_slice(), &keys(key), WIDE, &mut memory).unwrap();
        assert_eq!((opened.manifest, opened.manifest_sha256, opened.meta), (manifest.clone(), digest.clone(), meta()));
        assert_eq!(memory.0["sub/large"].as_deref(), Some(large.as_slice()));
        assert_eq!((memory.0.len(), memory.0["sub"].is_none()), (4, true));
    }
    assert!(matches!(open(bytes.as_slice(), &keys(&stranger), WIDE, &mut ()), Err(ArchiveFault::WrongKey)));
    let tight = Limits { bytes: manifest.bytes - 1, ..WIDE };
    assert!(matches!(open(bytes.as_slice(), &keys(&a), tight, &mut ()), Err(ArchiveFault::TooLarge(_))));
    let few = Limits { entries: 3, ..WIDE };
    assert!(matches!(open(bytes.as_slice(), &keys(&a), few, &mut ()), Err(ArchiveFault::TooLarge(_))));
}

#[derive(Default)]
struct Counted(AtomicUsize);

impl Pace for Counted {
    fn is_due(&self) -> bool {
        true
    }

    fn rest(&self, _: Duration) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_archive_that_rests_after_each_piece_is_the_same_archive() {
    let key = Ephemeral::generate();
    let (text, small) = ("all of it is compressed and rests on the way\n".repeat(60_000), vec![7u8; 1_000]);
    let pace = Arc::new(Counted::default());
    let mut writer = Writer::begin(Vec::new(), &[key.recipient()], &meta()).unwrap();
    writer.go_at(pace.clone());
    assert!(writer.file("text", text.len() as u64, (0o600, 7), text.as_bytes()).unwrap());
    let large = pace.0.load(Ordering::Relaxed);
    assert!(large >= text.len() / PIECE && large > 5, "{large}");
    for number in 0..300 {
        assert!(writer.file(&format!("small{number}"), 1_000, (0o600, 7), small.as_slice()).unwrap());
    }
    assert!(pace.0.load(Ordering::Relaxed) > large, "small ones rest together");
    let sealed = writer.finish(Timestamp(1_700_000_001_000)).unwrap();
    let mut memory = Memory::default();
    let opened = open(sealed.output.as_slice(), &keys(&key), WIDE, &mut memory).unwrap();
    assert_eq!((opened.manifest, memory.0.len()), (sealed.manifest, 301));
    assert!(memory.0["text"].as_deref() == Some(text.as_bytes()));
    let reading = Counted::default();
    verify(sealed.output.as_slice(), &keys(&key), WIDE, &reading).unwrap();
    assert!(reading.0.load(Ordering::Relaxed) >= text.len() / PIECE);
}

#[test]
fn atk_b03_every_changed_byte_and_every_cut_is_found() {
    let (bytes, key) = small();
    let keys = keys(&key);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(open(changed.as_slice(), &keys, WIDE, &mut ()).is_err(), "byte {at} of {}", bytes.len());
        assert!(open(&bytes[..at], &keys, WIDE, &mut ()).is_err(), "cut at {at}");
    }
    let longer = [bytes.as_slice(), b"more"].concat();
    assert!(open(longer.as_slice(), &keys, WIDE, &mut ()).is_err());
}

#[test]
fn atk_b03_a_cut_at_a_chunk_of_the_encryption_is_found() {
    let key = Ephemeral::generate();
    let noise: Vec<u8> = (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes()).collect();
    let (bytes, ..) = archive(&[("a", &noise)], &[key.recipient()]);
    let chunk = 64 * 1024 + 16;
    let payload = bytes.windows(4).position(|w| w == b"\n---").unwrap();
    let begin = payload + bytes[payload + 1..].iter().position(|b| *b == b'\n').unwrap() + 2 + 16;
    for cut in [bytes.len() - 1, bytes.len() - 16, begin, begin + chunk, begin + 2 * chunk] {
        assert!(cut < bytes.len() && open(&bytes[..cut], &keys(&key), WIDE, &mut ()).is_err(), "cut at {cut}");
    }
    let mut swapped = bytes.clone();
    let (one, two) = (bytes[begin..begin + chunk].to_vec(), bytes[begin + chunk..begin + 2 * chunk].to_vec());
    swapped[begin..begin + chunk].copy_from_slice(&two);
    swapped[begin + chunk..begin + 2 * chunk].copy_from_slice(&one);
    assert!(open(swapped.as_slice(), &keys(&key), WIDE, &mut ()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn atk_b03_no_damage_passes_for_the_original(flips in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..6)) {
        let (bytes, key) = small();
        let mut changed = bytes.clone();
        for (at, with) in flips {
            let at = at.index(changed.len());
            changed[at] ^= with;
        }
        prop_assume!(changed != bytes);
        prop_assert!(open(changed.as_slice(), &keys(&key), WIDE, &mut ()).is_err());
    }
}

/// Encrypts any tar, as somebody can who knows the recipient.
fn forged(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> (Vec<u8>, Ephemeral) {
    let mut tar = tar::Builder::new(Vec::new());
    put(&mut tar, META, &serde_json::to_vec(&meta()).unwrap(), |_| {});
    build(&mut tar);
    sealed(&zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap())
}

fn sealed(compressed: &[u8]) -> (Vec<u8>, Ephemeral) {
    let key = Ephemeral::generate();
    let to: age::x25519::Recipient = key.recipient().parse().unwrap();
    (age::encrypt(&to, compressed).unwrap(), key)
}

/// Writes the name into the header as it is: the builder itself would refuse most of these.
fn put(tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8], shape: impl FnOnce(&mut tar::Header)) {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    shape(&mut header);
    header.set_cksum();
    tar.append(&header, bytes).unwrap();
}

fn refused(what: &str, build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> ArchiveFault {
    let (bytes, key) = forged(build);
    let mut memory = Memory::default();
    let fault = open(bytes.as_slice(), &keys(&key), WIDE, &mut memory).expect_err(what);
    assert!(!memory.0.contains_key("../x") && !memory.0.contains_key("/abs"), "{what}");
    fault
}

#[test]
fn atk_b01_hostile_entries_are_refused() {
    for path in ["payload/../x", "/abs", "payload//abs", "payload/a/../../x", "payload/..\\x", "elsewhere", "payload/", "META.json"]
    {
        let fault = refused(path, |tar| put(tar, path, b"x", |_| {}));
        assert!(matches!(fault, ArchiveFault::Hostile(_)), "{path}: {fault}");
    }
    let kinds = ['1', '2', '3', '4', '6', '7', 'S', 'V', 'M'];
    for kind in kinds {
        let kind = tar::EntryType::new(kind as u8);
        let shape = |header: &mut tar::Header| {
            header.set_entry_type(kind);
            header.set_link_name("/etc/passwd").unwrap();
        };
        let fault = refused("kind", |tar| put(tar, "payload/a", b"", shape));
        assert!(matches!(fault, ArchiveFault::Hostile(_) | ArchiveFault::Damaged(_)), "{kind:?}: {fault}");
    }
    let fault = refused("setuid", |tar| put(tar, "payload/a", b"x", |header| header.set_mode(0o4755)));
    assert!(matches!(fault, ArchiveFault::Hostile(_)), "{fault}");
    let fault = refused("twice", |tar| {
        put(tar, "payload/a", b"x", |_| {});
        put(tar, "payload/a", b"y", |_| {});
    });
    assert!(matches!(fault, ArchiveFault::Hostile(_)), "{fault}");
}

#[test]
fn atk_b01_long_names_of_extensions_are_checked_like_the_others() {
    let evil = format!("payload/{}/../../../x", "n".repeat(200));
    let fault = refused("GNU long name", |tar| {
        put(tar, "././@LongLink", evil.as_bytes(), |header| header.set_entry_type(tar::EntryType::GNULongName));
        put(tar, "payload/a", b"x", |_| {});
    });
    assert!(matches!(fault, ArchiveFault::Hostile(_)), "{fault}");
    let record = |key: &str, value: &str| {
        let body = format!(" {key}={value}\n");
        let length = (0..10).map(|n| body.len() + n).find(|n| n.to_string().len() + body.len() == *n).unwrap();
        format!("{length}{body}")
    };
    let fault = refused("pax path", |tar| {
        put(tar, "pax", record("path", "payload/../x").as_bytes(), |header| header.set_entry_type(tar::EntryType::XHeader));
        put(tar, "payload/a", b"x", |_| {});
    });
    assert!(matches!(fault, ArchiveFault::Hostile(_)), "{fault}");
}

#[test]
fn atk_b02_bombs_stop_at_what_was_declared() {
    let zeros = vec![0u8; 64 << 20];
    let (bytes, key) = forged(|tar| put(tar, "payload/bomb", &zeros, |_| {}));
    assert!(bytes.len() < 100_000, "it is a bomb: {}", bytes.len());
    let said = Limits { entries: 10, bytes: 1 << 20 };
    assert!(matches!(open(bytes.as_slice(), &keys(&key), said, &mut ()), Err(ArchiveFault::TooLarge(_))));
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(31).unwrap();
    wide.write_all(b"x").unwrap();
    let (bytes, key) = sealed(&wide.finish().unwrap());
    assert!(matches!(open(bytes.as_slice(), &keys(&key), WIDE, &mut ()), Err(ArchiveFault::Damaged(_))));
}

#[test]
fn atk_b05_what_the_manifest_does_not_say_is_refused() {
    let manifest = |entries: Vec<Entry>| {
        let manifest = Manifest {
            format: FORMAT,
            id: "ar_1".into(),
            entries,
            files: 1,
            bytes: 1,
            skipped: Vec::new(),
            finished_at: Timestamp(0),
        };
        serde_json::to_vec(&manifest).unwrap()
    };
    let entry =
        |sha256: &str| Entry { path: "a".into(), kind: EntryKind::File, size: 1, mode: 0o600, mtime: 0, sha256: sha256.into() };
    let right = hex(&crate::crypto::keys::sha256(b"x"));
    for wrong in [vec![], vec![entry(&"0".repeat(64))], vec![entry(&right), entry(&right)]] {
        let fault = refused("manifest", |tar| {
            put(tar, "payload/a", b"x", |_| {});
            put(tar, MANIFEST, &manifest(wrong), |_| {});
        });
        assert!(matches!(fault, ArchiveFault::Damaged(_)), "{fault}");
    }
    let (bytes, key) = forged(|tar| {
        put(tar, "payload/a", b"x", |_| {});
        put(tar, MANIFEST, &manifest(vec![entry(&right)]), |_| {});
    });
    assert!(open(bytes.as_slice(), &keys(&key), WIDE, &mut ()).is_ok(), "the same, right");
    let fault = refused("after the manifest", |tar| {
        put(tar, "payload/a", b"x", |_| {});
        put(tar, MANIFEST, &manifest(vec![entry(&right)]), |_| {});
        put(tar, "payload/b", b"y", |_| {});
    });
    assert!(matches!(fault, ArchiveFault::Hostile(_)), "{fault}");
}

#[test]
fn atk_b04_a_passphrase_file_does_not_hang_and_does_not_open() {
    let locked = age::Encryptor::with_user_passphrase("x".to_owned().into());
    let mut bytes = Vec::new();
    let mut writer = locked.wrap_output(&mut bytes).unwrap();
    writer.write_all(b"x").unwrap();
    writer.finish().unwrap();
    let key = Ephemeral::generate();
    assert!(open(bytes.as_slice(), &keys(&key), WIDE, &mut ()).is_err());
}

#[test]
fn a_file_that_shrinks_is_listed_as_torn_and_the_archive_stays_whole() {
    let key = Ephemeral::generate();
    let mut writer = Writer::begin(Vec::new(), &[key.recipient()], &meta()).unwrap();
    assert!(!writer.file("a", 10, (0o600, 0), &b"only"[..]).unwrap());
    assert!(writer.file("b", 2, (0o600, 0), &b"longer"[..]).unwrap(), "what was added since is not read");
    let sealed = writer.finish(Timestamp(0)).unwrap();
    assert_eq!(sealed.manifest.skipped.len(), 1);
    let mut memory = Memory::default();
    open(sealed.output.as_slice(), &keys(&key), WIDE, &mut memory).unwrap();
    assert_eq!((memory.0["a"].as_ref().unwrap().len(), memory.0["b"].as_deref()), (10, Some(&b"lo"[..])));
    let mut writer = Writer::begin(Vec::new(), &[key.recipient()], &meta()).unwrap();
    assert!(matches!(writer.dir("../x", 0o700, 0), Err(ArchiveFault::Hostile(_))));
}

#[test]
fn a_newer_format_is_named_and_unknown_fields_pass() {
    let mut newer = serde_json::to_value(meta()).unwrap();
    newer["format"] = 2.into();
    let mut tar = tar::Builder::new(Vec::new());
    put(&mut tar, META, newer.to_string().as_bytes(), |_| {});
    let (bytes, key) = sealed(&zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap());
    assert!(matches!(open(bytes.as_slice(), &keys(&key), WIDE, &mut ()), Err(ArchiveFault::Newer(2))));
    let mut more = serde_json::to_value(meta()).unwrap();
    more["later"] = true.into();
    assert_eq!(serde_json::from_value::<Meta>(more).unwrap(), meta());
}

#[test]
fn an_age_key_file_is_read_and_never_repeated() {
    let key = Ephemeral::generate();
    let file = format!("# created: today\n\n{}\n", key.text().reveal());
    assert_eq!(Identities::read(&[Secret::new(file)]).unwrap().recipients(), [key.recipient()]);
    let Err(fault) = Identities::read(&[Secret::new("AGE-SECRET-KEY-1NOPE".into())]) else { panic!("no key") };
    assert!(!fault.to_string().contains("NOPE") && fault.to_string().contains("line 1"), "{fault}");
    assert!(Identities::read(&[Secret::new("# nothing\n".into())]).is_err());
    assert!(matches!(Writer::begin(Vec::new(), &[], &meta()), Err(ArchiveFault::Key(_))));
    assert!(matches!(Writer::begin(Vec::new(), &["age1nope".into()], &meta()), Err(ArchiveFault::Key(_))));
}
