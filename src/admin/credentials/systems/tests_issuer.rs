//! Tokens of an issuer that plays by a script: made, tried, exchanged, ended, and seen refused only when the server refuses them, which may be long after the
//! issuer said so.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use serde_json::Value;

use super::super::machine::{Hold, State};
use super::super::tests_crash::{Dies, check};
use super::super::*;
use super::tests_orders::{give, keep, now_order, sent};
use crate::admin::servers::{self, ServerKeep};
use crate::admin::tests_house::{House, root};
use crate::admin::tree;

const NAME: &str = "http/demo";
const SHOWN: &str = "what-the-issuer-wants";

#[derive(Clone, Debug)]
struct Token {
    id: usize,
    label: String,
    lives: bool,
}

impl Token {
    fn value(&self) -> String {
        format!("Bearer tok-{}-{}", self.id, self.label)
    }
}

/// The issuer, on loopback.
#[derive(Clone)]
struct Script {
    port: u16,
    tokens: Arc<Mutex<Vec<Token>>>,
    /// How long servers take a token that was ended.
    lag: Arc<Mutex<Duration>>,
    refuses: Arc<Mutex<Arc<Mutex<Vec<String>>>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// What it calls the tokens it makes, instead of a number.
    odd: Arc<Mutex<Option<&'static str>>>,
}

