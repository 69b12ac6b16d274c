//! Archives encrypted anew: for whom they open, that nothing of them changed, and that a run that was cut off is ended by the next.

use std::fs;

use super::tests::{back_up, bring, everything, house};
use super::*;
use crate::admin::OperatorRole;
use crate::admin::tests_house::{House, operator, root};
use crate::base::fault::FaultKind;
use crate::crypto::archive::Ephemeral;

/// Another recipient instead of the first one.
async fn exchange(house: &House) -> Ephemeral {
    let key = Ephemeral::generate();
    let order = AddRecipient { name: "new".into(), recipient: key.recipient() };
    add_recipient(&house.admin, &root(), order).await.unwrap();
    remove_recipient(&house.admin, &root(), "recovery").await.unwrap();
    key
}

async fn anew(house: &House, identity: Option<&Ephemeral>) -> ReencryptDone {
    let order = ReencryptOrder { identity: identity.map(Ephemeral::text), dry_run: false };
    reencrypt(&house.admin, &root(), order).await.unwrap()
}

fn states(done: &ReencryptDone) -> Vec<&str> {
    done.archives.iter().map(|one| one.state.as_str()).collect()
}

async fn opens_with(house: &House, archive: &str, key: &Ephemeral, to: &str) -> Verb<Restored> {
    let to = house.path().join(to).display().to_string();
    let order = RestoreOrder { archive: archive.into(), to, identity: Some(key.text()), ..RestoreOrder::default() };
    restore(&house.admin, &root(), order).await
}

