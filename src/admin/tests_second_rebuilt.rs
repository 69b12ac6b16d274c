//! What a rebuild does with what people sign in with: nothing that was ended after the archive counts again.

use super::tests_ask::{secret, session};
use super::tests_house::{House, root};
use super::tests_second::{NAME, Stage};
use super::{OperatorRole, operators, vaults};

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_brings_back_no_session_and_nobody_who_signs_in_otherwise_since() {
    let house = House::open().await;
    let admin = &house.admin;
    let token = session(admin, OperatorRole::Admin).await;
    drop(session(admin, OperatorRole::Viewer).await);
    drop(session(admin, OperatorRole::Auditor).await);
    vaults::deny::push(admin).await.unwrap();
    let list = std::fs::read(admin.data.archives().join(vaults::deny::FILE)).unwrap();
    let list: vaults::deny::DenyList = serde_json::from_slice(&list).unwrap();
    assert_eq!(list.sign_ins.len(), 3);
    // What differs from the list is what differs from the archive.
    operators::reset(admin, &root(), "viewer", &secret("another long password")).await.unwrap();
    assert_eq!(vaults::apply_deny_list(&admin.db, &list, admin.clock.now()).await.unwrap(), 1);
    let house = House::open_at(house.close().await).await;
    let all = operators::list(&house.admin, &root()).unwrap().operators;
    let disabled: Vec<&str> = all.iter().filter(|o| o.disabled_at.is_some()).map(|o| o.name.as_str()).collect();
    assert_eq!(disabled, ["viewer"]);
    assert!(operators::who(&house.admin, &token, operators::Touch::No).is_none(), "every session has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_brings_back_no_recovery_code_that_was_used_since() {
    let stage = Stage::open().await;
    let phone = stage.enrol().await;
    let admin = &stage.house.admin;
    let listed = async || {
        vaults::deny::push(admin).await.unwrap();
        let list = std::fs::read(admin.data.archives().join(vaults::deny::FILE)).unwrap();
        serde_json::from_slice::<vaults::deny::DenyList>(&list).unwrap()
    };
    let earlier = vaults::deny::DenyList { recovery_codes: None, ..listed().await };
    let before = listed().await.recovery_codes.unwrap()[NAME].clone();
    assert!(stage.sign_in(&phone.recovery[0]).await.is_ok());
    let after = listed().await.recovery_codes.unwrap()[NAME].clone();
    let used: Vec<&String> = before.iter().filter(|code| !after.contains(code)).collect();
    assert_eq!((before.len(), after.len(), used.len()), (10, 9, 1));
    // A code of this database that the list does not have is as one that an archive has still.
    let newest = listed().await;
    let mut newer = newest.clone();
    let codes = newer.recovery_codes.as_mut().unwrap().get_mut(NAME).unwrap();
    codes.pop();
    for (list, ended) in [(&earlier, 0), (&newest, 0), (&newer, 1)] {
        assert_eq!(vaults::apply_deny_list(&admin.db, list, admin.clock.now()).await.unwrap(), ended);
    }
    let house = House::open_with(stage.house.close().await, stage.clock.clone()).await;
    assert_eq!(operators::standing(&house.admin, NAME).recovery, 8);
}
