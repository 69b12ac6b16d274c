//! Archives from both ends on a real directory, a real database and a real ledger: made, listed, checked, brought back; and what must never pass.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::admin::tests_house::{House, operator, root};
use crate::admin::{OperatorRole, clients, tree};
use crate::base::fault::FaultKind;
use crate::base::secret::Secret;
use crate::crypto::archive::Ephemeral;
use crate::crypto::files::{Readers, write};

/// A house with a recipient and a configured vault `notes`, whose directory is given too; and the recipient's identity.
pub(in crate::admin) async fn house() -> (House, PathBuf, Ephemeral) {
    let house = House::open().await;
    let key = Ephemeral::generate();
    write(&house.admin.data.recovery_pub(), key.recipient().as_bytes(), Readers::Everybody).unwrap();
    let notes = house.path().join("vaults/notes");
    fs::create_dir_all(notes.join("sub")).unwrap();
    fs::write(notes.join("memory.jsonl"), "one\ntwo\n").unwrap();
    fs::write(notes.join("sub/deep"), "deep").unwrap();
    let order = AddVault { name: "notes".into(), path: notes.display().to_string(), ..AddVault::default() };
    add(&house.admin, &root(), order).await.unwrap();
    (house, notes, key)
}

pub(super) async fn back_up(house: &House) -> Archive {
    let order = BackupOrder { vault: Some("notes".into()) };
    let mut done = run(&house.admin, &root(), order).await.unwrap();
    assert!(done.ok, "{:?}", done.failed);
    done.archives.remove(0)
}

pub(super) async fn bring(house: &House, archive: &str, to: &Path) -> Verb<Restored> {
    let order = RestoreOrder { archive: archive.into(), to: to.display().to_string(), ..RestoreOrder::default() };
    restore(&house.admin, &root(), order).await
}

