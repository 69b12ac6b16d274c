//! Cases of the reconciler: HEAD by hand, HEAD invalid, boot.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{first, publish, watch};
use crate::admin::revisions::{CommitOrder, check, commit, history, standing};
use crate::admin::tests_house::{House, root};
use crate::admin::tree;
use crate::audit::Filter;
use crate::base::fault::FaultKind;

fn git(house: &House, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.current_dir(house.admin.data.config()).args(["-c", "user.name=ana", "-c", "user.email=a@b"]);
    assert!(git.args(arguments).output().unwrap().status.success(), "{arguments:?}");
}

fn edit(house: &House, path: &str, text: &str) {
    let path = house.admin.data.config().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_moved_by_hand_runs_within_two_looks() {
    let house = House::open().await;
    tokio::spawn(watch(house.admin.clone(), house.stop.clone()));
    edit(&house, "roles/second.toml", "[[grant]]\ntools = [\"demo/*\"]\nclasses = [\"read\"]\n");
    git(&house, &["add", "-A"]);
    git(&house, &["commit", "-qm", "a second role"]);
    let head = house.admin.repository.head().unwrap().commit;
    let begun = Instant::now();
    while house.admin.feed.snapshot().revision.commit != head {
        assert!(begun.elapsed() < Duration::from_secs(6));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_head_is_refused_with_every_fault_and_the_last_revision_keeps_running() {
    let house = House::open().await;
    let good = publish(&house.admin).await.unwrap();
    edit(&house, "lifeboat.toml", "no_such_key = 1\n[limits]\nrate = \"fast\"\n");
    git(&house, &["commit", "-qam", "wrong"]);
    let fault = publish(&house.admin).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert_eq!(house.admin.feed.snapshot().revision, good);
    let refused = house.admin.publisher.refused().unwrap();
    assert_eq!(refused.faults.len(), 2, "{:?}", refused.faults);
    assert!(refused.faults.iter().any(|line| line.starts_with("lifeboat.toml:1")), "{:?}", refused.faults);
    assert_eq!(crate::admin::health::health(&house.admin).await.status, "degraded");
    // Also at start.
    let admin = &house.admin;
    let (snapshot, refused) = first(&admin.db, &admin.repository, &admin.sealer).await.unwrap();
    assert_eq!(snapshot.revision.commit, good.commit);
    assert!(refused.is_some());
    edit(&house, "lifeboat.toml", "");
    git(&house, &["commit", "-qam", "right"]);
    publish(admin).await.unwrap();
    assert_eq!(admin.publisher.refused(), None);
    assert_ne!(admin.feed.snapshot().revision.commit, good.commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editors_work_counts_after_its_commit() {
    let house = House::open().await;
    let admin = &house.admin;
    edit(&house, "clients/odd.toml", "roles = [\"ghost\"]\n");
    let found = check(admin, &root()).await.unwrap();
    assert!(!found.ok && found.faults[0].file == "clients/odd.toml", "{found:?}");
    let order = |message: &str| CommitOrder { author: Some("jonas".into()), message: message.into() };
    assert_eq!(commit(admin, &root(), order("odd")).await.unwrap_err().kind, FaultKind::Invalid);
    edit(&house, "clients/odd.toml", "roles = [\"demo\"]\n");
    assert_eq!(standing(admin, &root()).await.unwrap().edited[0].change, "added");
    assert_eq!(commit(admin, &root(), order(" ")).await.unwrap_err().kind, FaultKind::Invalid);
    let made = commit(admin, &root(), order("clients: add odd")).await.unwrap();
    assert!(admin.feed.snapshot().clients.contains_key("odd"));
    let newest = history(admin, &root(), 1, None).await.unwrap().commits.remove(0);
    assert_eq!((newest.commit, newest.author), (made.commit, "jonas".to_owned()));
    assert!(standing(admin, &root()).await.unwrap().applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_does_not_run_is_recorded_all_the_same() {
    let house = House::open().await;
    // The reconciler cannot read the credentials any more.
    house.admin.db.reader().close().await;
    house.admin.db.writer().close().await;
    let role = "[[grant]]\ntools = [\"demo/*\"]\nclasses = [\"read\"]\n";
    let made =
        tree::edit(&house.admin, &root(), "roles: set second", |_, _| Ok(vec![tree::write("roles/second.toml", role)])).await;
    assert_eq!(made.unwrap_err().kind, FaultKind::Unavailable);
    let head = house.admin.repository.head().unwrap();
    assert!(head.files.contains_key("roles/second.toml"), "it stands");
    let page = house.admin.ledger.query(&Filter::default()).await.unwrap();
    let event = page.events.iter().find(|event| event.action.as_deref() == Some("config.commit")).unwrap();
    assert_eq!(event.object.as_deref(), Some(head.commit.as_str()));
    assert_eq!(event.params.as_ref().unwrap()["running"], false);
}
