//! A process that dies at any moment of a rotation: before and after each side effect, and after each state was written. What comes up again goes on to the
//! same end, with nothing done twice and nothing lost.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::machine::{Hold, State};
use super::observer::{Observer, Point, Unobserved};
use super::*;
use crate::admin::clients::{self, AddClient};
use crate::admin::servers::{self, ServerKeep};
use crate::admin::tests_house::{House, root};
use crate::admin::tree;
use crate::base::secret::Secret;

/// Dies at the n-th moment.
pub(super) struct Dies {
    at: usize,
    seen: AtomicUsize,
    last: std::sync::Mutex<Option<Point>>,
}

impl Dies {
    pub(super) fn at(at: usize) -> Self {
        Self { at, seen: AtomicUsize::new(0), last: std::sync::Mutex::default() }
    }

    /// How many moments it saw.
    pub(super) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// The last of them.
    pub(super) fn last(&self) -> Option<Point> {
        *self.last.lock().unwrap()
    }
}

impl Observer for Dies {
    fn goes_on(&self, point: Point) -> bool {
        *self.last.lock().unwrap() = Some(point);
        self.seen.fetch_add(1, Ordering::SeqCst) != self.at
    }
}

pub(super) async fn house() -> House {
    let house = House::open().await;
    let admin = &house.admin;
    house.listen("proxy").await;
    let order = AddClient { name: "ci".into(), roles: vec!["demo".into()], ..Default::default() };
    clients::add(admin, &root(), order).await.unwrap();
    let server = "[upstream.http]\nurl = \"https://tools.example.com/mcp\"\nsecret_headers = [\"authorization\"]\n[tools.read_graph]\nclass = \"read\"\n[tools.add]\nclass = \"write\"\n";
    tree::edit(admin, &root(), "servers: a secret", |_, _| Ok(vec![tree::write("servers/demo.toml", server)])).await.unwrap();
    let keep = ServerKeep { headers: Some("Authorization: Bearer first".into()), ..Default::default() };
    servers::secrets(admin, &root(), "demo", &keep).await.unwrap();
    house
}

/// Begins a rotation of one credential, as far as nothing of it was done.
async fn begun(admin: &Admin, name: &str, round: usize) -> Rotation {
    let order = RotateOrder { overlap: Some("now".into()), ..Default::default() };
    let row = begin(admin, &root(), name, &order).await.unwrap();
    if name.starts_with("upstream/") {
        let value = Kept { secret: Some(format!("Bearer value-{round}")), old: None };
        let mut held = work::hold(admin, &row.id).await.unwrap();
        held.row.sealed = value.seal(admin, &row.id).unwrap();
        held.end(Ok(("supply", Value::Null))).await.unwrap();
    }
    row
}

/// What must be so in the end, whenever the process died.
pub(super) async fn check(admin: &Admin, name: &str, row: &Rotation, at: Option<Point>) {
    assert_eq!((row.state, row.hold), (State::Done, None), "{name}, died at {at:?}: {row:?}");
    let steps = store::steps(&admin.db, &row.id).await.unwrap();
    let done: Vec<&str> = steps.iter().filter(|step| step.outcome == "done").map(|step| step.step.as_str()).collect();
    let mut unique = done.clone();
    unique.dedup();
    assert_eq!(
        unique,
        ["mint", "install", "verify", "promote", "drain", "retire", "prove", "finish"],
        "{name}, died at {at:?}: {done:?}"
    );
    let one = find(admin, name).await.unwrap();
    let live: Vec<&Version> = one.versions.iter().filter(|v| matches!(v.state.as_str(), "current" | "previous")).collect();
    assert_eq!(live.len(), 1, "{name}, died at {at:?}: {:?}", one.versions);
    assert_eq!(Some(&live[0].id), row.new.as_ref(), "{name}, died at {at:?}");
    assert!(admin.feed.places().kids().is_empty(), "nothing is watched any more");
    assert!(!admin.data.tls().join("server.next.key").exists());
}

/// A kind of credential whose rotation is killed: how it begins, who else has a part in it, and what must be so in the end.
pub(super) trait Case {
    /// What it is called now.
    async fn name(&self, admin: &Admin) -> String;

    /// Begins one, as far as nothing of it was done.
    async fn begin(&self, admin: &Admin, name: &str, round: usize) -> Rotation {
        begun(admin, name, round).await
    }

    /// Goes on as far as it comes.
    async fn go(&self, admin: &Admin, id: &str, observer: &dyn Observer) -> Verb<Rotation> {
        work::drive(admin, id, observer).await
    }

    /// What must be so in the end.
    async fn check(&self, house: &House, name: &str, row: &Rotation, at: Option<Point>) {
        check(&house.admin, name, row, at).await;
    }
}

