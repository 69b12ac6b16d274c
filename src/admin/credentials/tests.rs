//! Cases of the verbs, on a whole admin plane: a client's key from the first step to the last, who may what, what is shown once, and the end of what leaked.

use std::sync::Arc;
use std::time::Duration;

use super::machine::{Hold, State};
use super::*;
use crate::admin::clients::{self, AddClient};
use crate::admin::tests_house::{House, operator, root};
use crate::admin::{OperatorRole, tree};
use crate::audit::Filter;
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::policy::places::Seen;

const NAME: &str = "client-key/ci";

pub(super) async fn house() -> (House, String) {
    let house = House::open().await;
    house.listen("proxy").await;
    let order = AddClient { name: "ci".into(), roles: vec!["demo".into()], ..Default::default() };
    let key = clients::add(&house.admin, &root(), order).await.unwrap().key.unwrap();
    (house, key)
}

fn kid(key: &str) -> String {
    key.split('_').nth(1).unwrap().to_owned()
}

fn now_order() -> RotateOrder {
    RotateOrder { overlap: Some("now".into()), ..Default::default() }
}

fn used(admin: &Admin, kid: &str, place: u8) {
    admin.feed.places().note(kid, [10, 0, 0, place].into(), admin.clock.now(), true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_replaced_with_both_proofs_and_the_old_one_is_gone() {
    let (house, key) = house().await;
    let admin = &house.admin;
    let rotated = rotate(admin, &root(), NAME, now_order()).await.unwrap();
    assert_eq!(rotated.rotation.state, State::Done, "{rotated:?}");
    let snapshot = admin.feed.snapshot();
    assert!(!snapshot.keys.contains_key(kid(&key).as_str()), "the old one is gone");
    assert!(snapshot.keys.contains_key(rotated.rotation.new.as_deref().unwrap()));
    let steps = show(admin, &root(), NAME).await.unwrap().steps;
    let words: Vec<&str> = steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(words, ["mint", "install", "verify", "promote", "drain", "retire", "prove", "finish"]);
    let proof = &steps[6].evidence;
    assert_eq!((&proof["accepted"][0]["listener"], &proof["rejected"][0]["status"]), (&json!("proxy"), &json!(401)), "{proof}");
    assert_eq!(steps[2].evidence["listeners"][0]["server"], "demo");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_key_counts_until_every_place_moved() {
    let (house, key) = house().await;
    let admin = &house.admin;
    let old = kid(&key);
    let rotated = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap();
    let (id, new) = (rotated.rotation.id.clone(), rotated.rotation.new.clone().unwrap());
    assert_eq!((rotated.rotation.state, rotated.rotation.hold), (State::Draining, None));
    used(admin, &old, 1);
    used(admin, &old, 2);
    assert_eq!(fetch(admin, &root(), NAME).await.unwrap().version, new);
    tokio::time::sleep(Duration::from_millis(2)).await;
    used(admin, &new, 1);
    let places = show(admin, &root(), NAME).await.unwrap().places;
    assert_eq!(places.iter().map(|place| place.moved).collect::<Vec<_>>(), [true, false], "{places:?}");
    let forced = order(admin, &root(), NAME, &OrderBody { order: "retire".into(), by: None }).await.unwrap();
    assert_eq!((forced.rotation.id, forced.rotation.state), (id, State::Done));
    assert!(!admin.feed.snapshot().keys.contains_key(old.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_second_rotation_is_a_conflict_unless_forced() {
    let (house, key) = house().await;
    let admin = &house.admin;
    let first = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap().rotation;
    let again = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap_err();
    assert_eq!(again.kind, FaultKind::Conflict, "{again}");
    let racing = Rotation { id: "rot_other".into(), ..first.clone() };
    assert_eq!(store::start(&admin.db, &racing).await.unwrap_err().kind, FaultKind::Conflict, "the database says so too");
    let forced = rotate(admin, &root(), NAME, RotateOrder { force: true, ..Default::default() }).await.unwrap().rotation;
    assert_eq!(work::read(admin, &first.id).await.unwrap().state, State::RolledBack);
    let snapshot = admin.feed.snapshot();
    assert!(!snapshot.keys.contains_key(first.new.as_deref().unwrap()), "never three keys");
    assert!(snapshot.keys.contains_key(kid(&key).as_str()) && snapshot.keys.contains_key(forced.new.as_deref().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_what_is_not_accepted_now_is_not_rotated() {
    let (house, key) = house().await;
    let admin = &house.admin;
    // Gone from the policy, and still there in the database.
    crate::admin::publish::deny(admin, &[kid(&key)]);
    let fault = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Conflict);
    assert!(fault.message.contains("credential revoke"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_new_secret_is_nowhere_but_in_the_one_answer() {
    let (house, _) = house().await;
    let admin = &house.admin;
    let rotated = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap();
    assert!(rotated.secret.is_none());
    let fetched = fetch(admin, &root(), NAME).await.unwrap();
    assert!(fetched.secret.starts_with("lbk_"));
    let again = fetch(admin, &root(), NAME).await.map(drop).unwrap_err();
    assert_eq!(again.kind, FaultKind::Conflict, "{again}");
    let secret = fetched.secret.split('_').nth(2).unwrap().to_owned();
    let detail = show(admin, &root(), NAME).await.unwrap();
    assert!(!serde_json::to_string(&detail).unwrap().contains(&secret));
    assert!(work::read(admin, &fetched.rotation).await.unwrap().sealed.is_none(), "what was handed over is kept no longer");
    tokio::time::sleep(Duration::from_millis(300)).await;
    for place in ["audit", "config", "keys"] {
        assert!(!holds(&house.path().join(place), secret.as_bytes()), "{place}");
    }
    admin.db.close().await;
    assert!(!holds(house.path(), secret.as_bytes()), "the database");
}

/// Whether a file below a directory holds some bytes.
fn holds(folder: &std::path::Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        std::fs::read(&path).is_ok_and(|text| text.windows(bytes.len()).any(|part| part == bytes))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_only_the_holder_of_the_lease_writes_and_it_ends_by_itself() {
    let (house, _) = house().await;
    let admin = &house.admin;
    let row = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap().rotation;
    let now = SystemClock.now();
    let lease = async |owner: &str, at: Timestamp| store::lease(&admin.db, &row.id, owner, (at, at.plus_ms(1_000))).await.unwrap();
    assert!(lease("one", now).await);
    assert!(!lease("two", now).await, "it is held");
    assert!(lease("one", now).await, "its holder renews it");
    assert!(lease("two", now.plus_ms(1_000)).await, "it ended");
    let saved = store::save(&admin.db, "one", &row, None).await;
    assert_eq!(saved.unwrap_err().kind, FaultKind::Conflict, "who lost it writes nothing");
    assert!(store::save(&admin.db, "two", &row, None).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_can_be_paused_extended_and_rolled_back() {
    let (house, key) = house().await;
    let admin = &house.admin;
    let row = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap().rotation;
    let give = async |word: &str, by: Option<&str>| {
        let body = OrderBody { order: word.into(), by: by.map(str::to_owned) };
        order(admin, &root(), NAME, &body).await.map(|rotated| rotated.rotation)
    };
    assert_eq!(give("pause", None).await.unwrap().hold, Some(Hold::Paused));
    assert_eq!(give("resume", None).await.unwrap().hold, None);
    let longer = give("extend", Some("24h")).await.unwrap().overlap_until.unwrap();
    assert!(longer.since_ms(row.overlap_until.unwrap()) >= 24 * 3_600_000);
    assert_eq!(give("extend", None).await.unwrap_err().place.as_deref(), Some("by"));
    assert_eq!(give("dance", None).await.unwrap_err().place.as_deref(), Some("order"));
    assert_eq!(give("cancel", None).await.unwrap_err().kind, FaultKind::Conflict);
    assert_eq!(give("rollback", None).await.unwrap().state, State::RolledBack);
    let snapshot = admin.feed.snapshot();
    assert!(snapshot.keys.contains_key(kid(&key).as_str()) && !snapshot.keys.contains_key(row.new.as_deref().unwrap()));
    assert_eq!(give("pause", None).await.unwrap_err().kind, FaultKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_what_it_should() {
    let (house, _) = house().await;
    let admin = &house.admin;
    for role in [OperatorRole::Viewer, OperatorRole::Auditor] {
        let actor = operator(role);
        assert!(list(admin, &actor).await.is_ok());
        assert_eq!(rotate(admin, &actor, NAME, RotateOrder::default()).await.unwrap_err().kind, FaultKind::Denied);
        assert_eq!(fetch(admin, &actor, NAME).await.map(drop).unwrap_err().kind, FaultKind::Denied);
        let order = RevokeOrder { name: NAME.into(), ..Default::default() };
        assert_eq!(revoke(admin, &actor, order).await.unwrap_err().kind, FaultKind::Denied);
    }
    let actor = operator(OperatorRole::Operator);
    let everybody = RevokeOrder { since: Some(Timestamp(0)), ..Default::default() };
    assert_eq!(revoke(admin, &actor, everybody).await.unwrap_err().kind, FaultKind::Denied, "everything is an admin's to end");
    assert!(revoke(admin, &actor, RevokeOrder { name: NAME.into(), ..Default::default() }).await.is_ok());
    // A browser that signed in long ago rotates nothing, and may still end what leaked.
    let old = Actor { login_at: Some(Timestamp(0)), via: crate::admin::Via::Dashboard, ..operator(OperatorRole::Operator) };
    assert_eq!(rotate(admin, &old, NAME, RotateOrder::default()).await.unwrap_err().kind, FaultKind::Stale);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_evidence_first_and_can_be_replaced_afterwards() {
    let (house, key) = house().await;
    let admin = &house.admin;
    let done = revoke(admin, &root(), RevokeOrder { name: NAME.into(), since: None, reason: "leaked".into() }).await.unwrap();
    assert_eq!(done.keys, [kid(&key)]);
    assert!(done.open.is_empty() && done.effective_ms < 100, "{done:?}");
    assert!(!admin.feed.snapshot().keys.contains_key(kid(&key).as_str()));
    let page = admin.ledger.query(&Filter { text: Some("credential.".into()), ..Filter::default() }).await.unwrap();
    let event = page.events.iter().find(|event| event.action.as_deref() == Some("credential.evidence")).unwrap();
    let client = &event.params.as_ref().unwrap()["clients"][0];
    assert_eq!((client["client"].as_str(), client["could"][0]["tool"].as_str()), (Some("ci"), Some("demo/add")), "{client}");
    assert_eq!(event.seq.to_string(), done.evidence);
    let missing = list(admin, &root()).await.unwrap().credentials.into_iter().find(|one| one.name == NAME).unwrap();
    assert_eq!(missing.state, "missing", "{missing:?}");
    let rotated =
        rotate(admin, &root(), NAME, RotateOrder { reason: Some("leak".into()), fetch: true, ..Default::default() }).await.unwrap();
    assert!(rotated.secret.is_some() && rotated.rotation.state == State::Done, "{rotated:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaks_while_it_is_rotated_ends_with_its_rotation() {
    let (house, _) = house().await;
    let admin = &house.admin;
    let row = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap().rotation;
    let done = revoke(admin, &root(), RevokeOrder { name: NAME.into(), ..Default::default() }).await.unwrap();
    assert_eq!(done.keys.len(), 2, "the new one too");
    assert_eq!(work::read(admin, &row.id).await.unwrap().state, State::RolledBack);
    assert!(admin.feed.snapshot().keys.is_empty() && admin.feed.places().kids().is_empty());
    assert_eq!(rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap().rotation.state, State::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_issued_since_a_moment_can_be_ended() {
    let (house, key) = house().await;
    let admin = &house.admin;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let moment = admin.clock.now();
    let young = AddClient { name: "young".into(), roles: vec!["demo".into()], ..Default::default() };
    let young = clients::add(admin, &root(), young).await.unwrap();
    let secret = clients::secret_add(admin, &root(), "ci", &clients::AddSecret::default()).await.unwrap();
    let done = revoke(admin, &root(), RevokeOrder { since: Some(moment), ..Default::default() }).await.unwrap();
    assert!(admin.feed.snapshot().tokens.cuts.everyone.is_some_and(|cut| cut >= moment), "and every token");
    assert_eq!(done.keys, [young.kid, secret.kid], "what gets tokens ends too");
    assert!(admin.feed.snapshot().keys.contains_key(kid(&key).as_str()), "what is older stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inventory_names_every_kind_and_what_is_due() {
    let (house, _) = house().await;
    let admin = &house.admin;
    crate::admin::operators::add(
        admin,
        &root(),
        crate::admin::operators::AddOperator {
            name: "ana".into(),
            role: OperatorRole::Admin,
            password: crate::base::secret::Secret::new("correct horse battery".into()),
        },
    )
    .await
    .unwrap();
    let text = "[[credential]]\nname = \"client-key/*\"\nowner = \"Platform\"\nrotate_every_days = 1\nholder = \"the ci team\"\n";
    let head = |desired: &crate::config::Desired, _: &crate::config::repo::Files| {
        assert!(desired.credentials.entries.is_empty());
        Ok(vec![tree::write("credentials.toml", text)])
    };
    tree::edit(admin, &root(), "credentials: say whose", head).await.unwrap();
    let all = list(admin, &root()).await.unwrap().credentials;
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    for name in [NAME, "tls/server", "ca/lifeboat", "operator-password/ana", "ledger-key/lifeboat", "instance-key/lifeboat"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let ci = all.iter().find(|one| one.name == NAME).unwrap();
    assert_eq!((ci.owner.as_deref(), ci.holder.as_deref(), ci.rotate_every_days), (Some("Platform"), Some("the ci team"), 1));
    assert_eq!(ci.state, "ok");
    assert!(due(admin, &root()).await.unwrap().ok);
    let plan = plan::write(admin, &root()).await.unwrap();
    assert!(
        plan.committed && plan.markdown.contains("| `client-key/ci` | Platform | the ci team | dual | 1 days |"),
        "{}",
        plan.markdown
    );
    let commit = admin.repository.head().unwrap().commit;
    assert!(plan::write(admin, &root()).await.unwrap().committed);
    assert_eq!(admin.repository.head().unwrap().commit, commit, "what did not change is not committed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_key_was_shown_outlives_a_restart() {
    let (house, key) = house().await;
    let admin = house.admin.clone();
    rotate(&admin, &root(), NAME, RotateOrder::default()).await.unwrap();
    used(&admin, &kid(&key), 7);
    watch::keep(&admin).await.unwrap();
    drop(admin);
    let house = House::open_at(house.close().await).await;
    resume(&house.admin).await.unwrap();
    let seen: Vec<Seen> = house.admin.feed.places().of(&kid(&key)).into_values().collect();
    assert_eq!(seen.iter().map(|seen| seen.calls).collect::<Vec<_>>(), [1]);
    let _: &Arc<Admin> = &house.admin;
}
