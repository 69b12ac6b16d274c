//! Database roles against a real PostgreSQL: replaced under queries without one that fails, refused afterwards by the server itself, in no log, and brought to
//! the same end from every moment a process can die at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::super::machine::{Hold, State};
use super::super::tests_crash::{Dies, check};
use super::super::*;
use super::keep_admin;
use super::tests_orders::{keep, now_order};
use super::tests_postgres_rig::{ADMIN, Cluster, FIRST, holds};
use crate::admin::OperatorRole;
use crate::admin::servers::one;
use crate::admin::tests_house::{House, operator, root};
use crate::admin::tree;
use crate::config::postgres::PostgresConfig;
use crate::db::postgres::{self, Failure, Login, Target};

const NAME: &str = "postgres/notes";

/// A house with everything that a rotation needs.
async fn prepared(cluster: &Cluster) -> House {
    let house = cluster.house().await;
    for name in [NAME, "postgres/single"] {
        keep(&house.admin, name, ADMIN).await.unwrap();
    }
    house
}

/// What the server's child is started with now.
fn sent(admin: &Admin, config: &PostgresConfig) -> Option<Login> {
    let entry = admin.feed.snapshot().servers["demo"].clone();
    let (role, password) = config.read(|variable| one::value(&entry, variable))?;
    Some(Login { role, password: Secret::new(password) })
}

async fn login(target: &Target, login: &Login) -> Result<(), Failure> {
    postgres::look(target, login, Some("SELECT body FROM note")).await.map(|_| ())
}

