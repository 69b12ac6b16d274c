//! Cases of tokens: keys in their steps, what was ended and cut, what outlives a restart and a rebuild.

use std::collections::HashMap;
use std::sync::Arc;

use super::{CutOrder, Timing, activate, cut, last_expiry, list, remove, retire, stage};
use crate::admin::tests_house::{House, operator, root};
use crate::admin::vaults::{self, deny};
use crate::admin::{OperatorRole, publish};
use crate::base::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::base::fault::FaultKind;
use crate::db::{Db, Migrations};
use crate::policy::ended::EndedToken;
use crate::policy::tokens::LIFE_MS;

async fn house() -> (House, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    (House::open_with(tempfile::tempdir().unwrap(), clock.clone()).await, clock)
}

fn signs(house: &House) -> String {
    house.admin.feed.snapshot().tokens.signer.as_ref().unwrap().kid.to_string()
}

fn counts(house: &House, kid: &str) -> bool {
    house.admin.feed.snapshot().tokens.verifiers.contains_key(kid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_is_staged_then_activated_then_retired_and_each_step_may_be_repeated() {
    let (house, clock) = house().await;
    let admin = &house.admin;
    let old = signs(&house);
    let next = stage(admin, &root()).await.unwrap();
    assert_eq!((next.state.as_str(), stage(admin, &root()).await.unwrap().kid), ("next", next.kid.clone()));
    assert!(counts(&house, &next.kid) && signs(&house) == old, "published, and does not sign");
    let early = activate(admin, &root(), &next.kid, Timing::Due).await.unwrap_err();
    assert_eq!(early.kind, FaultKind::Conflict);
    assert_eq!(retire(admin, &root(), &old).await.unwrap_err().kind, FaultKind::Conflict, "it signs");
    clock.advance_ms(300_000);
    let given = clock.now().plus_ms(123_000);
    admin.feed.issued().mark(&old, given);
    for _ in 0..2 {
        assert_eq!(activate(admin, &root(), &next.kid, Timing::Due).await.unwrap().state, "current");
        assert_eq!(signs(&house), next.kid);
    }
    assert!(counts(&house, &old), "its tokens count still");
    assert_eq!(last_expiry(admin, &old).await.unwrap(), Some(given), "exactly what it signed");
    assert_eq!(retire(admin, &root(), &old).await.unwrap_err().kind, FaultKind::Conflict, "a token may count");
    clock.advance_ms(123_000);
    for _ in 0..2 {
        assert_eq!(retire(admin, &root(), &old).await.unwrap().state, "retired");
        assert!(!counts(&house, &old));
    }
    assert_eq!(activate(admin, &root(), &old, Timing::Forced).await.unwrap_err().kind, FaultKind::Conflict);
    let all = list(admin, &operator(OperatorRole::Viewer)).await.unwrap().keys;
    let states: HashMap<_, _> = all.iter().map(|key| (key.kid.as_str(), key.state.as_str())).collect();
    assert_eq!(states, HashMap::from([(old.as_str(), "retired"), (next.kid.as_str(), "current")]));
    assert_eq!(stage(admin, &operator(OperatorRole::Viewer)).await.map(|_| ()).unwrap_err().kind, FaultKind::Denied);
    let text = std::fs::read(admin.data.state_db()).unwrap();
    assert!(!text.windows(7).any(|w| w == b"PRIVATE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_an_earlier_run_may_have_given_tokens_that_nobody_knows_of() {
    let (house, clock) = house().await;
    let old = signs(&house);
    let directory = house.close().await;
    let house = House::open_with(directory, clock.clone()).await;
    assert_eq!(signs(&house), old, "the same key signs after a restart");
    let bound = last_expiry(&house.admin, &old).await.unwrap().unwrap();
    assert!(bound >= clock.now().plus_ms(LIFE_MS - 60_000), "{bound}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_key_is_gone_at_once_and_another_one_signs() {
    let (house, _) = house().await;
    let admin = &house.admin;
    let old = signs(&house);
    let next = stage(admin, &root()).await.unwrap().kid;
    assert_eq!(remove(admin, &operator(OperatorRole::Operator), &old).await.unwrap().state, "retired");
    assert!(!counts(&house, &old) && signs(&house) == next, "the published one takes its place");
    remove(admin, &root(), &next).await.unwrap();
    assert!(![old.clone(), next.clone()].contains(&signs(&house)), "a new one");
    remove(admin, &root(), &old).await.unwrap();
    assert_eq!(remove(admin, &root(), "nobodys").await.unwrap_err().kind, FaultKind::NotFound);
    publish::publish(admin).await.unwrap();
    assert!(!counts(&house, &old) && !counts(&house, &next), "no later snapshot brings them back");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_removed_at_the_same_moment_leave_one_that_signs() {
    for _ in 0..8 {
        let (house, _) = house().await;
        let admin = &house.admin;
        let old = signs(&house);
        let next = stage(admin, &root()).await.unwrap().kid;
        let who = root();
        let (first, second) = tokio::join!(remove(admin, &who, &next), remove(admin, &who, &old));
        assert_eq!((first.unwrap().state.as_str(), second.unwrap().state.as_str()), ("retired", "retired"));
        assert!(![old, next].contains(&signs(&house)), "a new one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_is_for_somebody() {
    let (house, _) = house().await;
    let of = |client: &str| CutOrder { client: Some(client.into()), reason: None };
    let fault = cut(&house.admin, &root(), &of("nobody")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotFound, "{fault}");
    assert!(house.admin.feed.snapshot().tokens.cuts.clients.is_empty());
    let ci = crate::admin::clients::AddClient { name: "ci".into(), roles: vec!["demo".into()], ..Default::default() };
    crate::admin::clients::add(&house.admin, &root(), ci).await.unwrap();
    assert_eq!(cut(&house.admin, &root(), &of("ci")).await.unwrap().client.as_deref(), Some("ci"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_ended_and_used_outlives_a_restart() {
    let (house, clock) = house().await;
    let now = clock.now();
    let made = crate::admin::clients::add(
        &house.admin,
        &root(),
        crate::admin::clients::AddClient { name: "ci".into(), roles: vec!["demo".into()], ..Default::default() },
    )
    .await
    .unwrap();
    house.admin.feed.uses().mark(&made.kid, now);
    super::task::store_uses(&house.admin, &mut HashMap::new()).await;
    let token = EndedToken { jti: "tok_1".into(), client: "ci".into(), expires_at: now.plus_ms(LIFE_MS) };
    house.admin.feed.end_token(token.clone());
    house.admin.feed.ended().until_stored("tok_1").await;
    let cut_at = cut(&house.admin, &root(), &CutOrder::default()).await.unwrap().before;
    let directory = house.close().await;
    let house = House::open_with(directory, clock.clone()).await;
    let feed = &house.admin.feed;
    assert!(feed.ended().holds("tok_1") && feed.ended().unstored().is_empty());
    assert_eq!(feed.uses().last(&made.kid), Some(now));
    assert_eq!(feed.snapshot().tokens.cuts.everyone, Some(cut_at));
    let shown = crate::admin::clients::show(&house.admin, &root(), "ci").await.unwrap();
    assert_eq!(shown.keys[0].last_used_at, Some(now));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deny_list_ends_tokens_keys_and_secrets_in_an_older_database() {
    let (house, clock) = house().await;
    let admin = &house.admin;
    let ci = crate::admin::clients::AddClient { name: "ci".into(), roles: vec!["demo".into()], ..Default::default() };
    crate::admin::clients::add(admin, &root(), ci).await.unwrap();
    let old = signs(&house);
    let older = house.path().join("older.db");
    admin.db.copy_to(&older).await.unwrap();
    let token = EndedToken { jti: "tok_1".into(), client: "ci".into(), expires_at: clock.now().plus_ms(LIFE_MS) };
    admin.feed.end_token(token.clone());
    admin.feed.end_token(EndedToken { jti: "tok_0".into(), expires_at: Timestamp(1), ..token.clone() });
    let before = cut(admin, &root(), &CutOrder { client: Some("ci".into()), reason: None }).await.unwrap().before;
    remove(admin, &root(), &old).await.unwrap();
    deny::push(admin).await.unwrap();
    let folder = crate::admin::vaults::folder::Folder::open(&admin.data.archives()).unwrap();
    let signer = crate::audit::load_or_create_key(&admin.data.ledger_key()).unwrap();
    let list = deny::read(&folder, signer.public()).unwrap().unwrap();
    assert_eq!(list.tokens, [token], "those that would count");
    assert_eq!(list.cuts["ci"], before);
    assert!(list.client_keys.contains(&old));
    let db = Db::open(&older, &Migrations::embedded().unwrap()).await.unwrap();
    assert!(vaults::apply_deny_list(&db, &list, clock.now()).await.unwrap() >= 2);
    let running = super::running(&db, &admin.sealer).await.unwrap();
    assert!(running.signer.is_none() && !running.verifiers.contains_key(&*old), "what was removed does not sign again");
    assert_eq!(running.cuts.of("ci"), Some(before));
    assert_eq!(super::store::ended(&db, clock.now()).await.unwrap().len(), 1);
    super::ensure(&db, &admin.sealer, admin.entropy.as_ref(), clock.now()).await.unwrap();
    assert_ne!(super::running(&db, &admin.sealer).await.unwrap().signer.unwrap().kid.as_ref(), old);
}
