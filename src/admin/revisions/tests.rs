//! Cases of differences and of going back.

use std::fs;
use std::process::Command;

use super::{Between, CommitOrder, RollbackOrder, commit, diff, rollback};
use crate::admin::clients::{self, AddClient};
use crate::admin::kill::{self, Order};
use crate::admin::servers::{self, AddServer};
use crate::admin::tests_house::{House, operator, root};
use crate::admin::{OperatorRole, publish, tree};
use crate::audit::Filter;
use crate::base::fault::FaultKind;
use crate::policy::{Mode, Scope};

const READS: &str = "[[grant]]\ntools = [\"demo/*\"]\nclasses = [\"read\"]\n";

fn back_to(commit: &str) -> RollbackOrder {
    RollbackOrder { to: commit.into(), reason: "it refuses too much".into(), dry_run: false }
}

fn head(house: &House) -> String {
    house.admin.repository.head().unwrap().commit
}

async fn edited(house: &House, path: &str, text: &str) -> String {
    fs::write(house.admin.data.config().join(path), text).unwrap();
    let order = CommitOrder { author: None, message: "by hand".into() };
    commit(&house.admin, &root(), order).await.unwrap().commit
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_compared_by_their_names() {
    let house = House::open().await;
    let admin = &house.admin;
    let first = head(&house);
    let second = edited(&house, "roles/demo.toml", READS).await;
    fs::write(admin.data.config().join("roles/new.toml"), READS).unwrap();
    let viewer = operator(OperatorRole::Viewer);
    let between = async |from: Option<&str>, to: Option<&str>| {
        diff(admin, &viewer, Between { from: from.map(Into::into), to: to.map(Into::into) }).await
    };
    let edits = between(None, None).await.unwrap();
    assert_eq!((edits.from.as_str(), edits.to.as_str(), edits.files.len()), (second.as_str(), "working", 1));
    assert_eq!((edits.files[0].path.as_str(), edits.files[0].change.as_str()), ("roles/new.toml", "added"));
    assert!(edits.files[0].patch.contains("+[[grant]]"), "{}", edits.files[0].patch);
    let commits = between(Some(&first), None).await.unwrap();
    assert_eq!((commits.to.as_str(), commits.files.len()), (second.as_str(), 1));
    assert!(commits.files[0].patch.contains("-classes = [\"read\", \"write\"]"), "{}", commits.files[0].patch);
    assert!(between(Some("running"), None).await.unwrap().files.is_empty());
    assert_eq!(between(Some("HEAD~1"), Some("HEAD")).await.unwrap().files, commits.files);
    assert_eq!(between(Some("abcdef12"), None).await.unwrap_err().kind, FaultKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_is_a_new_commit_that_runs_and_is_recorded() {
    let house = House::open().await;
    let admin = &house.admin;
    let (first, before) = (head(&house), admin.repository.head().unwrap().files);
    let second = edited(&house, "roles/demo.toml", READS).await;
    let shown = rollback(admin, &root(), RollbackOrder { dry_run: true, ..back_to(&first) }).await.unwrap();
    assert_eq!((shown.commit, shown.files.len(), head(&house)), (None, 1, second.clone()));
    let done = rollback(admin, &root(), back_to(&first[..12])).await.unwrap();
    let now = admin.repository.head().unwrap();
    assert_eq!((done.commit.as_deref(), &done.to, now.files), (Some(now.commit.as_str()), &first, before));
    assert_eq!(admin.feed.snapshot().revision.commit, now.commit);
    assert_eq!(done.revision, admin.feed.snapshot().revision.to_string());
    let history = admin.repository.history(3, None).unwrap();
    assert_eq!((history[1].id.as_str(), history[2].id.as_str()), (second.as_str(), first.as_str()), "nothing is taken out");
    assert!(history[0].message.contains("it refuses too much") && history[0].author == "ana");
    let events = admin.ledger.query(&Filter::default()).await.unwrap().events;
    let event = events.iter().find(|event| event.action.as_deref() == Some("config.rollback")).unwrap();
    assert_eq!(
        (event.object.as_deref(), &event.params.as_ref().unwrap()["to"]),
        (Some(now.commit.as_str()), &first.clone().into())
    );
    assert_eq!(rollback(admin, &root(), back_to(&first)).await.unwrap_err().kind, FaultKind::Conflict, "it is there already");
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_revives_no_key_starts_no_command_and_releases_no_kill() {
    let house = House::open().await;
    let admin = &house.admin;
    let order = AddClient { name: "ci".into(), roles: vec!["demo".into()], ..AddClient::default() };
    let kid = clients::add(admin, &root(), order).await.unwrap().kid;
    let command = AddServer { name: "memory".into(), stdio: Some("npx -y memory".into()), ..AddServer::default() };
    servers::add(admin, &root(), command).await.unwrap();
    let then = head(&house);
    clients::revoke(admin, &root(), "ci").await.unwrap();
    servers::remove(admin, &root(), "memory").await.unwrap();
    let stop = Order { scope: Scope::Everything, mode: Mode::Full, reason: "test".into() };
    kill::engage(admin, &root(), stop).await.unwrap();
    rollback(admin, &root(), back_to(&then)).await.unwrap();
    let snapshot = admin.feed.snapshot();
    assert!(snapshot.clients.contains_key("ci") && snapshot.servers.contains_key("memory"), "what was desired then");
    assert!(!snapshot.keys.contains_key(kid.as_str()), "a revoked key stays revoked");
    assert!(!snapshot.servers["memory"].secrets.approved, "a command is approved on this host, not by git");
    assert!(kill::status(admin, &root()).unwrap().engaged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_refused_can_be_gone_back_from_and_keeps_no_vault_from_its_archive() {
    let house = House::open().await;
    let admin = &house.admin;
    let good = tree::head(&admin.repository).await.unwrap().commit;
    // By plain git, which checks nothing.
    let config = admin.data.config();
    fs::write(config.join("alerts.toml"), "[[receiver]").unwrap();
    for words in [["add", "alerts.toml", "-v"], ["commit", "-qm", "a typo"]] {
        let mut git = Command::new("git");
        let done = git.arg("-C").arg(&config).args(["-c", "user.name=ana", "-c", "user.email=ana@localhost"]).args(words).status();
        assert!(done.unwrap().success());
    }
    assert!(crate::admin::publish::publish(admin).await.is_err());
    assert!(tree::desired(admin).await.is_err() && tree::standing(admin).await.is_ok());
    let vaults = crate::admin::vaults::vaults(admin, &root()).await.unwrap();
    assert!(!vaults.vaults.is_empty());
    let done = rollback(admin, &root(), back_to(&good)).await.unwrap();
    assert!(done.commit.is_some() && tree::desired(admin).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_gone_back_to_changes_nothing() {
    let house = House::open().await;
    let admin = &house.admin;
    let first = head(&house);
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(admin.data.config()).args(["-c", "user.name=ana", "-c", "user.email=a@b"]);
        assert!(git.args(words).output().unwrap().status.success(), "{words:?}");
    };
    fs::write(admin.data.config().join("roles/demo.toml"), "wrong = 1\n").unwrap();
    git(&["commit", "-qam", "wrong"]);
    let wrong = head(&house);
    fs::write(admin.data.config().join("roles/demo.toml"), READS).unwrap();
    git(&["commit", "-qam", "right"]);
    publish::publish(admin).await.unwrap();
    let now = head(&house);
    let refused = async |actor, order| rollback(admin, &actor, order).await.unwrap_err();
    let fault = refused(root(), back_to(&wrong)).await;
    assert!(fault.kind == FaultKind::Invalid && fault.to_string().contains("roles/demo.toml"), "{fault}");
    assert_eq!(refused(root(), RollbackOrder { reason: " ".into(), ..back_to(&first) }).await.place.as_deref(), Some("reason"));
    assert_eq!(refused(root(), back_to("0123456789ab")).await.kind, FaultKind::NotFound);
    assert_eq!(refused(operator(OperatorRole::Operator), back_to(&first)).await.kind, FaultKind::Denied);
    // An editor is at work on the very file.
    fs::write(admin.data.config().join("roles/demo.toml"), "# half done\n").unwrap();
    assert_eq!(refused(root(), back_to(&first)).await.kind, FaultKind::Conflict);
    assert_eq!(fs::read_to_string(admin.data.config().join("roles/demo.toml")).unwrap(), "# half done\n");
    assert_eq!(head(&house), now);
}
