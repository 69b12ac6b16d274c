//! What the schedule rotates by itself, on a whole admin plane by a clock that is turned forward: what is due and left to it, nothing that is stopped, and a plan
//! on paper that changes when a credential does.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::machine::State;
use super::*;
use crate::admin::clients::{self, AddClient};
use crate::admin::kill::{self, Order, Release};
use crate::admin::tests_house::{House, operator, root};
use crate::admin::{OperatorRole, Via, alerts, schedule, tree};
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::policy::{Mode, Scope};

const DAY_MS: i64 = 86_400_000;
const SAID: &str = "[[credential]]\nname = \"client-key/ci\"\nrotate = \"when-due\"\nholder = \"the build team\"\n";

/// The system's time, turned forward.
#[derive(Default)]
struct Ahead(AtomicI64);

impl Ahead {
    fn days(&self, days: i64) {
        self.0.fetch_add(days * DAY_MS, Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_ms(self.0.load(Ordering::SeqCst))
    }
}

/// A house with two clients, of which one is left to the schedule.
async fn house() -> (House, Arc<Ahead>) {
    let clock = Arc::new(Ahead::default());
    let house = House::open_with(tempfile::tempdir().unwrap(), clock.clone()).await;
    house.listen("proxy").await;
    for name in ["ci", "web"] {
        let order = AddClient { name: name.into(), roles: vec!["demo".into()], ..Default::default() };
        clients::add(&house.admin, &root(), order).await.unwrap();
    }
    tree::edit(&house.admin, &root(), "say", |_, _| Ok(vec![tree::write("credentials.toml", SAID)])).await.unwrap();
    (house, clock)
}

async fn run(admin: &Admin) -> DueRotated {
    rotate_due(admin, &Actor::system("schedule")).await.unwrap()
}

async fn one(admin: &Admin, name: &str) -> Credential {
    find(admin, name).await.unwrap()
}

async fn commits(admin: &Admin) -> usize {
    admin.repository.history(100, None).unwrap().iter().filter(|commit| commit.message.contains("rotation plan")).count()
}

async fn open_alerts(admin: &Admin) -> Vec<(String, String)> {
    alerts::look(admin).await.unwrap();
    let all = alerts::list(admin, &root(), 100).await.unwrap().alerts;
    let open = all.into_iter().filter(|alert| alert.state == "open" && alert.rule.starts_with("credential."));
    open.map(|alert| (alert.rule, alert.text)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_and_left_to_the_schedule_begins_and_its_holder_is_named() {
    let (house, clock) = house().await;
    let admin = &house.admin;
    assert_eq!(
        run(admin).await,
        DueRotated { ok: true, plan: true, ..DueRotated::default() },
        "nothing is due, and the plan is written"
    );
    clock.days(91);
    let (ci, web) = (one(admin, "client-key/ci").await, one(admin, "client-key/web").await);
    assert_eq!((ci.by_itself, web.by_itself, web.rotates_at), (true, false, None));
    let at = ci.rotates_at.unwrap();
    assert!(at >= ci.due_at.unwrap() && at.since_ms(ci.due_at.unwrap()) < 4 * DAY_MS, "{ci:?}");
    assert!(matches!(ci.state.as_str(), "due") && ci.note.contains("the schedule rotates it"), "{ci:?}");
    let done = run(admin).await;
    assert!(
        done.ok && done.begun.len() == 1 && done.begun[0].starts_with("client-key/ci: hand the new one over, for the build team"),
        "{done:?}"
    );
    let row = store::of(&admin.db, "client-key/ci", 1).await.unwrap().remove(0);
    assert_eq!((row.state, row.reason.as_str(), row.started_by.as_str()), (State::Draining, "schedule", "schedule"));
    assert!(store::of(&admin.db, "client-key/web", 1).await.unwrap().is_empty(), "by hand alone");
    let told = open_alerts(admin).await;
    let fetch = told.iter().find(|(rule, _)| rule == "credential.fetch").unwrap();
    assert!(fetch.1.contains("for the build team") && fetch.1.contains("credential fetch client-key/ci"), "{told:?}");
    assert!(told.iter().any(|(rule, text)| rule == "credential.due" && text.starts_with("client-key/web")), "{told:?}");
    // Once it is under way nothing begins again, and once it was fetched nobody is waited for.
    assert_eq!(run(admin).await.begun, Vec::<String>::new());
    fetch_it(admin).await;
    assert!(open_alerts(admin).await.iter().all(|(rule, _)| rule != "credential.fetch"));
    let viewer = Actor { via: Via::Socket, ..operator(OperatorRole::Viewer) };
    assert_eq!(rotate_due(admin, &viewer).await.unwrap_err().kind, FaultKind::Denied);
}

async fn fetch_it(admin: &Admin) {
    assert!(fetch(admin, &root(), "client-key/ci").await.unwrap().secret.starts_with("lbk_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_holds_off_while_an_operator_stopped_it_and_says_so() {
    let (house, clock) = house().await;
    let admin = &house.admin;
    clock.days(91);
    for scope in [Scope::Everything, Scope::Client { client: "ci".into() }] {
        let order = Order { scope: scope.clone(), mode: Mode::Full, reason: "look".into() };
        kill::engage(admin, &root(), order).await.unwrap();
        let done = run(admin).await;
        assert!(!done.ok && done.begun.is_empty() && done.held[0].contains(&format!("{} is stopped", scope.text())), "{done:?}");
        assert!(done.sentence().contains("1 held off"), "{}", done.sentence());
        kill::release(admin, &root(), Release { scope, to: None, reason: "over".into() }).await.unwrap();
    }
    // By hand it may be rotated meanwhile, and what stops somebody else stops nothing here.
    let order = Order { scope: Scope::Client { client: "web".into() }, mode: Mode::Full, reason: "look".into() };
    kill::engage(admin, &root(), order).await.unwrap();
    let done = run(admin).await;
    assert_eq!((done.ok, done.begun.len()), (true, 1), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_on_paper_changes_with_a_credential_and_never_with_the_day() {
    let (house, clock) = house().await;
    let admin = &house.admin;
    assert!(run(admin).await.plan);
    let first = commits(admin).await;
    for days in [1, 6, 30] {
        clock.days(days);
        let done = run(admin).await;
        assert_eq!((done.plan, commits(admin).await), (false, first), "after {days} more days");
    }
    let text = plan::read(admin, &root()).await.unwrap().markdown;
    let line = text.lines().find(|line| line.contains("`client-key/ci`")).unwrap();
    let at = one(admin, "client-key/ci").await.rotates_at.unwrap().to_string();
    assert!(line.ends_with(&format!("| {} |", &at[..10])), "{line}");
    assert!(text.lines().any(|line| line.contains("`client-key/web`") && line.ends_with("| no |")), "{text}");
    // Overdue for weeks, it says the same.
    clock.days(80);
    tree::edit(admin, &root(), "pause", |_, _| {
        Ok(vec![tree::write("schedules.toml", "[rotate]\ncron = \"17 9 * * MON-FRI\"\npaused = true\n")])
    })
    .await
    .unwrap();
    assert_eq!(one(admin, "client-key/ci").await.rotates_at, None);
    let list = schedule::list(admin, &root()).await.unwrap().schedules;
    let rotate = list.iter().find(|view| view.job == "rotate").unwrap();
    assert!(rotate.paused && rotate.next.is_empty(), "{rotate:?}");
    assert!(run(admin).await.plan, "and the paper says so");
}
