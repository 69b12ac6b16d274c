//! Cases of receivers and their secrets, of the file they stand in, and of the watchdog.

use super::outbox::round;
use super::receivers::{AddReceiver, TestOrder, add, list as receivers, remove, secret};
use super::tests_delivery::{HOUR_MS, Site, order};
use super::tests_receiver::{Hit, Manner, Receiver, signature};
use super::*;
use crate::admin::OperatorRole;
use crate::admin::drills::adapt;
use crate::admin::revisions::{self, CommitOrder};
use crate::admin::tests_house::{House, operator, root};
use crate::audit::Filter;
use crate::base::clock::Clock;
use crate::base::fault::FaultKind;

async fn commit(admin: &Admin, message: &str) -> Verb<()> {
    let order = CommitOrder { message: message.into(), ..CommitOrder::default() };
    revisions::commit(admin, &root(), order).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_w05_a_signature_is_of_this_id_time_and_body_only() {
    let site = Site::open().await;
    let admin = &site.house.admin;
    site.alert("al_1").await;
    round(admin).await.unwrap();
    let hit = site.receiver.hits().remove(0);
    assert!(hit.is_signed_by(&site.secret));
    let with = |name: &str, value: &str| {
        let mut other = hit.clone();
        other.headers.iter_mut().filter(|(have, _)| have == name).for_each(|(_, old)| value.clone_into(old));
        other
    };
    let later = (hit.header("webhook-timestamp").parse::<i64>().unwrap() + 1).to_string();
    assert!(!with("webhook-timestamp", &later).is_signed_by(&site.secret), "another time");
    assert!(!with("webhook-id", "msg_other").is_signed_by(&site.secret), "another id");
    for at in [0, hit.body.len() / 2, hit.body.len() - 1] {
        let mut body = hit.body.clone();
        body[at] ^= 1;
        assert!(!Hit { body, ..hit.clone() }.is_signed_by(&site.secret), "byte {at}");
    }
    let other = add(admin, &root(), order("other", &site.receiver)).await.unwrap().secret;
    assert!(!hit.is_signed_by(&other), "another receiver's secret");
    let seconds: i64 = hit.header("webhook-timestamp").parse().unwrap();
    assert_eq!(seconds, site.clock.now().0 / 1_000);
    assert_eq!(signature(&site.secret, hit.header("webhook-id"), &seconds.to_string(), &hit.body), hit.header("webhook-signature"));
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_w05_the_secret_before_signs_beside_a_new_one_for_a_day() {
    let site = Site::open().await;
    let admin = &site.house.admin;
    let viewer = operator(OperatorRole::Operator);
    assert_eq!(secret(admin, &viewer, "pager").await.unwrap_err().kind, FaultKind::Denied);
    let new = secret(admin, &root(), "pager").await.unwrap();
    assert_ne!(new.secret, site.secret);
    assert_eq!(new.old_until.unwrap().since_ms(site.clock.now()), 24 * HOUR_MS);
    let sent = async |id: &str| {
        site.alert(id).await;
        round(admin).await.unwrap();
        let hit = site.receiver.hits().pop().unwrap();
        (hit.header("webhook-signature").split(' ').count(), hit.is_signed_by(&site.secret), hit.is_signed_by(&new.secret))
    };
    assert_eq!(sent("al_1").await, (2, true, true));
    site.clock.advance_ms(24 * HOUR_MS - 1);
    assert_eq!(sent("al_2").await, (2, true, true));
    site.clock.advance_ms(1);
    assert_eq!(sent("al_3").await, (1, false, true));
    // A secret of another instance signs nothing, and nothing is sent without it.
    sqlx::query("UPDATE alert_receivers SET sealed = x'01'").execute(admin.db.writer()).await.unwrap();
    let tested = test(admin, &root(), TestOrder::default()).await.unwrap();
    assert!(!tested.ok && tested.receivers[0].why.as_ref().unwrap().contains("does not open"), "{tested:?}");
    assert_eq!(site.receiver.hits().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_stands_nowhere_and_what_else_is_in_the_file_stays() {
    let site = Site::open().await;
    let admin = &site.house.admin;
    let file = site.house.path().join("config/alerts.toml");
    let by_hand = format!(
        "# who is on call\n{}\n[watchdog]\n# elsewhere\nevery_seconds = 60\n\n[[receiver]]\nname = \"hand\" # mine\nurl = \"{}\"\nplain_loopback = true\nca = \"{}\"\n",
        std::fs::read_to_string(&file).unwrap(),
        site.receiver.url(),
        site.receiver.ca(),
    );
    std::fs::write(&file, by_hand).unwrap();
    commit(admin, "by hand").await.unwrap();
    let other = add(admin, &root(), order("other", &site.receiver)).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("# who is on call") && text.contains("# elsewhere") && text.contains("# mine"), "{text}");
    // What was written by hand has no secret, so nothing is sent there, least of all unsigned.
    let tested = test(admin, &root(), TestOrder { receiver: Some("hand".into()) }).await.unwrap();
    assert!(!tested.ok && tested.receivers[0].why.as_ref().unwrap().contains("alert receiver secret hand"));
    site.alert("al_1").await;
    round(admin).await.unwrap();
    assert_eq!(site.receiver.hits().len(), 2, "one for each that has a secret");
    let hand = secret(admin, &root(), "hand").await.unwrap();
    assert_eq!(hand.old_until, None);
    site.clock.advance_ms(HOUR_MS);
    round(admin).await.unwrap();
    assert!(site.receiver.hits().pop().unwrap().is_signed_by(&hand.secret), "what waited for it is sent");
    remove(admin, &root(), "pager").await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("# who is on call") && text.contains("# mine") && !text.contains("pager"), "{text}");
    let shown = serde_json::to_string(&receivers(admin, &operator(OperatorRole::Viewer)).await.unwrap()).unwrap();
    let filter = Filter { limit: Some(500), ..Filter::default() };
    let ledger = serde_json::to_string(&admin.ledger.query(&filter).await.unwrap().events).unwrap();
    for one in [&site.secret, &other.secret, &hand.secret] {
        assert!(!shown.contains(one.as_str()) && !ledger.contains(one.as_str()) && !text.contains(one.as_str()));
        let log = admin.data.state_db().with_extension("db-wal");
        let state = [std::fs::read(admin.data.state_db()).unwrap(), std::fs::read(log).unwrap()].concat();
        assert!(!state.windows(one.len()).any(|part| part == one.as_bytes()), "sealed");
    }
    for action in ["alert.receiver.add", "alert.receiver.secret", "alert.receiver.remove", "alert.test"] {
        assert!(!site.actions(action).await.is_empty(), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_speaks_only_while_alerts_are_looked_for() {
    let site = Site::open().await;
    let admin = &site.house.admin;
    let elsewhere = Receiver::start().await;
    let config = site.house.path().join("config/alerts.toml");
    let text = format!(
        "[watchdog]\nurl = \"{}\"\nevery_seconds = 60\nplain_loopback = true\nca = \"{}\"\n",
        elsewhere.url(),
        elsewhere.ca()
    );
    std::fs::write(config, text).unwrap();
    commit(admin, "watchdog").await.unwrap();
    assert!(!watchdog::turn(admin).await, "before the first look nothing is known");
    look(admin).await.unwrap();
    assert!(watchdog::turn(admin).await && !watchdog::turn(admin).await, "once a minute");
    assert_eq!((elsewhere.hits().len(), elsewhere.hits()[0].method.as_str()), (1, "GET"));
    site.clock.advance_ms(10 * 60_000);
    assert!(!watchdog::turn(admin).await, "nobody looked for ten minutes");
    elsewhere.always(Manner::status(500));
    for failures in 1..=3 {
        look(admin).await.unwrap();
        assert!(watchdog::turn(admin).await, "{failures}");
        site.clock.advance_ms(60_000);
    }
    let rules = async || {
        look(admin).await.unwrap();
        let open = list(admin, &root(), 10).await.unwrap().alerts;
        open.into_iter().filter(|alert| alert.resolved_at.is_none()).map(|alert| alert.rule).collect::<Vec<_>>()
    };
    assert_eq!(rules().await, ["watchdog.silent"]);
    let seen = receivers(admin, &root()).await.unwrap().watchdog.unwrap();
    assert_eq!((seen.failures, seen.why.as_deref()), (3, Some("it answered 500")));
    elsewhere.always(Manner::status(200));
    assert!(watchdog::turn(admin).await);
    assert_eq!(rules().await, Vec::<String>::new(), "it ends by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_are_added_by_admins_and_checked_first() {
    let site = Site::open().await;
    let admin = &site.house.admin;
    assert_eq!(
        add(admin, &operator(OperatorRole::Operator), order("b", &site.receiver)).await.unwrap_err().kind,
        FaultKind::Denied
    );
    assert_eq!(remove(admin, &operator(OperatorRole::Operator), "pager").await.unwrap_err().kind, FaultKind::Denied);
    let viewer = operator(OperatorRole::Viewer);
    assert_eq!(test(admin, &viewer, TestOrder::default()).await.unwrap_err().kind, FaultKind::Denied);
    assert_eq!(add(admin, &root(), order("pager", &site.receiver)).await.unwrap_err().kind, FaultKind::Conflict);
    let refused = async |change: fn(&mut AddReceiver)| {
        let mut input = order("b", &site.receiver);
        change(&mut input);
        let fault = add(admin, &root(), input).await.unwrap_err();
        (fault.kind, fault.place.unwrap_or_default())
    };
    assert_eq!(refused(|input| input.name = "A B".into()).await, (FaultKind::Invalid, "name".into()));
    assert_eq!(refused(|input| input.url = "https://a.example:22/".into()).await, (FaultKind::Invalid, "url".into()));
    assert_eq!(refused(|input| input.plain_loopback = false).await, (FaultKind::Invalid, "url".into()));
    assert_eq!(refused(|input| input.ca = Some("/nonexistent".into())).await, (FaultKind::Invalid, "ca".into()));
    assert_eq!(refused(|input| input.allow_addresses = vec!["x".into()]).await, (FaultKind::Invalid, "allow_addresses".into()));
    assert_eq!(refused(|input| input.rules = vec!["[".into()]).await, (FaultKind::Invalid, "rules".into()));
    let matches_nothing = refused(|input| input.rules = vec!["*".into(), "bakup.*".into()]).await;
    assert_eq!(matches_nothing, (FaultKind::Invalid, "rules".into()));
    assert_eq!(receivers(admin, &root()).await.unwrap().receivers.len(), 1);
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM alert_receivers").fetch_one(admin.db.reader()).await.unwrap();
    assert_eq!(kept, 1, "what was not added left no secret");
    assert_eq!(site.receiver.hits().len(), 0);
    let nobody = House::open().await;
    let tested = test(&nobody.admin, &root(), TestOrder::default()).await.unwrap();
    assert!(!tested.ok && tested.receivers.is_empty() && tested.why.unwrap().contains("no receiver"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_tells_nobody_outside() {
    let site = Site::open().await;
    let (root, now) = (site.house.path().to_owned(), site.clock.now());
    let folder = site.house.close().await;
    let data = crate::config::DataDir::new(folder.path());
    let places = adapt::Places { root: &root, data: &data, outside: &root.join("outside") };
    assert!(data.config().join("alerts.toml").exists());
    let network = crate::admin::drills::order::Network::Own;
    adapt::adapt(&places, network, false, (now, &crate::crypto::random::SystemEntropy)).await.unwrap();
    let head = crate::config::repo::Repository::open(&data.config()).unwrap().head().unwrap();
    assert!(!head.files.contains_key("alerts.toml"), "{:?}", head.files.keys());
}
