//! Cases of delivery: real TLS, a real database, a clock that is moved by hand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::outbox::{Notice, round};
use super::receivers::{AddReceiver, Delivery, Receiver as View, TestOrder, add, list as receivers, remove};
use super::tests::finding;
use super::tests_receiver::{Manner, Receiver, bomb};
use super::*;
use crate::admin::OperatorRole;
use crate::admin::tests_house::{House, operator, root};
use crate::audit::Filter;
use crate::base::clock::{Clock, ManualClock, SystemClock};
use crate::base::fault::FaultKind;

pub(super) const HOUR_MS: i64 = 3_600_000;

/// A house with a clock that stands still, a receiver, and its secret.
pub(super) struct Site {
    pub house: House,
    pub clock: Arc<ManualClock>,
    pub receiver: Receiver,
    pub secret: String,
}

pub(super) fn order(name: &str, receiver: &Receiver) -> AddReceiver {
    AddReceiver { name: name.into(), url: receiver.url(), plain_loopback: true, ca: Some(receiver.ca()), ..AddReceiver::default() }
}

impl Site {
    pub(super) async fn open() -> Self {
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let house = House::open_with(tempfile::tempdir().unwrap(), clock.clone()).await;
        let receiver = Receiver::start().await;
        let made = add(&house.admin, &root(), order("pager", &receiver)).await.unwrap();
        Self { house, clock, receiver, secret: made.secret }
    }

    pub(super) async fn alert(&self, id: &str) {
        let now = self.clock.now();
        let of = Finding { object: id.to_owned(), ..finding("late") };
        assert!(super::open(&self.house.admin, id.to_owned(), &of, now).await.unwrap());
    }

    pub(super) async fn view(&self) -> View {
        receivers(&self.house.admin, &root()).await.unwrap().receivers.remove(0)
    }

    pub(super) async fn newest(&self) -> Delivery {
        self.view().await.deliveries.remove(0)
    }