pub(super) fn everything(below: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(everything(&entry.path()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_backed_up_comes_back_and_leaves_nothing_plain_behind() {
    let (house, _, _) = house().await;
    let done = run(&house.admin, &root(), BackupOrder::default()).await.unwrap();
    assert!(done.ok && done.archives.len() == 2, "{done:?}");
    assert_eq!(done.archives[1].vault, "lifeboat", "the deployment comes last: its ledger knows of all that the memories hold");
    let listed = list(&house.admin, &root()).await.unwrap();
    assert_eq!((listed.archives.len(), listed.faults.len()), (2, 0));
    assert!(listed.archives.iter().all(|one| one.verified && one.complete));
    let checked = verify(&house.admin, &root()).await.unwrap();
    assert_eq!((checked.ok, checked.checked, checked.opened), (true, 2, 2));
    let to = house.path().join("back");
    let restored = bring(&house, "latest:notes", &to).await.unwrap();
    assert_eq!((restored.archives[0].files, restored.archives[0].bytes), (2, 12));
    assert_eq!(fs::read_to_string(to.join("memory.jsonl")).unwrap(), "one\ntwo\n");
    assert_eq!(fs::read_to_string(to.join("sub/deep")).unwrap(), "deep");
    // ATK-B09
    let left: Vec<String> = everything(&house.admin.data.archives());
    assert!(left.iter().all(|file| file.ends_with(".age") || file.ends_with(".json")), "{left:?}");
    assert!(left.iter().all(|file| fs::metadata(file).unwrap().permissions().mode() & 0o077 == 0));
    assert!(!house.path().read_dir().unwrap().flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".staging")));
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_18_nothing_that_is_there_is_touched_by_a_restore() {
    let (house, notes, _) = house().await;
    back_up(&house).await;
    let full = bring(&house, "latest:notes", &notes).await.unwrap_err();
    assert_eq!(full.kind, FaultKind::Conflict);
    assert_eq!(fs::read_to_string(notes.join("memory.jsonl")).unwrap(), "one\ntwo\n");
    let dry = RestoreOrder { archive: "latest".into(), dry_run: true, ..RestoreOrder::default() };
    let dry = restore(&house.admin, &root(), dry).await.unwrap();
    assert_eq!((dry.archives[0].files, dry.archives[0].to.clone()), (2, None));
    let one = RestoreOrder {
        archive: "latest:notes".into(),
        to: house.path().join("one").display().to_string(),
        path: Some("sub/deep".into()),
        ..RestoreOrder::default()
    };
    restore(&house.admin, &root(), one).await.unwrap();
    assert_eq!(everything(&house.path().join("one")).len(), 1);
    assert!(bring(&house, "latest:notes", Path::new("relative")).await.is_err());
    assert_eq!(bring(&house, "latest:nothing", &house.path().join("x")).await.unwrap_err().kind, FaultKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_03_04_a_changed_or_cut_archive_is_found_and_never_restored() {
    let (house, _, key) = house().await;
    back_up(&house).await;
    for cut in [1usize, 16, 200, usize::MAX] {
        let archive = back_up(&house).await;
        let whole = fs::read(&archive.file).unwrap();
        let changed = match cut {
            usize::MAX => Vec::new(),
            cut => whole[..whole.len() - cut].to_vec(),
        };
        fs::write(&archive.file, &changed).unwrap();
        assert!(!list(&house.admin, &root()).await.unwrap().archives[0].verified, "cut by {cut}");
        // A flip keeps the size: only the digest tells, and no wrong key is blamed for a flip in the header.
        for at in [30, whole.len() / 2, whole.len() - 3] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&archive.file, &flipped).unwrap();
            let fault = bring(&house, &archive.id, &house.path().join("never")).await.unwrap_err();
            assert!(fault.message.contains("was changed"), "{at}: {fault}");
            assert!(!house.path().join("never").exists());
        }
        let checked = verify(&house.admin, &root()).await.unwrap();
        assert!(!checked.ok, "cut by {cut}");
        let listed = list(&house.admin, &root()).await.unwrap();
        assert!(!listed.archives[0].verified && listed.archives[0].fault.is_some());
    }
    let to = house.path().join("older");
    let order = RestoreOrder {
        archive: "latest:notes".into(),
        to: to.display().to_string(),
        identity: Some(key.text()),
        ..RestoreOrder::default()
    };
    restore(&house.admin, &root(), order).await.unwrap();
    assert!(to.join("memory.jsonl").exists(), "the newest one that is whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_07_an_archive_without_a_note_of_this_instance_does_not_exist() {
    let (house, _, _) = house().await;
    let archive = back_up(&house).await;
    let note = format!("{}.json", archive.file);
    let honest = fs::read_to_string(&note).unwrap();
    let stranger = House::open().await;
    let mut copied: sidecar::Sidecar = serde_json::from_str(&honest).unwrap();
    fs::write(&note, copied.sign(&stranger.admin.vaults.signer).unwrap()).unwrap();
    let listed = list(&house.admin, &root()).await.unwrap();
    assert_eq!(listed.archives.len(), 0);
    assert!(listed.faults[0].contains("not signed by this instance"), "{:?}", listed.faults);
    for (from, to) in
        [("\"complete\": true", "\"complete\": false"), ("\"seq\": 1", "\"seq\": 2"), ("\"format\": 1", "\"format\": 9")]
    {
        assert!(honest.contains(from), "{from}");
        fs::write(&note, honest.replace(from, to)).unwrap();
        assert_eq!(list(&house.admin, &root()).await.unwrap().archives.len(), 0, "{from}");
    }
    fs::write(&note, honest.replace('{', "{\"later\": [{\"b\": 1, \"a\": 2}],")).unwrap();
    assert_eq!(list(&house.admin, &root()).await.unwrap().archives.len(), 0, "a field that was added");
    fs::write(&note, &honest).unwrap();
    fs::rename(&note, format!("{}.json", archive.file.replace("notes-", "other-"))).unwrap();
    assert!(list(&house.admin, &root()).await.unwrap().faults[0].contains("is the note of"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_08_a_note_that_is_gone_or_played_again_breaks_the_chain() {
    let (house, _, _) = house().await;
    let archives = [back_up(&house).await, back_up(&house).await, back_up(&house).await];
    let note = |at: usize| format!("{}.json", archives[at].file);
    assert_eq!(list(&house.admin, &root()).await.unwrap().faults.len(), 0);
    let middle = fs::read(note(1)).unwrap();
    fs::remove_file(note(1)).unwrap();
    let faults = list(&house.admin, &root()).await.unwrap().faults;
    assert!(faults[0].contains("1 archives before"), "{faults:?}");
    fs::write(note(1), &middle).unwrap();
    let mut again: sidecar::Sidecar = serde_json::from_slice(&middle).unwrap();
    again.prev = "0".repeat(64);
    fs::write(note(1), again.sign(&house.admin.vaults.signer).unwrap()).unwrap();
    let faults = list(&house.admin, &root()).await.unwrap().faults;
    assert!(faults.iter().any(|fault| fault.contains("does not follow")), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_two_newest_archives_of_a_vault_can_be_opened_here() {
    let (house, _, key) = house().await;
    let first = back_up(&house).await;
    for _ in 0..2 {
        back_up(&house).await;
    }
    assert_eq!(rolling(&house.admin).await.unwrap().len(), 2);
    let fault = bring(&house, &first.id, &house.path().join("a")).await.unwrap_err();
    assert!(fault.message.contains("keeps no identity"), "{fault}");
    let order = |identity: Secret<String>| RestoreOrder {
        archive: first.id.clone(),
        to: house.path().join("b").display().to_string(),
        identity: Some(identity),
        ..RestoreOrder::default()
    };
    // REC-06
    let wrong = restore(&house.admin, &root(), order(Ephemeral::generate().text())).await.unwrap_err();
    assert_eq!((wrong.kind, wrong.place.as_deref()), (FaultKind::Invalid, Some("identity")), "{wrong}");
    restore(&house.admin, &root(), order(key.text())).await.unwrap();
    let checked = verify(&house.admin, &root()).await.unwrap();
    assert_eq!((checked.checked, checked.opened), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_10_a_database_that_is_being_written_is_copied_as_it_stood_at_one_moment() {
    let (house, notes, _) = house().await;
    let path = notes.join("memory.db");
    let open = sqlx_writer(&path).await;
    let (stop, writer) = (tokio_util::sync::CancellationToken::new(), open);
    let going = stop.clone();
    let task = tokio::spawn(async move {
        let mut written = 0i64;
        while !going.is_cancelled() {
            writer.write(written).await;
            written += 1;
        }
        written
    });
    for round in 0..8 {
        let archive = back_up(&house).await;
        assert!(archive.complete, "round {round}");
        let to = house.path().join(format!("copy-{round}"));
        bring(&house, &archive.id, &to).await.unwrap();
        let facts = crate::db::foreign::facts(&to.join("memory.db")).await.unwrap();
        assert!(!to.join("memory.db-wal").exists(), "what is beside a database is in its copy");
        let (rows, pairs) = (facts.rows["one"], facts.rows["two"]);
        assert_eq!(rows, pairs, "a transaction is in the copy as a whole or not at all");
    }
    stop.cancel();
    assert!(task.await.unwrap() > 10);
}

/// Writes two tables in one transaction.
struct Pair(crate::db::Db);

impl Pair {
    async fn write(&self, at: i64) {
        crate::db::tests::pair(&self.0, at).await;
    }
}

async fn sqlx_writer(path: &Path) -> Pair {
    let sql = "CREATE TABLE one (id INTEGER PRIMARY KEY) STRICT; CREATE TABLE two (id INTEGER PRIMARY KEY) STRICT;";
    let migrations = crate::db::Migrations::of([("0001_pair_tables.sql".to_owned(), sql.to_owned())]).unwrap();
    Pair(crate::db::Db::open(path, &migrations).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_12_one_run_at_a_time() {
    let (house, notes, _) = house().await;
    fs::write(notes.join("large"), vec![7u8; 32 << 20]).unwrap();
    let (admin, order) = (&house.admin, || BackupOrder { vault: Some("notes".into()) });
    let actor = root();
    let (one, two) = tokio::join!(run(admin, &actor, order()), run(admin, &actor, order()));
    let refused = [one, two].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].kind, FaultKind::Conflict);
    assert_eq!(list(admin, &actor).await.unwrap().archives.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_09_what_cannot_be_read_is_said_and_the_rest_is_kept() {
    let (house, notes, _) = house().await;
    std::os::unix::fs::symlink("/etc/passwd", notes.join("link")).unwrap();
    fs::write(notes.join("broken.db"), [b"SQLite format 3\0".as_slice(), &[0xff; 1024]].concat()).unwrap();
    let archive = back_up(&house).await;
    assert!(!archive.complete, "a database that cannot be copied is missing");
    let to = house.path().join("back");
    bring(&house, &archive.id, &to).await.unwrap();
    assert!(to.join("memory.jsonl").exists() && !to.join("link").exists() && !to.join("broken.db").exists());
    fs::remove_file(notes.join("broken.db")).unwrap();
    assert!(back_up(&house).await.complete, "a link is no memory");
    fs::remove_dir_all(&notes).unwrap();
    let gone = run(&house.admin, &root(), BackupOrder::default()).await.unwrap();
    assert_eq!((gone.ok, gone.failed.len(), gone.archives.len()), (false, 1, 1), "the deployment has its archive all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn possession_of_an_identity_is_shown_by_decrypting_a_word() {
    use base64::Engine as _;
    let (house, _, key) = house().await;
    let (admin, actor) = (&house.admin, operator(OperatorRole::Operator));
    let warned = list_recipients(admin, &actor).await.unwrap();
    assert_eq!((warned.recipients.len(), warned.warnings.len()), (1, 2), "{:?}", warned.warnings);
    assert!(read_key(&warned.instance_key).is_ok_and(|read| &read == admin.vaults.signer.public()));
    let asked = prove(admin, &actor, "recovery", ProveRecipient::default()).await.unwrap();
    let sealed = base64::engine::general_purpose::STANDARD.decode(asked.challenge.unwrap()).unwrap();
    let word = crate::crypto::recovery::decrypt(&key.text(), &sealed).unwrap();
    let answer = |text: &str| ProveRecipient { answer: Some(text.to_owned()) };
    assert_eq!(prove(admin, &actor, "recovery", answer("guess")).await.unwrap_err().kind, FaultKind::Denied);
    assert!(prove(admin, &actor, "recovery", answer(word.reveal())).await.unwrap().proved);
    assert!(prove(admin, &actor, "recovery", answer(word.reveal())).await.is_err(), "a word counts once");
    let second = Ephemeral::generate().recipient();
    let order = |name: &str| AddRecipient { name: name.into(), recipient: second.clone() };
    assert!(add_recipient(admin, &actor, order("escrow")).await.is_err(), "an admin's to do");
    add_recipient(admin, &root(), order("escrow")).await.unwrap();
    assert_eq!(add_recipient(admin, &root(), order("twice")).await.unwrap_err().kind, FaultKind::Conflict);
    assert_eq!(back_up(&house).await.recipients.len(), 2);
    remove_recipient(admin, &root(), "recovery").await.unwrap();
    assert_eq!(remove_recipient(admin, &root(), "escrow").await.unwrap_err().kind, FaultKind::Conflict, "the last one");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deny_list_holds_every_revocation_and_forgets_none() {
    let (house, _, _) = house().await;
    let (admin, signer) = (&house.admin, house.admin.vaults.signer.public().clone());
    let order = |name: &str| clients::AddClient { name: name.into(), roles: vec!["demo".into()], ..Default::default() };
    let made = clients::add(admin, &root(), order("ci")).await.unwrap();
    clients::revoke(admin, &root(), "ci").await.unwrap();
    deny::push(admin).await.unwrap();
    let folder = folder::Folder::open(&admin.data.archives()).unwrap();
    let list = deny::read(&folder, &signer).unwrap().unwrap();
    assert_eq!(list.client_keys, std::slice::from_ref(&made.kid));
    // Whoever gives the database an older state does not bring the key back.
    let path = folder.path(deny::FILE);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&made.kid, "00000000")).unwrap();
    assert!(deny::read(&folder, &signer).is_err(), "changed");
    fs::write(&path, &text).unwrap();
    let db = crate::db::Db::open(&house.path().join("older.db"), &crate::db::Migrations::embedded().unwrap()).await.unwrap();
    assert_eq!(apply_deny_list(&db, &list, admin.clock.now()).await.unwrap(), 0, "keys that are not there are not counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_never_reaches_into_lifeboat_itself() {
    let (house, _, _) = house().await;
    for path in [house.path().to_owned(), house.admin.data.keys(), house.admin.data.vaults(), PathBuf::from("/")] {
        let order = AddVault { name: "x".into(), path: path.display().to_string(), ..AddVault::default() };
        let fault = add(&house.admin, &root(), order).await.unwrap_err();
        assert_eq!(fault.place.as_deref(), Some("path"), "{}: {fault}", path.display());
    }
    let order = AddVault { name: "lifeboat".into(), path: "/tmp".into(), ..AddVault::default() };
    assert!(add(&house.admin, &root(), order).await.is_err());
    assert!(!tree::desired(&house.admin).await.unwrap().vaults.contains_key("x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_keeps_goes_and_the_chain_says_so() {
    let (house, _, _) = house().await;
    let rules =
        "[recovery.keep]\nwithin_hours = 0\ndaily = 0\nweekly = 0\nmonthly = 0\nquarterly = 0\nyearly = 0\nmin_verified = 1\n";
    tree::edit(&house.admin, &root(), "rules", |_, _| Ok(vec![tree::write("lifeboat.toml", rules)])).await.unwrap();
    let archives = [back_up(&house).await, back_up(&house).await, back_up(&house).await];
    hold(&house.admin, &root(), &archives[0].id, HoldOrder { reason: Some("incident 7".into()) }).await.unwrap();
    let dry = prune(&house.admin, &root(), PruneOrder { dry_run: true, much: false }).await.unwrap();
    assert_eq!((dry.removed, list(&house.admin, &root()).await.unwrap().archives.len()), (1, 3), "{dry:?}");
    let note = format!("{}.json", archives[1].file);
    let files = [archives[1].file.as_str(), &note].map(|file| (file.to_owned(), fs::read(file).unwrap()));
    prune(&house.admin, &root(), PruneOrder::default()).await.unwrap();
    // As a crash between the signature and the removal leaves it: it counts as gone, and the next run ends it.
    files.iter().for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
    assert_eq!(list(&house.admin, &root()).await.unwrap().archives.len(), 2);
    prune(&house.admin, &root(), PruneOrder::default()).await.unwrap();
    assert!(files.iter().all(|(file, _)| !Path::new(file).exists()));
    let left = list(&house.admin, &root()).await.unwrap();
    let ids: Vec<&str> = left.archives.iter().map(|one| one.id.as_str()).collect();
    assert_eq!((ids, left.faults.len()), (vec![archives[2].id.as_str(), archives[0].id.as_str()], 0), "{:?}", left.faults);
    assert!(!Path::new(&archives[1].file).exists());
    back_up(&house).await;
    assert_eq!(list(&house.admin, &root()).await.unwrap().faults.len(), 0, "the chain goes on");
    hold(&house.admin, &root(), &archives[0].id, HoldOrder::default()).await.unwrap();
    prune(&house.admin, &root(), PruneOrder::default()).await.unwrap();
    let left = list(&house.admin, &root()).await.unwrap();
    assert_eq!((left.archives.len(), left.faults.len()), (1, 0), "{:?}", left.faults);
    // Who removes the list of what was removed does not hide a removal.
    fs::remove_file(house.admin.data.archives().join(pruned::FILE)).unwrap();
    assert!(list(&house.admin, &root()).await.unwrap().faults[0].contains("nobody signed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_elsewhere_has_what_the_destination_has_and_rebuilds_alone() {
    let (house, _, _) = house().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let rules = format!(
        "[recovery]\ncopies = [\"{}\"]\n[recovery.keep]\nwithin_hours = 0\ndaily = 0\nweekly = 0\nmonthly = 0\nquarterly = 0\nyearly = 0\nmin_verified = 1\n",
        elsewhere.path().display()
    );
    tree::edit(&house.admin, &root(), "copies", |_, _| Ok(vec![tree::write("lifeboat.toml", rules.clone())])).await.unwrap();
    let first = back_up(&house).await;
    deny::push(&house.admin).await.unwrap();
    back_up(&house).await;
    let key = house.admin.vaults.signer.public().clone();
    let copy = folder::Folder::open(elsewhere.path()).unwrap();
    let there = catalogue::read(&copy, &key).unwrap();
    assert_eq!((there.archives.len(), there.faults.len()), (2, 0), "{:?}", there.faults);
    assert!(there.archives.iter().all(|note| catalogue::compare(&copy, note).is_ok()));
    assert!(deny::read(&copy, &key).unwrap().is_some());
    prune(&house.admin, &root(), PruneOrder::default()).await.unwrap();
    let there = catalogue::read(&copy, &key).unwrap();
    assert_eq!((there.archives.len(), there.faults.len()), (1, 0), "{:?}", there.faults);
    assert_ne!(there.archives[0].id, first.id);
    drop(elsewhere);
    let done = run(&house.admin, &root(), BackupOrder { vault: Some("notes".into()) }).await.unwrap();
    assert_eq!((done.ok, done.archives.len(), done.copies.len()), (false, 1, 1), "a copy that is gone is said: {:?}", done.copies);
}
