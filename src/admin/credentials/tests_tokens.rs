//! Cases of client secrets and of the key that signs tokens, on a whole admin plane with a clock that is moved by hand: what waits until when, what can be
//! taken back, what leaked and ends.

use std::sync::Arc;

use super::machine::State;
use super::observer::Unobserved;
use super::tests_crash_kinds::with_secret;
use super::*;
use crate::admin::clients::{self, AddClient};
use crate::admin::tests_ask::{Ask, session, text};
use crate::admin::tests_house::{House, root};
use crate::admin::{OperatorRole, tokens};
use crate::base::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::policy::tokens::{JWKS_AGE, LIFE_MS};

const KEY: &str = "token-key/oauth";
const SECRET: &str = "client-secret/ci";

async fn house() -> (House, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let house = House::open_with(tempfile::tempdir().unwrap(), clock.clone()).await;
    house.listen("proxy").await;
    let order = AddClient { name: "ci".into(), roles: vec!["demo".into()], ..Default::default() };
    clients::add(&house.admin, &root(), order).await.unwrap();
    with_secret(&house).await;
    (house, clock)
}

fn signs(house: &House) -> String {
    house.admin.feed.snapshot().tokens.signer.as_ref().unwrap().kid.to_string()
}

fn counts(house: &House, kid: &str) -> bool {
    house.admin.feed.snapshot().tokens.verifiers.contains_key(kid)
}

async fn listed(admin: &Admin, name: &str) -> Credential {
    list(admin, &root()).await.unwrap().credentials.into_iter().find(|one| one.name == name).unwrap()
}

fn forced() -> RotateOrder {
    RotateOrder { force: true, ..Default::default() }
}