/// Those that need nobody else.
pub(super) struct Alone(pub &'static str);

impl Case for Alone {
    async fn name(&self, _: &Admin) -> String {
        self.0.to_owned()
    }
}

pub(super) async fn dies_everywhere(mut house: House, case: &impl Case) {
    for moment in 0..60 {
        let name = case.name(&house.admin).await;
        let row = case.begin(&house.admin, &name, moment).await;
        let dies = Dies::at(moment);
        let went = case.go(&house.admin, &row.id, &dies).await;
        if dies.seen() <= moment {
            assert!(moment >= 14, "{name}: a rotation has more moments than {moment}");
            case.check(&house, &name, &went.unwrap(), None).await;
            return;
        }
        assert!(went.is_err(), "it died");
        // The next process, on what this one left.
        house = House::open_at(house.close().await).await;
        house.listen("proxy").await;
        resume(&house.admin).await.unwrap();
        let row = case.go(&house.admin, &row.id, &Unobserved).await.unwrap();
        case.check(&house, &name, &row, dies.last()).await;
    }
    panic!("no end in 60 moments");
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_client_key_survives_a_death_at_every_moment() {
    dies_everywhere(house().await, &Alone(NAMES[0])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_certificate_survives_a_death_at_every_moment() {
    dies_everywhere(house().await, &Alone(NAMES[1])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_secret_towards_a_server_survives_a_death_at_every_moment() {
    dies_everywhere(house().await, &Alone(NAMES[2])).await;
}

const NAMES: [&str; 3] = ["client-key/ci", "tls/server", "upstream/demo:authorization"];

#[tokio::test(flavor = "multi_thread")]
async fn a_death_between_two_processes_leaves_a_lease_that_ends_by_itself() {
    let house = house().await;
    let admin = &house.admin;
    let row = begun(admin, NAMES[0], 0).await;
    assert!(work::drive(admin, &row.id, &Dies::at(4)).await.is_err());
    // Nobody else may touch it while the lease of the dead one lasts.
    let rested = work::drive(admin, &row.id, &Unobserved).await.unwrap();
    assert_eq!(rested.state, State::Minted);
    resume(admin).await.unwrap();
    assert_eq!(work::drive(admin, &row.id, &Unobserved).await.unwrap().state, State::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_a_certificate_for_other_names_is_not_promoted() {
    let house = house().await;
    let admin = &house.admin;
    let row = begun(admin, NAMES[1], 0).await;
    // Minted for the names of then; the configuration goes on.
    assert!(work::drive(admin, &row.id, &Dies::at(4)).await.is_err());
    let settings = "[listen]\nhosts = [\"localhost\"]\n";
    tree::edit(admin, &root(), "settings: fewer hosts", |_, _| Ok(vec![tree::write("lifeboat.toml", settings)])).await.unwrap();
    resume(admin).await.unwrap();
    let row = work::drive(admin, &row.id, &Unobserved).await.unwrap();
    assert_eq!((row.state, row.hold), (State::Installed, Some(Hold::Waiting)), "{row:?}");
    let back = OrderBody { order: "rollback".into(), by: None };
    assert_eq!(order(admin, &root(), NAMES[1], &back).await.unwrap().rotation.state, State::RolledBack);
    assert!(!admin.data.tls().join("server.next.key").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_brings_is_tried_before_it_is_used_and_can_be_taken_back() {
    let house = house().await;
    let (admin, name) = (&house.admin, NAMES[2]);
    let rotated = rotate(admin, &root(), name, RotateOrder::default()).await.unwrap();
    assert_eq!((rotated.rotation.state, rotated.rotation.hold), (State::Planned, Some(Hold::Waiting)));
    assert!(rotated.next.contains("credential supply"), "{}", rotated.next);
    let bring = async |value: &str| supply(admin, &root(), name, SupplyOrder { value: Some(Secret::new(value.into())) }).await;
    assert_eq!(bring("two\nlines").await.unwrap_err().place.as_deref(), Some("value"));
    let sent = || {
        let entry = admin.feed.snapshot().servers["demo"].clone();
        servers::one::value(&entry, "authorization").unwrap()
    };
    let promoted = bring("Bearer second").await.unwrap();
    assert_eq!(promoted.rotation.state, State::Draining, "{promoted:?}");
    assert_eq!(sent(), "Bearer second");
    let back = OrderBody { order: "rollback".into(), by: None };
    assert_eq!(order(admin, &root(), name, &back).await.unwrap().rotation.state, State::RolledBack);
    assert_eq!(sent(), "Bearer first");
    assert_eq!(bring("x").await.unwrap_err().kind, FaultKind::NotFound);
}