impl Script {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Self {
            port,
            tokens: Arc::default(),
            lag: Arc::default(),
            refuses: Arc::default(),
            asked: Arc::default(),
            odd: Arc::default(),
        };
        let serving = script.clone();
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let script = serving.clone();
                tokio::spawn(async move {
                    let text = read(&mut tcp).await;
                    let (status, body) = script.answer(&text);
                    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                    let _ = tcp.write_all(format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        script
    }

    fn answer(&self, text: &str) -> (u16, String) {
        let line = text.lines().next().unwrap_or_default().to_owned();
        self.asked.lock().unwrap().push(line.clone());
        if !text.contains(&format!("x-admin: Key {SHOWN}\r\n")) {
            return (403, "{\"error\": \"tok-secret\"}".into());
        }
        let mut tokens = self.tokens.lock().unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match (words[0], words[1]) {
            ("POST", "/tokens") => {
                let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
                let token = Token { id: tokens.len() + 1, label: body["meta"]["label"].as_str().unwrap().into(), lives: true };
                let secret = token.value().replace("Bearer ", "");
                let id = self.odd.lock().unwrap().map_or_else(|| json!(token.id), |odd| json!(odd));
                let answer = json!({ "data": { "id": id, "secret": secret } });
                tokens.push(token);
                (201, answer.to_string())
            }
            ("GET", "/tokens") => {
                let living = tokens.iter().filter(|token| token.lives);
                (
                    200,
                    json!({ "all": living.map(|t| json!({ "id": t.id, "meta": { "label": t.label } })).collect::<Vec<_>>() })
                        .to_string(),
                )
            }
            ("DELETE", path) => {
                let id: usize = path.strip_prefix("/tokens/").unwrap().parse().unwrap();
                let Some(token) = tokens.iter_mut().find(|token| token.id == id && token.lives) else {
                    return (404, String::new());
                };
                token.lives = false;
                let (refuses, value, lag) = (self.refuses.lock().unwrap().clone(), token.value(), *self.lag.lock().unwrap());
                tokio::spawn(async move {
                    tokio::time::sleep(lag).await;
                    refuses.lock().unwrap().push(value);
                });
                (204, String::new())
            }
            _ => (405, String::new()),
        }
    }

    fn living(&self) -> Vec<Token> {
        self.tokens.lock().unwrap().iter().filter(|token| token.lives).cloned().collect()
    }

    fn config(&self) -> String {
        let at = format!("http://127.0.0.1:{}/tokens", self.port);
        format!(
            "[[http]]\nname = \"demo\"\nserver = \"demo\"\nsecret = \"Authorization\"\nvalue = \"Bearer {{secret}}\"\nplain_loopback = true\nheaders = {{ x-admin = \"Key {{admin}}\" }}\n\
             [http.create]\nmethod = \"POST\"\nurl = \"{at}\"\nbody = '{{\"meta\": {{\"label\": \"{{label}}\"}}}}'\nid = \"/data/id\"\ntoken = \"/data/secret\"\n\
             [http.revoke]\nmethod = \"DELETE\"\nurl = \"{at}/{{id}}\"\n[http.list]\nurl = \"{at}\"\nitems = \"/all\"\nid = \"/id\"\nlabel = \"/meta/label\"\n"
        )
    }

    /// A house whose server `demo` is sent a token of this issuer.
    async fn house(&self) -> House {
        let house = House::open().await;
        house.listen("proxy").await;
        self.knows(&house);
        let server = "[upstream.http]\nurl = \"https://tools.example.com/mcp\"\nsecret_headers = [\"authorization\"]\n[tools.read_graph]\nclass = \"read\"\n";
        let files = vec![tree::write("servers/demo.toml", server), tree::write("credentials.toml", self.config())];
        tree::edit(&house.admin, &root(), "an issuer", |_, _| Ok(files.clone())).await.unwrap();
        let keep = ServerKeep { headers: Some("Authorization: Bearer hand-made".into()), ..Default::default() };
        servers::secrets(&house.admin, &root(), "demo", &keep).await.unwrap();
        house
    }

    fn knows(&self, house: &House) {
        *self.refuses.lock().unwrap() = house.refuses.clone();
    }
}

async fn read(tcp: &mut tokio::net::TcpStream) -> String {
    let (mut all, mut part) = (Vec::new(), [0u8; 4096]);
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.trim().parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        match tcp.read(&mut part).await {
            Ok(read) if read > 0 => all.extend_from_slice(&part[..read]),
            _ => return text,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_used_and_ended_when_the_server_refuses_it() {
    let script = Script::start().await;
    let house = script.house().await;
    let admin = &house.admin;
    let missing = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap_err();
    assert!(missing.message.contains("credential admin http/demo"), "{missing}");
    let wrong = keep(admin, NAME, "something-else").await.unwrap_err();
    assert!(wrong.place.as_deref() == Some("password") && !wrong.message.contains("tok-secret"), "{wrong}");
    keep(admin, NAME, SHOWN).await.unwrap();
    // The first one was made by hand: the issuer's name of it is nowhere, so somebody ends it, and the server shows that.
    let first = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap().rotation;
    assert_eq!((first.state, first.hold), (State::Draining, None), "{first:?}");
    assert_eq!(sent(admin), Some(script.living()[0].value()));
    house.refuses.lock().unwrap().push("Bearer hand-made".into());
    assert_eq!(give(admin, NAME, "retire").await.state, State::Done);
    // The next one is ended by the issuer, and the server follows a moment later.
    *script.lag.lock().unwrap() = Duration::from_secs(3);
    let second = rotate(admin, &root(), NAME, now_order()).await.unwrap().rotation;
    assert_eq!(second.state, State::Done, "{second:?}");
    assert_eq!((script.living().len(), sent(admin)), (1, Some(script.living()[0].value())));
    let steps = show(admin, &root(), NAME).await.unwrap().steps;
    let retired = steps.iter().find(|step| step.step == "retire").unwrap();
    assert_eq!(
        (&retired.evidence["done"]["id"], &retired.evidence["seen"]["rejected"]),
        (&json!("1"), &json!(true)),
        "{retired:?}"
    );
    // One that lags for longer is waited for, and not called ended.
    *script.lag.lock().unwrap() = Duration::from_secs(14);
    let third = rotate(admin, &root(), NAME, now_order()).await.unwrap().rotation;
    assert_eq!((third.state, third.hold), (State::Draining, Some(Hold::Waiting)), "{third:?}");
    assert!(third.why.as_deref().is_some_and(|why| why.contains("providers need a while")), "{third:?}");
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(give(admin, NAME, "resume").await.state, State::Done);
    admin.db.close().await;
    for token in script.tokens.lock().unwrap().iter() {
        assert!(!super::tests_postgres_rig::holds(house.path(), &token.value()), "no token in the data directory");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_token_survives_a_death_at_every_moment_and_leaves_no_orphan() {
    let script = Script::start().await;
    let mut house = script.house().await;
    keep(&house.admin, NAME, SHOWN).await.unwrap();
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
            script.knows(&house);
            resume(&house.admin).await.unwrap();
        }
        let row = work::drive(&house.admin, &row.id, &crate::admin::credentials::observer::Unobserved).await.unwrap();
        check(&house.admin, NAME, &row, point.filter(|_| !ended)).await;
        let living: Vec<String> = script.living().iter().map(Token::value).collect();
        assert_eq!(living, [sent(&house.admin).unwrap()], "died at {point:?}");
        if ended {
            assert!(moment >= 14, "a rotation has more moments than {moment}");
            return;
        }
    }
    unreachable!("no end in 60 moments");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_or_leaked_is_ended_at_the_issuer() {
    let script = Script::start().await;
    let house = script.house().await;
    let admin = &house.admin;
    keep(admin, NAME, SHOWN).await.unwrap();
    rotate(admin, &root(), NAME, now_order()).await.unwrap();
    let before = sent(admin);
    rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap();
    assert_eq!(script.living().len(), 2);
    assert_eq!(give(admin, NAME, "rollback").await.state, State::RolledBack);
    assert_eq!((sent(admin), script.living().len()), (before, 1));
    // In the middle of an overlap both leaked.
    rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap();
    let leak = RevokeOrder { name: NAME.into(), since: None, reason: "in a log".into() };
    let done = revoke(admin, &root(), leak).await.unwrap();
    assert_eq!((done.upstream, done.open), (vec!["demo:authorization".to_owned()], vec![]));
    assert_eq!((sent(admin), script.living().len()), (None, 0));
    assert_eq!(rotate(admin, &root(), NAME, now_order()).await.unwrap().rotation.state, State::Done);
    // I7: another issuer is shown nothing.
    let (moved, asked) = (script.config().replace("127.0.0.1", "127.0.0.2"), script.asked.lock().unwrap().len());
    tree::edit(admin, &root(), "moved", |_, _| Ok(vec![tree::write("credentials.toml", moved.clone())])).await.unwrap();
    let refused = rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap_err();
    assert!(refused.message.contains("fits its address"), "{refused}");
    assert_eq!(script.asked.lock().unwrap().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_could_never_be_ended_is_not_taken_and_keeps_no_other_alive() {
    let script = Script::start().await;
    let house = script.house().await;
    let admin = &house.admin;
    keep(admin, NAME, SHOWN).await.unwrap();
    for odd in ["..", ".", "a/b", "a?b", "a#b", "a%2fb", "a\u{7}b"] {
        *script.odd.lock().unwrap() = Some(odd);
        let row = rotate(admin, &root(), NAME, now_order()).await.unwrap().rotation;
        assert_eq!((row.state, row.hold), (State::Planned, Some(Hold::Failed)), "{odd}: {row:?}");
        assert_eq!(give(admin, NAME, "cancel").await.state, State::Cancelled, "{odd}");
        assert_eq!(sent(admin).as_deref(), Some("Bearer hand-made"));
    }
    // One of an earlier version whose id was taken.
    *script.odd.lock().unwrap() = None;
    script.tokens.lock().unwrap().clear();
    super::store::issue(&admin.db, (NAME, "of-an-earlier-version"), "..", crate::base::clock::Timestamp(1)).await.unwrap();
    assert_eq!(rotate(admin, &root(), NAME, RotateOrder::default()).await.unwrap().rotation.state, State::Draining);
    assert_eq!(script.living().len(), 1);
    let done = revoke(admin, &root(), RevokeOrder { name: NAME.into(), ..Default::default() }).await.unwrap();
    assert!(done.open.iter().any(|open| open.contains("no path")), "{done:?}");
    assert_eq!((sent(admin), script.living().len()), (None, 0), "the others are ended all the same");
}
