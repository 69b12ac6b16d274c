//! The orders that tests of every system give: keep what opens it, rotate without overlap, decide what waits. Never tells one system from another.

use super::super::*;
use super::keep_admin;
use crate::admin::servers::one;
use crate::admin::tests_house::root;

/// Gives Lifeboat its own secret at a system.
pub(super) async fn keep(admin: &Admin, name: &str, secret: &str) -> Verb<AdminKept> {
    keep_admin(admin, &root(), name, AdminOrder { password: Some(Secret::new(secret.into())) }).await
}

/// What server demo is sent now.
pub(super) fn sent(admin: &Admin) -> Option<String> {
    one::value(&admin.feed.snapshot().servers["demo"], "authorization")
}

/// The old one ends at once.
pub(super) fn now_order() -> RotateOrder {
    RotateOrder { overlap: Some("now".into()), ..Default::default() }
}

/// Decides what its open rotation does.
pub(super) async fn give(admin: &Admin, name: &str, word: &str) -> Rotation {
    order(admin, &root(), name, &OrderBody { order: word.into(), by: None }).await.unwrap().rotation
}
