//! Cases of clients: a key once, a revocation at once.

use std::time::{Duration, Instant};

use sqlx::Connection;

use super::{AddClient, add, list, oauth, revoke, show};
use crate::admin::tests_house::{House, operator, root};
use crate::admin::{OperatorRole, roles, tools, tree};
use crate::base::fault::FaultKind;
use crate::config::{Class, ClientConfig, GrantConfig};
use crate::crypto::keys;

fn client(name: &str) -> AddClient {
    AddClient { name: name.into(), roles: vec!["demo".into()], rate: Some(5), expires_days: Some(30), oauth: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_added_with_a_key_that_only_its_hash_outlives() {
    let house = House::open().await;
    let admin = &house.admin;
    let made = add(admin, &root(), client("ci")).await.unwrap();
    let key = made.key.unwrap();
    let shown = keys::parse(&key).unwrap();
    assert_eq!(shown.kid, made.kid);
    let snapshot = admin.feed.snapshot();
    let entry = snapshot.keys.get(made.kid.as_str()).unwrap();
    assert!(keys::same(&entry.hash, &shown.hash));
    assert_eq!((entry.client.as_ref(), snapshot.clients["ci"].rate), ("ci", 5));
    assert!(entry.expires_at.is_some() && snapshot.revision.epoch == 1);
    let file = std::fs::read_to_string(admin.data.config().join("clients/ci.toml")).unwrap();
    assert!(file.contains("demo") && !file.contains(&key));
    let newest = admin.repository.history(1, None).unwrap().remove(0);
    assert_eq!(newest.author, "ana");
    let listed = list(admin, &operator(OperatorRole::Viewer)).await.unwrap().clients;
    assert_eq!((listed[0].state.as_str(), listed[0].keys.len()), ("active", 1));
    assert_eq!(add(admin, &root(), client("ci")).await.map(|_| ()).unwrap_err().kind, FaultKind::Conflict);
    assert_eq!(show(admin, &root(), "ci").await.unwrap().keys.len(), 1);
    let explained = tools::explain(admin, &root(), "ci", "demo/read_graph").unwrap();
    assert_eq!((explained.decision.as_str(), explained.grant.as_deref()), ("permit", Some("demo#1")));
    assert_eq!(tools::explain(admin, &root(), "ci", "demo/nope").unwrap().reason.as_deref(), Some("policy.unknown_tool"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_add_one_client_at_one_time_end_no_key_of_each_other() {
    let house = House::open().await;
    let (admin, actor) = (&house.admin, root());
    let all = tokio::join!(add(admin, &actor, client("ci")), add(admin, &actor, client("ci")), add(admin, &actor, client("ci")));
    let all = [all.0, all.1, all.2];
    let refused: Vec<_> = all.iter().filter_map(|one| one.as_ref().err()).map(|fault| fault.kind).collect();
    assert_eq!(refused, [FaultKind::Conflict, FaultKind::Conflict]);
    let made = all.into_iter().find_map(Result::ok).unwrap();
    let shown = show(admin, &actor, "ci").await.unwrap();
    assert_eq!((shown.state.as_str(), shown.keys.len(), shown.keys[0].kid.as_str()), ("active", 1, made.kid.as_str()));
    assert!(admin.feed.snapshot().keys.contains_key(made.kid.as_str()), "the key that was shown opens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_leaves_nothing_behind() {
    let house = House::open().await;
    let refused = async |input: AddClient| add(&house.admin, &root(), input).await.map(|_| ()).unwrap_err().kind;
    assert_eq!(refused(client("../x")).await, FaultKind::Invalid);
    assert_eq!(refused(client("canary")).await, FaultKind::Invalid);
    assert_eq!(refused(AddClient { roles: vec!["ghost".into()], ..client("a") }).await, FaultKind::Invalid);
    assert_eq!(refused(AddClient { roles: Vec::new(), ..client("a") }).await, FaultKind::Invalid);
    let denied = add(&house.admin, &operator(OperatorRole::Operator), client("a")).await.map(|_| ()).unwrap_err().kind;
    assert_eq!(denied, FaultKind::Denied);
    assert!(list(&house.admin, &root()).await.unwrap().clients.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_gone_at_once_and_for_good() {
    let house = House::open().await;
    let made = add(&house.admin, &root(), client("ci")).await.unwrap();
    let done = revoke(&house.admin, &operator(OperatorRole::Operator), "ci").await.unwrap();
    assert_eq!(done.kids, std::slice::from_ref(&made.kid));
    let snapshot = house.admin.feed.snapshot();
    assert!(snapshot.keys.is_empty() && !snapshot.clients.contains_key("ci") && snapshot.revision.epoch == 2);
    assert_eq!(show(&house.admin, &root(), "ci").await.unwrap().state, "revoked");
    assert_eq!(revoke(&house.admin, &root(), "ci").await.unwrap_err().kind, FaultKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_waits_for_no_database() {
    let house = House::open().await;
    add(&house.admin, &root(), client("ci")).await.unwrap();
    let url = format!("sqlite://{}", house.admin.data.state_db().display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    let begun = Instant::now();
    let admin = house.admin.clone();
    let revoking = tokio::spawn(async move { revoke(&admin, &root(), "ci").await });
    while !house.admin.feed.snapshot().keys.is_empty() {
        assert!(begun.elapsed() < Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(revoking.await.unwrap().unwrap_err().kind, FaultKind::Unavailable);
    drop(other);
    // A later publish does not bring the key back.
    crate::admin::publish::publish(&house.admin).await.unwrap();
    assert!(house.admin.feed.snapshot().keys.is_empty());
    revoke(&house.admin, &root(), "ci").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_set_listed_and_counts() {
    let house = House::open().await;
    let grant = GrantConfig { tools: vec!["demo/read_graph".into()], classes: vec![Class::Read], arguments: None };
    let input = roles::SetRole { grants: Some(vec![grant]), toml: None };
    assert_eq!(roles::set(&house.admin, &root(), "reader", input).await.unwrap().grants, 1);
    assert_eq!(roles::show(&house.admin, &root(), "reader").await.unwrap().grants[0].tools, ["demo/read_graph"]);
    let wrong = roles::SetRole { grants: None, toml: Some("[[grant]]\ntools = [\"[\"]\nclasses = []\n".into()) };
    assert_eq!(roles::set(&house.admin, &root(), "reader", wrong).await.unwrap_err().kind, FaultKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_p02_a_client_that_is_added_again_is_not_opened_by_what_an_earlier_one_left() {
    let house = House::open().await;
    let admin = &house.admin;
    let first = add(admin, &root(), client("ci")).await.unwrap();
    let secret = oauth::secret_add(admin, &root(), "ci", &oauth::AddSecret::default()).await.unwrap();
    let other = add(admin, &root(), client("other")).await.unwrap();
    // Its file goes, as by hand or by a rollback: nothing was revoked.
    tree::edit(admin, &root(), "gone", |_, _| Ok(vec![tree::remove(ClientConfig::path("ci"))])).await.unwrap();
    let second = add(admin, &root(), client("ci")).await.unwrap();
    let snapshot = admin.feed.snapshot();
    assert!(!snapshot.keys.contains_key(first.kid.as_str()) && !snapshot.tokens.secrets.contains_key(secret.kid.as_str()));
    assert!(snapshot.keys.contains_key(second.kid.as_str()) && snapshot.keys.contains_key(other.kid.as_str()));
    let states: Vec<String> = show(admin, &root(), "ci").await.unwrap().keys.into_iter().map(|key| key.state).collect();
    assert_eq!(states.iter().filter(|state| *state == "active").count(), 1, "{states:?}");
}