    pub(super) async fn actions(&self, action: &str) -> Vec<Event> {
        let filter = Filter { limit: Some(500), ..Filter::default() };
        let events = self.house.admin.ledger.query(&filter).await.unwrap().events;
        events.into_iter().filter(|event| event.action.as_deref() == Some(action)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_an_alert_is_told_once_and_signed() {
    let site = Site::open().await;
    let admin = &site.house.admin;
    site.alert("al_1").await;
    round(admin).await.unwrap();
    ack(admin, &operator(OperatorRole::Operator), "al_1").await.unwrap();
    round(admin).await.unwrap();
    look(admin).await.unwrap();
    while round(admin).await.unwrap().is_some() {}
    let hits = site.receiver.hits();
    let told: Vec<String> = hits.iter().map(|hit| hit.json()["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["alert.open", "alert.ack", "alert.resolve"]);
    for hit in &hits {
        assert!(hit.is_signed_by(&site.secret), "{hit:?}");
        assert_eq!((hit.method.as_str(), hit.header("content-type")), ("POST", "application/json"));
        assert!(hit.header("user-agent").starts_with("lifeboat/") && hit.header("accept-encoding").is_empty(), "{hit:?}");
    }
    assert_eq!(hits[0].json()["data"]["rule"], "backup.late");
    assert_eq!(hits[1].json()["data"]["acked_by"], "ana");
    assert_eq!((&hits[2].json()["data"]["state"], &hits[2].json()["data"]["id"]), (&"resolved".into(), &"al_1".into()));
    let view = site.view().await;
    assert_eq!((view.state.as_str(), view.waiting, view.deliveries.len()), ("ready", 0, 3));
    round(admin).await.unwrap();
    assert_eq!(site.receiver.hits().len(), 3, "nothing is told twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_choose_who_is_told() {
    let site = Site::open().await;
    let (admin, other) = (&site.house.admin, Receiver::start().await);
    let drills = AddReceiver { rules: vec!["drill.*".into(), "proof.late".into()], ..order("drills", &other) };
    add(admin, &root(), drills).await.unwrap();
    site.alert("al_1").await;
    round(admin).await.unwrap();
    assert_eq!((site.receiver.hits().len(), other.hits().len()), (1, 0));
    let failed = Finding { rule: "drill.failed", ..finding("x") };
    super::open(admin, "al_2".into(), &failed, site.clock.now()).await.unwrap();
    round(admin).await.unwrap();
    assert_eq!((site.receiver.hits().len(), other.hits().len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_w04_what_fails_is_tried_again_with_growing_gaps_and_given_up() {
    let site = Site::open().await;
    let admin = &site.house.admin;
    site.receiver.always(Manner::status(500));
    site.alert("al_1").await;
    let (mut last, mut attempts) = (0, 0);
    loop {
        round(admin).await.unwrap();
        attempts += 1;
        let one = site.newest().await;
        assert_eq!((one.attempts, one.status), (attempts, Some(500)), "{one:?}");
        let Some(next) = one.next_at else { break };
        let gap = next.since_ms(site.clock.now());
        assert!(gap > last, "{gap} after {last}");
        last = gap;
        site.clock.advance_ms(gap - 1);
        round(admin).await.unwrap();
        assert_eq!(site.receiver.hits().len(), usize::try_from(attempts).unwrap(), "not a moment too soon");
        site.clock.advance_ms(1);
    }
    assert_eq!(attempts, 10);
    let hits = site.receiver.hits();
    let ids: std::collections::BTreeSet<&str> = hits.iter().map(|hit| hit.header("webhook-id")).collect();
    let times: std::collections::BTreeSet<&str> = hits.iter().map(|hit| hit.header("webhook-timestamp")).collect();
    assert_eq!((ids.len(), times.len()), (1, 10), "one id, each attempt at its own time");
    assert!(hits.iter().all(|hit| hit.is_signed_by(&site.secret) && hit.body == hits[0].body));
    let view = site.view().await;
    assert_eq!((view.state.as_str(), view.deliveries[0].state.as_str()), ("failing", "given_up"));
    let told = site.actions("alert.give_up").await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].params.as_ref().unwrap()["attempts"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_w04_a_receiver_that_hangs_holds_up_neither_the_alerts_nor_the_kill() {
    let site = Site::open().await;
    let admin = &site.house.admin;
    site.receiver.always(Manner::Hang);
    for id in ["al_1", "al_2", "al_3"] {
        site.alert(id).await;
    }
    let began = Instant::now();
    let meanwhile = async {
        site.receiver.wait_for(1).await;
        let began = Instant::now();
        look(admin).await.unwrap();
        let order = crate::admin::kill::OrderBody { reason: "test".into(), ..Default::default() }.into_order().unwrap();
        crate::admin::kill::engage(admin, &root(), order).await.unwrap();
        assert!(admin.feed.kill().engaged());
        began.elapsed()
    };
    let (done, took) = tokio::join!(round(admin), meanwhile);
    done.unwrap();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    assert_eq!(site.receiver.hits().len(), 1, "one that hangs is left alone for a while");
    let one = site.view().await.deliveries.into_iter().find(|one| one.attempts > 0).unwrap();
    assert_eq!((one.why.as_deref(), one.status), (Some("no answer in 5 s"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_w04_long_packed_and_stalling_answers_are_cut() {
    let site = Site::open().await;
    let admin = &site.house.admin;
    const LONG: usize = 64 * 1024 * 1024;
    assert!(bomb().len() > 60_000 && bomb().len() < 70_000);
    let manners = [
        (Manner::Flood(LONG), 5),
        (Manner::Answer(200, "content-encoding: gzip\r\n", bomb()), 5),
        (Manner::Answer(200, "content-encoding: br\r\n", vec![0xff; 1_000]), 5),
        (Manner::Stall, 7),
    ];
    for (at, (manner, seconds)) in manners.into_iter().enumerate() {
        site.receiver.always(manner);
        site.alert(&format!("al_{at}")).await;
        let began = Instant::now();
        round(admin).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(seconds), "{at}: {:?}", began.elapsed());
        let one = site.newest().await;
        assert_eq!((one.state.as_str(), one.status), ("delivered", Some(200)), "{at}: what it answered first counts");
    }
    // What the two kernels hold between them is not read by anybody.
    let written = site.receiver.written.load(Ordering::SeqCst);
    assert!(written < (LONG / 4) as u64, "{written} bytes were taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_w04_a_redirect_is_not_followed() {
    let (site, inside) = (Site::open().await, Receiver::start().await);
    for (at, status) in [301, 302, 303, 307, 308].into_iter().enumerate() {
        let headers: &'static str = format!("location: {}\r\n", inside.url()).leak();
        site.receiver.always(Manner::Answer(status, headers, Vec::new()));
        site.alert(&format!("al_{at}")).await;
        let tested = test(&site.house.admin, &root(), TestOrder::default()).await.unwrap();
        let why = tested.receivers[0].why.clone().unwrap();
        assert!(!tested.ok && why == format!("it answered {status}; redirects are not followed"), "{why}");
    }
    assert_eq!(inside.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_w04_the_outbox_is_bounded_and_says_what_it_dropped_once() {
    let site = Site::open().await;
    let (admin, now) = (&site.house.admin, site.clock.now());
    site.receiver.always(Manner::status(500));
    let notice = |at: u32| Notice {
        id: format!("msg_{at:05}"),
        receiver: "pager".into(),
        kind: "alert.open",
        alert: "al_x".into(),
        body: "{}".into(),
    };
    let many: Vec<Notice> = (0..outbox::MOST + 5).map(notice).collect();
    let mut tx = admin.db.begin().await.unwrap();
    let drops = outbox::store::put(&mut tx, &many, (outbox::MOST, now)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((drops.count, drops.told), (5, false));
    outbox::was_put(admin, drops).await;
    look(admin).await.unwrap();
    let open = list(admin, &root(), 10).await.unwrap().alerts;
    assert!(open.iter().any(|alert| alert.rule == "outbox.full" && alert.state == "open"), "{open:?}");
    site.alert("al_1").await;
    site.alert("al_2").await;
    let view = site.view().await;
    assert_eq!(view.waiting, u64::from(outbox::MOST));
    let waiting: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM alert_outbox WHERE alert IN ('al_1', 'al_2') AND state = 'waiting'")
            .fetch_one(admin.db.reader())
            .await
            .unwrap();
    assert_eq!(waiting, 2, "the newest stay, the oldest go");
    assert_eq!(site.actions("alert.drop").await.len(), 1, "said once");
    round(admin).await.unwrap();
    assert_eq!(site.view().await.deliveries.len(), usize::try_from(outbox::KEPT).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_paused_until_a_test_arrives() {
    let site = Site::open().await;
    let admin = &site.house.admin;
    site.receiver.always(Manner::status(410));
    site.alert("al_1").await;
    site.alert("al_2").await;
    round(admin).await.unwrap();
    assert_eq!((site.receiver.hits().len(), site.view().await.state.as_str()), (1, "paused"));
    assert_eq!((site.view().await.waiting, site.actions("alert.pause").await.len()), (0, 1));
    look(admin).await.unwrap();
    let open = list(admin, &root(), 10).await.unwrap().alerts;
    assert!(open.iter().any(|alert| alert.rule == "receiver.paused"), "{open:?}");
    site.clock.advance_ms(HOUR_MS);
    round(admin).await.unwrap();
    assert_eq!(site.receiver.hits().len(), 1, "it is told of nothing");
    site.receiver.always(Manner::status(200));
    assert!(test(admin, &root(), TestOrder { receiver: Some("pager".into()) }).await.unwrap().ok);
    assert_eq!(site.view().await.state, "ready");
    site.alert("al_3").await;
    round(admin).await.unwrap();
    assert!(site.receiver.hits().iter().any(|hit| hit.json()["data"]["id"] == "al_3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_heeded_for_a_week() {
    let site = Site::open().await;
    site.receiver.always(Manner::Answer(503, "retry-after: 1200\r\n", Vec::new()));
    site.alert("al_1").await;
    round(&site.house.admin).await.unwrap();
    let next = site.newest().await.next_at.unwrap();
    assert_eq!(next.since_ms(site.clock.now()), 1_200_000);
    // A week later it is news to nobody.
    site.clock.advance_ms(7 * 24 * HOUR_MS + 1);
    round(&site.house.admin).await.unwrap();
    let one = site.newest().await;
    assert_eq!((one.state.as_str(), one.attempts, site.receiver.hits().len()), ("given_up", 1, 1));
    assert_eq!(site.actions("alert.give_up").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn flt_a_locked_database_loses_no_alert_and_sends_nothing_twice() {
    use sqlx::{Connection, Executor};
    let site = Site::open().await;
    let admin = &site.house.admin;
    site.alert("al_1").await;
    let path = admin.data.state_db().display().to_string();
    let mut other = sqlx::SqliteConnection::connect(&path).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let fault = round(admin).await.unwrap_err();
    assert_eq!((fault.kind, site.receiver.hits().len()), (FaultKind::Unavailable, 1), "{fault}");
    let began = Instant::now();
    let of = Finding { object: "al_2".into(), ..finding("late") };
    assert!(super::open(admin, "al_2".into(), &of, site.clock.now()).await.is_err(), "it is found again at the next look");
    round(admin).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(12), "nobody waits for ever");
    assert_eq!(site.receiver.hits().len(), 1, "what was delivered is not sent again for that");
    other.execute("ROLLBACK").await.unwrap();
    round(admin).await.unwrap();
    assert_eq!((site.newest().await.state.as_str(), site.receiver.hits().len()), ("delivered", 1));
    site.alert("al_2").await;
    round(admin).await.unwrap();
    assert_eq!(site.receiver.hits().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_survives_a_restart_and_what_is_removed_does_not() {
    let site = Site::open().await;
    site.receiver.always(Manner::status(500));
    site.alert("al_1").await;
    round(&site.house.admin).await.unwrap();
    let first = site.receiver.hits()[0].header("webhook-id").to_owned();
    let Site { house, clock, receiver, secret: kept } = site;
    clock.advance_ms(HOUR_MS);
    let house = House::open_with(house.close().await, clock.clone()).await;
    receiver.always(Manner::status(204));
    round(&house.admin).await.unwrap();
    let hits = receiver.hits();
    assert_eq!((hits.len(), hits[1].header("webhook-id")), (2, first.as_str()));
    assert!(hits[1].is_signed_by(&kept));
    receiver.always(Manner::status(500));
    super::open(&house.admin, "al_2".into(), &Finding { object: "b".into(), ..finding("x") }, clock.now()).await.unwrap();
    remove(&house.admin, &root(), "pager").await.unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT (SELECT COUNT(*) FROM alert_outbox) + (SELECT COUNT(*) FROM alert_receivers)")
        .fetch_one(house.admin.db.reader())
        .await
        .unwrap();
    assert_eq!(rows, 0);
    // A new one of this name is not asked to know the old secret.
    let again = add(&house.admin, &root(), order("pager", &receiver)).await.unwrap();
    assert_ne!(again.secret, kept);
    test(&house.admin, &root(), TestOrder::default()).await.unwrap();
    let hit = receiver.hits().pop().unwrap();
    assert!(hit.is_signed_by(&again.secret) && !hit.is_signed_by(&kept));
}
