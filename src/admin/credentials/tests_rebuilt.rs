//! A deployment that comes back from an earlier archive: a secret towards a server that was revoked since is not sent again, and no rotation goes on unasked.

use super::machine::{Hold, State};
use super::tests_crash::house;
use super::*;
use crate::admin::tests_house::root;
use crate::admin::vaults::{self, deny};
use crate::db::{Db, Migrations, foreign};

async fn list(admin: &Admin) -> deny::DenyList {
    deny::push(admin).await.unwrap();
    serde_json::from_slice(&std::fs::read(admin.data.archives().join(deny::FILE)).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_a_rebuild_sends_no_secret_that_was_revoked_and_drives_no_rotation_unasked() {
    let house = house().await;
    let admin = &house.admin;
    assert!(list(admin).await.server_secrets.is_empty());
    let order = RotateOrder::default();
    let of_server = rotate(admin, &root(), "upstream/demo:authorization", order.clone()).await.unwrap().rotation;
    let of_client = rotate(admin, &root(), "client-key/ci", order).await.unwrap().rotation;
    assert!(!of_server.state.is_over() && !of_client.state.is_over());
    // The archive, from before the leak.
    let place = house.path().join("earlier.db");
    foreign::snapshot(&admin.data.state_db(), &place).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    revoke(admin, &root(), RevokeOrder { name: "server/demo".into(), ..Default::default() }).await.unwrap();
    let revoked = list(admin).await;
    assert!(revoked.server_secrets.contains_key("demo"), "{revoked:?}");
    // What is kept afterwards is another matter, and the list forgets nothing.
    let keep = crate::admin::servers::ServerKeep { headers: Some("Authorization: Bearer second".into()), ..Default::default() };
    crate::admin::servers::secrets(admin, &root(), "demo", &keep).await.unwrap();
    assert_eq!(list(admin).await.server_secrets, revoked.server_secrets);
    let db = Db::open(&place, &Migrations::embedded().unwrap()).await.unwrap();
    let kept = async |db: &Db| -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM server_secrets WHERE server = 'demo'").fetch_one(db.reader()).await.unwrap()
    };
    assert_eq!(kept(&db).await, 1);
    vaults::apply_deny_list(&db, &revoked, admin.clock.now()).await.unwrap();
    assert_eq!(kept(&db).await, 0, "the revoked value is gone");
    let over = store::read(&db, &of_server.id).await.unwrap().unwrap();
    assert!(over.state == State::RolledBack && over.sealed.is_none(), "{over:?}");
    let rests = store::read(&db, &of_client.id).await.unwrap().unwrap();
    assert_eq!((rests.state, rests.hold), (of_client.state, Some(Hold::Paused)));
    assert!(rests.why.as_deref().is_some_and(|why| why.contains("was rebuilt")), "{rests:?}");
    assert_eq!(machine::todo(&rests, admin.clock.now()), machine::Todo::Nothing);
    // What was kept after the revocation stays.
    vaults::apply_deny_list(&admin.db, &revoked, admin.clock.now()).await.unwrap();
    assert_eq!(kept(&admin.db).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_not_called_replaced_where_nobody_shows_it() {
    let house = crate::admin::tests_house::House::open().await;
    let before = std::fs::read(house.admin.data.server_pem()).unwrap();
    let fault = rotate(&house.admin, &root(), "tls/server", RotateOrder::default()).await.unwrap_err();
    assert!(fault.message.contains("no listener with TLS"), "{fault}");
    assert_eq!(std::fs::read(house.admin.data.server_pem()).unwrap(), before);
}
