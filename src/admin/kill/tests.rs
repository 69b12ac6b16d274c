//! Cases of the kill switch: what it must do when nothing else works.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use super::file::{self, Said};
use super::{
    Order, OrderBody, Release, Running, engage, engage_by_signal, engage_offline, history, keep, load, prove, release, status,
};
use crate::admin::tests_house::{House, operator, root};
use crate::admin::{Actor, OperatorRole, Via};
use crate::audit::{Event, Filter};
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::base::fault::FaultKind;
use crate::config::Class;
use crate::crypto::random::SystemEntropy;
use crate::policy::feed::FlyingCall;
use crate::policy::{KillOverlay, Mode, Scope};

fn all(mode: Mode) -> Order {
    Order { scope: Scope::Everything, mode, reason: "runaway client".into() }
}

fn start_again(scope: Scope, to: Option<Mode>) -> Release {
    Release { scope, to, reason: "cause found".into() }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(3), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Another process that has the database for itself.
async fn lock(house: &House) -> sqlx::SqliteConnection {
    let url = format!("sqlite://{}", house.admin.data.state_db().display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_stops_proves_itself_and_is_kept() {
    let house = House::open().await;
    house.listen("proxy").await;
    let call = FlyingCall { server: "demo".into(), tool: Some("add".into()), client: "ci".into(), class: Class::Write };
    let _flying = house.admin.feed.fly(call);
    let done = engage(&house.admin, &operator(OperatorRole::Operator), all(Mode::Full)).await.unwrap();
    assert!(done.effective, "{:?}", done.proofs);
    assert_eq!((done.scope.as_str(), done.mode.as_str(), done.cut_in_flight), ("everything", "full", 1));
    assert_eq!(done.persisted, "db");
    assert_eq!(done.effective_ms, done.proofs.iter().map(|proof| proof.ms).max());
    assert!(file::path(house.path()).exists());
    let now = status(&house.admin, &operator(OperatorRole::Viewer)).unwrap();
    assert!(now.engaged);
    assert_eq!(now.states[0].by, "ana");
    assert_eq!(now.last_proof.map(|proof| proof.decision_id), Some(done.decision_id.clone()));
    let past = history(&house.admin, &root(), 10).await.unwrap();
    assert_eq!(past[0].effective, Some(true));
    release(&house.admin, &root(), start_again(Scope::Everything, None)).await.unwrap();
    assert!(!house.admin.feed.kill().engaged());
    assert!(!file::path(house.path()).exists());
    let past = history(&house.admin, &root(), 10).await.unwrap();
    assert_eq!(past[0].released_by.as_deref(), Some("ana"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_does_not_work_is_never_called_effective() {
    let house = House::open().await;
    house.listen("proxy").await;
    house.obeys.store(false, Ordering::SeqCst);
    let done = engage(&house.admin, &root(), all(Mode::Full)).await.unwrap();
    assert!(!done.effective);
    assert_eq!(done.effective_ms, None);
    assert!(!done.proofs[0].refused);
    assert!(done.proofs[0].ms >= 4_900, "{}", done.proofs[0].ms);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_listener_nothing_is_proved() {
    let house = House::open().await;
    let done = engage(&house.admin, &root(), all(Mode::Full)).await.unwrap();
    assert!(!done.effective && done.proofs.is_empty());
    assert!(house.admin.feed.kill().engaged());
}

#[tokio::test(flavor = "multi_thread")]
async fn flt_09_a_locked_database_delays_no_kill() {
    let house = House::open().await;
    house.listen("proxy").await;
    let other = lock(&house).await;
    let begun = Instant::now();
    let done = engage(&house.admin, &root(), all(Mode::Full)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(done.effective);
    assert_eq!(done.persisted, "file");
    // Releasing does wait, and fails closed.
    let refused = release(&house.admin, &root(), start_again(Scope::Everything, None)).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Unavailable);
    assert!(house.admin.feed.kill().engaged() && file::path(house.path()).exists());
    drop(other);
    let admin = house.admin.clone();
    eventually("the database learns of the kill", move || admin.kill.settled()).await;
    assert!(super::store::read(&house.admin.db).await.unwrap().engaged());
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_p39_a_restart_resumes_nothing() {
    let house = House::open().await;
    let order = Order { scope: Scope::Server { server: "demo".into() }, mode: Mode::ReadOnly, reason: "test".into() };
    engage(&house.admin, &root(), order).await.unwrap();
    let epoch = house.admin.feed.kill().epoch;
    // The file alone is enough, and so is the database alone.
    fs::remove_file(file::path(house.path())).ok();
    let house = House::open_at(house.close().await).await;
    let overlay = house.admin.feed.kill();
    assert_eq!(overlay.entries[0].scope, Scope::Server { server: "demo".into() });
    assert!(overlay.epoch > epoch, "{} {epoch}", overlay.epoch);
    let path = file::path(house.path());
    eventually("the file is written again", || path.exists()).await;
    let no_database = load(None, house.path(), Timestamp(0), &SystemEntropy).await;
    assert!(no_database.stops("any", None, "any", Class::Read).is_some());
}

#[tokio::test]
async fn what_cannot_be_read_at_start_stops_everything() {
    let dir = tempfile::tempdir().unwrap();
    let db = crate::db::Db::open(&dir.path().join("state.db"), &crate::db::Migrations::embedded().unwrap()).await.unwrap();
    let at_start = async || load(Some(&db), dir.path(), Timestamp(7), &SystemEntropy).await;
    assert!(!at_start().await.engaged());
    for text in ["", "{\"epoch\":", "{\"epoch\":1,\"entries\":[]}", "stop it all", "\u{0}\u{1}"] {
        fs::write(file::path(dir.path()), text).unwrap();
        let overlay = at_start().await;
        assert_eq!(overlay.entries.len(), 1, "{text}");
        assert_eq!((&overlay.entries[0].scope, overlay.entries[0].mode), (&Scope::Everything, Mode::Full), "{text}");
    }
    fs::remove_file(file::path(dir.path())).unwrap();
    fs::create_dir(file::path(dir.path())).unwrap();
    assert_eq!(at_start().await.entries[0].by, "boot");
    fs::remove_dir(file::path(dir.path())).unwrap();
    db.close().await;
    assert_eq!(at_start().await.entries[0].by, "boot");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_stops_and_its_removal_releases_nothing() {
    let house = House::open().await;
    let path = file::path(house.path());
    let admin = house.admin.clone();
    // The first time may come before the watch stands; the poll sees it then.
    fs::write(&path, "").unwrap();
    eventually("touch KILL stops", || admin.feed.kill().engaged()).await;
    release(&admin, &root(), start_again(Scope::Everything, None)).await.unwrap();
    assert!(!admin.feed.kill().engaged() && !path.exists());
    let begun = Instant::now();
    fs::write(&path, "").unwrap();
    eventually("touch KILL stops", || admin.feed.kill().engaged()).await;
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    assert_eq!(admin.feed.kill().entries[0].by, "file");
    let whole = || matches!(file::read(house.path()), Said::State(_));
    eventually("the file is described", whole).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    fs::remove_file(&path).unwrap();
    eventually("the file is written again", whole).await;
    assert!(admin.feed.kill().engaged());
    // Text that says less than is stopped is no release either.
    fs::write(&path, r#"{"epoch":1,"entries":[]}"#).unwrap();
    eventually("the file is whole again", whole).await;
    assert!(admin.feed.kill().engaged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_scope_stops_that_scope_and_a_touch_everything() {
    let house = House::open().await;
    let path = file::path(house.path());
    let fresh = house.path().join("order");
    fs::write(&fresh, "server = \"demo\"\nmode = \"read-only\"\nreason = \"odd writes\"\n").unwrap();
    fs::rename(&fresh, &path).unwrap();
    let admin = house.admin.clone();
    eventually("the scope is stopped", || admin.feed.kill().engaged()).await;
    let first = admin.feed.kill().entries[0].clone();
    assert_eq!((first.scope, first.mode), (Scope::Server { server: "demo".into() }, Mode::ReadOnly));
    assert_eq!(first.reason, "odd writes");
    eventually("the file is described", || matches!(file::read(house.path()), Said::State(_))).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(1)).unwrap();
    eventually("a touch stops everything", || admin.feed.kill().stops("x", None, "y", Class::Read).is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_write_is_no_touch() {
    let house = House::open().await;
    let order = Order { scope: Scope::Server { server: "demo".into() }, mode: Mode::Full, reason: "r".into() };
    engage(&house.admin, &root(), order).await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(house.admin.feed.kill().entries.len(), 1);
    release(&house.admin, &root(), start_again(Scope::Server { server: "demo".into() }, Some(Mode::ReadOnly))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    let overlay = house.admin.feed.kill();
    assert_eq!((overlay.entries.len(), overlay.entries[0].mode), (1, Mode::ReadOnly));
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_again_is_narrow() {
    let house = House::open().await;
    let admin = &house.admin;
    engage_by_signal(admin).await.unwrap();
    let kind = async |actor: &Actor, order| release(admin, actor, order).await.map(|_| ()).map_err(|fault| fault.kind);
    assert_eq!(kind(&operator(OperatorRole::Operator), start_again(Scope::Everything, None)).await, Err(FaultKind::Denied));
    let old = Actor { via: Via::Dashboard, login_at: Some(Timestamp(0)), ..root() };
    assert_eq!(kind(&old, start_again(Scope::Everything, None)).await, Err(FaultKind::Stale));
    let silent = Release { reason: "  ".into(), ..start_again(Scope::Everything, None) };
    assert_eq!(kind(&root(), silent).await, Err(FaultKind::Invalid));
    assert_eq!(kind(&root(), start_again(Scope::Client { client: "x".into() }, None)).await, Err(FaultKind::NotFound));
    assert_eq!(kind(&root(), start_again(Scope::Everything, Some(Mode::ReadOnly))).await, Ok(()));
    assert_eq!(kind(&root(), start_again(Scope::Everything, Some(Mode::ReadOnly))).await, Err(FaultKind::Conflict));
    assert_eq!(kind(&root(), start_again(Scope::Everything, None)).await, Ok(()));
    let viewer = engage(admin, &operator(OperatorRole::Viewer), all(Mode::Full)).await;
    assert_eq!(viewer.unwrap_err().kind, FaultKind::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_nobody_has_stops_nothing_and_says_so() {
    let house = House::open().await;
    for scope in [
        Scope::Server { server: "ghost".into() },
        Scope::Tool { server: "demo".into(), tool: "ghost".into() },
        Scope::Client { client: "ghost".into() },
        Scope::Client { client: super::CANARY.into() },
    ] {
        let fault = engage(&house.admin, &root(), Order { scope, mode: Mode::Full, reason: String::new() }).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::NotFound);
    }
    assert!(!house.admin.feed.kill().engaged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_proves_and_stops_nobody() {
    let house = House::open().await;
    house.listen("one").await;
    house.listen("two").await;
    let proof = prove(&house.admin, &operator(OperatorRole::Operator)).await.unwrap();
    assert!(proof.effective);
    assert_eq!((proof.kind.as_str(), proof.proofs.len()), ("drill", 2));
    assert!(!house.admin.feed.kill().engaged() && !file::path(house.path()).exists());
    assert!(!status(&house.admin, &root()).unwrap().engaged);
    assert_eq!(history(&house.admin, &root(), 5).await.unwrap()[0].released_by.as_deref(), Some("ana"));
}

#[test]
fn the_file_is_written_from_blocks_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    file::set_aside(dir.path()).unwrap();
    let overlay = KillOverlay { epoch: 4, entries: Vec::new() };
    let entry = crate::policy::KillEntry {
        decision_id: "kd_1".into(),
        scope: Scope::Everything,
        mode: Mode::Full,
        since: Timestamp(1),
        by: "ana".into(),
        reason: "é \"quoted\"".into(),
    };
    let overlay = overlay.engage(entry);
    let reserve = |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let set_aside = reserve(&dir.path().join(".KILL.reserve"));
    file::write(dir.path(), &overlay).unwrap();
    assert_eq!(reserve(&file::path(dir.path())), set_aside);
    assert_eq!(file::read(dir.path()), Said::State(overlay.clone()));
    fs::remove_file(dir.path().join(".KILL.reserve")).unwrap();
    file::write(dir.path(), &overlay).unwrap();
    assert_eq!(file::read(dir.path()), Said::State(overlay));
    file::remove(dir.path()).unwrap();
    file::remove(dir.path()).unwrap();
    assert_eq!(file::read(dir.path()), Said::Nothing);
}

#[tokio::test]
async fn every_statement_fits_the_schema() {
    let dir = tempfile::tempdir().unwrap();
    let db = crate::db::Db::open(&dir.path().join("state.db"), &crate::db::Migrations::embedded().unwrap()).await.unwrap();
    db.prepare_all(&super::STATEMENTS).await.unwrap();
    db.prepare_all(&crate::admin::clients::STATEMENTS).await.unwrap();
    db.prepare_all(&crate::admin::servers::STATEMENTS).await.unwrap();
    db.prepare_all(&crate::admin::publish::STATEMENTS).await.unwrap();
}

#[test]
fn who_changes_the_file_right_after_it_was_written_or_read_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let by_file = file::Said::Order { scope: Scope::Everything, mode: Mode::Full, reason: "now".into() };
    let order = Order { scope: Scope::Server { server: "demo".into() }, mode: Mode::Full, reason: "r".into() };
    let entry = crate::policy::KillEntry {
        decision_id: "kd_1".into(),
        scope: order.scope,
        mode: order.mode,
        since: crate::base::clock::Timestamp(0),
        by: "ana".into(),
        reason: order.reason,
    };
    let overlay = KillOverlay::default().engage(entry);
    let written = file::write(dir.path(), &overlay).unwrap();
    assert_eq!(file::mark(dir.path()).unwrap().as_ref(), Some(&written), "as it was written");
    fs::write(file::path(dir.path()), "reason = \"now\"").unwrap();
    assert_ne!(file::mark(dir.path()).unwrap().as_ref(), Some(&written), "an order that came in the same moment is not lost");
    let (said, seen) = file::read_marked(dir.path());
    assert_eq!(said, by_file);
    fs::write(file::path(dir.path()), "reason = \"again\"").unwrap();
    assert_ne!(file::mark(dir.path()).unwrap(), seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_while_nothing_ran_is_in_ledger_and_history() {
    let house = House::open().await;
    let mut dir = house.close().await;
    let order = OrderBody { reason: "down".into(), ..OrderBody::default() };
    let made = engage_offline(dir.path(), "local:ana", order, (SystemClock.now(), &SystemEntropy), Running::No).unwrap();
    for start in 0..2 {
        let house = House::open_at(dir).await;
        let recorded = async || {
            let events = house.admin.ledger.query(&Filter::default()).await.map(|page| page.events).unwrap_or_default();
            events.into_iter().filter(|event| event.action.as_deref() == Some("kill.engage")).collect::<Vec<_>>()
        };
        let begun = Instant::now();
        while recorded().await.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(10), "nothing was recorded");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
        let events = recorded().await;
        assert_eq!(events.len(), 1, "once, also after start {start}");
        let params = events[0].params.as_ref().unwrap();
        assert_eq!(
            (events[0].operator.as_deref(), params["decision_id"].as_str()),
            (Some("local:ana"), Some(made.decision_id.as_str()))
        );
        assert_eq!((params["reason"].as_str(), params["found"].as_str()), (Some("down"), Some("at start")));
        let past = history(&house.admin, &root(), 5).await.unwrap();
        assert_eq!((past.len(), past[0].decision_id.as_str()), (1, made.decision_id.as_str()));
        dir = house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_the_ledger_is_told_all_the_same() {
    let house = House::open().await;
    let admin = house.admin.clone();
    house.stop.cancel();
    tokio::time::sleep(Duration::from_millis(300)).await;
    admin.db.close().await;
    let stop = CancellationToken::new();
    let _ends = stop.clone().drop_guard();
    tokio::spawn(keep(admin.clone(), stop.clone()));
    tokio::spawn(admin.ledger.clone().run_index(stop.clone()));
    admin.kill.owe_event(Event::action("ana", "kill.engage", "everything"));
    let begun = Instant::now();
    loop {
        let events = admin.ledger.query(&Filter::default()).await.map(|page| page.events).unwrap_or_default();
        if events.iter().any(|event| event.action.as_deref() == Some("kill.engage")) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the ledger waits for the database");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