async fn drive(admin: &Admin, id: &str) -> Rotation {
    work::drive(admin, id, &Unobserved).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_signs_when_all_may_know_it_and_the_old_one_ends_with_its_last_token() {
    let (house, clock) = house().await;
    let admin = &house.admin;
    let old = signs(&house);
    let rotated = rotate(admin, &root(), KEY, RotateOrder::default()).await.unwrap();
    let row = rotated.rotation;
    let new = row.new.clone().unwrap();
    let published = clock.now();
    assert_eq!((row.state, row.hold, row.next_try_at), (State::Verified, None, Some(published.plus_ms(JWKS_AGE * 1_000))));
    assert!(rotated.next.contains("everybody who keeps the published keys"), "{}", rotated.next);
    assert!(signs(&house) == old && counts(&house, &new), "published, and does not sign");
    let one = listed(admin, KEY).await;
    assert_eq!((one.state.as_str(), due(admin, &root()).await.unwrap().ok), ("rotating", true), "{one:?}");
    let next = one.versions.iter().find(|version| version.state == "next").unwrap();
    assert_eq!((next.created_at, next.activates_at), (Some(published), row.next_try_at));
    clock.advance_ms(JWKS_AGE * 1_000 - 1);
    assert_eq!(drive(admin, &row.id).await.state, State::Verified, "not a moment earlier");
    clock.advance_ms(1);
    let last = clock.now().plus_ms(LIFE_MS - 5_000);
    admin.feed.issued().mark(&old, last);
    let row = drive(admin, &row.id).await;
    assert_eq!((row.state, row.hold, row.next_try_at), (State::Draining, None, Some(last)), "{row:?}");
    assert!(signs(&house) == new && counts(&house, &old), "tokens of the old one count");
    let steps = store::steps(&admin.db, &row.id).await.unwrap();
    let verified = steps.iter().filter(|step| step.step == "verify" && step.outcome == "done").count();
    assert_eq!(verified, 2, "what was seen at work five minutes ago is looked at again: {steps:?}");
    assert!(steps.iter().any(|step| step.outcome == "waits" && step.evidence["until"].is_string()), "{steps:?}");
    clock.advance_ms(LIFE_MS - 5_001);
    assert_eq!(drive(admin, &row.id).await.state, State::Draining);
    clock.advance_ms(1);
    let row = drive(admin, &row.id).await;
    assert_eq!(row.state, State::Done, "{row:?}");
    assert!(!counts(&house, &old) && row.sealed.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_forces_it_waits_for_nobody_and_no_token_is_lost() {
    let (house, clock) = house().await;
    let admin = &house.admin;
    let old = signs(&house);
    let last = clock.now().plus_ms(LIFE_MS);
    admin.feed.issued().mark(&old, last);
    let row = rotate(admin, &root(), KEY, forced()).await.unwrap().rotation;
    assert_eq!((row.state, row.next_try_at), (State::Draining, Some(last)), "{row:?}");
    assert!(Some(signs(&house)) == row.new && counts(&house, &old));
    // Whoever wants its tokens gone says so.
    let ended = order(admin, &root(), KEY, &OrderBody { order: "retire".into(), by: None }).await.unwrap().rotation;
    assert_eq!(ended.state, State::Done, "{ended:?}");
    assert!(!counts(&house, &old));
    let all = tokens::list(admin, &root()).await.unwrap().keys;
    let state = |kid: &str| all.iter().find(|key| key.kid == kid).unwrap().state.clone();
    assert_eq!((state(&old), state(&signs(&house)), all.len()), ("retired".into(), "current".into(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_can_be_taken_back_before_and_after_it_signs() {
    let (house, clock) = house().await;
    let admin = &house.admin;
    let old = signs(&house);
    let back = async || order(admin, &root(), KEY, &OrderBody { order: "rollback".into(), by: None }).await.unwrap().rotation;
    let first = rotate(admin, &root(), KEY, RotateOrder::default()).await.unwrap().rotation;
    assert_eq!((first.state, back().await.state), (State::Verified, State::RolledBack));
    assert!(signs(&house) == old && !counts(&house, first.new.as_deref().unwrap()));
    admin.feed.issued().mark(&old, clock.now().plus_ms(LIFE_MS));
    let second = rotate(admin, &root(), KEY, forced()).await.unwrap().rotation;
    assert_eq!((second.state, back().await.state), (State::Draining, State::RolledBack));
    assert!(signs(&house) == old && !counts(&house, second.new.as_deref().unwrap()), "the old one signs again");
    let keys = tokens::list(admin, &root()).await.unwrap().keys;
    assert_eq!(keys.iter().filter(|key| key.state == "current").map(|key| key.kid.as_str()).collect::<Vec<_>>(), [old]);
    // And it can be replaced again.
    let third = rotate(admin, &root(), KEY, RotateOrder { overlap: Some("now".into()), ..Default::default() }).await.unwrap();
    assert_eq!(third.rotation.state, State::Done, "{third:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_staged_by_hand_is_the_next_one() {
    let (house, clock) = house().await;
    let admin = &house.admin;
    let staged = tokens::stage(admin, &root()).await.unwrap().kid;
    clock.advance_ms(JWKS_AGE * 1_000);
    let row = rotate(admin, &root(), KEY, RotateOrder::default()).await.unwrap().rotation;
    assert_eq!((row.new.as_deref(), signs(&house) == staged), (Some(staged.as_str()), true), "{row:?}");
    let other = rotate(admin, &root(), "token-key/other", RotateOrder::default()).await.unwrap_err();
    assert_eq!(other.kind, FaultKind::Conflict, "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_signing_key_ends_at_once_with_its_rotation_and_another_signs() {
    let (house, _) = house().await;
    let admin = &house.admin;
    let old = signs(&house);
    let row = rotate(admin, &root(), KEY, RotateOrder::default()).await.unwrap().rotation;
    let new = row.new.clone().unwrap();
    let done = revoke(admin, &root(), RevokeOrder { name: KEY.into(), since: None, reason: "leaked".into() }).await.unwrap();
    let mut gone = [old.clone(), new.clone()];
    gone.sort();
    let mut keys = done.keys.clone();
    keys.sort();
    assert_eq!((keys, done.open.is_empty()), (gone.to_vec(), true), "{done:?}");
    assert!(done.effective_ms < 100, "{done:?}");
    assert!(!counts(&house, &old) && !counts(&house, &new) && ![old, new].contains(&signs(&house)));
    assert_eq!(work::read(admin, &row.id).await.unwrap().state, State::RolledBack);
    assert_eq!(listed(admin, KEY).await.state, "ok");
    let again = rotate(admin, &root(), KEY, RotateOrder { overlap: Some("now".into()), ..Default::default() }).await.unwrap();
    assert_eq!(again.rotation.state, State::Done, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_is_in_the_inventory_replaced_with_both_proofs_and_revoked() {
    let (house, _) = house().await;
    let admin = &house.admin;
    let one = listed(admin, SECRET).await;
    assert_eq!((one.state.as_str(), one.rotate_every_days, one.overlap.as_str(), one.versions.len()), ("ok", 90, "24h", 1));
    let row = rotate(admin, &root(), SECRET, RotateOrder::default()).await.unwrap().rotation;
    assert_eq!((row.state, row.hold), (State::Draining, None), "{row:?}");
    let fetched = fetch(admin, &root(), SECRET).await.unwrap();
    assert!(fetched.secret.starts_with("lbs_"));
    for kid in row.old.iter().chain(&row.new) {
        admin.feed.places().note(kid, [10, 0, 0, 9].into(), admin.clock.now(), true);
    }
    let place = &show(admin, &root(), SECRET).await.unwrap().places[0];
    assert_eq!((place.place.as_str(), place.moved, place.new_calls), ("10.0.0.9", false, 1));
    let done = order(admin, &root(), SECRET, &OrderBody { order: "retire".into(), by: None }).await.unwrap().rotation;
    assert_eq!(done.state, State::Done, "{done:?}");
    let steps = store::steps(&admin.db, &row.id).await.unwrap();
    let seen = |step: &str| steps.iter().find(|taken| taken.step == step && taken.outcome == "done").unwrap().evidence.clone();
    assert_eq!(seen("verify")["listeners"][0]["token"]["expires_in"], 600, "{steps:?}");
    assert_eq!((&seen("prove")["accepted"][0]["status"], &seen("prove")["rejected"][0]["status"]), (&json!(200), &json!(401)));
    let gone = revoke(admin, &root(), RevokeOrder { name: SECRET.into(), since: None, reason: "leaked".into() }).await.unwrap();
    assert_eq!((Some(&gone.keys[0]), gone.keys.len(), gone.open.len()), (done.new.as_ref(), 1, 0), "{gone:?}");
    assert!(admin.feed.snapshot().tokens.secrets.is_empty() && !admin.feed.snapshot().keys.is_empty(), "its key stays");
    assert_eq!(listed(admin, SECRET).await.state, "ended", "it shows its key");
    let again = rotate(admin, &root(), SECRET, RotateOrder { fetch: true, ..Default::default() }).await.unwrap();
    assert!(again.secret.is_some() && again.rotation.state == State::Done, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_shows_a_secret_misses_no_key() {
    let (house, _) = house().await;
    let admin = &house.admin;
    let order = AddClient { name: "bot".into(), roles: vec!["demo".into()], oauth: true, ..Default::default() };
    clients::add(admin, &root(), order).await.unwrap();
    let names: Vec<String> = list(admin, &root()).await.unwrap().credentials.into_iter().map(|one| one.name).collect();
    assert!(names.contains(&"client-secret/bot".to_owned()) && !names.contains(&"client-key/bot".to_owned()), "{names:?}");
    let plan = plan::read(admin, &root()).await.unwrap().markdown;
    for line in ["| `client-secret/bot` |", "| `token-key/oauth` |", "* **token-key**: A new key", "* **client-secret**: A second"]
    {
        assert!(plan.contains(line), "{line}: {plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_when_a_key_activates_and_when_the_last_token_of_another_expires() {
    let (house, clock) = house().await;
    let admin = &house.admin;
    let cookie = session(admin, OperatorRole::Operator).await;
    let page = async |path: &'static str| text(Ask::new("GET", path).cookie(&cookie).send(&house).await).await;
    let row = rotate(admin, &root(), KEY, RotateOrder::default()).await.unwrap().rotation;
    let at = |at: Timestamp| format!("at {} UTC, in ", crate::web::human::clock(at));
    let shown = page("/credentials/token-key/oauth").await;
    for part in ["Token-signing key: oauth", ">Published<", ">Last token expires<", "current, signs", "It goes on at ", "Roll back"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.contains(&format!("next, activates {}", at(row.next_try_at.unwrap()))), "{shown}");
    assert!(!shown.contains("note warn"), "nobody has to do anything: {shown}");
    clock.advance_ms(JWKS_AGE * 1_000);
    let last = clock.now().plus_ms(LIFE_MS);
    admin.feed.issued().mark(&row.old[0], last);
    assert_eq!(drive(admin, &row.id).await.state, State::Draining);
    let shown = page("/credentials/token-key/oauth").await;
    for part in ["previous, its tokens count", "The old one ends by itself when its last token has expired", &at(last)] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let clients = page("/clients").await;
    assert!(clients.contains("href=\"/credentials/client-secret/ci\"") && clients.contains("/credentials/token-key/oauth"));
    let secret = page("/credentials/client-secret/ci").await;
    assert!(secret.contains("Client secret: ci") && secret.contains("24h, as planned") && secret.contains("#revoke"), "{secret}");
}
