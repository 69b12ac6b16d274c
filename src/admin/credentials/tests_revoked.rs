//! What ends in an emergency, on a whole admin plane: also what a rotation is about to make of it, sessions, and what belongs to nobody but an admin.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::machine::{State, Step};
use super::observer::{Observer, Point};
use super::*;
use crate::admin::clients::{self, AddClient};
use crate::admin::operators::{self, Touch};
use crate::admin::tests_ask::session;
use crate::admin::tests_house::{House, operator, root};
use crate::admin::{OperatorRole, Via, vaults};
use crate::base::clock::Timestamp;
use crate::crypto::archive::Ephemeral;

const KEY: &str = "client-key/ci";

async fn house() -> House {
    let house = House::open().await;
    house.listen("proxy").await;
    let order = AddClient { name: "ci".into(), roles: vec!["demo".into()], ..Default::default() };
    clients::add(&house.admin, &root(), order).await.unwrap();
    house
}

fn named(name: &str) -> RevokeOrder {
    RevokeOrder { name: name.into(), since: None, reason: "leaked".into() }
}

fn kids(admin: &Admin) -> Vec<String> {
    admin.feed.snapshot().kids_of("ci")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_key_takes_the_one_that_was_to_follow_along() {
    let house = house().await;
    let admin = &house.admin;
    let rotated = rotate(admin, &root(), KEY, RotateOrder::default()).await.unwrap();
    assert_eq!((rotated.rotation.state, kids(admin).len()), (State::Draining, 2));
    let done = revoke(admin, &root(), named(KEY)).await.unwrap();
    assert!(done.ok && done.open.is_empty(), "{done:?}");
    assert!(kids(admin).is_empty(), "neither counts");
    let row = work::read(admin, &rotated.rotation.id).await.unwrap();
    assert_eq!((row.state, row.sealed), (State::RolledBack, None));
    assert!(fetch(admin, &root(), KEY).await.is_err(), "nobody is handed a key that was revoked");
    assert!(rotate(admin, &root(), KEY, RotateOrder::default()).await.is_ok(), "another one can begin");
}

/// Stops after one step, until it is told to go on.
struct Waits {
    at: Point,
    reached: Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
    goes: Mutex<mpsc::Receiver<()>>,
}

impl Observer for Waits {
    fn goes_on(&self, point: Point) -> bool {
        if point == self.at {
            if let Some(reached) = self.reached.lock().unwrap().take() {
                reached.send(()).unwrap();
            }
            self.goes.lock().unwrap().recv().unwrap();
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_step_under_way_brings_back_nothing_that_was_revoked_meanwhile() {
    for at in [Point::Before(Step::Install), Point::After(Step::Install), Point::Written(State::Minted)] {
        let house = house().await;
        let admin: Arc<Admin> = house.admin.clone();
        let row = begin(&admin, &root(), KEY, &RotateOrder::default()).await.unwrap();
        let ((reached, is_there), (go, goes)) = (tokio::sync::oneshot::channel(), mpsc::channel());
        let waits = Waits { at, reached: Mutex::new(Some(reached)), goes: Mutex::new(goes) };
        let (driven, id) = (admin.clone(), row.id.clone());
        let driving = tokio::spawn(async move { work::drive(&driven, &id, &waits).await });
        is_there.await.unwrap();
        let revoking = admin.clone();
        let revoked = tokio::spawn(async move { revoke(&revoking, &root(), named(KEY)).await });
        // It waits for the step; what counts already does not wait for it.
        while !kids(&admin).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        go.send(()).unwrap();
        drop(go);
        driving.await.unwrap().unwrap();
        let done = revoked.await.unwrap().unwrap();
        assert!(done.ok, "{at:?}: {done:?}");
        assert!(kids(&admin).is_empty(), "{at:?}: {:?}", kids(&admin));
        assert_eq!(work::read(&admin, &row.id).await.unwrap().state, State::RolledBack, "{at:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_a_leaked_key_for_the_next_one_goes_on_with_it() {
    let house = house().await;
    let admin = &house.admin;
    let rotated = rotate(admin, &root(), KEY, RotateOrder { fetch: true, ..Default::default() }).await.unwrap();
    let (old, new) = (rotated.rotation.old[0].clone(), rotated.rotation.new.clone().unwrap());
    assert!(revoke(admin, &root(), named(&format!("key/{old}"))).await.unwrap().ok);
    assert_eq!(kids(admin), [new], "one key of several");
    assert_eq!(work::read(admin, &rotated.rotation.id).await.unwrap().state, State::RolledBack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_revoked_leaves_no_rotation_behind() {
    let house = house().await;
    let admin = &house.admin;
    rotate(admin, &root(), KEY, RotateOrder::default()).await.unwrap();
    clients::revoke(admin, &root(), "ci").await.unwrap();
    assert!(store::open(&admin.db).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_since_a_moment_means_sessions_and_rotations_too() {
    let house = house().await;
    let admin = &house.admin;
    let token = session(admin, OperatorRole::Viewer).await;
    let rotated = rotate(admin, &root(), KEY, RotateOrder::default()).await.unwrap();
    let order = RevokeOrder { name: String::new(), since: Some(Timestamp(0)), reason: "a host was taken over".into() };
    let done = revoke(admin, &root(), order).await.unwrap();
    assert!(operators::who(admin, &token, Touch::No).is_none(), "its session has ended");
    assert!(done.sessions >= 1 && !done.ok, "{done:?}");
    assert!(done.open.iter().any(|open| open.contains("operator viewer was added since")), "an account is named: {done:?}");
    assert_eq!(work::read(admin, &rotated.rotation.id).await.unwrap().state, State::RolledBack);
    assert!(kids(admin).is_empty());
    let later = RevokeOrder { since: Some(admin.clock.now().plus_ms(60_000)), ..RevokeOrder::default() };
    assert_eq!(revoke(admin, &root(), later).await.unwrap_err().place.as_deref(), Some("since"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_keys_of_an_operator_end_by_themselves_and_with_an_account_that_must_stay() {
    let house = house().await;
    let admin = &house.admin;
    let (only, viewer) = (session(admin, OperatorRole::Admin).await, session(admin, OperatorRole::Viewer).await);
    let done = revoke(admin, &root(), named("operator-session/viewer")).await.unwrap();
    assert_eq!((done.sessions, done.operators.len(), done.ok), (1, 0, true));
    assert!(operators::who(admin, &viewer, Touch::No).is_none());
    let key = operators::key_add(admin, &root(), "admin", operators::AddKey::default()).await.unwrap();
    let done = revoke(admin, &root(), named("operator-key/admin")).await.unwrap();
    assert_eq!((done.operator_keys.len(), done.sessions), (1, 0));
    assert!(operators::who_by_key(admin, &key.key).is_none());
    // The only admin: nobody could sign in without it, and nothing of it counts any more.
    let done = revoke(admin, &root(), named("operator/admin")).await.unwrap();
    assert!(!done.ok && done.open[0].contains("only admin"), "{done:?}");
    assert_eq!((done.sessions, operators::who(admin, &only, Touch::No).is_none()), (1, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_open_archives_is_for_an_admin_in_person() {
    let house = house().await;
    let admin = &house.admin;
    let first = Ephemeral::generate();
    let added = vaults::AddRecipient { name: "first".into(), recipient: first.recipient() };
    vaults::add_recipient(admin, &root(), added).await.unwrap();
    let key = crate::admin::Actor { via: Via::Api, ..root() };
    for actor in [operator(OperatorRole::Operator), key] {
        let begun = rotate(admin, &actor, "recipient/first", RotateOrder::default()).await.unwrap_err();
        assert_eq!(begun.kind, FaultKind::Denied, "{}", actor.name);
    }
    rotate(admin, &root(), "recipient/first", RotateOrder::default()).await.unwrap();
    let thief = Ephemeral::generate();
    let brought = SupplyOrder { value: Some(Secret::new(thief.recipient())) };
    let refused = supply(admin, &operator(OperatorRole::Operator), "recipient/first", brought).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Denied);
    let list = vaults::list_recipients(admin, &root()).await.unwrap().recipients;
    assert!(list.iter().all(|one| one.recipient != thief.recipient()), "archives are made for nobody else");
    let order = OrderBody { order: "retire".into(), by: None };
    let ordered = super::order(admin, &operator(OperatorRole::Operator), "recipient/first", &order).await.unwrap_err();
    assert_eq!(ordered.kind, FaultKind::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_a_proof_belongs_to_the_proof() {
    let house = house().await;
    let admin = &house.admin;
    let name = format!("client-key/{}", proof::SHADOW);
    assert_eq!(rotate(admin, &root(), &name, RotateOrder::default()).await.unwrap_err().kind, FaultKind::NotFound);
    assert_eq!(fetch(admin, &root(), &name).await.err().map(|fault| fault.kind), Some(FaultKind::NotFound));
    let order = OrderBody { order: "retire".into(), by: None };
    assert_eq!(super::order(admin, &root(), &name, &order).await.unwrap_err().kind, FaultKind::NotFound);
}
