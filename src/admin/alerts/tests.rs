//! Alerts on a real deployment: opened once, seen, resolved, and in the ledger.

use super::*;
use crate::admin::OperatorRole;
use crate::admin::tests_house::{House, operator};
use crate::base::fault::FaultKind;

pub(super) fn finding(text: &str) -> Finding {
    Finding { rule: "backup.late", object: "memory".into(), text: text.into(), mend: "lifeboat backup run" }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_open_once_seen_by_somebody_and_ends_by_itself() {
    let house = House::open().await;
    let admin = &house.admin;
    assert!(open(admin, "al_1".into(), &finding("one day"), Timestamp(1)).await.unwrap());
    assert!(!open(admin, "al_2".into(), &finding("two days"), Timestamp(2)).await.unwrap(), "one alert for one thing");
    count(admin).await.unwrap();
    assert_eq!((unseen(admin), sentences(admin).await), (1, vec!["backup.late: two days".to_owned()]));
    let viewer = operator(OperatorRole::Viewer);
    assert_eq!(ack(admin, &viewer, "al_1").await.unwrap_err().kind, FaultKind::Denied);
    let seen = ack(admin, &operator(OperatorRole::Operator), "al_1").await.unwrap();
    assert_eq!(
        (seen.alerts[0].state.as_str(), seen.alerts[0].acked_by.as_deref(), unseen(admin)),
        ("acknowledged", Some("ana"), 0)
    );
    assert_eq!(ack(admin, &operator(OperatorRole::Operator), "al_1").await.unwrap_err().kind, FaultKind::NotFound);
    // A deployment that began a moment ago is late for nothing: what was open is over.
    look(admin).await.unwrap();
    let all = list(admin, &viewer, 10).await.unwrap().alerts;
    assert_eq!((all.len(), all[0].state.as_str()), (1, "resolved"), "{all:?}");
    assert!(open(admin, "al_3".into(), &finding("again"), Timestamp(3)).await.unwrap(), "it may come again");
    let events =
        admin.ledger.query(&crate::audit::Filter { limit: Some(20), ..crate::audit::Filter::default() }).await.unwrap().events;
    let actions: Vec<&str> = events.iter().filter_map(|event| event.action.as_deref()).collect();
    assert!(actions.contains(&"alert.ack") && actions.contains(&"alert.resolve"), "{actions:?}");
}
