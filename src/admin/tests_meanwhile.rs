//! What changes while somebody signs in: a password takes a while to compare, and what was replaced meanwhile opens nothing.

use std::pin::{Pin, pin};
use std::time::Duration;

use super::credentials::{self, RevokeOrder};
use super::operators::{self, AddKey, AddOperator, NotSignedIn, SignedIn, Touch};
use super::tests_ask::{PASSWORD, secret, session, visitor};
use super::tests_house::{House, root};
use super::{Admin, OperatorRole};

const OTHER: &str = "another long password";

async fn add(admin: &Admin, name: &str, role: OperatorRole) {
    let input = AddOperator { name: name.into(), role, password: secret(PASSWORD) };
    operators::add(admin, &root(), input).await.unwrap();
}

/// Lets a sign-in begin to compare, and go no further.
async fn begun(login: Pin<&mut impl Future<Output = Result<SignedIn, NotSignedIn>>>) {
    assert!(tokio::time::timeout(Duration::ZERO, login).await.is_err(), "the password is still being compared");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a03_a_password_that_was_reset_while_it_was_compared_opens_nothing() {
    let house = House::open().await;
    let admin = &house.admin;
    add(admin, "ana", OperatorRole::Operator).await;
    let (old, from) = (secret(PASSWORD), visitor());
    let mut login = pin!(operators::login(admin, "ana", &old, &from, (None, "/")));
    begun(login.as_mut()).await;
    operators::reset(admin, &root(), "ana", &secret(OTHER)).await.unwrap();
    assert!(matches!(login.await, Err(NotSignedIn::Wrong)));
    assert!(operators::session_list(admin, &root(), Some("ana")).unwrap().sessions.is_empty());
    assert!(operators::login(admin, "ana", &secret(OTHER), &from, (None, "/")).await.is_ok(), "the new one does");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a03_an_operator_disabled_while_its_password_was_compared_is_not_signed_in() {
    let house = House::open().await;
    let admin = &house.admin;
    add(admin, "ana", OperatorRole::Operator).await;
    let (password, from) = (secret(PASSWORD), visitor());
    {
        let mut login = pin!(operators::login(admin, "ana", &password, &from, (None, "/")));
        begun(login.as_mut()).await;
        operators::disable(admin, &root(), "ana").await.unwrap();
        assert!(matches!(login.await, Err(NotSignedIn::Wrong)));
    }
    let dir = house.close().await;
    let again = House::open_at(dir).await;
    assert!(again.admin.operators.state().sessions.is_empty(), "also after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a03_a_session_that_a_reset_ended_sets_no_password_of_its_own() {
    let house = House::open().await;
    let admin = &house.admin;
    let token = session(admin, OperatorRole::Operator).await;
    let actor = operators::who(admin, &token, Touch::Yes).unwrap();
    let mine = secret("a password of the thief");
    let mut set = pin!(operators::set_password(admin, &actor, &mine, &token));
    assert!(tokio::time::timeout(Duration::ZERO, set.as_mut()).await.is_err(), "it is still being hashed");
    operators::reset(admin, &root(), "operator", &secret(OTHER)).await.unwrap();
    assert!(set.await.is_err(), "the session has ended");
    assert!(operators::login(admin, "operator", &secret(OTHER), &visitor(), (None, "/")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_admins_who_disable_each_other_at_the_same_moment_leave_one() {
    let house = House::open().await;
    let admin = &house.admin;
    add(admin, "ana", OperatorRole::Admin).await;
    add(admin, "bob", OperatorRole::Admin).await;
    let actor = root();
    let (one, other) = tokio::join!(operators::disable(admin, &actor, "ana"), operators::disable(admin, &actor, "bob"));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    let refused = one.err().or(other.err()).unwrap();
    assert!(refused.message.contains("is the only admin"), "{refused}");
    assert_eq!(operators::admins(admin).len(), 1);
    let dir = house.close().await;
    assert_eq!(operators::admins(&House::open_at(dir).await.admin).len(), 1, "also in the database");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_who_goes_and_one_who_becomes_another_at_the_same_moment_leave_one() {
    let house = House::open().await;
    let admin = &house.admin;
    add(admin, "ana", OperatorRole::Admin).await;
    add(admin, "bob", OperatorRole::Admin).await;
    let actor = root();
    let less = operators::set_role(admin, &actor, "bob", OperatorRole::Viewer);
    let (one, other) = tokio::join!(operators::disable(admin, &actor, "ana"), less);
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert_eq!(operators::admins(admin).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_of_the_only_admin_ends_and_the_account_stays() {
    let house = House::open().await;
    let admin = &house.admin;
    let token = session(admin, OperatorRole::Admin).await;
    let person = operators::who(admin, &token, Touch::Yes).unwrap();
    let key = operators::key_add(admin, &person, "admin", AddKey::default()).await.unwrap();
    assert!(operators::disable(admin, &root(), "admin").await.is_err(), "it is the only one");
    let order = RevokeOrder { name: "operator/admin".into(), ..RevokeOrder::default() };
    let ended = credentials::revoke(admin, &root(), order).await.unwrap();
    assert_eq!((ended.sessions, ended.operator_keys, ended.ok), (1, vec![key.kid.clone()], false));
    assert!(operators::who(admin, &token, Touch::Yes).is_none() && operators::who_by_key(admin, &key.key).is_none());
    let dir = house.close().await;
    let again = House::open_at(dir).await;
    assert!(operators::who(&again.admin, &token, Touch::Yes).is_none(), "also after a restart");
    assert!(operators::who_by_key(&again.admin, &key.key).is_none());
    assert!(operators::login(&again.admin, "admin", &secret(PASSWORD), &visitor(), (None, "/")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_end_without_sessions_and_sessions_without_keys() {
    let house = House::open().await;
    let admin = &house.admin;
    let token = session(admin, OperatorRole::Operator).await;
    let person = operators::who(admin, &token, Touch::Yes).unwrap();
    let key = operators::key_add(admin, &person, "operator", AddKey::default()).await.unwrap();
    let ended = operators::sessions_end(admin, &root(), Some("operator"), None).await.unwrap();
    assert_eq!(ended.ended, 1);
    assert!(operators::who_by_key(admin, &key.key).is_some(), "the key stays");
    let signed = operators::login(admin, "operator", &secret(PASSWORD), &visitor(), (None, "/")).await.unwrap();
    let order = RevokeOrder { name: "operator-key/operator".into(), ..RevokeOrder::default() };
    assert_eq!(credentials::revoke(admin, &root(), order).await.unwrap().operator_keys, [key.kid.as_str()]);
    assert!(operators::who_by_key(admin, &key.key).is_none());
    assert!(operators::who(admin, signed.token.reveal(), Touch::Yes).is_some(), "the session stays");
}
