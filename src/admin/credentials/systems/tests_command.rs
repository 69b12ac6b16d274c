//! Tokens of an issuer that is reached by commands, with a real script that keeps its tokens in a file: nothing starts that was not approved, nothing secret
//! stands in arguments or variables, and a death at any moment leaves no token behind.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::super::machine::{Hold, State};
use super::super::tests_crash::{Dies, check};
use super::super::*;
use super::tests_orders::{give, keep, now_order, sent};
use super::{ApproveOrder, approve};
use crate::admin::servers::{self, ServerKeep};
use crate::admin::tests_house::{House, operator, root};
use crate::admin::{OperatorRole, Via, tree};

const NAME: &str = "command/hub";
const SHOWN: &str = "what-the-issuer-wants";
const SCRIPT: &str = r#"
import fcntl, json, os, sys
path, what = sys.argv[1], sys.argv[2]
asked = json.loads(sys.stdin.readline())
with open(path + ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    with open(path + ".trace", "a") as trace:
        trace.write(json.dumps([sys.argv, dict(os.environ)]) + "\n")
    if asked.get("admin") != "what-the-issuer-wants":
        print("refused: " + str(asked.get("admin")), file=sys.stderr)
        sys.exit(3)
    tokens = json.load(open(path)) if os.path.exists(path) else []
    if what == "create":
        token = {"id": len(tokens) + 1, "label": asked["label"], "token": "tok-%d-%s" % (len(tokens) + 1, asked["label"]), "lives": True}
        tokens.append(token)
        print(json.dumps({"id": token["id"], "token": token["token"]}))
    elif what == "list":
        print(json.dumps([{"id": t["id"], "label": t["label"]} for t in tokens if t["lives"]]))
    else:
        for token in tokens:
            if str(token["id"]) == asked["id"]:
                assert asked.get("token") in (None, token["token"])
                token["lives"] = False
    json.dump(tokens, open(path + ".new", "w"))
    os.rename(path + ".new", path)
"#;

/// The issuer: a script and its file.
struct Issuer {
    dir: tempfile::TempDir,
    /// How long servers take a token that was ended.
    lag: Arc<Mutex<Duration>>,
}

impl Issuer {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("issuer.py"), SCRIPT).unwrap();
        Self { dir, lag: Arc::default() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("tokens.json")
    }

    fn tokens(&self) -> Vec<Value> {
        tokens(&self.file())
    }

    fn living(&self) -> Vec<String> {
        self.tokens().iter().filter(|token| token["lives"] == true).map(value).collect()
    }

    fn trace(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("tokens.json.trace")).unwrap_or_default()
    }

    fn config(&self, more: &str) -> String {
        let line = |what: &str| {
            let (script, file) = (self.dir.path().join("issuer.py"), self.file());
            format!("[\"/usr/bin/env\", \"python3\", \"{}\", \"{}\", \"{what}\"]", script.display(), file.display())
        };
        format!(
            "[[command]]\nname = \"hub\"\nserver = \"demo\"\nsecret = \"Authorization\"\nvalue = \"Bearer {{secret}}\"\nadmin = true\ncreate = {}\nrevoke = {}\nlist = {}\n{more}",
            line("create"),
            line("revoke"),
            line("list")
        )
    }

    /// A house whose server `demo` is sent a token of this issuer.
    async fn house(&self) -> House {
        let house = House::open().await;
        house.listen("proxy").await;
        self.follow(&house);
        let server = "[upstream.http]\nurl = \"https://tools.example.com/mcp\"\nsecret_headers = [\"authorization\"]\n[tools.read_graph]\nclass = \"read\"\n";
        let files = vec![tree::write("servers/demo.toml", server), tree::write("credentials.toml", self.config(""))];
        tree::edit(&house.admin, &root(), "an issuer", |_, _| Ok(files.clone())).await.unwrap();
        let keep = ServerKeep { headers: Some("Authorization: Bearer hand-made".into()), ..Default::default() };
        servers::secrets(&house.admin, &root(), "demo", &keep).await.unwrap();
        house
    }

    /// Has the server refuse what was ended, a while later.
    fn follow(&self, house: &House) {
        let (file, refuses, lag, stop) = (self.file(), house.refuses.clone(), self.lag.clone(), house.stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                for token in tokens(&file).iter().filter(|token| token["lives"] == false) {
                    let (value, lag, refuses) = (value(token), *lag.lock().unwrap(), refuses.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(lag).await;
                        let mut all = refuses.lock().unwrap();
                        if !all.contains(&value) {
                            all.push(value);
                        }
                    });
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }));
    }

    async fn ready(&self, house: &House) {
        approve(&house.admin, &root(), NAME, ApproveOrder::default()).await.unwrap();
        keep(&house.admin, NAME, SHOWN).await.unwrap();
    }
}

