//! Places of which another account has a say: neither exchanged, nor removed, nor followed.

use std::fs;

use super::tests::*;
use super::*;
use crate::admin::tests_house::root;
use crate::admin::vaults::{BackupOrder, run};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_exchanged_where_another_account_could_lead_it_elsewhere() {
    let house = house().await;
    let (place, _) = vault(&house, "notes", None, &[]).await;
    let above = place.parent().unwrap().to_owned();
    // Only root can give a folder away; to the account of a server, say.
    if std::os::unix::fs::chown(&above, Some(12_345), Some(12_345)).is_err() {
        return;
    }
    let refused = bring(&house, "latest:notes").await.unwrap_err();
    assert!(refused.message.contains("can be changed by another account (uid 12345)"), "{refused}");
    assert_eq!(text(place.join("memory.jsonl")), "poisoned\n", "nothing was stopped, saved or changed");
    assert!(notes(&house).is_empty() && beside(&place).is_empty());
    assert!(clean(&house.admin, &root(), "notes", CleanOrder::default()).await.is_err());

    // A link in a folder of that account is not followed by a backup either.
    let moved = above.join("elsewhere");
    fs::rename(&place, &moved).unwrap();
    std::os::unix::fs::symlink("/etc", &place).unwrap();
    let done = run(&house.admin, &root(), BackupOrder { vault: Some("notes".into()) }).await.unwrap();
    assert!(!done.ok && done.failed[0].why.contains("a link that another account can have put there"), "{done:?}");
}