/// Clients of the database that start anew when their variables change, as the child of a server does.
struct Load {
    stop: Arc<AtomicBool>,
    fine: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(admin: &Arc<Admin>, config: &PostgresConfig) -> Self {
        let (stop, fine) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let one = |_| {
            let (admin, config, stop, fine) = (admin.clone(), config.clone(), stop.clone(), fine.clone());
            tokio::spawn(async move {
                let (target, mut failed) = (systems::target(&config).unwrap(), Vec::new());
                while !stop.load(Ordering::SeqCst) {
                    let who = sent(&admin, &config).expect("the variables name a role");
                    match login(&target, &who).await {
                        Ok(()) => {
                            fine.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(failure) => failed.push(format!("{}: {failure:?}", who.role)),
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                failed
            })
        };
        Self { tasks: (0..6).map(one).collect(), stop, fine }
    }

    /// Waits for so many queries more.
    async fn more(&self, queries: usize) {
        let until = self.fine.load(Ordering::SeqCst) + queries;
        for _ in 0..1_200 {
            if self.fine.load(Ordering::SeqCst) >= until {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(self.fine.load(Ordering::SeqCst) >= until, "the queries stand still");
    }

    async fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        let mut failed = Vec::new();
        for task in self.tasks {
            failed.extend(task.await.unwrap());
        }
        (self.fine.load(Ordering::SeqCst), failed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_replaced_under_queries_and_no_query_fails() {
    let cluster = Cluster::start();
    let house = prepared(&cluster).await;
    let (admin, config) = (&house.admin, cluster.read("notes"));
    let target = systems::target(&config).unwrap();
    let load = Load::start(admin, &config);
    load.more(30).await;
    let mut old = sent(admin, &config).unwrap();
    let mut secrets = Vec::new();
    for (role, before) in [("notes_b", "notes_a"), ("notes_a", "notes_b")] {
        let mut session = cluster.session(&old.role, old.password.reveal());
        let rotated = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap().rotation;
        assert_eq!((rotated.state, rotated.hold), (State::Draining, None), "{rotated:?}");
        let new = sent(admin, &config).unwrap();
        assert_eq!((new.role.as_str(), old.role.as_str()), (role, before));
        load.more(60).await;
        login(&target, &old).await.expect("the old one counts until the overlap ends");
        let forced = order(admin, &root(), NAME, &OrderBody { order: "retire".into(), by: None }).await.unwrap().rotation;
        assert_eq!(forced.state, State::Done, "{forced:?}");
        assert!(matches!(login(&target, &old).await, Err(Failure::Refused(_))), "the old one is refused");
        assert!(!session.wait().unwrap().success(), "a session that was open is ended");
        load.more(30).await;
        let steps = show(admin, &root(), NAME).await.unwrap().steps;
        let proof = &steps.iter().find(|step| step.step == "prove").unwrap().evidence;
        assert_eq!(
            (&proof["accepted"]["session_user"], &proof["accepted"]["current_user"]),
            (&json!(role), &json!("notes")),
            "{proof}"
        );
        assert!(proof["rejected"]["answer"].as_str().is_some_and(|answer| answer.contains("failed")), "{proof}");
        secrets.extend([new.password.reveal().clone(), old.password.reveal().clone()]);
        old = new;
    }
    let (fine, failed) = load.end().await;
    assert!(failed.is_empty(), "{} of {fine} failed: {failed:?}", failed.len());
    assert_eq!(cluster.psql("postgres", "SELECT rolname FROM pg_roles WHERE rolname LIKE 'notes\\_%' AND rolcanlogin"), "notes_a");
    let until = "SELECT rolvaliduntil BETWEEN now() + interval '89 days' AND now() + interval '91 days' FROM pg_roles WHERE rolname = 'notes_a'";
    assert_eq!(cluster.psql("postgres", until), "t");
    let log = cluster.log();
    assert!(log.contains("ALTER ROLE") && log.contains("SCRAM-SHA-256$4096:"), "the log has every statement");
    for secret in secrets.iter().filter(|secret| *secret != FIRST) {
        assert!(!log.contains(secret.as_str()), "no clear text in the server's log");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    admin.db.close().await;
    for secret in secrets.iter().map(String::as_str).chain([ADMIN]) {
        assert!(!holds(house.path(), secret), "no clear text in the data directory");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_role_survives_a_death_at_every_moment() {
    let cluster = Cluster::start();
    let mut house = prepared(&cluster).await;
    let config = cluster.read("notes");
    let target = systems::target(&config).unwrap();
    for moment in 0..60 {
        let old = sent(&house.admin, &config).unwrap();
        let row = begin(&house.admin, &root(), NAME, &now_order()).await.unwrap();
        let dies = Dies::at(moment);
        let went = work::drive(&house.admin, &row.id, &dies).await;
        let (point, ended) = (dies.last(), dies.seen() <= moment);
        if !ended {
            assert!(went.is_err(), "it died");
            house = House::open_at(house.close().await).await;
            house.listen("proxy").await;
            resume(&house.admin).await.unwrap();
        }
        let row = work::drive(&house.admin, &row.id, &crate::admin::credentials::observer::Unobserved).await.unwrap();
        check(&house.admin, NAME, &row, point.filter(|_| !ended)).await;
        let new = sent(&house.admin, &config).unwrap();
        assert_ne!(old.role, new.role);
        login(&target, &new).await.unwrap();
        assert!(matches!(login(&target, &old).await, Err(Failure::Refused(_))), "died at {point:?}");
        let open = cluster.psql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'notes\\_%' AND rolcanlogin");
        assert_eq!(open, "1", "died at {point:?}");
        if ended {
            assert!(moment >= 14, "a rotation has more moments than {moment}");
            return;
        }
    }
    unreachable!("no end in 60 moments");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_role_needs_consent_and_its_old_password_and_sessions_end() {
    let cluster = Cluster::start();
    let house = prepared(&cluster).await;
    let (admin, config, name) = (&house.admin, cluster.read("single"), "postgres/single");
    let target = systems::target(&config).unwrap();
    assert_eq!(find(admin, name).await.unwrap().strategy, Strategy::Single);
    let old = sent(admin, &config).unwrap();
    let mut session = cluster.session("single", FIRST);
    let rolled = rotate(admin, &root(), name, RotateOrder::default()).await.unwrap().rotation;
    assert_eq!(rolled.state, State::Draining, "{rolled:?}");
    let given_up = sent(admin, &config).unwrap();
    let back = order(admin, &root(), name, &OrderBody { order: "rollback".into(), by: None }).await.unwrap().rotation;
    assert_eq!(back.state, State::RolledBack);
    login(&target, &old).await.expect("the old password counts again");
    assert!(matches!(login(&target, &given_up).await, Err(Failure::Refused(_))));
    let done = rotate(admin, &root(), name, now_order()).await.unwrap().rotation;
    assert_eq!(done.state, State::Done, "{done:?}");
    assert!(!session.wait().unwrap().success(), "who was in with the old password is out");
    login(&target, &sent(admin, &config).unwrap()).await.unwrap();
    assert!(matches!(login(&target, &old).await, Err(Failure::Refused(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaked_ends_at_once_and_a_rotation_brings_it_back() {
    let cluster = Cluster::start();
    let house = prepared(&cluster).await;
    let (admin, config) = (&house.admin, cluster.read("notes"));
    let target = systems::target(&config).unwrap();
    let old = sent(admin, &config).unwrap();
    let open = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap().rotation;
    let new = sent(admin, &config).unwrap();
    let mut sessions = [cluster.session(&old.role, FIRST), cluster.session(&new.role, new.password.reveal())];
    let leak = RevokeOrder { name: NAME.into(), since: None, reason: "in a log".into() };
    let done = revoke(admin, &root(), leak).await.unwrap();
    assert_eq!((done.roles, done.open), (vec!["notes_a".to_owned(), "notes_b".to_owned()], vec![]));
    for (session, who) in sessions.iter_mut().zip([&old, &new]) {
        assert!(!session.wait().unwrap().success());
        assert!(matches!(login(&target, who).await, Err(Failure::Refused(_))));
    }
    assert!(sent(admin, &config).is_none(), "the server is sent nothing of it");
    assert_eq!(work::read(admin, &open.id).await.unwrap().state, State::RolledBack);
    assert_eq!(find(admin, NAME).await.unwrap().state, "missing");
    let again = rotate(admin, &root(), NAME, now_order()).await.unwrap().rotation;
    assert_eq!(again.state, State::Done, "{again:?}");
    login(&target, &sent(admin, &config).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_nothing_is_sent_to_another_database_than_it_was_given_for() {
    let cluster = Cluster::start();
    let house = cluster.house().await;
    let (admin, config) = (&house.admin, cluster.read("notes"));
    let missing = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap_err();
    assert!(missing.message.contains("credential admin postgres/notes --password-stdin"), "{missing}");
    assert_eq!(keep(admin, NAME, "wrong").await.unwrap_err().place.as_deref(), Some("password"));
    assert_eq!(keep(admin, "client-key/ci", ADMIN).await.unwrap_err().place.as_deref(), Some("name"));
    let order = AdminOrder { password: Some(Secret::new(ADMIN.into())) };
    let denied = keep_admin(admin, &operator(OperatorRole::Operator), NAME, order).await.unwrap_err();
    assert_eq!(denied.kind, FaultKind::Denied);
    keep(admin, NAME, ADMIN).await.unwrap();
    let open = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap().rotation;
    // As a pull would: the same name, another address. It has TLS and a fitting certificate, and asks for nothing it may have.
    let moved = cluster.config().replace("host = \"localhost\"", "host = \"127.0.0.1\"");
    tree::edit(admin, &root(), "moved", |_, _| Ok(vec![tree::write("credentials.toml", moved.clone())])).await.unwrap();
    let before = cluster.log().len();
    let held = self::order(admin, &root(), NAME, &OrderBody { order: "retire".into(), by: None }).await.unwrap().rotation;
    assert_eq!((held.state, held.hold), (State::Draining, Some(Hold::Waiting)), "{held:?}");
    assert!(held.why.is_some_and(|why| why.contains("another database")));
    let refused = rotate(admin, &root(), NAME, RotateOrder { force: true, ..Default::default() }).await.unwrap_err();
    assert!(refused.message.contains("another database"), "{refused}");
    assert!(!cluster.log()[before..].contains("user=lifeboat"), "nobody logged in there");
    tree::edit(admin, &root(), "and back", |_, _| Ok(vec![tree::write("credentials.toml", cluster.config())])).await.unwrap();
    let done = self::order(admin, &root(), NAME, &OrderBody { order: "retire".into(), by: None }).await.unwrap().rotation;
    assert_eq!((done.id, done.state), (open.id, State::Done));
    login(&systems::target(&config).unwrap(), &sent(admin, &config).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_prepared_is_said_with_the_statement_that_mends_it() {
    let cluster = Cluster::start();
    let house = prepared(&cluster).await;
    let admin = &house.admin;
    let cases = [
        ("REVOKE notes FROM notes_b", "GRANT notes TO notes_b"),
        ("ALTER ROLE notes LOGIN", "ALTER ROLE notes NOLOGIN"),
        ("ALTER ROLE notes_b SUPERUSER", "ALTER ROLE notes_b NOSUPERUSER"),
    ];
    for (breaks, mends) in cases {
        cluster.psql("notes", breaks);
        let fault = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap_err();
        assert!(fault.kind == FaultKind::Conflict && fault.message.contains(mends), "{breaks}: {fault}");
        cluster.psql("notes", mends);
    }
    // What only a login shows: the rotation waits before anything uses the new role, and can be given up.
    cluster.psql("notes", "ALTER ROLE notes_b RESET role");
    let row = rotate(admin, &root(), NAME, now_order()).await.unwrap().rotation;
    assert_eq!((row.state, row.hold), (State::Installed, Some(Hold::Waiting)), "{row:?}");
    assert!(row.why.is_some_and(|why| why.contains("ALTER ROLE notes_b SET role = 'notes'")));
    assert_eq!(sent(admin, &cluster.read("notes")).unwrap().role, "notes_a");
    order(admin, &root(), NAME, &OrderBody { order: "rollback".into(), by: None }).await.unwrap();
    assert_eq!(cluster.psql("postgres", "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'notes_b'"), "f");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_servers_own_no_is_a_refusal() {
    let cluster = Cluster::start();
    crate::crypto::tls::install();
    let target = systems::target(&cluster.read("notes")).unwrap();
    let who = |role: &str, password: &str| Login { role: role.into(), password: Secret::new(password.into()) };
    let look = async |target: &Target, who: &Login| postgres::look(target, who, None).await;
    let seen = look(&target, &who("notes_a", FIRST)).await.unwrap();
    assert_eq!((seen.session_user.as_str(), seen.current_user.as_str()), ("notes_a", "notes"));
    assert!(matches!(look(&target, &who("notes_a", "wrong")).await, Err(Failure::Refused(_))));
    assert!(matches!(look(&target, &who("notes_b", "x")).await, Err(Failure::Refused(_))));
    let other = async |target: Target| matches!(look(&target, &who("notes_a", FIRST)).await, Err(Failure::Other(_)));
    assert!(
        other(Target { database: "template1".into(), ..target.clone() }).await,
        "no line of pg_hba.conf says nothing of a password"
    );
    assert!(other(Target { host: "127.0.0.2".into(), ..target.clone() }).await, "nobody is there, or another name");
    assert!(other(Target { port: 1, ..target.clone() }).await);
    assert!(other(Target { ca: None, ..target.clone() }).await, "this server takes no connection without TLS");
    let stranger = tempfile::tempdir().unwrap();
    let (pem, key) = (stranger.path().join("ca.pem"), stranger.path().join("ca.key"));
    let hosts = crate::config::Settings::default().listen.hosts;
    crate::crypto::ca::ensure_ca(&pem, &key, &hosts, crate::base::clock::Clock::now(&crate::base::clock::SystemClock)).unwrap();
    assert!(other(Target { ca: std::fs::read(pem).ok(), ..target.clone() }).await, "another authority");
    let write = postgres::look(&target, &who("notes_a", FIRST), Some("SELECT * FROM note FOR UPDATE")).await;
    assert!(matches!(write, Err(Failure::Other(fault)) if fault.message.contains("read-only")), "a check cannot write");
}