fn tokens(file: &Path) -> Vec<Value> {
    std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn value(token: &Value) -> String {
    format!("Bearer {}", token["token"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_that_was_not_approved_here_and_the_rotation_says_what_it_waits_for() {
    let issuer = Issuer::new();
    let house = issuer.house().await;
    let admin = &house.admin;
    let waits = rotate(admin, &root(), NAME, now_order()).await.unwrap();
    assert_eq!((waits.rotation.state, waits.rotation.hold), (State::Planned, Some(Hold::Waiting)));
    assert!(
        waits.next.contains("not approved on this host") && waits.next.ends_with("lifeboat credential approve command/hub"),
        "{}",
        waits.next
    );
    let early = keep(admin, NAME, SHOWN).await.unwrap_err();
    assert!(early.message.contains("credential approve command/hub"), "{early}");
    assert_eq!((issuer.trace(), issuer.tokens()), (String::new(), vec![]), "nothing was started");
    let commands = show(admin, &root(), NAME).await.unwrap().commands.unwrap();
    assert!(!commands.approved && commands.lines[0].starts_with("create: /usr/bin/env python3 "), "{commands:?}");
    let by = |role, via| Actor { via, ..operator(role) };
    for (actor, why) in [(by(OperatorRole::Operator, Via::Socket), "no admin"), (by(OperatorRole::Admin, Via::Api), "no person")] {
        assert_eq!(approve(admin, &actor, NAME, ApproveOrder::default()).await.unwrap_err().kind, FaultKind::Denied, "{why}");
    }
    let other = ApproveOrder { digest: Some("0".repeat(64)) };
    assert_eq!(approve(admin, &root(), NAME, other).await.unwrap_err().kind, FaultKind::Conflict);
    approve(admin, &root(), NAME, ApproveOrder { digest: Some(commands.digest) }).await.unwrap();
    // The rotation goes on by itself, to what is missed next.
    let row = work::drive(admin, &waits.rotation.id, &observer::Unobserved).await.unwrap();
    assert!(row.why.as_deref().is_some_and(|why| why.contains("lifeboat credential admin command/hub")), "{row:?}");
    let wrong = keep(admin, NAME, "something-else").await.unwrap_err();
    assert!(wrong.place.as_deref() == Some("password") && wrong.message.contains("refused: •••"), "{wrong}");
    assert!(!wrong.message.contains("something-else"), "{wrong}");
    keep(admin, NAME, SHOWN).await.unwrap();
    house.refuses.lock().unwrap().push("Bearer hand-made".into());
    let row = work::drive(admin, &waits.rotation.id, &observer::Unobserved).await.unwrap();
    assert_eq!(row.state, State::Done, "{row:?}");
    assert_eq!(issuer.living(), [sent(admin).unwrap()]);
    let kept = inventory::all(admin).await.unwrap().into_iter().find(|one| one.name == "admin/command:hub").unwrap();
    assert_eq!((kept.state.as_str(), kept.rotate_every_days, kept.versions.len()), ("ok", 90, 1), "{kept:?}");
    assert!(kept.due_at.is_some());
    let trace = issuer.trace();
    assert!(trace.contains("\"create\"") && !trace.contains(SHOWN) && !trace.contains("tok-"), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_came_from_elsewhere_runs_nothing_and_learns_nothing() {
    let issuer = Issuer::new();
    let house = issuer.house().await;
    let admin = &house.admin;
    issuer.ready(&house).await;
    assert_eq!(rotate(admin, &root(), NAME, now_order()).await.unwrap().rotation.state, State::Done);
    let order = RotateOrder { overlap: Some("1m".into()), ..Default::default() };
    assert_eq!(rotate(admin, &root(), NAME, order).await.unwrap().rotation.state, State::Draining);
    let ran = issuer.trace().lines().count();
    let set = async |text: String| {
        tree::edit(admin, &root(), "pulled", |_, _| Ok(vec![tree::write("credentials.toml", text.clone())])).await.unwrap();
    };
    set(issuer.config("env = { LD_PRELOAD = \"/tmp/x.so\" }\n")).await;
    let row = give(admin, NAME, "retire").await;
    assert_eq!((row.state, row.hold), (State::Draining, Some(Hold::Waiting)), "{row:?}");
    assert!(row.why.as_deref().is_some_and(|why| why.contains("credential approve command/hub")), "{row:?}");
    // Approved by somebody who looked, they still get nothing of what was given for others.
    approve(admin, &root(), NAME, ApproveOrder::default()).await.unwrap();
    let row = work::drive(admin, &row.id, &observer::Unobserved).await.unwrap();
    assert!(row.why.as_deref().is_some_and(|why| why.contains("credential admin command/hub")), "{row:?}");
    assert_eq!(issuer.trace().lines().count(), ran, "nothing was started");
    let kept = inventory::all(admin).await.unwrap().into_iter().find(|one| one.name == "admin/command:hub").unwrap();
    assert_eq!(kept.state, "missing", "{kept:?}");
    set(issuer.config("")).await;
    approve(admin, &root(), NAME, ApproveOrder::default()).await.unwrap();
    let row = work::drive(admin, &row.id, &observer::Unobserved).await.unwrap();
    assert_eq!((row.state, issuer.living()), (State::Done, vec![sent(admin).unwrap()]), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ended_late_is_waited_for_and_what_is_given_up_or_leaked_is_ended() {
    let issuer = Issuer::new();
    let house = issuer.house().await;
    let admin = &house.admin;
    issuer.ready(&house).await;
    rotate(admin, &root(), NAME, now_order()).await.unwrap();
    *issuer.lag.lock().unwrap() = Duration::from_secs(12);
    let lags = rotate(admin, &root(), NAME, now_order()).await.unwrap().rotation;
    assert_eq!((lags.state, lags.hold), (State::Draining, Some(Hold::Waiting)), "{lags:?}");
    assert!(lags.why.as_deref().is_some_and(|why| why.contains("still takes it: providers need a while")), "{lags:?}");
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(give(admin, NAME, "resume").await.state, State::Done);
    *issuer.lag.lock().unwrap() = Duration::ZERO;
    let before = sent(admin);
    rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap();
    assert_eq!(issuer.living().len(), 2);
    assert_eq!(give(admin, NAME, "rollback").await.state, State::RolledBack);
    assert_eq!((sent(admin), issuer.living().len()), (before, 1));
    rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap();
    let leak = RevokeOrder { name: NAME.into(), since: None, reason: "in a log".into() };
    let done = revoke(admin, &root(), leak).await.unwrap();
    assert_eq!((done.upstream, done.open), (vec!["demo:authorization".to_owned()], vec![]));
    assert_eq!((sent(admin), issuer.living()), (None, vec![]));
    admin.db.close().await;
    for token in issuer.tokens() {
        assert!(!super::tests_postgres_rig::holds(house.path(), &value(&token)), "no token in the data directory");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_token_by_command_survives_a_death_at_every_moment_and_leaves_no_orphan() {
    let issuer = Issuer::new();
    let mut house = issuer.house().await;
    issuer.ready(&house).await;
    for moment in 0..60 {
        let row = begin(&house.admin, &root(), NAME, &now_order()).await.unwrap();
        let dies = Dies::at(moment);
        let went = work::drive(&house.admin, &row.id, &dies).await;
        let (point, ended) = (dies.last(), dies.seen() <= moment);
        if !ended {
            assert!(went.is_err(), "it died");
            let refused = house.refuses.lock().unwrap().clone();
            house = House::open_at(house.close().await).await;
            house.listen("proxy").await;
            *house.refuses.lock().unwrap() = refused;
            issuer.follow(&house);
            resume(&house.admin).await.unwrap();
        }
        let row = work::drive(&house.admin, &row.id, &observer::Unobserved).await.unwrap();
        check(&house.admin, NAME, &row, point.filter(|_| !ended)).await;
        assert_eq!(issuer.living(), [sent(&house.admin).unwrap()], "died at {point:?}");
        if ended {
            assert!(moment >= 14, "a rotation has more moments than {moment}");
            return;
        }
    }
    unreachable!("no end in 60 moments");
}