/// Whether this very identity opens it, whatever else this host keeps.
async fn opens(house: &House, archive: &str, key: &Ephemeral) -> bool {
    let (folder, found) = destination(&house.admin).await.unwrap();
    let note = found.archives.iter().find(|note| note.id == archive).unwrap();
    let identities = crate::crypto::archive::Identities::read(&[key.text()]).unwrap();
    catalogue::extract(&folder, note, &identities, &mut ()).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_open_for_the_new_recipients_and_hold_what_they_held() {
    let (house, notes, old) = house().await;
    let mut made = Vec::new();
    for text in ["first", "second", "third"] {
        fs::write(notes.join("memory.jsonl"), text).unwrap();
        made.push(back_up(&house).await);
    }
    hold(&house.admin, &root(), &made[0].id, HoldOrder { reason: Some("incident".into()) }).await.unwrap();
    let new = exchange(&house).await;

    let viewer = reencrypt(&house.admin, &operator(OperatorRole::Operator), ReencryptOrder::default()).await.unwrap_err();
    assert_eq!(viewer.kind, FaultKind::Denied);
    let dry = ReencryptOrder { dry_run: true, ..ReencryptOrder::default() };
    let dry = reencrypt(&house.admin, &root(), dry).await.unwrap();
    assert_eq!((dry.ok, states(&dry)), (false, vec!["due"; 3]));
    // The third newest has no key here: it stays until somebody brings one.
    let without = anew(&house, None).await;
    assert_eq!((without.ok, states(&without)), (false, vec!["failed", "done", "done"]));
    assert!(without.archives[0].why.as_ref().unwrap().contains(&old.recipient()), "{without:?}");
    let done = anew(&house, Some(&old)).await;
    assert_eq!((done.ok, states(&done)), (true, vec!["done"]));
    assert_eq!(anew(&house, None).await.archives.len(), 0, "there is nothing more to do");

    let listed = list(&house.admin, &root()).await.unwrap();
    assert_eq!((listed.archives.len(), listed.faults.clone()), (3, Vec::<String>::new()));
    for (archive, text) in listed.archives.iter().zip(["third", "second", "first"]) {
        assert_eq!((archive.recipients.clone(), archive.verified), (vec![new.recipient()], true));
        assert!(made.iter().all(|before| before.id != archive.id));
        assert!(made.iter().any(|before| (before.created_at, before.started_at) == (archive.created_at, archive.started_at)));
        opens_with(&house, &archive.id, &new, text).await.unwrap();
        assert_eq!(fs::read_to_string(house.path().join(text).join("memory.jsonl")).unwrap(), text);
        assert!(opens(&house, &archive.id, &new).await);
        assert!(!opens(&house, &archive.id, &old).await, "the old identity opens nothing more");
    }
    // The drills' keys go on, for the two newest; the hold stays where it was.
    let checked = verify(&house.admin, &root()).await.unwrap();
    assert_eq!((checked.ok, checked.opened), (true, 2), "{checked:?}");
    let fates = prune(&house.admin, &root(), PruneOrder { dry_run: true, much: true }).await.unwrap();
    let held = fates.archives.iter().find(|fate| fate.why.contains("incident")).unwrap();
    assert_eq!(held.id, listed.archives[2].id);
    let events = house.admin.ledger.query(&crate::audit::Filter { limit: Some(50), ..crate::audit::Filter::default() }).await;
    let actions: Vec<String> = events.unwrap().events.into_iter().filter_map(|event| event.action).collect();
    assert_eq!(actions.iter().filter(|action| *action == "backup.reencrypt").count(), 3, "{actions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_21_a_run_that_was_cut_off_leaves_the_old_until_the_new_is_whole() {
    let (house, _, old) = house().await;
    let archive = back_up(&house).await;
    let root_dir = house.admin.data.archives();
    let note = format!("{}.json", archive.file);
    let before = (fs::read(&archive.file).unwrap(), fs::read(&note).unwrap());
    let new = exchange(&house).await;

    // Cut off while it was written: a part that nobody counts, and the old one as it was.
    let part = root_dir.join("notes").join(".partial-ar_x");
    fs::write(&part, "half").unwrap();
    sweep(&house.admin.data);
    assert!(!part.exists());
    assert_eq!(list(&house.admin, &root()).await.unwrap().archives.len(), 1);

    assert_eq!(states(&anew(&house, Some(&old)).await), ["done"]);
    let after = list(&house.admin, &root()).await.unwrap().archives.remove(0);
    // Cut off after the new note and before the old one was signed away: both are there, and both open.
    fs::write(&archive.file, &before.0).unwrap();
    fs::write(&note, &before.1).unwrap();
    let removed = fs::read_to_string(root_dir.join(pruned::FILE)).unwrap();
    fs::write(root_dir.join(pruned::FILE), "").unwrap();
    let both = list(&house.admin, &root()).await.unwrap();
    assert_eq!((both.archives.len(), both.faults.len()), (2, 0), "{both:?}");
    let ended = anew(&house, None).await;
    assert_eq!((ended.ok, ended.archives[0].now.clone()), (true, Some(after.id.clone())), "it is not encrypted a second time");
    let one = list(&house.admin, &root()).await.unwrap();
    assert_eq!((one.archives.len(), one.archives[0].id.clone(), one.faults.len()), (1, after.id.clone(), 0));
    // Left beside a successor that was damaged meanwhile, it is encrypted anew: what is whole never goes for what is not.
    fs::write(&archive.file, &before.0).unwrap();
    fs::write(&note, &before.1).unwrap();
    fs::write(root_dir.join(pruned::FILE), "").unwrap();
    let whole = fs::read(&after.file).unwrap();
    fs::write(&after.file, "").unwrap();
    let again = anew(&house, Some(&old)).await;
    let next = again.archives.iter().find(|one| one.id == archive.id).unwrap().now.clone().unwrap();
    assert_ne!(next, after.id);
    assert!(opens(&house, &next, &new).await);
    fs::write(&after.file, &whole).unwrap();
    fs::remove_file(&after.file).unwrap();
    fs::remove_file(format!("{}.json", after.file)).unwrap();
    let after = list(&house.admin, &root()).await.unwrap().archives.into_iter().find(|one| one.id == next).unwrap();
    // Cut off after the signature and before the files went: the next pruning ends it.
    assert!(!removed.is_empty());
    fs::write(&archive.file, &before.0).unwrap();
    fs::write(&note, &before.1).unwrap();
    assert_eq!(list(&house.admin, &root()).await.unwrap().archives.len(), 1, "it is signed as gone");
    prune(&house.admin, &root(), PruneOrder::default()).await.unwrap();
    assert!(!everything(&root_dir).iter().any(|file| file.contains(&archive.id)));
    assert!(opens_with(&house, &after.id, &new, "back").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn rec_21_what_is_damaged_or_closed_is_never_exchanged_for_something_else() {
    let (house, _, old) = house().await;
    back_up(&house).await;
    exchange(&house).await;
    let wrong = anew(&house, Some(&Ephemeral::generate())).await;
    assert_eq!(states(&wrong), ["done"], "the key that this host keeps opens it all the same");
    let archive = back_up(&house).await;
    exchange_back(&house, &old).await;
    let mut bytes = fs::read(&archive.file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive.file, &bytes).unwrap();
    let count = everything(&house.admin.data.archives()).len();
    let done = anew(&house, None).await;
    let failed = done.archives.iter().find(|one| one.id == archive.id).unwrap();
    assert_eq!((done.ok, failed.state.as_str()), (false, "failed"), "{done:?}");
    assert_eq!(fs::read(&archive.file).unwrap(), bytes, "it stays as it is, for whoever looks into it");
    assert_eq!(everything(&house.admin.data.archives()).iter().filter(|file| file.contains(".partial")).count(), 0);
    // One more line of removals, and one archive for another.
    assert_eq!(everything(&house.admin.data.archives()).len(), count);
    assert!(bring(&house, &archive.id, &house.path().join("never")).await.is_err());
}

async fn exchange_back(house: &House, old: &Ephemeral) {
    let order = AddRecipient { name: "recovery-again".into(), recipient: old.recipient() };
    add_recipient(&house.admin, &root(), order).await.unwrap();
    remove_recipient(&house.admin, &root(), "new").await.unwrap();
}
