//! Restores in place on real directories: swapped whole or not at all, whatever cuts them off; and what must never be touched.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::note::{self, Note};
use super::*;
use crate::admin::tests_house::{House, operator, root};
use crate::admin::vaults::{AddVault, Archive, BackupOrder, add, list, run};
use crate::admin::{OperatorRole, Via, kill};
use crate::base::clock::Timestamp;
use crate::base::fault::FaultKind;
use crate::crypto::archive::Ephemeral;
use crate::crypto::files::{Readers, write};
use crate::policy::{Mode, Scope};

pub(super) async fn house() -> House {
    let house = House::open().await;
    house.listen("proxy").await;
    let key = Ephemeral::generate();
    write(&house.admin.data.recovery_pub(), key.recipient().as_bytes(), Readers::Everybody).unwrap();
    house
}

/// A vault whose content is of a moment ago, an archive of it, and other content in its place now.
pub(super) async fn vault(house: &House, name: &str, server: Option<&str>, exclude: &[&str]) -> (PathBuf, Archive) {
    let place = house.path().join("vaults").join(name);
    fs::create_dir_all(place.join("sub")).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o750)).unwrap();
    fs::write(place.join("memory.jsonl"), "old\n").unwrap();
    fs::write(place.join("sub/deep"), "deep").unwrap();
    let archive = added(house, name, &place, server, exclude).await;
    fs::write(place.join("memory.jsonl"), "poisoned\n").unwrap();
    fs::write(place.join("planted"), "x").unwrap();
    (place, archive)
}

async fn added(house: &House, name: &str, place: &Path, server: Option<&str>, exclude: &[&str]) -> Archive {
    let order = AddVault {
        name: name.into(),
        path: place.display().to_string(),
        server: server.map(str::to_owned),
        exclude: exclude.iter().map(|path| (*path).to_owned()).collect(),
        ..AddVault::default()
    };
    add(&house.admin, &root(), order).await.unwrap();
    back_up(house, name).await
}

pub(super) async fn back_up(house: &House, name: &str) -> Archive {
    let mut done = run(&house.admin, &root(), BackupOrder { vault: Some(name.into()) }).await.unwrap();
    done.archives.remove(0)
}

fn order(archive: &str) -> LiveOrder {
    LiveOrder { archive: archive.into(), reason: "poisoned".into(), ..LiveOrder::default() }
}

pub(super) async fn bring(house: &House, archive: &str) -> Verb<LiveDone> {
    restore_live(&house.admin, &root(), order(archive)).await
}

pub(super) fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// What lies beside a place besides the place.
pub(super) fn beside(place: &Path) -> Vec<String> {
    let names = fs::read_dir(place.parent().unwrap()).unwrap().flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let name = place.file_name().unwrap().to_string_lossy().into_owned();
    names.retain(|one| *one != name && (one.starts_with(&name) || one.starts_with(WAITING)));
    names
}

fn passed(done: &LiveDone) -> Vec<(&str, bool)> {
    done.steps.iter().map(|step| (step.name.as_str(), step.passed)).collect()
}

pub(super) fn notes(house: &House) -> Vec<Note> {
    note::all(&house.admin.data).0
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_18_old_and_new_change_places_and_the_old_is_kept() {
    let house = house().await;
    let (place, archive) = vault(&house, "notes", None, &[]).await;
    let done = bring(&house, "latest:notes").await.unwrap();
    let steps = [("backup", true), ("unpack", true), ("stop", true), ("swap", true), ("compare", true)];
    assert_eq!(passed(&done), steps, "{done:?}");
    assert!(done.steps[2].detail.contains("nobody is stopped"), "{:?}", done.steps[2]);
    assert!(done.ok && !done.released && done.archive == archive.id, "{done:?}");
    assert_eq!((text(place.join("memory.jsonl")), text(place.join("sub/deep"))), ("old\n".into(), "deep".into()));
    assert!(!place.join("planted").exists(), "the tree is the archive's, not a mixture");
    assert_eq!(place.metadata().unwrap().mode() & 0o777, 0o750, "as the place had it");
    let kept = PathBuf::from(done.kept.unwrap());
    assert_eq!((text(kept.join("memory.jsonl")), text(kept.join("planted"))), ("poisoned\n".into(), "x".into()));
    assert_eq!(kept.metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(beside(&place), [kept.file_name().unwrap().to_str().unwrap()], "nothing else is left");
    assert!(notes(&house).is_empty() && unsettled(&house.admin).is_empty());
    // What was there is an archive too, and never the latest.
    let safety = done.safety.unwrap();
    assert_eq!(list(&house.admin, &root()).await.unwrap().archives[0].id, safety);
    assert_eq!(bring(&house, "latest:notes").await.unwrap().archive, archive.id);
    // For nobody: not for a restore elsewhere, a rebuild or a drill, not for the tally, and no rule keeps it in a good one's place.
    let (folder, found) = crate::admin::vaults::destination(&house.admin).await.unwrap();
    assert_eq!(crate::admin::drills::chosen::choose(&folder, &found, "notes").unwrap().note.id, archive.id);
    let to = house.path().join("elsewhere").display().to_string();
    let order = RestoreOrder { archive: "latest:notes".into(), to, ..RestoreOrder::default() };
    assert_eq!(crate::admin::vaults::restore(&house.admin, &root(), order).await.unwrap().archives[0].id, archive.id);
    let fates = crate::admin::vaults::prune(&house.admin, &root(), crate::admin::vaults::PruneOrder { dry_run: true, much: true })
        .await
        .unwrap()
        .archives;
    let fate = |id: &str| fates.iter().find(|one| one.id == id).unwrap().why.clone();
    assert!(fate(&archive.id).contains("newest of its day") && !fate(&safety).contains("newest"), "{fates:?}");
    assert_eq!(crate::admin::vaults::verify(&house.admin, &root()).await.unwrap().opened, 3, "the keys of both kinds are kept");
    let back = bring(&house, &safety).await.unwrap();
    assert!(back.ok && text(place.join("memory.jsonl")) == "poisoned\n", "by its name it comes back: {back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_restores_kept_is_listed_and_removed_and_nothing_else_is() {
    let house = house().await;
    let (place, archive) = vault(&house, "notes", None, &[]).await;
    for _ in 0..2 {
        bring(&house, &archive.id).await.unwrap();
    }
    let other = place.with_file_name("notes.before-my-holiday");
    fs::create_dir(&other).unwrap();
    let listed = kept::kept(&house.admin, &operator(OperatorRole::Viewer)).await.unwrap().kept;
    assert_eq!((listed.len(), listed[0].vault.as_str(), listed[0].bytes), (2, "notes", 14), "{listed:?}");
    let denied = clean(&house.admin, &operator(OperatorRole::Operator), "notes", CleanOrder::default()).await.unwrap_err();
    assert_eq!(denied.kind, FaultKind::Denied);
    let dry = clean(&house.admin, &root(), "notes", CleanOrder { dry_run: true }).await.unwrap();
    assert!(dry.removed == listed && Path::new(&listed[0].path).exists());
    let done = clean(&house.admin, &root(), "notes", CleanOrder::default()).await.unwrap();
    assert_eq!((done.removed.len(), beside(&place)), (2, vec!["notes.before-my-holiday".to_owned()]));
    assert_eq!(text(place.join("memory.jsonl")), "old\n");
    assert!(clean(&house.admin, &root(), "nothing", CleanOrder::default()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_of_one_file_is_exchanged_as_a_file_and_a_vault_that_is_gone_comes_back() {
    let house = house().await;
    let file = house.path().join("vaults/board.json");
    fs::write(&file, "{}").unwrap();
    let archive = added(&house, "board", &file, None, &[]).await;
    fs::write(&file, "{\"bad\":1}").unwrap();
    let done = bring(&house, "latest:board").await.unwrap();
    assert!(done.ok && text(&file) == "{}" && text(done.kept.unwrap()) == "{\"bad\":1}");
    fs::remove_file(&file).unwrap();
    let done = bring(&house, &archive.id).await.unwrap();
    assert_eq!((done.ok, done.kept, text(&file).as_str()), (true, None, "{}"));
    assert!(done.steps[0].detail.contains("nothing to save"), "{:?}", done.steps);
    let (place, archive) = vault(&house, "notes", None, &[]).await;
    fs::remove_dir_all(&place).unwrap();
    assert!(bring(&house, &archive.id).await.unwrap().ok && text(place.join("memory.jsonl")) == "old\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_became_something_else_is_not_touched() {
    let house = house().await;
    let file = house.path().join("vaults/board.json");
    fs::write(&file, "{}").unwrap();
    let board = added(&house, "board", &file, None, &[]).await;
    let (place, notes) = vault(&house, "notes", None, &[]).await;
    let refused = async |archive: &Archive, word: &str| {
        let ordered = LiveOrder { without_backup: true, ..order(&archive.id) };
        let fault = restore_live(&house.admin, &root(), ordered).await.unwrap_err();
        assert!(fault.kind == FaultKind::Conflict && fault.message.contains(word), "{fault}");
    };
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    fs::write(file.join("mine"), "mine").unwrap();
    refused(&board, "is a directory").await;
    assert_eq!(text(file.join("mine")), "mine");
    fs::remove_dir_all(&place).unwrap();
    fs::write(&place, "mine").unwrap();
    refused(&notes, "is a file").await;
    assert_eq!(text(&place), "mine");
    fs::remove_file(&place).unwrap();
    symlink(&file, &place).unwrap();
    refused(&notes, "is a link").await;
    assert!(beside(&place).is_empty() && self::notes(&house).is_empty() && text(file.join("mine")) == "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_and_what_cannot_be_is_refused_before_anything() {
    let house = house().await;
    let (place, archive) = vault(&house, "notes", None, &[]).await;
    let by = async |actor: &Actor, order: LiveOrder| restore_live(&house.admin, actor, order).await.unwrap_err();
    assert_eq!(by(&operator(OperatorRole::Operator), order(&archive.id)).await.kind, FaultKind::Denied);
    let stale = Actor { via: Via::Dashboard, login_at: Some(Timestamp(0)), ..root() };
    assert!(by(&stale, order(&archive.id)).await.message.contains("Sign in again"));
    let silent = by(&root(), LiveOrder { reason: " ".into(), ..order(&archive.id) }).await;
    assert_eq!(silent.place.as_deref(), Some("reason"));
    assert!(by(&root(), order("latest")).await.message.contains("one vault at a time"));
    let deployment = back_up(&house, "lifeboat").await;
    assert!(by(&root(), order(&deployment.id)).await.message.contains("rebuild"));
    assert_eq!(by(&root(), order("latest:none")).await.kind, FaultKind::NotFound);
    // REC-17: a hostile or changed archive stops nobody.
    let whole = fs::read(&archive.file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&archive.file, flipped).unwrap();
    assert!(by(&root(), order(&archive.id)).await.message.contains("was changed"));
    fs::write(&archive.file, whole).unwrap();
    assert_eq!((text(place.join("memory.jsonl")).as_str(), beside(&place).len(), notes(&house).len()), ("poisoned\n", 0, 0));
    let looked = restore_live(&house.admin, &stale, LiveOrder { dry_run: true, reason: String::new(), ..order(&archive.id) });
    let looked = looked.await.unwrap();
    assert!(looked.dry_run && looked.steps.iter().any(|step| step.detail.contains("nobody is stopped")), "{looked:?}");
    assert_eq!(text(place.join("memory.jsonl")), "poisoned\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_archive_of_what_is_there_nothing_is_replaced_unless_somebody_says_so() {
    let house = house().await;
    let (place, archive) = vault(&house, "notes", None, &[]).await;
    // Nobody could open what would be made.
    archives::remove_recipient(&house.admin.db, "recovery", house.admin.clock.now()).await.unwrap();
    let fault = bring(&house, &archive.id).await.unwrap_err();
    assert!(fault.kind == FaultKind::Conflict && fault.message.contains("without-backup"), "{fault}");
    assert_eq!((text(place.join("memory.jsonl")).as_str(), beside(&place).len()), ("poisoned\n", 0));
    let ordered = LiveOrder { without_backup: true, ..order(&archive.id) };
    let done = restore_live(&house.admin, &root(), ordered).await.unwrap();
    assert!(done.ok && done.safety.is_none() && done.kept.is_some(), "{done:?}");
    assert_eq!(text(place.join("memory.jsonl")), "old\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_archive_holds_by_order_follows_and_no_link_leads_it_astray() {
    let house = house().await;
    let elsewhere = tempfile::tempdir_in(house.path().join("vaults")).unwrap();
    fs::write(elsewhere.path().join("secret"), "secret").unwrap();
    let (place, archive) = vault(&house, "notes", None, &["cache", "sub/big", "way/secret", "none"]).await;
    fs::create_dir(place.join("cache")).unwrap();
    fs::write(place.join("cache/model"), "large").unwrap();
    fs::write(place.join("sub/big"), "big").unwrap();
    symlink(elsewhere.path(), place.join("way")).unwrap();
    let done = bring(&house, &archive.id).await.unwrap();
    assert!(done.ok && done.steps[4].detail.contains("way/secret"), "{done:?}");
    assert_eq!((text(place.join("cache/model")), text(place.join("sub/big"))), ("large".into(), "big".into()));
    assert_eq!(text(elsewhere.path().join("secret")), "secret");
    assert!(!place.join("way").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_certain_stays_stopped_and_is_said() {
    let house = house().await;
    // The stand-in shows other tools than were approved.
    let (place, archive) = vault(&house, "notes", Some("demo"), &[]).await;
    let done = bring(&house, &archive.id).await.unwrap();
    let steps = ["backup", "unpack", "stop", "quiet", "swap", "compare", "start", "tools"];
    assert_eq!(done.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), steps);
    assert!(!done.ok && !done.released && !done.steps[7].passed, "{done:?}");
    assert!(done.steps[3].detail.contains("remote"), "{:?}", done.steps[3]);
    assert_eq!(text(place.join("memory.jsonl")), "old\n");
    let states = kill::states(&house.admin);
    assert!(states.len() == 1 && states[0].scope == "server demo" && states[0].reason.contains(&done.id), "{states:?}");
    assert!(unsettled(&house.admin)[0].contains("still stopped: demo"), "{:?}", unsettled(&house.admin));
    settle(&house.admin).await.unwrap();
    assert_eq!(unsettled(&house.admin).len(), 1, "also after a restart");
    let release = kill::Release { scope: Scope::Server { server: "demo".into() }, to: None, reason: "looked".into() };
    kill::release(&house.admin, &root(), release).await.unwrap();
    assert!(unsettled(&house.admin).is_empty());
    settle(&house.admin).await.unwrap();
    assert!(notes(&house).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_is_not_proved_exchanges_nothing_and_a_stop_by_somebody_else_is_never_released() {
    let house = house().await;
    let (place, archive) = vault(&house, "notes", Some("demo"), &[]).await;
    house.obeys.store(false, std::sync::atomic::Ordering::SeqCst);
    let done = bring(&house, &archive.id).await.unwrap();
    assert_eq!(passed(&done), [("backup", true), ("unpack", true), ("stop", false)], "{done:?}");
    assert!(text(place.join("memory.jsonl")) == "poisoned\n" && beside(&place).is_empty());
    assert_eq!(kill::states(&house.admin).len(), 1, "what was ordered is engaged");
    house.obeys.store(true, std::sync::atomic::Ordering::SeqCst);
    let scope = || Scope::Server { server: "demo".into() };
    let mine = kill::Order { scope: scope(), mode: Mode::Full, reason: "mine".into() };
    let mine = kill::engage(&house.admin, &root(), mine).await.unwrap();
    let release = || kill::Release { scope: scope(), to: None, reason: "r".into() };
    let fault = kill::release_own(&house.admin, &root(), release(), "kd_other").await.unwrap_err();
    assert!(fault.kind == FaultKind::Conflict && fault.message.contains("mine"), "{fault}");
    let done = bring(&house, &archive.id).await.unwrap();
    assert!(done.steps[2].detail.contains("stopped already") && !done.released, "{done:?}");
    assert_eq!(kill::states(&house.admin)[0].decision_id, mine.decision_id);
    kill::release_own(&house.admin, &root(), release(), &mine.decision_id).await.unwrap();
}

/// An archive with a signed note whose content no archive of ours could have: somebody who has the signing key, or a bug.
async fn hostile(house: &House, archive: &Archive) {
    let opens = identities(&house.admin).await.unwrap().remove(&archive.id).unwrap();
    let to: age::x25519::Recipient = Identities::read(&[opens]).unwrap().recipients()[0].parse().unwrap();
    let note = format!("{}.json", archive.file);
    let mut told: Sidecar = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    let meta = serde_json::json!({
        "format": 1, "id": archive.id, "vault": "notes", "set": told.set, "source": "directory", "program": "x", "head": "",
        "started_at": told.started_at,
    });
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |path: &str, bytes: &[u8], kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_entry_type(kind);
        header.set_path(path).unwrap();
        if kind == tar::EntryType::Symlink {
            header.set_link_name("/etc").unwrap();
        }
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    };
    put("META.json", meta.to_string().as_bytes(), tar::EntryType::Regular);
    put("payload/way", b"", tar::EntryType::Symlink);
    let compressed = zstd::encode_all(tar.into_inner().unwrap().as_slice(), 3).unwrap();
    let bytes = age::encrypt(&to, &compressed).unwrap();
    (told.bytes, told.sha256) = (bytes.len() as u64, crate::crypto::archive::hex(&crate::crypto::keys::sha256(&bytes)));
    fs::write(&archive.file, bytes).unwrap();
    fs::write(note, told.sign(&house.admin.vaults.signer).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_17_a_hostile_archive_is_refused_before_anybody_is_stopped() {
    let house = house().await;
    let (place, archive) = vault(&house, "notes", Some("demo"), &[]).await;
    hostile(&house, &archive).await;
    let fault = bring(&house, &archive.id).await.unwrap_err();
    assert!(fault.kind == FaultKind::Denied && fault.message.contains("neither a file nor a directory"), "{fault}");
    assert!(kill::history(&house.admin, &root(), 10).await.unwrap().is_empty(), "nothing was ever stopped");
    assert!(text(place.join("memory.jsonl")) == "poisoned\n" && beside(&place).is_empty() && notes(&house).is_empty());
}

/// What the dashboard answers to a form.
async fn post(house: &House, token: &str, body: &str) -> (u16, String) {
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;
    let request = axum::http::Request::builder().method("POST").uri("/vaults/live").header("host", "localhost:8443");
    let request = request.header("sec-fetch-site", "same-origin").header("content-type", "application/x-www-form-urlencoded");
    let request = request.header("cookie", format!("__Host-lifeboat={token}")).body(Body::from(body.to_owned())).unwrap();
    let answer = crate::admin::routes::router(house.admin.clone()).oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_who_stops_before_it_asks_and_does_nothing_until_it_is_answered() {
    use crate::admin::operators::{self, AddOperator, Visitor};
    let house = house().await;
    let (place, archive) = vault(&house, "notes", Some("demo"), &[]).await;
    let (alone, _) = vault(&house, "alone", None, &[]).await;
    let mut tokens = Vec::new();
    for role in [OperatorRole::Admin, OperatorRole::Operator] {
        let password = || Secret::new("correct horse battery".to_owned());
        let order = AddOperator { name: role.word().into(), role, password: password() };
        operators::add(&house.admin, &root(), order).await.unwrap();
        let visitor = Visitor { remote: [127, 0, 0, 1].into(), agent: "test".into() };
        let login = operators::login(&house.admin, role.word(), &password(), &visitor, (None, "/")).await.unwrap();
        tokens.push(login.token.reveal().clone());
    }
    assert_eq!(post(&house, &tokens[1], "archive=latest:notes").await.0, 403);
    let (status, asked) = post(&house, &tokens[0], "archive=latest:notes&to=&path=").await;
    assert!(status == 200 && asked.contains("Stop demo and bring it back") && asked.contains("demo would be stopped"), "{asked}");
    assert!(
        asked.contains(&archive.id) && asked.contains("name=\"sure\" value=\"yes\"") && asked.contains("before-rs_"),
        "{asked}"
    );
    let (status, refused) = post(&house, &tokens[0], "archive=latest:notes&path=memory.jsonl").await;
    assert!(status == 422 && refused.contains("a whole vault"), "{status} {refused}");
    let (_, refused) = post(&house, &tokens[0], "archive=latest:notes&sure=yes&reason=").await;
    assert!(refused.contains("needs a reason"), "{refused}");
    assert_eq!(text(place.join("memory.jsonl")), "poisoned\n");
    // The stand-in shows other tools than were approved: it stays stopped, and the page says so.
    let (_, done) = post(&house, &tokens[0], "archive=latest:notes&sure=yes&reason=poisoned").await;
    assert!(done.contains("demo stays stopped") && done.contains("What was there is kept"), "{done}");
    let (status, _) = post(&house, &tokens[0], "archive=latest:alone&sure=yes&reason=poisoned").await;
    assert_eq!((status, text(alone.join("memory.jsonl")).as_str()), (303, "old\n"), "to a page that can be loaded again");
}
